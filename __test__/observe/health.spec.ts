// `listener.health()`: how a listener is, told without a round trip, and the readiness that docs/operations.md makes of it.

import test from 'ava'
import { once } from 'node:events'
import type { Listener } from 'pglisten'
import { startProxy } from '../../lab/network/proxy.js'
import { leastOf } from '../../lab/stalls.js'
import { block, deferred, waitFor, within } from '../../lab/wait.js'
import { flood } from '../support/flood.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'

const HEARTBEAT = { intervalMs: 50, timeoutMs: 2000 }

/** The recipe of docs/operations.md, for the heartbeat above. */
function isReady(listener: Listener): boolean {
  const { state, lastAnswerAgeMs, oldestCallbackAgeMs = 0 } = listener.health()
  return state === 'connected' && lastAnswerAgeMs! < 2050 && oldestCallbackAgeMs < 60_000
}

test('a listener that is not started has a state, a name, and nothing else to tell', async (t) => {
  const { listener } = await openListener(t, { name: 'orders' })
  const nothing = {
    name: 'orders',
    lastAnswerAgeMs: undefined,
    lastHeardAgeMs: undefined,
    callbacksInFlight: 0,
    oldestCallbackAgeMs: undefined,
    buffered: 0,
    oldestBufferedAgeMs: undefined,
    session: undefined,
  }
  t.deepEqual(listener.health(), { ...nothing, state: 'idle' })
  await listener.startup()
  await listener.shutdown()
  t.deepEqual(listener.health(), { ...nothing, state: 'closed' })
})

test('the answers of the server show in their age', async (t) => {
  const { listener } = await openListener(t, { heartbeat: HEARTBEAT })
  const from = performance.now()
  await listener.startup()
  const { lastAnswerAgeMs, lastHeardAgeMs, session } = listener.health()
  t.true(lastAnswerAgeMs! >= 0 && lastAnswerAgeMs! < performance.now() - from)
  t.true(lastHeardAgeMs! >= 0 && lastHeardAgeMs! <= lastAnswerAgeMs! + 1)
  t.deepEqual(session, listener.stats().session)
  // Several heartbeats later it is no older than one of them.
  await waitFor(() => performance.now() - from > 500)
  await waitFor(() => listener.health().lastAnswerAgeMs! < 60)
  t.pass()
})

test('a notification is heard, and answers nothing', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { heartbeat: false, channels: [channel] })
  await listener.startup()
  await waitFor(() => listener.health().lastAnswerAgeMs! > 200)
  await notify(channel)
  await waitFor(() => listener.stats().received === 1)
  const { lastAnswerAgeMs, lastHeardAgeMs } = listener.health()
  t.true(lastAnswerAgeMs! > 200)
  t.true(lastHeardAgeMs! < lastAnswerAgeMs! - 100, `${lastHeardAgeMs} of ${lastAnswerAgeMs}`)
})

test('pending callbacks and what waits behind them show', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const gate = deferred()
  await listener.addCallback(channel, () => gate.promise)
  await listener.startup()
  listener.listen()
  await flood(channel, 1, 10)
  await waitFor(() => listener.health().callbacksInFlight === 1)
  await waitFor(() => listener.health().oldestCallbackAgeMs! > 20)
  await waitFor(() => listener.health().buffered === 9)
  t.true(listener.health().oldestBufferedAgeMs! > 0)
  gate.resolve()
  await listener.sync()
  t.like(listener.health(), { callbacksInFlight: 0, buffered: 0, oldestCallbackAgeMs: undefined })
})

test('callbacks that settle in any order leave the oldest of the others', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { concurrency: 4, ordered: false })
  const calls: { gate: ReturnType<typeof deferred<void>>; earliest: number; latest: number }[] = []
  await listener.addCallback(channel, (_, at) => calls[Number(at)]!.gate.promise)
  await listener.startup()
  listener.listen()
  const pending = new Set<number>()
  const begin = async () => {
    const at = calls.length
    const call = { gate: deferred(), earliest: performance.now(), latest: 0 }
    calls.push(call)
    pending.add(at)
    await notify(channel, String(at))
    await waitFor(() => listener.health().callbacksInFlight === pending.size)
    call.latest = performance.now()
  }
  const settle = async (at: number) => {
    calls[at]!.gate.resolve()
    pending.delete(at)
    await waitFor(() => listener.health().callbacksInFlight === pending.size)
    if (pending.size === 0) return
    const { earliest, latest } = calls[Math.min(...pending)]!
    const since = performance.now() - listener.health().oldestCallbackAgeMs!
    t.true(since >= earliest - 1 && since <= latest + 1, `${since} of ${earliest} to ${latest}`)
  }
  for (let n = 0; n < 4; n += 1) await begin()
  // In the middle, at the beginning, at the end.
  for (const at of [1, 0, 3]) await settle(at)
  await begin()
  for (const at of [2, 4]) await settle(at)
  t.is(listener.health().oldestCallbackAgeMs, undefined)
  await begin()
  await settle(5)
  t.like(listener.health(), { callbacksInFlight: 0, oldestCallbackAgeMs: undefined })
})

test('a listener is not ready while its server is away, and ready again afterwards', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { heartbeat: HEARTBEAT, reconnect: { initialDelayMs: 1, maxDelayMs: 10 } },
    { dsn: proxy.dsn },
  )
  t.false(isReady(listener))
  await listener.startup()
  t.true(isReady(listener))
  const disconnected = once(listener, 'disconnected')
  proxy.cut()
  await within(disconnected)
  t.false(isReady(listener))
  const { lastAnswerAgeMs, state, session } = listener.health()
  t.deepEqual([state, session], ['reconnecting', undefined])
  // The age grows for as long as the outage lasts.
  await waitFor(() => listener.health().lastAnswerAgeMs! > lastAnswerAgeMs! + 300)
  const back = once(listener, 'reconnected')
  proxy.open()
  await within(back)
  t.true(isReady(listener))
})

test('a network that swallows everything shows before the loss is noticed', async (t) => {
  const proxy = await startProxy(t)
  const heartbeat = { intervalMs: 50, timeoutMs: 10_000 }
  const { listener } = await openListener(t, { heartbeat }, { dsn: proxy.dsn })
  await listener.startup()
  t.true(isReady(listener))
  proxy.freeze()
  await waitFor(() => !isReady(listener))
  t.is(listener.state, 'connected')
})

// Before the others: it would block them.
test.serial('the ages go on while the event loop is blocked', async (t) => {
  const { listener } = await openListener(t, { heartbeat: HEARTBEAT })
  await listener.startup()
  // The heartbeats are Rust's. A machine that stalls makes an answer late, but not in each round.
  const ageMs = await leastOf(1000, async () => {
    block(1500)
    return listener.health().lastAnswerAgeMs!
  })
  t.true(ageMs < 1000, `${ageMs} ms`)
  t.true(isReady(listener))
})
