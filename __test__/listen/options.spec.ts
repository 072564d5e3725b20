// The options of a listener that change what it delivers, and how it holds on.

import test from 'ava'
import { once } from 'node:events'
import {
  ArgumentTypeError,
  ListenerCallbackError,
  ListenerClosedError,
  type PglistenError,
} from 'pglisten'
import {
  ask,
  backendOf,
  notify,
  openListener,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { collect, deferred, waitFor, within } from '../../lab/wait.js'

interface Order {
  id: number
}

test('what parse makes of a payload is what callbacks and iterators get', async (t) => {
  const channel = uniqueChannel()
  const parsed: [string, string][] = []
  const { listener } = await openListener<Record<string, Order>>(t, {
    channels: [channel],
    parse: (payload, name) => {
      parsed.push([payload, name])
      return JSON.parse(payload) as Order
    },
  })
  const called: Order[] = []
  await listener.addCallback(channel, (_, order) => called.push(order))
  await listener.addCallback(channel, (_, order) => called.push(order))
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  const batches = listener.batches()
  await notify(channel, '{"id":7}')
  const [message] = await collect(messages, 1)
  const [batch] = await collect(batches, 1)
  await waitFor(() => called.length === 2)
  for (const order of [...called, message?.payload, batch?.[0]?.payload]) {
    t.deepEqual(order, { id: 7 })
  }
  // Once for each consumer: the callbacks are one.
  t.deepEqual(
    parsed,
    Array.from({ length: 3 }, () => ['{"id":7}', channel]),
  )
  t.is(called[0], called[1])
})

test('a payload that parse refuses is reported for each consumer, and delivered to none', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener<Record<string, unknown>>(t, {
    channels: [channel],
    parse: (payload) => JSON.parse(payload) as unknown,
  })
  const called: unknown[] = []
  const errors: PglistenError[] = []
  listener.on('error', (error) => errors.push(error))
  await listener.addCallback(channel, (_, payload) => called.push(payload))
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  await notify(channel, 'not JSON')
  await notify(channel, '"JSON"')
  t.is((await collect(messages, 1))[0]?.payload, 'JSON')
  await waitFor(() => called.length > 0)
  t.deepEqual(called, ['JSON'])
  t.is(errors.length, 2)
  for (const error of errors) {
    t.true(error instanceof ListenerCallbackError)
    t.like(error, { channel, payload: 'not JSON' })
    t.true((error as ListenerCallbackError).processId! > 0)
    t.true(error.cause instanceof SyntaxError)
  }
  t.is(listener.stats().callbackErrors, 2)
})

test('ignoreOwn leaves out what the pool’s own connections and listeners sent', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel], ignoreOwn: true })
  const hearing = pool.listener({ channels: [channel] })
  await listener.startup()
  await hearing.startup()
  const send = (connection: typeof hearing.connection, payload: string) =>
    connection.execute('SELECT pg_notify($1, $2)', [channel, payload])
  await pool.notify(channel, 'pool')
  await using connection = await pool.connection()
  await send(connection, 'connection')
  await send(listener.connection, 'own session')
  await send(hearing.connection, 'session of another listener')
  await notify(channel, 'somebody else')
  const all = (await collect(hearing.messages(), 5)).map(({ payload }) => payload)
  t.is(all.length, 5)
  t.deepEqual(
    (await collect(listener.messages(), 1)).map(({ payload }) => payload),
    ['somebody else'],
  )
  t.is(listener.stats().received, 1)
})

test('ignoreOwn also leaves out what a connection sent that is gone by then', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(
    t,
    { channels: [channel], ignoreOwn: true },
    { maxDbPoolSize: 1 },
  )
  await listener.startup()
  // While a transaction is open on the listening session, the server holds notifications back.
  await listener.connection.executeBatch('BEGIN')
  const connection = await pool.connection()
  const backend = await connection.fetchVal<number>('SELECT pg_backend_pid()')
  await connection.execute('SELECT pg_notify($1, $2)', [channel, 'own'])
  await connection.close()
  await terminate(backend)
  await waitFor(async () => {
    const alive = 'SELECT count(*) FROM pg_stat_activity WHERE pid = $1'
    return (await ask<bigint>(alive, [backend])) === 0n
  })
  await notify(channel, 'somebody else')
  await listener.connection.executeBatch('COMMIT')
  t.is((await collect(listener, 1))[0]?.payload, 'somebody else')
})

test('without ignoreOwn one’s own notifications are delivered like any other', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  await listener.startup()
  await pool.notify(channel)
  const [message] = await collect(listener, 1)
  t.is(message?.payload, '')
})

test('several at a time: as many as told, and those of a channel one after the other', async (t) => {
  for (const ordered of [true, false]) {
    const { listener } = await openListener(t, { concurrency: 3, ordered })
    const channels = [uniqueChannel(), uniqueChannel()]
    const running: string[] = []
    const release = deferred()
    for (const channel of channels) {
      await listener.addCallback(channel, async (_, payload) => {
        running.push(payload)
        await release.promise
      })
    }
    await listener.startup()
    listener.listen()
    const messages = listener.messages()
    for (let n = 1; n <= 3; n += 1) {
      for (const [index, channel] of channels.entries()) await notify(channel, `${index}.${n}`)
    }
    await collect(messages, 6)
    await messages.return()
    await waitFor(() => running.length === (ordered ? 2 : 3))
    t.deepEqual(running, ordered ? ['0.1', '1.1'] : ['0.1', '1.1', '0.2'])
    release.resolve()
    await listener.sync()
    t.is(running.length, 6)
  }
})

test('reconnect: false closes the listener when its session ends', async (t) => {
  const channel = uniqueChannel()
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { channels: [channel], reconnect: false },
    { dsn: proxy.dsn },
  )
  await listener.startup()
  const next = t.throwsAsync(listener.messages().next(), { instanceOf: ListenerClosedError })
  const closed = once(listener, 'closed')
  await terminate(await backendOf(listener))
  const [error] = (await within(closed)) as [ListenerClosedError]
  t.true(error instanceof ListenerClosedError)
  t.like(error.cause, { sqlState: '57P01' })
  await next
  t.deepEqual([listener.state, listener.isStarted], ['closed', false])
  await t.throwsAsync(listener.sync())
  await listener.shutdown()
  await listener.startup()
  t.true(listener.isStarted)
})

test('maxAttempts bounds the attempts in a row, and the listener then closes', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { reconnect: { initialDelayMs: 1, maxDelayMs: 2, maxAttempts: 3 } },
    { dsn: proxy.dsn },
  )
  let warnings = 0
  listener.on('warning', ({ error }) => {
    if (error) warnings += 1
  })
  await listener.startup()
  const closed = once(listener, 'closed')
  proxy.cut()
  await within(closed)
  t.is(proxy.refused, 3)
  t.is(warnings, 3)
})

test('a heartbeat measures the round trip, and notices a server that is silent', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { heartbeat: { intervalMs: 20, timeoutMs: 2000 }, reconnect: { initialDelayMs: 1 } },
    { dsn: proxy.dsn },
  )
  t.is(listener.stats().lastRoundTripMs, undefined)
  await listener.startup()
  const roundTrip = await waitFor(() => listener.stats().lastRoundTripMs)
  t.true(roundTrip > 0)
  const lost = once(listener, 'disconnected')
  proxy.freeze()
  const [{ error }] = (await within(lost)) as [{ error: Error }]
  t.regex(error.message, /did not answer a heartbeat within 2 s/)
})

test('the options’ channels are those of addChannel()', async (t) => {
  const [one, two] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { channels: [one, two, one] })
  t.deepEqual(listener.channels, [one, two])
  await listener.startup()
  await listener.removeChannel(one)
  t.deepEqual(listener.channels, [two])
  await notify(two, 'x')
  t.is((await collect(listener, 1))[0]?.channel, two)
})

test('the longest pause that may be asked for costs the session none of its settings', async (t) => {
  const { listener } = await openListener(
    t,
    { buffer: { overflow: 'pause', maxPauseMs: 2 ** 31 - 1 } },
    { options: '-c idle_session_timeout=1min' },
  )
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.startup()
  await listener.sync()
  t.deepEqual(warnings, [])
  t.is(await listener.connection.fetchVal("SELECT current_setting('idle_session_timeout')"), '0')
})

for (const [callbacks, message] of [
  [
    'orders',
    '`callbacks` to be an object with a callback for each channel, such as `{ orders: callback }`, got `orders` (string)',
  ],
  [
    ['orders'],
    '`callbacks` to be an object with a callback for each channel, such as `{ orders: callback }`, got an array',
  ],
  [
    () => {},
    '`callbacks` to be an object with a callback for each channel, such as `{ orders: callback }`, got a function',
  ],
  [{ orders: 'x' }, '`callbacks.orders` to be a function, got `x` (string)'],
] as const) {
  test(`pool.listen() says what it takes: ${JSON.stringify(callbacks) ?? 'a function'}`, async (t) => {
    const { pool } = await openListener(t)
    // The second argument is what people write who take the first for a channel.
    await t.throwsAsync(pool.listen(callbacks as never, (() => {}) as never), {
      instanceOf: message.startsWith('`callbacks.') ? ListenerCallbackError : ArgumentTypeError,
      message: `Expected ${message}`,
    })
  })
}
