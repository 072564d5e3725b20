// The metrics of pools, listeners, callbacks and statements, as the SDK collects them.

import { readFileSync } from 'node:fs'
import test from 'ava'
import * as conventions from '@opentelemetry/semantic-conventions/incubating'
import { ConnectionPool } from 'pglisten'
import { PglistenInstrumentation, inject } from 'pglisten-opentelemetry'
import { uniqueName } from '../../lab/unique-name.js'
import { deferred, waitFor } from '../../lab/wait.js'
import { backendOf, notify, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { openPool } from '../support/connect.js'
import { openTelemetry } from './telemetry.js'

const SYSTEM = { 'messaging.system.name': 'postgresql' }

test('a listener’s counts are read from it, with its name', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const name = uniqueName('counted')
  const about = { 'pglisten.listener.name': name }
  const { listener } = await openListener(t, { name })
  listener.on('error', () => {})
  await listener.addCallback(channel, async (_connection, payload) => {
    if (payload === '2') throw new RangeError('no')
  })
  await listener.startup()
  listener.listen()
  for (const payload of ['1', '2', '3']) await notify(channel, payload)
  await listener.sync()
  t.is(await telemetry.value('pglisten.listener.received', about), 3)
  const consumed = { ...about, ...SYSTEM, 'messaging.operation.name': 'process' }
  t.is(await telemetry.value('messaging.client.consumed.messages', consumed), 3)
  t.is(await telemetry.value('pglisten.listener.callback_errors', about), 1)
  t.is(await telemetry.value('pglisten.listener.callbacks_in_flight', about), 0)
  t.is(await telemetry.value('pglisten.listener.buffered', about), 0)
  for (const [state, count] of [
    ['connected', 1],
    ['closed', 0],
  ] as const)
    t.is(
      await telemetry.value('pglisten.listener.count', {
        ...about,
        'pglisten.listener.state': state,
      }),
      count,
    )
  const processed = { ...consumed, 'messaging.destination.name': channel }
  const all = (await telemetry.points('messaging.process.duration')).filter(
    ({ attributes }) => attributes['messaging.destination.name'] === channel,
  )
  t.deepEqual(
    all.toSorted((a, b) => a.value - b.value),
    [
      { value: 1, attributes: { ...processed, 'error.type': 'RangeError' } },
      { value: 2, attributes: processed },
    ],
  )
})

test('what waits, and what is pending, is told as it is now', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const name = uniqueName('pending')
  const about = { 'pglisten.listener.name': name }
  const { listener } = await openListener(t, { name })
  const gate = deferred()
  await listener.addCallback(channel, () => gate.promise)
  await listener.startup()
  listener.listen()
  for (const payload of ['1', '2', '3']) await notify(channel, payload)
  await waitFor(() => listener.stats().callbacksInFlight === 1 && listener.stats().buffered === 2)
  await waitFor(() => listener.health().oldestCallbackAgeMs! >= 20)
  await waitFor(() => listener.health().oldestBufferedAgeMs! >= 20)
  t.is(await telemetry.value('pglisten.listener.callbacks_in_flight', about), 1)
  t.is(await telemetry.value('pglisten.listener.buffered', about), 2)
  for (const age of ['oldest_callback_age', 'oldest_buffered_age'])
    t.true((await telemetry.value(`pglisten.listener.${age}`, about))! >= 0.02, age)
  gate.resolve()
  await listener.sync()
  t.is(await telemetry.value('pglisten.listener.oldest_callback_age', about), 0)
})

test('what nobody has taken yet is told with its size', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const name = uniqueName('waiting')
  const { listener } = await openListener(t, { name, channels: [channel] })
  await listener.startup()
  await notify(channel, 'x'.repeat(100))
  await waitFor(() => listener.stats().buffered === 1)
  const size = (await telemetry.value('pglisten.listener.buffered_size', {
    'pglisten.listener.name': name,
  }))!
  t.true(size >= 100 && size < 1000, `${size}`)
})

test('gaps are counted by their reason, from 0 on', async (t) => {
  const telemetry = openTelemetry(t)
  const name = uniqueName('gaps')
  const about = { 'pglisten.listener.name': name }
  const gaps = (reason: string) =>
    telemetry.value('pglisten.listener.gaps', { ...about, 'pglisten.gap.reason': reason })
  const { listener } = await openListener(t, { name, heartbeat: { intervalMs: 20 } })
  // Another test collects garbage, and a listener that nobody holds but whoever waits for its event is some.
  t.teardown(() => listener.shutdown())
  t.is(await gaps('disconnect'), 0)
  await listener.addChannel(uniqueChannel())
  await listener.startup()
  const reconnected = new Promise((resolve) => listener.once('reconnected', resolve))
  await terminate(await backendOf(listener))
  await reconnected
  t.is(await gaps('disconnect'), 1)
  t.is(await gaps('overflow'), 0)
  t.is(await telemetry.value('pglisten.listener.reconnects', about), 1)
  await waitFor(() => listener.stats().lastRoundTripMs !== undefined)
  const roundTrip = (await telemetry.value('pglisten.listener.round_trip', about))!
  t.true(roundTrip > 0 && roundTrip < 10, `${roundTrip}`)
})

test('listeners of one name are added up, and what a collected one has counted stays', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const name = uniqueName('added')
  const about = { 'pglisten.listener.name': name }
  const { pool } = await openListener(t)
  const count = async () => {
    const listener = pool.listener({ name })
    await listener.addCallback(channel, () => {})
    await listener.startup()
    listener.listen()
    await notify(channel)
    await listener.sync()
    await listener.shutdown()
    return new WeakRef(listener)
  }
  const listeners = [await count(), await count()]
  t.is(await telemetry.value('pglisten.listener.received', about), 2)
  t.is(
    await telemetry.value('pglisten.listener.count', {
      ...about,
      'pglisten.listener.state': 'closed',
    }),
    2,
  )
  await waitFor(() => {
    globalThis.gc!()
    return listeners.every((listener) => listener.deref() === undefined)
  })
  t.is(await telemetry.value('pglisten.listener.received', about), 2)
  const closed = { ...about, 'pglisten.listener.state': 'closed' }
  t.is(await telemetry.value('pglisten.listener.count', closed), 0)
  await count()
  t.is(await telemetry.value('pglisten.listener.received', about), 3)
})

test('a pool is told by the name that it was given, and only as long as it is there', async (t) => {
  const telemetry = openTelemetry(t)
  const name = uniqueName('pool')
  const about = { 'db.client.connection.pool.name': name }
  const connections = (state: string) =>
    telemetry.value('db.client.connection.count', { ...about, 'db.client.connection.state': state })
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  telemetry.instrumentation.observe(pool, { name })
  const connection = await pool.connection()
  const waiting = pool.execute('SELECT 1')
  t.is(await telemetry.value('db.client.connection.limit', about), 1)
  t.is(await connections('used'), 1)
  t.is(await connections('idle'), 0)
  t.is(await telemetry.value('db.client.connection.pending_requests', about), 1)
  await connection.close()
  await waiting
  await waitFor(() => pool.status().available === 1)
  t.is(await connections('idle'), 1)
  t.is(await connections('used'), 0)
  t.is(await telemetry.value('db.client.connection.pending_requests', about), 0)

  const collected = uniqueName('pool')
  const reference = (() => {
    const unused = new ConnectionPool('host=localhost')
    telemetry.instrumentation.observe(unused, { name: collected })
    return new WeakRef(unused)
  })()
  await waitFor(() => {
    globalThis.gc!()
    return reference.deref() === undefined
  })
  t.deepEqual(
    (await telemetry.points('db.client.connection.limit')).filter(
      ({ attributes }) => attributes['db.client.connection.pool.name'] === collected,
    ),
    [],
  )
})

test('the queue of the server is told by the watch of a pool', async (t) => {
  const telemetry = openTelemetry(t)
  const name = uniqueName('watched')
  const pool = await openPool(t, { queueWatch: { intervalMs: 20 } })
  telemetry.instrumentation.observe(pool, { name })
  const listener = pool.listener()
  await listener.startup()
  const usage = await waitFor(async () => {
    const found = await telemetry.value('pglisten.queue.usage', {
      'db.client.connection.pool.name': name,
    })
    return found === undefined ? undefined : { found }
  })
  t.true(usage.found >= 0 && usage.found <= 1)
})

test('statements and what is sent are timed', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const pool = await openPool(t)
  await pool.notifyMany(channel, ['1', '2'])
  const sent = {
    ...SYSTEM,
    'messaging.operation.name': 'send',
    'messaging.destination.name': channel,
  }
  t.is(await telemetry.value('messaging.client.sent.messages', sent), 2)
  t.is(await telemetry.value('messaging.client.operation.duration', sent), 1)
  await pool.execute('SELECT 1')
  await t.throwsAsync(pool.execute('SELECT 1 / 0'))
  const selected = { 'db.system.name': 'postgresql', 'db.operation.name': 'SELECT' }
  const points = await telemetry.points('db.client.operation.duration')
  t.true(points.some(({ attributes }) => !('error.type' in attributes)))
  const failed = { ...selected, 'error.type': '22012', 'db.response.status_code': '22012' }
  t.deepEqual(
    points.filter(({ attributes }) => attributes['error.type'] === '22012'),
    [{ value: 1, attributes: failed }],
  )
})

test('callbacks without promises are timed if that is asked for', async (t) => {
  const some = openTelemetry(t)
  const all = openTelemetry(t, { durations: 'all' })
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.addCallback(channel, () => {})
  await listener.startup()
  listener.listen()
  await notify(channel)
  await listener.sync()
  const about = { 'messaging.destination.name': channel }
  t.is(await some.value('messaging.process.duration', about), undefined)
  t.is(await all.value('messaging.process.duration', about), 1)
})

test('an instrumentation that is disabled hears nothing, and enabled again it goes on', async (t) => {
  const telemetry = openTelemetry(t)
  const channel = uniqueChannel()
  const pool = await openPool(t)
  const about = { 'messaging.destination.name': channel }
  telemetry.instrumentation.disable()
  await pool.notify(channel)
  telemetry.instrumentation.enable()
  telemetry.instrumentation.enable()
  t.is(await telemetry.value('messaging.client.sent.messages', about), undefined)
  await pool.notify(channel)
  t.is(await telemetry.value('messaging.client.sent.messages', about), 1)
})

test('a listener that was made before the instrumentation is observed when it is asked to', async (t) => {
  const name = uniqueName('before')
  const about = { 'pglisten.listener.name': name }
  const { listener } = await openListener(t, { name })
  const telemetry = openTelemetry(t)
  t.is(await telemetry.value('pglisten.listener.received', about), undefined)
  telemetry.instrumentation.observe(listener)
  telemetry.instrumentation.observe(listener)
  t.is(await telemetry.value('pglisten.listener.received', about), 0)
  t.throws(() => telemetry.instrumentation.observe({} as never), {
    instanceOf: TypeError,
    message: /^Expected `target` to be a pool, a listener or a subscription, got \{\} \(object\)$/,
  })
})

test('every name is OpenTelemetry’s of the version that is told, or begins with the package’s', async (t) => {
  const telemetry = openTelemetry(t)
  const { listener, pool } = await openListener(t, {
    name: uniqueName('names'),
    heartbeat: { intervalMs: 20 },
  })
  const channel = uniqueChannel()
  await listener.addCallback(channel, async () => {})
  await listener.startup()
  listener.listen()
  await pool.notify(channel)
  await listener.sync()
  await pool.execute('SELECT 1')
  await waitFor(() => listener.stats().lastRoundTripMs !== undefined)
  const known = new Set<unknown>(Object.values(conventions))
  const metrics = await telemetry.metrics()
  t.true(metrics.length >= 20, `${metrics.length}`)
  for (const { name, points } of metrics) {
    t.true(known.has(name) || name.startsWith('pglisten.'), name)
    for (const key of points.flatMap(({ attributes }) => Object.keys(attributes)))
      t.true(known.has(key) || key.startsWith('pglisten.'), `${name}: ${key}`)
  }
})

test('the instrumentation says the version of its package', (t) => {
  const file = new URL('../../packages/opentelemetry/package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
  const instrumentation = new PglistenInstrumentation({ enabled: false })
  t.is(instrumentation.instrumentationVersion, version)
})

test('a wrong option is refused with what was expected', (t) => {
  for (const [config, message] of [
    [{ span: true }, /^Expected `config` to have enabled, .*, got `span`$/],
    [{ spans: 'all' }, /^Expected `spans` to be an object, got 'all' \(string\)$/],
    [{ spans: { callback: true } }, /^Expected `spans` to have callbacks, .*, got `callback`$/],
    [{ extract: 'traceparent' }, /^Expected `extract` to be a boolean or a function, got /],
    [{ extract: async () => undefined }, /^Expected `extract` to be .*, got an async function$/],
    [{ channelName: async () => 'x' }, /^Expected `channelName` to be .*, got an async function$/],
    [{ durations: 'some' }, /^Expected `durations` to be 'sampled' or 'all', got 'some' /],
    [{ metrics: 1 }, /^Expected `metrics` to be a boolean, got 1 \(number\)$/],
    [null, /^Expected `config` to be an object, got null/],
    [
      { tracerProvider: 5 },
      /^Expected `tracerProvider` to be .*`getTracer\(\)`, got 5 \(number\)$/,
    ],
    [{ tracerProvider: {} }, /^Expected `tracerProvider` to be .*, got \{\} \(object\)$/],
    [
      { meterProvider: {} },
      /^Expected `meterProvider` to be .*`getMeter\(\)`, got \{\} \(object\)$/,
    ],
    [{ meterProvider: null }, /^Expected `meterProvider` to be .*, got null/],
  ] as const) {
    t.throws(() => new PglistenInstrumentation(config as never), { instanceOf: TypeError, message })
  }
})

test('a wrong argument of a method is refused with what was expected, and no payload is shown', async (t) => {
  const { instrumentation } = openTelemetry(t, { spans: true })
  const { pool } = await openListener(t, { name: uniqueName('arguments') })
  const { observe, send, process, setConfig, setMeterProvider, setTracerProvider } =
    bound(instrumentation)
  const ran = () => t.fail('it has run')
  for (const [call, message] of [
    [
      () => observe(pool, { name: 5 }),
      /^Expected `options.name` to be a string, got 5 \(number\)$/,
    ],
    [() => observe(pool, { nam: 'x' }), /^Expected `options` to have name, got `nam`$/],
    [() => observe(pool, 'x'), /^Expected `options` to be an object, got 'x' \(string\)$/],
    [() => observe(pool, null), /^Expected `options` to be an object, got null/],
    [() => send('x'), /^Expected `work` to be a function, got undefined/],
    [() => send(5, ran), /^Expected `channel` to be a string, got 5 \(number\)$/],
    [() => process(undefined, ran), /^Expected `messages` to be a message .*, got undefined$/],
    [
      () => process({ payload: 'hunter2' }, ran),
      /^Expected `messages` to be .*, got another object$/,
    ],
    [
      () => process([{ channel: 'c' }, 'hunter2'], ran),
      /^Expected `messages\[1\]` to be .*, got a value of the type string$/,
    ],
    [() => process([], 'hunter'), /^Expected `work` to be a function, got 'hunter' \(string\)$/],
    [() => setMeterProvider({}), /^Expected `provider` to be an object with `getMeter\(\)`/],
    [() => setTracerProvider(5), /^Expected `provider` to be an object with `getTracer\(\)`/],
    [() => setConfig({ meterProvider: {} }), /^Expected `meterProvider` to be /],
    [
      () => inject('hunter2' as never),
      /^Expected `payload` to be an object .*, got a value of the type string$/,
    ],
    [() => inject(new Map([['a', 'hunter2']])), /^Expected `payload` to be .*, got a Map$/],
    [() => inject(new Set(['hunter2'])), /^Expected `payload` to be .*, got a Set$/],
    [
      () => inject(new Date()),
      /^Expected `payload.toJSON\(\)` to be .*, got a value of the type string$/,
    ],
    [
      () => inject({ toJSON: () => ['hunter2'] }),
      /^Expected `payload.toJSON\(\)` to be .*, got an array$/,
    ],
    [
      () => observe({ status: () => ({}) }),
      /^Expected `target` to be a pool, a listener or a subscription, got /,
    ],
    [() => observe(pool.durable), /^Expected `target` to be a pool, /],
    [() => observe({ health: () => ({}) }), /^Expected `target` to be a pool, /],
    [() => inject(['hunter2']), /^Expected `payload` to be an object .*, got an array$/],
    [() => inject(null as never), /^Expected `payload` to be an object .*, got null$/],
    [
      () => send('c', (own: typeof inject) => own('hunter2' as never)),
      /^Expected `payload` to be /,
    ],
  ] as const) {
    const error = t.throws(call, { instanceOf: TypeError, message })
    t.false(error.message.includes('hunter2'))
  }
  t.is(
    instrumentation.process([], () => 7),
    7,
  )
})

/** The methods of an instrumentation, to be called with whatever arguments. */
function bound(instrumentation: PglistenInstrumentation) {
  const calls = (name: keyof PglistenInstrumentation) =>
    (instrumentation[name] as (...args: unknown[]) => unknown).bind(instrumentation)
  return {
    observe: calls('observe'),
    send: calls('send'),
    process: calls('process'),
    setConfig: calls('setConfig'),
    setMeterProvider: calls('setMeterProvider'),
    setTracerProvider: calls('setTracerProvider'),
  }
}
