// What a pool does without a connection in the caller's hand: statements, notifications in one, a listener in one call, and
// sessions that connect elsewhere than the pool.

import test from 'ava'
import { once } from 'node:events'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionExecuteError,
  ConnectionFailedError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  ConnectionTimeoutError,
  DatabaseError,
  ListenerCallbackError,
} from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { MessageProxy } from '../../lab/network/message-proxy.mjs'
import { startProxy } from '../../lab/network/proxy.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import {
  backendOf,
  notify,
  openListener,
  sessionsAre,
  terminate,
  uniqueChannel,
} from '../support/listener.js'

const READY_FOR_QUERY = 'Z'.charCodeAt(0)

async function openPool() {
  return new ConnectionPool({ dsn: await serverDsn(), applicationName: uniqueName('app') })
}

test('a statement runs on a connection that goes back to the pool', async (t) => {
  await using pool = await openPool()
  t.deepEqual([...(await pool.execute('SELECT $1::int AS n', [5]))], [{ n: 5 }])
  t.deepEqual([...(await pool.fetch('SELECT 6 AS n'))], [{ n: 6 }])
  t.deepEqual(await pool.fetchRow('SELECT 7 AS n'), { n: 7 })
  t.is(await pool.fetchVal('SELECT 8'), 8)
  t.is(await pool.fetchRowOrNull('SELECT 1 WHERE false'), null)
  t.deepEqual(await pool.fetchRowOrNull('SELECT 9 AS n'), { n: 9 })
  await t.throwsAsync(pool.fetchRowOrNull('SELECT generate_series(1, 2)'), {
    instanceOf: ConnectionExecuteError,
    message: 'Expected the statement to return one row or none, got 2',
  })
  await t.throwsAsync(pool.execute('SELECT 1 / 0'), { instanceOf: DatabaseError })
  await t.throwsAsync(pool.execute(5 as unknown as string), { instanceOf: ArgumentTypeError })
  await waitFor(() => pool.status().available === 1)
  t.is(pool.status().size, 1)
})

test('the bounds of a statement hold for the wait for a connection too', async (t) => {
  await using pool = new ConnectionPool({ dsn: await serverDsn(), maxDbPoolSize: 1 })
  // Connecting may take longer than that.
  await pool.execute('SELECT 1')
  await t.throwsAsync(pool.execute('SELECT pg_sleep(60)', [], { timeoutMs: 200 }), {
    instanceOf: ConnectionTimeoutError,
    // What the wait for a connection has left, in whole milliseconds.
    message: /^the statement took longer than \d+ ms$/,
  })
  await using held = await pool.connection()
  const reason = new Error('enough')
  const controller = new AbortController()
  const waiting = pool.fetchVal('SELECT 1', [], { signal: controller.signal })
  controller.abort(reason)
  t.is(await t.throwsAsync(waiting), reason)
  t.is(await held.fetchVal('SELECT 1'), 1)
})

test('notifyMany() sends all in their order, in one transaction, or nothing', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  const payloads = Array.from({ length: 5000 }, (_, n) => `${n} ${'x'.repeat(n % 100)}`)
  await pool.notifyMany(channel, payloads)
  const got = await collect(stream, 5000)
  t.deepEqual(
    got.map(({ payload }) => payload),
    payloads,
  )
  t.is(new Set(got.map(({ processId }) => processId)).size, 1)
  await t.throwsAsync(pool.notifyMany(channel, ['fine', 'x'.repeat(8000)]), {
    instanceOf: ArgumentRangeError,
    message: /`payloads\[1\]`.*got 8000 bytes/,
  })
  await t.throwsAsync(pool.notifyMany(channel, 'text' as unknown as string[]), {
    instanceOf: ArgumentTypeError,
  })
  await t.throwsAsync(pool.notifyMany('', ['a']), { instanceOf: ArgumentRangeError })
  await pool.notifyMany(channel, [])
  // PostgreSQL folds equal payloads of one transaction.
  await pool.notifyMany(channel, ['same', 'same', 'end'])
  const rest = await collect(stream, 2)
  t.deepEqual(
    rest.map(({ payload }) => payload),
    ['same', 'end'],
  )
})

test('notifying takes one round trip, and leaves nothing prepared', async (t) => {
  let answers = 0
  const proxy = new MessageProxy(await serverDsn(), () => (message) => {
    if (message[0] === READY_FOR_QUERY) answers += 1
    return message
  })
  t.teardown(() => proxy.stop())
  await using pool = new ConnectionPool({ dsn: await proxy.start(), maxDbPoolSize: 1 })
  await pool.notify('x')
  for (const call of [
    () => pool.notify('x', 'payload'),
    () => pool.notifyMany('x', ['one', 'two']),
  ]) {
    const before = answers
    await call()
    t.is(answers, before + 1)
  }
  // The statement that asks is there itself.
  t.is(await pool.fetchVal('SELECT count(*) FROM pg_prepared_statements'), 1n)
})

test('listen() starts a listener with its callbacks', async (t) => {
  await using pool = await openPool()
  const [one, two] = [uniqueChannel(), uniqueChannel()]
  const got: unknown[] = []
  const listener = await pool.listen(
    { [one]: (_, n) => got.push(n), [two]: (_, n) => got.push(n) },
    { parse: (payload: string) => Number(payload), concurrency: 1 },
  )
  t.true(listener.isStarted)
  await notify(one, '1')
  await notify(two, '2')
  await listener.sync()
  t.deepEqual(got, [1, 2])
})

test('listen() refuses what is wrong, and leaves nothing running', async (t) => {
  await using pool = await openPool()
  const wrong = (value: unknown) => value as Record<string, () => void>
  await t.throwsAsync(pool.listen(wrong(undefined)), { instanceOf: ArgumentTypeError })
  await t.throwsAsync(pool.listen(wrong({ a: 5 })), { instanceOf: ListenerCallbackError })
  for (const options of [5, 'retry', true, null]) {
    await t.throwsAsync(pool.listen({ a: () => {} }, options as unknown as object), {
      instanceOf: ArgumentTypeError,
    })
  }
  await t.throwsAsync(pool.listen({ a: () => {} }, { concurrency: 0 }), {
    instanceOf: ArgumentRangeError,
  })
  const closed = new ConnectionPool('host=127.0.0.1 port=1')
  await t.throwsAsync(closed.listen({ a: () => {} }), { instanceOf: ConnectionFailedError })
  await closed.close()
})

test('listen() can go on trying when the server is away', async (t) => {
  const proxy = await startProxy(t)
  proxy.cut()
  await using pool = new ConnectionPool({ dsn: proxy.dsn })
  const channel = uniqueChannel()
  const got: string[] = []
  const listening = pool.listen(
    { [channel]: (_, payload) => got.push(payload) },
    { retry: true, reconnect: { initialDelayMs: 5, maxDelayMs: 10 } },
  )
  const [warning] = (await within(once(process, 'warning'))) as [Error & { code?: string }]
  t.is(warning.code, 'PGLISTEN_STARTUP')
  t.regex(warning.message, /^attempt 1 to connect failed/)
  await waitFor(() => proxy.refused > 1)
  proxy.open()
  await within(listening)
  await notify(channel, 'heard')
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['heard'])
})

for (const [where, poolOptions, listenerOptions] of [
  ['`listenDsn` of the pool', (dsn: string) => ({ listenDsn: dsn }), () => ({})],
  ['`dsn` of the listener', () => ({}), (dsn: string) => ({ dsn })],
  [
    '`dsn` of the listener before `listenDsn` of the pool',
    () => ({ listenDsn: 'host=127.0.0.1 port=1 user=nobody' }),
    (dsn: string) => ({ dsn }),
  ],
] as const) {
  test(`the session goes where ${where} says, and everything else where the pool goes`, async (t) => {
    const [pooled, direct] = [await startProxy(t), await startProxy(t)]
    const channel = uniqueChannel()
    const { listener, pool, applicationName } = await openListener(
      t,
      { ignoreOwn: true, ...listenerOptions(direct.dsn) },
      { dsn: pooled.dsn, ...poolOptions(direct.dsn) },
    )
    const answers: unknown[] = []
    await listener.addCallback(channel, async (connection, payload) => {
      answers.push([payload, await connection.fetchVal('SELECT 1')])
    })
    await listener.startup()
    listener.listen()
    await sessionsAre(applicationName, 1)
    // Its own notification is left out, although it went the other way.
    await pool.notify(channel, 'own')
    await notify(channel, 'foreign')
    await waitFor(() => answers.length === 1)
    t.deepEqual(answers, [['foreign', 1]])
    // Without the way of the pool, the session lives on, and is replaced on its own way.
    pooled.cut()
    const back = once(listener, 'reconnected')
    await terminate(await backendOf(listener))
    await within(back)
    await t.throwsAsync(pool.notify(channel), { instanceOf: ConnectionFailedError })
    pooled.open()
    direct.cut()
    t.is(await pool.fetchVal('SELECT 1'), 1)
  })
}

test('a DSN for listening that is wrong is refused, and not shown', async (t) => {
  const dsn = await serverDsn()
  for (const wrong of ['', 5, 'postgres://user:s3cret@host:port/x', 'host=x s3cret']) {
    const error = t.throws(() => new ConnectionPool({ dsn, listenDsn: wrong as string }), {
      instanceOf: ConnectionPoolConfigurationError,
    })
    t.false(`${error.message} ${error.stack}`.includes('s3cret'))
    await using pool = new ConnectionPool(dsn)
    const other = t.throws(() => pool.listener({ dsn: wrong as string }), {
      instanceOf: ConnectionPoolConfigurationError,
    })
    t.false(`${other.message} ${other.stack}`.includes('s3cret'))
  }
})
