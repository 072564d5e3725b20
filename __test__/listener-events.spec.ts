// What a listener tells of itself: events, counters, fences, and gaps in their place.

import test from 'ava'
import { once } from 'node:events'
import {
  DatabaseError,
  type Gap,
  ListenerCallbackError,
  ListenerClosedError,
  type ListenerEvents,
} from 'pglisten'
import { uniqueName } from './support/connect.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  run,
  terminate,
  uniqueChannel,
} from './support/listener.js'
import { startProxy } from './support/proxy.js'
import { collect, deferred, waitFor, within } from './support/wait.js'

const FAST = { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }

/** Whether a promise has not settled by the time a whole round trip to the server has passed. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const settle = () => (settled = true)
  void promise.then(settle, settle)
  await ask('SELECT 1')
  await new Promise(setImmediate)
  return !settled
}

test('each event comes once, in the order in which things happened', async (t) => {
  const { listener } = await openListener(t, FAST)
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

test('a gap tells what is known of a lost session', async (t) => {
  const { listener } = await openListener(t, FAST)
  await listener.startup()
  const oldProcessId = await backendOf(listener)
  const from = Date.now()
  const lost = once(listener, 'gap')
  await terminate(oldProcessId)
  const [gap] = (await lost) as [Gap]
  t.like(gap, {
    reason: 'disconnect',
    dropped: null,
    sqlState: '57P01',
    serverRestarted: false,
    oldProcessId,
    newProcessId: await backendOf(listener),
  })
  t.regex(gap.message, /terminating connection/)
  t.true(gap.attempts >= 1)
  t.true(gap.lostAt <= gap.resumedAt)
  t.true(gap.resumedAt.getTime() >= from && gap.resumedAt.getTime() <= Date.now())
  t.is(gap.downtimeMs, gap.resumedAt.getTime() - gap.lostAt.getTime())
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
    buffered: 0,
    bufferedBytes: 0,
    callbackErrors: 0,
    gaps: 0,
    reconnects: 0,
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
  await run(`SELECT pg_notify('${kept}', lpad(n::text, 100)) FROM generate_series(1, 15) AS n`)
  await waitFor(() => listener.stats().received === 16)
  const { oldestBufferedAgeMs, ...stats } = listener.stats()
  t.like(stats, { received: 16, delivered: 1, dropped: 5, buffered: 10, bufferedBytes: 1640 })
  t.true(oldestBufferedAgeMs! > 0 && oldestBufferedAgeMs! < performance.now() - from + 1)
  await collect(messages, 10)
  t.like(listener.stats(), { delivered: 11, buffered: 0, bufferedBytes: 0, gaps: 1 })
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await back
  const total = { ...zero, received: 16, delivered: 11, dropped: 5, callbackErrors: 1, gaps: 2 }
  t.like(listener.stats(), { ...total, reconnects: 1 })
  // Not even a restart forgets.
  await listener.shutdown()
  await listener.startup()
  t.deepEqual(listener.stats(), { ...total, reconnects: 1 })
})

test('a fence waits until callbacks have settled', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const running = deferred()
  const release = deferred()
  const calls: string[] = []
  await listener.addCallback(channel, async (_, payload) => {
    running.resolve()
    await release.promise
    calls.push(payload)
  })
  await listener.startup()
  listener.listen()
  await notify(channel, '1')
  await notify(channel, '2')
  await running.promise
  const synced = listener.sync().then(() => calls.push('synced'))
  t.true(await isPending(synced))
  release.resolve()
  await within(synced)
  t.deepEqual(calls, ['1', '2', 'synced'])
})

test('a fence waits until iterators have handed out what is before it', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const left = listener.messages()
  await notify(channel, '1')
  const synced = listener.sync()
  t.true(await isPending(synced))
  t.is((await collect(messages, 1))[0]?.payload, '1')
  const next = messages.next()
  t.true(await isPending(synced))
  // Nobody waits for an iterator that is gone.
  await left.return()
  await within(synced)
  // The fence is nobody's message.
  t.true(await isPending(next))
  t.deepEqual(listener.channels, [channel])
})

test('a fence without a consumer resolves', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  await within(Promise.all([listener.sync(), listener.sync()]))
  t.is(listener.stats().received, 0)
})

test('a fence is given up on request, and when the listener is shut down', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  listener.messages()
  const blocking = listener.messages()
  const controller = new AbortController()
  const aborted = listener.sync({ signal: controller.signal })
  const closed = listener.sync()
  t.true(await isPending(closed))
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(aborted), reason)
  t.is(await t.throwsAsync(listener.sync({ signal: controller.signal })), reason)
  const refused = t.throwsAsync(closed, { instanceOf: ListenerClosedError })
  await listener.shutdown()
  await refused
  t.true((await blocking.next()).done)
})

test('a fence that is asked for during an outage waits for the next session', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, FAST, { dsn: proxy.dsn })
  await listener.startup()
  const lost = once(listener, 'disconnected')
  proxy.cut()
  await lost
  const synced = listener.sync()
  t.true(await isPending(synced))
  proxy.open()
  await within(synced)
  t.is(listener.state, 'connected')
})

test('gap callbacks run in their place, and what comes after the gap waits for them', async (t) => {
  for (const concurrency of [1, 4]) {
    const { listener } = await openListener(t, { ...FAST, concurrency })
    const channel = uniqueChannel()
    const seen: unknown[] = []
    const running = deferred()
    const release = deferred()
    await listener.addCallback(channel, async (_, payload) => {
      await Promise.resolve()
      seen.push(payload)
    })
    listener.addGapCallback(async (connection, { reason }) => {
      running.resolve()
      await release.promise
      seen.push([reason, await connection.fetchVal('SELECT 1')])
    })
    const errors: unknown[] = []
    listener.on('error', (error) => errors.push(error))
    listener.addGapCallback(() => {
      throw new Error('on purpose')
    })
    const removed = () => seen.push('removed')
    listener.addGapCallback(removed)
    listener.addGapCallback(() => seen.push('last'))
    listener.removeGapCallback(removed)
    await listener.startup()
    listener.listen()
    await notify(channel, 'before')
    await listener.sync()
    const back = once(listener, 'reconnected')
    await terminate(await backendOf(listener))
    await back
    await notify(channel, 'after')
    await running.promise
    await waitFor(() => listener.stats().received === 2)
    t.deepEqual(seen, ['before'])
    release.resolve()
    await listener.sync()
    t.deepEqual(seen, ['before', ['disconnect', 1], 'last', 'after'])
    t.is(errors.length, 1)
    t.true(errors[0] instanceof ListenerCallbackError)
  }
})
