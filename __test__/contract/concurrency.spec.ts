// The delivery contract, "order": how many callbacks run at the same time.

import test from 'ava'
import { flood, range } from '../support/flood.js'
import { Gates, settle } from '../support/gates.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

test('one notification at a time: the next callback starts after the last one settled', async (t) => {
  const { listener } = await openListener(t)
  const [one, other] = [uniqueChannel(), uniqueChannel()]
  const gates = new Gates()
  await listener.addCallback(one, gates.callback)
  await listener.addCallback(other, gates.callback)
  await listener.startup()
  listener.listen()
  for (const payload of ['1', '3']) {
    await notify(one, payload)
    await notify(other, String(Number(payload) + 1))
  }
  for (const n of range(1, 4)) {
    await gates.isStarted(String(n))
    await settle(listener)
    t.deepEqual(gates.started, range(1, n).map(String))
    gates.finish(String(n))
  }
  await listener.sync()
})

test('a callback that returns no promise is not awaited', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const log: string[] = []
  await listener.addCallback(channel, () => {
    log.push('call')
    queueMicrotask(() => log.push('microtask'))
    return { not: 'a promise' }
  })
  await listener.startup()
  await flood(channel, 1, 1000)
  await waitFor(() => listener.stats().received === 1000)
  listener.listen()
  await listener.sync()
  const calls = log.filter((entry) => entry === 'call').length
  t.is(calls, 1000)
  // Awaited, each call would be followed by its microtask; only the end of a turn lets those through.
  const together = log.filter(
    (entry, index) => entry === 'call' && log[index - 1] === 'call',
  ).length
  t.true(together > 500, `only ${together} calls of 1000 came right after another one`)
})

test('with concurrency n, up to n channels have a callback running, one each', async (t) => {
  const { listener } = await openListener(t, { concurrency: 2 })
  const [a, b, c] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const gates = new Gates()
  for (const channel of [a, b, c]) await listener.addCallback(channel, gates.callback)
  await listener.startup()
  listener.listen()
  for (const payload of ['a1', 'a2', 'b1', 'c1', 'b2', 'a3']) {
    await notify({ a, b, c }[payload[0] as 'a' | 'b' | 'c'], payload)
  }
  await gates.isStarted('b1')
  await settle(listener)
  t.deepEqual(gates.running, ['a1', 'b1'])
  gates.finish('b1')
  await gates.isStarted('c1')
  await settle(listener)
  t.deepEqual(gates.running, ['a1', 'c1'])
  gates.finish('a1')
  await gates.isStarted('a2')
  await settle(listener)
  t.deepEqual(gates.running, ['c1', 'a2'])
  gates.finish('c1')
  await gates.isStarted('b2')
  gates.finish('a2')
  await gates.isStarted('a3')
  t.deepEqual(gates.running, ['b2', 'a3'])
  gates.finish('b2')
  gates.finish('a3')
  await listener.sync()
  for (const channel of ['a', 'b', 'c']) {
    const own = gates.started.filter((payload) => payload.startsWith(channel))
    t.deepEqual(own, own.toSorted())
  }
})

test('without `ordered`, a channel has up to n callbacks running', async (t) => {
  const { listener } = await openListener(t, { concurrency: 3, ordered: false })
  const channel = uniqueChannel()
  const gates = new Gates()
  await listener.addCallback(channel, gates.callback)
  await listener.startup()
  listener.listen()
  await flood(channel, 1, 5)
  await gates.isStarted('3')
  await settle(listener)
  t.deepEqual(gates.running, ['1', '2', '3'])
  gates.finish('2')
  await gates.isStarted('4')
  await settle(listener)
  t.deepEqual(gates.running, ['1', '3', '4'])
  for (const payload of ['4', '3', '1']) gates.finish(payload)
  await gates.isStarted('5')
  gates.finish('5')
  await listener.sync()
})

test('with concurrency n, a channel whose callback hangs does not stop the others', async (t) => {
  const { listener } = await openListener(t, { concurrency: 2 })
  const [slow, fast] = [uniqueChannel(), uniqueChannel()]
  const gates = new Gates()
  const received: number[] = []
  await listener.addCallback(slow, gates.callback)
  await listener.addCallback(fast, async (_, payload) => {
    await Promise.resolve()
    received.push(Number(payload))
  })
  await listener.startup()
  listener.listen()
  for (const burst of range(0, 4)) {
    await flood(slow, burst * 100 + 1, burst * 100 + 100)
    await flood(fast, burst * 100 + 1, burst * 100 + 100)
  }
  await waitFor(() => received.length === 500, { what: 'the other channel' })
  t.deepEqual(gates.started, ['1'])
  t.deepEqual(received, range(1, 500))
  gates.open()
  await listener.sync()
  t.deepEqual(gates.started, range(1, 500).map(String))
})
