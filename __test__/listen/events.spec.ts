// What a listener tells of itself: events and counters.

import test from 'ava'
import { EventEmitter, once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { DatabaseError, ListenerClosedError, type ListenerEvents } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { flood } from '../support/flood.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  run,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { block, collect, deferred, waitFor, within } from '../../lab/wait.js'

const FAST = { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }
/** Enough for more attempts, one each millisecond or two, than a listener keeps events for. */
const MANY_ATTEMPTS_MS = 5000

test('each event comes once, in the order in which things happened', async (t) => {
  const { listener } = await openListener(t, { ...FAST, session: 'own' })
  const events: [keyof ListenerEvents, unknown][] = []
  for (const name of ['connected', 'disconnected', 'reconnected', 'gap', 'closed'] as const) {
    listener.on(name, (...args: unknown[]) => events.push([name, args[0]]))
  }
  await listener.startup()
  const before = await backendOf(listener)
  const back = once(listener, 'reconnected')
  await terminate(before)
  await back
  const after = await backendOf(listener)
  await listener.shutdown()

  const names = events.map(([name]) => name)
  t.deepEqual(names, ['connected', 'disconnected', 'connected', 'gap', 'reconnected', 'closed'])
  const [connected, disconnected, again, gap, reconnected, closed] = events.map(([, info]) => info)
  t.like(connected, { processId: before })
  t.like(disconnected, { processId: before })
  t.true((disconnected as { error: Error }).error instanceof DatabaseError)
  t.like(again, { processId: after })
  t.is((reconnected as { gap: unknown }).gap, gap)
  t.is(closed, undefined)
})

test('`closed` follows `connected`, and nothing else, also when a startup is interrupted', async (t) => {
  const { listener, pool } = await openListener(t)
  const told: string[] = []
  const tell = (one: typeof listener) => {
    for (const name of ['connected', 'closed'] as const) one.on(name, () => told.push(name))
  }
  tell(listener)
  listener.once('connected', () => void listener.shutdown())
  await t.throwsAsync(listener.startup(), { instanceOf: ListenerClosedError })
  await listener.shutdown()
  t.deepEqual(told.splice(0), ['connected', 'closed'])

  // Another listener keeps the session, which one that starts joins at once.
  await pool.listener({ channels: [uniqueChannel()] }).startup()
  for (let step = 0; step < 40; step += 1) {
    const one = pool.listener({ channels: step % 2 ? [uniqueChannel()] : [] })
    tell(one)
    const started = one.startup().catch(() => {})
    for (let turns = 0; turns < step / 4; turns += 1) await turn()
    const ending = step % 3 ? one.shutdown() : undefined
    await started
    await (ending ?? one.shutdown())
    await turn()
    t.true(['', 'connected,closed'].includes(told.splice(0).join()), `after ${step / 4} turns`)
  }
})

test('each failed attempt to connect again is a warning, and what an administrator must mend an error', async (t) => {
  const dbName = uniqueName('gone')
  await run(`CREATE DATABASE ${dbName}`)
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, FAST, { dsn: proxy.dsn, dbName })
  await listener.startup()
  const warned = once(listener, 'warning')
  proxy.cut()
  const [warning] = (await within(warned)) as ListenerEvents['warning']
  t.regex(warning.message, /attempt \d+/)
  t.truthy(warning.error)

  await run(`DROP DATABASE ${dbName} WITH (FORCE)`)
  const failed = once(listener, 'connected').then(
    () => undefined,
    (error: unknown) => error,
  )
  proxy.open()
  const error = await within(failed)
  t.true(error instanceof DatabaseError)
  t.is((error as DatabaseError).sqlState, '3D000')
  t.is(listener.state, 'reconnecting')
})

test('counters count', async (t) => {
  const { listener } = await openListener(t, { ...FAST, buffer: { maxMessages: 10 } })
  const [called, kept] = [uniqueChannel(), uniqueChannel()]
  listener.on('error', () => {})
  await listener.addCallback(called, () => {
    throw new Error('on purpose')
  })
  await listener.addChannel(kept)
  const zero = {
    received: 0,
    delivered: 0,
    dropped: 0,
    coalesced: 0,
    filtered: 0,
    buffered: 0,
    bufferedBytes: 0,
    callbackErrors: 0,
    callbacksInFlight: 0,
    oldestCallbackAgeMs: undefined,
    gaps: 0,
    reconnects: 0,
    session: undefined,
    oldestBufferedAgeMs: undefined,
    lastRoundTripMs: undefined,
  }
  t.deepEqual(listener.stats(), zero)
  await listener.startup()
  listener.listen()
  const messages = listener.messages({ channels: [kept] })
  await notify(called)
  await waitFor(() => listener.stats().callbackErrors === 1)
  const from = performance.now()
  await flood(kept, 1, 15, { width: 100 })
  await waitFor(() => listener.stats().received === 16)
  const { oldestBufferedAgeMs, ...stats } = listener.stats()
  t.like(stats, { received: 16, delivered: 1, dropped: 5, buffered: 10, bufferedBytes: 1640 })
  t.true(oldestBufferedAgeMs! > 0 && oldestBufferedAgeMs! < performance.now() - from + 1)
  await collect(messages, 10)
  t.like(listener.stats(), { delivered: 11, buffered: 0, bufferedBytes: 0, gaps: 1 })
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await back
  const total = {
    ...zero,
    received: 16,
    delivered: 11,
    dropped: 5,
    callbackErrors: 1,
    gaps: 2,
    reconnects: 1,
  }
  t.deepEqual({ ...listener.stats(), session: undefined }, total)
  // Not even a restart forgets.
  await listener.shutdown()
  t.deepEqual(listener.stats(), total)
  await listener.startup()
  t.deepEqual({ ...listener.stats(), session: undefined }, total)
})

test('counters do not fall when the listener gives up', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, {
    channels: [channel],
    reconnect: false,
    buffer: { maxMessages: 10 },
  })
  await listener.startup()
  const messages = listener.messages()
  await flood(channel, 1, 15)
  await waitFor(() => listener.stats().received === 15)
  const counted = { received: 15, dropped: 5, reconnects: 0 }
  t.like(listener.stats(), counted)
  const closed = once(listener, 'closed')
  await terminate(await backendOf(listener))
  await closed
  // The iterator may still be read.
  t.like(listener.stats(), { ...counted, buffered: 10 })
  await listener.shutdown()
  t.true((await messages.next()).done)
  t.like(listener.stats(), { ...counted, buffered: 0 })
})

test('counters do not fall when a listener that gave up is started again', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel], reconnect: false })
  await listener.startup()
  await flood(channel, 1, 15)
  await waitFor(() => listener.stats().received === 15)
  const closed = once(listener, 'closed')
  await terminate(await backendOf(listener))
  await closed
  const started = listener.startup()
  t.like(listener.stats(), { received: 15, buffered: 0 })
  await started
  t.is(listener.stats().received, 15)
  await notify(channel)
  await waitFor(() => listener.stats().received === 16)
  await listener.shutdown()
  t.is(listener.stats().received, 16)
})

test('a callback that is stuck shows in the age of what waits behind it', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const stuck = deferred()
  const started = deferred()
  await listener.addCallback(channel, () => {
    started.resolve()
    return stuck.promise
  })
  await listener.startup()
  const from = performance.now()
  await flood(channel, 1, 200)
  await waitFor(() => listener.stats().received === 200)
  listener.listen()
  await started.promise
  const early = listener.stats()
  t.is(early.buffered, 199)
  t.true(early.oldestBufferedAgeMs! > 0)
  await ask('SELECT pg_sleep(0.05)')
  const late = listener.stats()
  t.true(late.oldestBufferedAgeMs! >= early.oldestBufferedAgeMs! + 40)
  t.true(late.oldestBufferedAgeMs! < performance.now() - from + 1)
  stuck.resolve()
  await listener.sync()
  t.like(listener.stats(), { buffered: 0, oldestBufferedAgeMs: undefined })
})

// Before the others: it would block them.
test.serial(
  'a lost session is told, however many attempts fail while the event loop is blocked',
  async (t) => {
    const proxy = await startProxy(t)
    const { listener } = await openListener(
      t,
      { reconnect: { initialDelayMs: 1, maxDelayMs: 1 } },
      { dsn: proxy.dsn },
    )
    await listener.startup()
    const told: string[] = []
    let warnings = 0
    for (const event of ['disconnected', 'connected', 'reconnected'] as const)
      listener.on(event, () => told.push(event))
    listener.on('warning', () => (warnings += 1))
    proxy.close()
    block(MANY_ATTEMPTS_MS)
    await waitFor(() => warnings > 0)
    t.log(`${warnings} warnings`)
    t.deepEqual(told, ['disconnected'])
    t.is(listener.state, 'reconnecting')
  },
)

test('stats() tells how many callbacks are pending, and since when', async (t) => {
  const [channel, other] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { concurrency: 2 })
  const gates = [deferred(), deferred()]
  const gapGate = deferred()
  await listener.addCallback(channel, () => gates[0]!.promise)
  await listener.addCallback(other, () => gates[1]!.promise)
  listener.addGapCallback(() => gapGate.promise)
  await listener.startup()
  listener.listen()
  const pending = (count: number) =>
    waitFor(() => listener.stats().callbacksInFlight === count, { what: `${count} callbacks` })
  const age = () => listener.stats().oldestCallbackAgeMs
  t.is(age(), undefined)

  const from = performance.now()
  await notify(channel)
  await pending(1)
  await waitFor(() => age()! > 30)
  await notify(other)
  await pending(2)
  t.true(age()! > 30 && age()! < performance.now() - from)
  // The younger one is left.
  gates[0]!.resolve()
  await pending(1)
  t.true(age()! > 0)
  gates[1]!.reject(new Error('reported'))
  listener.on('error', () => {})
  await pending(0)
  t.is(age(), undefined)

  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await back
  await pending(1)
  // A shutdown waits for no callback, and the callback is still pending.
  await listener.shutdown()
  t.is(listener.stats().callbacksInFlight, 1)
  gapGate.resolve()
  await pending(0)
})

test('a listener without handlers is an EventEmitter like any other', async (t) => {
  const { listener } = await openListener(t)
  t.true(listener instanceof EventEmitter)
  t.deepEqual(listener.eventNames(), [])
  t.is(listener.listenerCount('gap'), 0)
  t.deepEqual(listener.rawListeners('gap'), [])
  t.is(
    listener.off('gap', () => {}),
    listener,
  )
  t.is(listener.removeAllListeners(), listener)
  t.false((listener as EventEmitter).emit('gap'))
  t.is(listener.getMaxListeners(), EventEmitter.defaultMaxListeners)
  t.throws(() => (listener as EventEmitter).emit('error', new Error('unheard')), {
    message: 'unheard',
  })
  const first = once(listener, 'connected')
  // `once()` listens to errors as well.
  t.deepEqual(new Set(listener.eventNames()), new Set(['connected', 'error']))
  await listener.startup()
  t.is((await first).length, 1)
  t.deepEqual(listener.eventNames(), [])
})
