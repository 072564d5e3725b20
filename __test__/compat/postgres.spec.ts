// The API of postgres.js for listening and notifying, as a program uses it that has only changed its import.

import test, { type ExecutionContext } from 'ava'
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
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { notify, sessionCount, terminate, uniqueChannel } from '../support/listener.js'

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
  const warned = new Promise<Error>((resolve) => {
    process.once('warning', resolve)
  })
  await sql.listen(channel, () => {
    throw new Error('wrong')
  })
  await sql.listen(channel, (payload) => got.push(payload))
  await sql.notify(channel, 'a')
  await waitFor(() => got.length === 1)
  t.regex((await within(warned)).message, new RegExp(`${channel}.*wrong`, 's'))
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
  t.is(await sessionCount(options.connection.application_name), 1)
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

test('`options` has what was given, and no password', async (t) => {
  const sql = postgres({
    host: 'localhost',
    user: 'app',
    pass: 'secret',
    password: 'secret',
  } as Options)
  t.teardown(() => sql.end())
  t.deepEqual({ ...sql.options }, { host: 'localhost', user: 'app' })
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
