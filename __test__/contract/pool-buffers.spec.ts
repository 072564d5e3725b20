// The bound for all buffers of a pool together: the largest overflows first, with a gap that counts, and nobody else loses anything.

import test, { type ExecutionContext } from 'ava'
import {
  ConnectionPool,
  Gap,
  type Listener,
  type ListenerOptions,
  ListenerOverflowError,
} from 'pglisten'
import { flood, notifyWhileBlocked, range } from '../support/flood.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { collect, deferred, waitFor, within } from '../../lab/wait.js'

/** The bytes that a notification of this width counts for. */
const WIDTH = 936
const EACH = WIDTH + 64

/** A pool whose buffers have room for so many notifications, and for 24 bytes more. */
async function openPool(t: ExecutionContext, notifications: number) {
  const { pool } = await openListener(t, {}, { maxBufferedBytes: notifications * EACH + 24 })
  return pool
}

/** A listener with a channel of its own, and a stream that nobody reads yet. */
async function start(t: ExecutionContext, pool: ConnectionPool, options: ListenerOptions = {}) {
  const channel = uniqueChannel()
  const listener = pool.listener({ ...options, channels: [channel] })
  t.teardown(() => listener.shutdown())
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  const send = (from: number, to: number) => flood(channel, from, to, { width: WIDTH })
  return { listener, messages, send }
}

type Started = Awaited<ReturnType<typeof start>>

const received = ({ listener }: Started, count: number) =>
  waitFor(() => listener.stats().received >= count, { what: `notification ${count}` })

/** Numbers for notifications, and the gaps. */
async function items({ messages }: Started, count: number) {
  const collected = await collect(messages, count)
  return collected.map((item) => (item instanceof Gap ? item : Number(item.payload)))
}

test('the largest buffer gives way to another one, and its gap counts what it lost', async (t) => {
  const pool = await openPool(t, 100)
  const large = await start(t, pool)
  const small = await start(t, pool)
  await large.send(1, 100)
  await received(large, 100)
  t.like(large.listener.stats(), { buffered: 100, dropped: 0 })
  await small.send(1, 30)
  await received(small, 30)
  t.like(small.listener.stats(), { buffered: 30, dropped: 0 })
  const { dropped, buffered, bufferedBytes } = large.listener.stats()
  t.is(buffered + dropped, 100)
  // A little more is dropped than is needed at the moment, so that the next notification does not ask again.
  t.true(dropped >= 30 && dropped <= 33, `${dropped} were dropped`)
  t.true(bufferedBytes + small.listener.stats().bufferedBytes <= 100 * EACH + 24)
  const [gap, ...rest] = await items(large, buffered + 1)
  t.like(gap, {
    reason: 'overflow',
    dropped,
    message: "the buffers of the pool's listeners were full together",
  })
  t.deepEqual(rest, range(dropped + 1, 100))
  t.deepEqual(await items(small, 30), range(1, 30))
})

test('a consumer that keeps up loses nothing while others are full', async (t) => {
  const pool = await openPool(t, 100)
  const slow = await start(t, pool)
  const channel = uniqueChannel()
  const quick = pool.listener({ channels: [channel] })
  t.teardown(() => quick.shutdown())
  const seen: number[] = []
  await quick.addCallback(channel, (_connection, payload) => void seen.push(Number(payload)))
  await quick.startup()
  quick.listen()
  for (let round = 0; round < 20; round += 1) {
    const first = 40 * round + 1
    await slow.send(first, first + 39)
    await flood(channel, first, first + 39, { width: WIDTH })
    await quick.sync()
  }
  t.deepEqual(seen, range(1, 800))
  t.is(quick.stats().dropped, 0)
  await received(slow, 800)
  t.true(slow.listener.stats().dropped >= 700)
})

test('a buffer that keeps what came first stops growing, and takes no room from smaller ones', async (t) => {
  const pool = await openPool(t, 100)
  const small = await start(t, pool)
  await small.send(1, 20)
  await received(small, 20)
  const first = await start(t, pool, { buffer: { overflow: 'dropNewest' } })
  await first.send(1, 200)
  await received(first, 200)
  t.like(small.listener.stats(), { buffered: 20, dropped: 0 })
  t.like(first.listener.stats(), { buffered: 80, dropped: 120 })
  const all = await items(first, 81)
  t.deepEqual(all.slice(0, 80), range(1, 80))
  t.like(all[80], { reason: 'overflow', dropped: 120 })
})

test('a larger buffer that drops its oldest makes room for one that would overflow otherwise', async (t) => {
  const pool = await openPool(t, 100)
  const large = await start(t, pool)
  await large.send(1, 100)
  await received(large, 100)
  const strict = await start(t, pool, { buffer: { overflow: 'error' } })
  await strict.send(1, 40)
  await received(strict, 40)
  t.is(strict.listener.state, 'connected')
  t.deepEqual(await items(strict, 40), range(1, 40))
  t.true(large.listener.stats().dropped >= 40)
})

test('under `error` the listener with the largest buffer closes, and no other', async (t) => {
  const pool = await openPool(t, 100)
  const other = await start(t, pool)
  await other.send(1, 10)
  await received(other, 10)
  const strict = await start(t, pool, { buffer: { overflow: 'error' } })
  const closed = new Promise<unknown>((resolve) => {
    strict.listener.once('closed', resolve)
  })
  await strict.send(1, 200)
  t.true((await within(closed)) instanceof ListenerOverflowError)
  t.is(other.listener.state, 'connected')
  t.deepEqual(await items(other, 10), range(1, 10))
})

test('under `pause` the session waits, also for room that other listeners make, and nothing is lost', async (t) => {
  const pool = await openPool(t, 100)
  const first = await start(t, pool, { buffer: { overflow: 'dropNewest' } })
  await first.send(1, 90)
  await received(first, 90)
  const paused = await start(t, pool, { buffer: { overflow: 'pause', maxPauseMs: 60_000 } })
  // More than the sockets take.
  await paused.send(1, 20_000)
  await waitFor(() => paused.listener.stats().buffered > 10, { what: 'the first notifications' })
  const taken = await items(first, 90)
  t.deepEqual(taken, range(1, 90))
  t.deepEqual(await items(paused, 20_000), range(1, 20_000))
  t.like(paused.listener.stats(), { dropped: 0, gaps: 0 })
})

test('what is taken, and listeners that are gone, count no more', async (t) => {
  const pool = await openPool(t, 100)
  const gone = await start(t, pool)
  await gone.send(1, 90)
  await received(gone, 90)
  const left = await start(t, pool, { buffer: { overflow: 'dropNewest' } })
  await left.messages.return?.()
  const messages = left.listener.messages({ gaps: 'include' })
  await gone.listener.shutdown()
  await left.send(1, 100)
  await received(left, 100)
  t.like(left.listener.stats(), { buffered: 100, dropped: 0 })
  t.deepEqual(await items({ ...left, messages }, 100), range(1, 100))
  await left.send(101, 200)
  await received(left, 200)
  t.like(left.listener.stats(), { buffered: 100, dropped: 0 })
})

test('listeners that have one buffer together count it once', async (t) => {
  const pool = await openPool(t, 200)
  const channel = uniqueChannel()
  const seen = Array.from({ length: 8 }, () => [] as number[])
  for (const numbers of seen) {
    const listener = pool.listener({ channels: [channel] })
    t.teardown(() => listener.shutdown())
    await listener.addCallback(channel, (_connection, payload) => {
      numbers.push(Number(payload))
    })
    await listener.startup()
    listener.listen()
  }
  // They come together once they have waited for the same.
  for (let number = 1; number <= 20; number += 1) await flood(channel, number, number)
  await waitFor(() => seen.every((numbers) => numbers.length === 20), { what: 'the first ones' })
  await flood(channel, 21, 120, { width: WIDTH })
  await waitFor(() => seen.every((numbers) => numbers.length === 120), { what: 'all' })
  for (const numbers of seen) t.deepEqual(numbers, range(1, 120))
})

test('listeners that had one buffer together, and get each its own, have no more together than the pool allows', async (t) => {
  const pool = await openPool(t, 100)
  const channel = uniqueChannel()
  const seen = Array.from({ length: 8 }, () => [] as number[])
  const gate = deferred()
  let isOpen = true
  const listeners: Listener[] = []
  for (const numbers of seen) {
    const listener = pool.listener({ channels: [channel] })
    t.teardown(() => listener.shutdown())
    await listener.addCallback(channel, (_connection, payload) => {
      numbers.push(Number(payload))
      return isOpen ? undefined : gate.promise
    })
    await listener.startup()
    listener.listen()
    listeners.push(listener)
  }
  for (let number = 1; number <= 20; number += 1) await flood(channel, number, number)
  await waitFor(() => seen.every((numbers) => numbers.length === 20), { what: 'the first ones' })
  for (const numbers of seen) numbers.length = 0
  isOpen = false
  // Together they are as many bytes as the pool allows once, and several times what it allows each.
  const count = 1300
  const hasArrived = () => listeners[0]!.stats().received === 20 + count
  await notifyWhileBlocked(channel, count, hasArrived)
  await waitFor(() => seen.every((numbers) => numbers.length === 1), {
    what: 'the first callbacks',
  })
  await waitFor(() => listeners.every((it) => it.stats().dropped > 0), { what: 'the copies' })
  const bytes = listeners.map((it) => it.stats().bufferedBytes)
  const together = bytes.reduce((sum, it) => sum + it, 0)
  t.true(together <= 100 * EACH + 24, `${together} bytes are buffered`)
  gate.resolve()
  isOpen = true
  await waitFor(() => seen.every((numbers) => numbers.at(-1) === count), { what: 'the last ones' })
  for (const [number, listener] of listeners.entries()) {
    const { dropped, gaps } = listener.stats()
    t.is(seen[number]!.length + dropped, count)
    t.is(gaps, 1)
    // What had been taken before, and the newest.
    const taken = seen[number]!.findIndex((it, index) => it !== index + 1)
    t.deepEqual(seen[number], [...range(1, taken), ...range(taken + dropped + 1, count)])
  }
})

test('the bound is an integer of at least 16384', (t) => {
  for (const maxBufferedBytes of [0, 16_383, 20_000.5, NaN, Infinity, '1' as never])
    t.throws(() => new ConnectionPool({ maxBufferedBytes }), {
      code: 'ERR_PGLISTEN_POOL_CONFIGURATION',
      message: /maxBufferedBytes.*an integer >= 16384/,
    })
})
