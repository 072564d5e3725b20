// The API of postgres.js for listening and notifying, as a program uses it that has only changed its import.

import test, { type ExecutionContext } from 'ava'
import { inspect } from 'node:util'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPoolConfigurationError,
  ConnectionPoolExecuteError,
  DatabaseError,
  PglistenError,
} from 'pglisten'
import postgres, { type Options } from 'pglisten/compat/postgres'
import original from 'postgres'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { makeCertificate } from '../../lab/tls/certificates.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { notify, sessionCount, sessionsAre, terminate, uniqueChannel } from '../support/listener.js'

/** The warnings of the process about a channel until the test ends. */
function warnings(t: ExecutionContext, channel: string): string[] {
  const texts: string[] = []
  const note = ({ message }: Error) => void (message.includes(channel) && texts.push(message))
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  return texts
}

async function open(t: ExecutionContext, options: Options = {}) {
  const name = uniqueName('app')
  const sql = postgres(await serverDsn(), { connection: { application_name: name }, ...options })
  t.teardown(() => sql.end())
  return { sql, name }
}

test('listens and notifies', async (t) => {
  const channel = `${uniqueChannel()} wat-;ø§"`
  const { sql } = await open(t)
  const got: string[] = []
  const { state } = await sql.listen(channel, (payload) => got.push(payload))
  t.true(state.pid > 0)
  await sql.notify(channel, 'first')
  await sql.notify(channel, 7 as unknown as string)
  await notify(channel, '')
  await waitFor(() => got.length === 3)
  t.deepEqual(got, ['first', '7', ''])
})

test('`onlisten` is called at the start and after each reconnection, before what comes later', async (t) => {
  const channel = uniqueChannel()
  const { sql } = await open(t)
  const told: string[] = []
  const { state } = await sql.listen(
    channel,
    (payload) => told.push(payload),
    () => told.push('onlisten'),
  )
  t.deepEqual(told, ['onlisten'])
  await sql.notify(channel, 'a')
  await waitFor(() => told.length === 2)
  const lost = state.pid
  await terminate(lost)
  await waitFor(() => told.length === 3)
  t.true(state.pid > 0 && state.pid !== lost)
  await notify(channel, 'b')
  await waitFor(() => told.length === 4)
  t.deepEqual(told, ['onlisten', 'a', 'onlisten', 'b'])
})

test('each `unlisten()` ends its own registration', async (t) => {
  const channel = uniqueChannel()
  const { sql } = await open(t)
  const got: string[] = []
  const one = await sql.listen(channel, (payload) => got.push(`1${payload}`))
  const two = await sql.listen(channel, (payload) => got.push(`2${payload}`))
  await sql.notify(channel, 'a')
  await waitFor(() => got.length === 2)
  await two.unlisten()
  await two.unlisten()
  await sql.notify(channel, 'b')
  await waitFor(() => got.length === 3)
  await one.unlisten()
  await sql.notify(channel, 'lost')
  await sql.listen(channel, (payload) => got.push(`3${payload}`))
  await sql.notify(channel, 'c')
  await waitFor(() => got.length === 4)
  t.deepEqual(got, ['1a', '2a', '1b', '3c'])
})

test('what a callback throws keeps no other from its notification', async (t) => {
  const channel = uniqueChannel()
  const { sql } = await open(t)
  const got: string[] = []
  const warned = warnings(t, channel)
  await sql.listen(channel, () => {
    throw new Error('wrong')
  })
  await sql.listen(channel, (payload) => got.push(payload))
  await sql.notify(channel, 'a')
  await waitFor(() => got.length === 1)
  const warning = await waitFor(() => warned[0])
  t.regex(warning, new RegExp(`${channel}.*wrong`, 's'))
})

test('a promise that a callback returns is not waited for', async (t) => {
  const channel = uniqueChannel()
  const { sql } = await open(t)
  const got: string[] = []
  const forEver = new Promise<void>(() => {})
  await sql.listen(channel, (payload) => {
    got.push(payload)
    return forEver
  })
  await sql.notify(channel, 'a')
  await sql.notify(channel, 'b')
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['a', 'b'])
})

test('nobody waits for a promise of `onlisten`, and its rejection ends no process', async (t) => {
  const channel = uniqueChannel()
  const { sql } = await open(t)
  const told: string[] = []
  const warned = warnings(t, channel)
  let isSecond = false
  const onListen: () => unknown = async () => {
    told.push('onlisten')
    // One that is waited for would keep what follows.
    if (isSecond) await new Promise(() => {})
    isSecond = true
    throw new Error('of onlisten')
  }
  const { state } = await sql.listen(
    channel,
    async (payload) => {
      told.push(payload)
      throw new Error(`of ${payload}`)
    },
    onListen,
  )
  await waitFor(() => warned.length === 1)
  await terminate(state.pid)
  await waitFor(() => told.length === 2)
  await notify(channel, 'a')
  await waitFor(() => told.length === 3)
  t.deepEqual(told, ['onlisten', 'onlisten', 'a'])
  t.regex(warned[0]!, new RegExp(`a callback rejected.*${channel}.*of onlisten`, 's'))
})

test('an `onlisten` that throws at the start leaves nothing of its `listen()`', async (t) => {
  const channel = uniqueChannel()
  const { sql } = await open(t)
  const got: string[] = []
  const wrong = new Error('wrong')
  const fail = () => {
    throw wrong
  }
  const listening = sql.listen(channel, (payload) => got.push(`1${payload}`), fail)
  t.is(await t.throwsAsync(listening), wrong)
  await sql.listen(channel, (payload) => got.push(`2${payload}`))
  await sql.notify(channel, 'a')
  await waitFor(() => got.length > 0)
  t.deepEqual(got, ['2a'])
})

test('after `end()`, and while it is under way, `listen()` and `notify()` reject', async (t) => {
  const ended = { instanceOf: ConnectionPoolExecuteError, message: /`sql\.end\(\)` was called/ }
  for (const isStarted of [true, false]) {
    const { sql } = await open(t)
    const channel = uniqueChannel()
    const told: string[] = []
    const listen = () =>
      sql.listen(
        channel,
        () => {},
        () => told.push('onlisten'),
      )
    if (isStarted) await listen()
    const before = told.length
    // One that has begun may still get its LISTEN, or not.
    const begun = isStarted ? undefined : t.throwsAsync(listen())
    const sending = sql.notify(channel, 'a')
    const ending = sql.end()
    await t.throwsAsync(listen(), ended)
    await t.throwsAsync(sql.notify(channel, 'b'), ended)
    await within(Promise.all([sending, ending, begun]))
    await t.throwsAsync(listen(), ended)
    await t.throwsAsync(sql.notify(channel, 'c'), ended)
    t.is(told.length, before)
  }
})

test('two with equal options share a server session, and so do many `listen()`', async (t) => {
  const channel = uniqueChannel()
  const options = { connection: { application_name: uniqueName('app') } }
  const both = [postgres(await serverDsn(), options), postgres(await serverDsn(), options)] as const
  t.teardown(() => Promise.all(both.map((sql) => sql.end())))
  const got: string[] = []
  const listening = await Promise.all(
    [...both, ...both].map((sql, index) =>
      sql.listen(channel, (payload) => got.push(`${index}${payload}`)),
    ),
  )
  t.is(new Set(listening.map(({ state }) => state.pid)).size, 1)
  await sessionsAre(options.connection.application_name, 1)
  await notify(channel, 'a')
  await waitFor(() => got.length === 4)
  t.deepEqual(got.sort(), ['0a', '1a', '2a', '3a'])
  await both[0].end()
  await notify(channel, 'b')
  await waitFor(() => got.length === 6)
  t.deepEqual(got.slice(4).sort(), ['1b', '3b'])
})

test('`end()` waits for what is being sent, closes everything, and can be handed on', async (t) => {
  const channel = uniqueChannel()
  const receiver = (await open(t)).sql
  const got: string[] = []
  await receiver.listen(channel, (payload) => got.push(payload))
  const { sql, name } = await open(t, { max: 1 })
  const sent = Array.from({ length: 5 }, (_, index) => sql.notify(channel, `${index}`))
  const { end } = sql as { end: (value: unknown) => Promise<void> }
  await sql.listen(uniqueChannel(), () => {}).then(end)
  await Promise.all(sent)
  t.is(await sessionCount(name), 0)
  await waitFor(() => got.length === 5)
  t.deepEqual(got, ['0', '1', '2', '3', '4'])
  await sql.end({ timeout: 1 })
  await t.throwsAsync(sql.notify(channel, 'late'), { instanceOf: ConnectionPoolExecuteError })
})

test('`end()` takes any `timeout` there is, and after one that is none it can be called again', async (t) => {
  const channel = uniqueChannel()
  for (const timeout of [Infinity, 1e9, null, undefined, 0.5]) {
    const { sql, name } = await open(t)
    await sql.listen(channel, () => {})
    const sent = sql.notify(channel, 'a')
    await within(sql.end({ timeout }))
    await sent
    t.is(await sessionCount(name), 0, `${timeout}`)
  }
  const { sql, name } = await open(t)
  await sql.listen(channel, () => {})
  for (const timeout of [Number.NaN, -1, 'soon'])
    await t.throwsAsync(sql.end({ timeout: timeout as number }), {
      instanceOf: ArgumentRangeError,
      message: /`timeout`/,
    })
  await sql.notify(channel, 'still there')
  await sql.end()
  t.is(await sessionCount(name), 0)
})

test('`end()` has one `timeout` for what is being sent and for the connections', async (t) => {
  const proxy = await FaultProxy.start(Number(new URL(await serverDsn()).port))
  t.teardown(() => proxy.stop())
  const sql = postgres(proxy.dsn(await serverDsn()))
  await sql.notify(uniqueChannel(), 'a')
  proxy.swallow('both')
  const unanswered = t.throwsAsync(sql.notify(uniqueChannel(), 'b'))
  const begun = performance.now()
  await sql.end({ timeout: 3 })
  const seconds = (performance.now() - begun) / 1000
  // The server does not confirm the cancellation either.
  t.true(seconds > 2.9 && seconds < 5, `${seconds}`)
  await unanswered
})

test('everything else names the package that has it', async (t) => {
  const { sql } = await open(t)
  const theirs = original('postgres://127.0.0.1:1/none')
  const ours = new Set(['listen', 'notify', 'end', 'options'])
  for (const name of Object.keys(theirs)) {
    if (ours.has(name)) t.true(name in sql, name)
    else {
      const use = () => (sql as unknown as Record<string, unknown>)[name]
      t.throws(use, {
        instanceOf: PglistenError,
        message: /`sql\.\w+` needs the package `postgres`/,
      })
    }
  }
  const query = sql as unknown as (strings: TemplateStringsArray) => unknown
  t.throws(() => query`SELECT 1`, { message: /^a query needs the package `postgres`/ })
})

test('`options` has what was given, and nothing that is secret', (t) => {
  const { key, certificate: cert } = makeCertificate({ name: 'app' })
  const dsn = 'postgres://app:secret@localhost/app'
  const given = { host: 'localhost', user: 'app' }
  for (const secrets of [
    { pass: 'secret', password: 'secret' },
    { pass: () => 'secret' },
    { dsn, listenDsn: dsn },
    { key, cert, sslMode: 'require' },
    { ssl: { key, cert, rejectUnauthorized: false } },
  ]) {
    const sql = postgres({ ...given, ...secrets } as Options)
    t.teardown(() => sql.end())
    const { options } = sql
    t.like(options, given)
    const text = inspect(options, { depth: null })
    t.false(/secret|PRIVATE/.test(text), text)
    if ('ssl' in secrets) t.deepEqual(options.ssl, { cert, rejectUnauthorized: false })
  }
})

test('errors: no server, a wrong password, a name that does not fit, no function, wrong options', async (t) => {
  const nowhere = postgres({ host: '127.0.0.1', port: 1 })
  t.teardown(() => nowhere.end())
  const failure = { code: 'ERR_PGLISTEN_CONNECTION_FAILED' }
  await t.throwsAsync(
    nowhere.listen('a', () => {}),
    failure,
  )
  await t.throwsAsync(
    nowhere.listen('a', () => {}),
    failure,
  )
  await t.throwsAsync(nowhere.notify('a', 'b'), failure)

  const refused = postgres(await serverDsn(), { pass: () => 'wrong' })
  t.teardown(() => refused.end())
  await t.throwsAsync(
    refused.listen('a', () => {}),
    { instanceOf: DatabaseError },
  )

  const { sql } = await open(t)
  await t.throwsAsync(
    sql.listen('x'.repeat(64), () => {}),
    { instanceOf: ArgumentRangeError },
  )
  await t.throwsAsync(sql.listen('a', undefined as never), { instanceOf: ArgumentTypeError })
  for (const options of [
    { socket: () => {} },
    { onclose: () => {} },
    { backoff: () => 1 },
    { nonsense: 1 },
  ])
    t.throws(() => postgres(options as Options), {
      instanceOf: ConnectionPoolConfigurationError,
      message: new RegExp(`\`${Object.keys(options)[0]}\``),
    })
})
