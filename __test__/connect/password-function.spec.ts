// A password that is a function: asked once for each connection, however it answers.

import test from 'ava'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { ConnectionFailedError, ConnectionPool, type ConnectionPoolOptions } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { withoutStall } from '../../lab/stalls.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { runFixture } from '../support/child.js'
import { ask, notify, run, terminate, uniqueChannel } from '../support/listener.js'

/** What `npm test` leaves to `PGLISTEN_PASSWORD_CHANGES=12 PGLISTEN_PASSWORD_EVERY_MS=5000`: a minute of changes. */
const CHANGES = Number(process.env['PGLISTEN_PASSWORD_CHANGES'] ?? 8)
const EVERY_MS = Number(process.env['PGLISTEN_PASSWORD_EVERY_MS'] ?? 1000)

/** The test server and its account, with another password. */
async function asking(
  password: () => string | Promise<string>,
  options: ConnectionPoolOptions = {},
): Promise<ConnectionPoolOptions> {
  const { hostname, port, username, pathname } = new URL(await serverDsn())
  const dbName = pathname.slice(1)
  return { host: hostname, port: Number(port), username, dbName, password, ...options }
}

const rightPassword = async () => decodeURIComponent(new URL(await serverDsn()).password)

test('the function is asked once for each connection of the pool and of a listener', async (t) => {
  let asked = 0
  const options = await asking(async () => {
    asked += 1
    await sleep(5)
    return rightPassword()
  })
  await using pool = new ConnectionPool(options)
  t.is(asked, 0)
  const connections = await Promise.all([pool.connection(), pool.connection()])
  t.is(asked, 2)
  const listener = pool.listener({ channels: [uniqueChannel()] })
  await listener.startup()
  t.is(asked, 3)
  await Promise.all(connections.map((connection) => connection.close()))
  await (await pool.connection()).close()
  t.is(asked, 3, 'a connection that is used again needs none')
})

test('a dial through several hosts and modes of encryption asks once', async (t) => {
  let asked = 0
  const { host, ...options } = await asking(() => {
    asked += 1
    return 'wrong'
  })
  await using pool = new ConnectionPool({
    ...options,
    hosts: [host!, host!, host!],
    sslMode: 'allow',
  })
  await t.throwsAsync(pool.connection(), { message: /the function `password`/ })
  t.is(asked, 1)
})

test('nobody is asked for a password while no server can be reached', async (t) => {
  await using pool = new ConnectionPool({
    host: '127.0.0.1',
    port: 1,
    password: () => {
      t.fail()
      return ''
    },
  })
  await t.throwsAsync(pool.connection(), { message: /refused/ })
})

test('a function takes the place of every other source', async (t) => {
  await using pool = new ConnectionPool({ dsn: await serverDsn(), password: () => 'wrong' })
  await t.throwsAsync(pool.connection(), { code: 'ERR_PGLISTEN_DATABASE' })
})

const SECRET = 'token-27182'
const never = new Promise<never>(() => {})

for (const [how, password, message] of [
  [
    'throws',
    () => {
      throw new Error(SECRET)
    },
    /threw or rejected/,
  ],
  ['rejects', () => Promise.reject(new Error(SECRET)), /threw or rejected/],
  ['rejects with nothing', () => Promise.reject(), /threw or rejected/],
  ['gives an object', () => ({ token: SECRET }), /something else than a string/],
  ['gives nothing', () => undefined, /something else than a string/],
  ['gives a string with NUL', () => `${SECRET}\0`, /something else than a string/],
  ['never answers', () => never, /did not answer in time/],
] as [string, () => never, RegExp][]) {
  test(`a function that ${how} fails the attempt, and nothing of it is shown`, async (t) => {
    // The others have to be asked before their time is over.
    const options = how === 'never answers' ? { connectTimeoutSec: 0.3 } : {}
    await using pool = new ConnectionPool(await asking(password, options))
    const listener = pool.listener({ channels: [uniqueChannel()] })
    for (const call of [() => pool.connection(), () => listener.startup()]) {
      const error = await t.throwsAsync(within<unknown>(call()), {
        instanceOf: ConnectionFailedError,
        message,
      })
      t.regex(error.message, /the function `password` failed/)
      t.is(error.cause, undefined)
      for (const value of [error, pool, listener]) {
        const text = inspect(value, { depth: Infinity, showHidden: true, getters: true })
        t.false(text.includes(SECRET) || `${error.stack}`.includes(SECRET), text)
      }
    }
    t.is(listener.state, 'idle')
  })
}

test('a listener comes back when the function works again', async (t) => {
  let fails = false
  const options = await asking(() => {
    if (fails) throw new Error(SECRET)
    return rightPassword()
  })
  await using pool = new ConnectionPool(options)
  const listener = pool.listener({ reconnect: { initialDelayMs: 5, maxDelayMs: 20 } })
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  const connected = once(listener, 'connected')
  await listener.startup()
  const [{ processId }] = (await connected) as [{ processId: number }]
  fails = true
  await terminate(processId)
  await waitFor(() => warnings.length > 1)
  t.regex(warnings[0]!, /to connect again failed: .* the function `password` failed: it threw/)
  const reconnected = once(listener, 'reconnected')
  fails = false
  await within(reconnected)
})

test(`a password that changes ${CHANGES} times costs at most one attempt each time`, async (t) => {
  const role = uniqueName('role')
  let password = 'password 0'
  await run(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`)
  t.teardown(() => run(`DROP ROLE ${role}`))
  let asked = 0
  const options = await asking(
    async () => {
      asked += 1
      const known = password
      // Time for a change between the answer and its use.
      await sleep(20)
      return known
    },
    { username: role, dbName: 'postgres' },
  )
  await using pool = new ConnectionPool(options)
  const channel = uniqueChannel()
  // Each session counts as stable, so that the next attempt begins at once.
  const listener = pool.listener({ channels: [channel], reconnect: { stableAfterMs: 1 } })
  /** The number of the change at which each attempt failed. */
  const failed: number[] = []
  let change = 0
  t.timeout(CHANGES * EVERY_MS + 60_000)
  let errors = 0
  listener.on('error', () => (errors += 1))
  listener.on('warning', ({ error }) => error && failed.push(change))
  await listener.startup()
  const over = new AbortController()
  let lost = 0
  const reconnecting = (async () => {
    while (!over.signal.aborted) {
      await sleep(30 + Math.random() * 40)
      if (listener.state !== 'connected') continue
      lost += await ask<number>(
        'SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE usename = $1',
        [role],
      )
    }
  })()
  for (change = 1; change <= CHANGES; change += 1) {
    await sleep(EVERY_MS)
    password = `password ${change}`
    await run(`ALTER ROLE ${role} PASSWORD '${password}'`)
  }
  await sleep(EVERY_MS)
  over.abort()
  await reconnecting
  await within(listener.sync())
  const message = listener.messages().next()
  await notify(channel, 'there')
  t.is((await within(message)).value?.payload, 'there')
  t.log(`${CHANGES} changes, ${lost} sessions ended, ${asked} passwords, ${failed.length} refused`)
  t.is(new Set(failed).size, failed.length, inspect(failed))
  t.is(errors, 0)
  t.true(lost >= CHANGES)
})

test('neither a function that never answers nor the end of its environment holds anything up', async (t) => {
  t.deepEqual(await runFixture('password-pending.mjs', ['process']), { asked: 1 })
  t.deepEqual(await runFixture('password-pending.mjs', ['worker']), {
    terminated: 5,
    works: true,
  })
})

test('a long password keeps neither other pools waiting, nor its own call beyond the time-out', async (t) => {
  // Proving it takes seconds: a long key is hashed anew in each of thousands of rounds.
  const password = () => 'x'.repeat(1_000_000)
  await using other = new ConnectionPool(await serverDsn())
  await using connection = await other.connection()
  const took = await withoutStall(async () => {
    await using pool = new ConnectionPool(await asking(password, { connectTimeoutSec: 1 }))
    const over = new AbortController()
    const began = performance.now()
    const dialled = t
      .throwsAsync(pool.connection(), { message: /no answer within 1 s/ })
      .finally(() => over.abort())
    // Were the password proved where answers are read, one answer would take as long as that: more than the time-out.
    let answers = 0
    while (!over.signal.aborted) {
      await connection.execute('SELECT 1')
      answers += 1
    }
    await dialled
    t.true(answers >= 10, `${answers} answers`)
    return performance.now() - began
  })
  t.true(took === undefined || took < 3000, `${took} ms`)
})

test('an empty answer is a failed attempt, if the server asks for a password', async (t) => {
  let asked = 0
  const password = async () => ((asked += 1) < 3 ? '' : rightPassword())
  await using pool = new ConnectionPool(await asking(password))
  await t.throwsAsync(pool.connection(), {
    instanceOf: ConnectionFailedError,
    message: /the function `password` failed: it gave an empty text/,
  })
  const listener = pool.listener({ reconnect: { initialDelayMs: 1, maxDelayMs: 20 } })
  await within(listener.startup({ retry: true }))
  t.is(asked, 3)
  await listener.shutdown()
})

test('a password that one of several hosts refuses is tried rarely, and told', async (t) => {
  const { port, username, dbName } = await asking(rightPassword)
  for (const ports of [
    [port!, 1],
    [1, port!],
  ]) {
    await using pool = new ConnectionPool({
      hosts: ['127.0.0.1', '127.0.0.1'],
      ports,
      username: username!,
      dbName: dbName!,
      password: 'wrong',
    })
    const listener = pool.listener({ reconnect: { initialDelayMs: 1, maxDelayMs: 60_000 } })
    const errors: Error[] = []
    const warnings: string[] = []
    listener.on('error', (error) => errors.push(error))
    listener.on('warning', ({ message }) => warnings.push(message))
    const abort = new AbortController()
    const starting = t.throwsAsync(listener.startup({ retry: true, signal: abort.signal }), {
      any: true,
    })
    await waitFor(() => errors.length > 0, { what: 'the first refusal' })
    await sleep(1000)
    abort.abort()
    await starting
    t.is(errors.length, 1)
    t.like(errors[0], { sqlState: '28P01' })
    t.deepEqual(warnings, [])
  }
})

test('the attempts of one start-up wait for one answer of a slow function', async (t) => {
  let asked = 0
  const options = await asking(async () => {
    asked += 1
    await sleep(3500)
    return rightPassword()
  })
  await using pool = new ConnectionPool(options)
  for (const [retry, calls] of [
    [false, 1],
    [true, 2],
  ] as const) {
    const listener = pool.listener({ channels: [uniqueChannel()] })
    await within(listener.startup({ retry }))
    t.is(asked, calls)
    await listener.shutdown()
  }
})

test('a function that never answered once is asked again by a later attempt', async (t) => {
  let asked = 0
  const options = await asking(() => ((asked += 1) === 1 ? never : rightPassword()), {
    connectTimeoutSec: 1.5,
  })
  await using pool = new ConnectionPool(options)
  const listener = pool.listener({ channels: [uniqueChannel()] })
  await within(listener.startup({ retry: true }))
  t.true(asked >= 2)
  await listener.shutdown()
})

test('listeners with a DSN of their own share a session although a function is asked', async (t) => {
  const dsn = await serverDsn()
  await using pool = new ConnectionPool(await asking(rightPassword))
  const listeners = [0, 1].map(() => pool.listener({ dsn, channels: [uniqueChannel()] }))
  await Promise.all(listeners.map((listener) => listener.startup()))
  const [one, other] = listeners.map((listener) => listener.stats().session!)
  t.like(one, { processId: other!.processId, listeners: 2 })
})
