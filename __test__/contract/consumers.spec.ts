// The delivery contract, "consumers": callbacks and each iterator see every notification, each at its own pace.

import test from 'ava'
import type { Gap, Listener, ListenerNotificationMsg } from 'pglisten'
import { flood, range } from '../support/flood.js'
import { notify, openListener, serverChannels, uniqueChannel } from '../support/listener.js'
import { collect, waitFor, within } from '../../lab/wait.js'

const numbers = (messages: readonly ListenerNotificationMsg[]) =>
  messages.map(({ payload }) => Number(payload))

/** Waits until the server's side of the listener has read so many. */
async function received(listener: Listener, count: number): Promise<void> {
  await waitFor(() => listener.stats().received >= count, { what: `notification ${count}` })
}

test('callbacks and every iterator each see everything, in the same order', async (t) => {
  const { listener } = await openListener(t)
  const channels = [uniqueChannel(), uniqueChannel()] as const
  const called: [number[], number[]] = [[], []]
  for (const channel of channels) {
    for (const log of called) await listener.addCallback(channel, (_, n) => log.push(Number(n)))
  }
  await listener.startup()
  listener.listen()
  const loops = [listener.messages(), listener[Symbol.asyncIterator](), listener.messages()]
  const first = listener.messages({ channels: [channels[0]] })
  const batches = listener.batches()
  for (const n of range(0, 9)) await flood(channels[n % 2]!, n * 100 + 1, n * 100 + 100)

  const all = range(1, 1000)
  for (const loop of loops) t.deepEqual(numbers(await collect(loop, 1000)), all)
  const own = numbers(await collect(first, 500))
  t.deepEqual(
    own,
    all.filter((n) => Math.ceil(n / 100) % 2 === 1),
  )
  const batched: number[] = []
  while (batched.length < 1000) batched.push(...numbers((await collect(batches, 1))[0]!))
  t.deepEqual(batched, all)
  for (const iterator of [...loops, first, batches]) await iterator.return()
  await listener.sync()
  t.deepEqual(called, [all, all])
  // Each callback consumer, iterator and batch loop counts what it was handed.
  t.is(listener.stats().delivered, 1000 + 3 * 1000 + 500 + 1000)
})

test('the first consumer gets what came since startup, a later one what comes after it', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const called: number[] = []
  await listener.addCallback(channel, (_, n) => called.push(Number(n)))
  await listener.startup()
  await flood(channel, 1, 300)
  await received(listener, 300)
  t.is(listener.stats().buffered, 300)
  listener.listen()
  await listener.sync()
  t.deepEqual(called, range(1, 300))

  const second = listener.messages()
  await flood(channel, 301, 400)
  await received(listener, 400)
  const third = listener.messages()
  await flood(channel, 401, 500)
  t.deepEqual(numbers(await collect(third, 100)), range(401, 500))
  t.deepEqual(numbers(await collect(second, 200)), range(301, 500))
  await second.return()
  await third.return()
  await listener.sync()
  t.deepEqual(called, range(1, 500))
})

test('an iterator can be the first consumer too, and callbacks then start where listen() is called', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const called: number[] = []
  await listener.addCallback(channel, (_, n) => called.push(Number(n)))
  await listener.startup()
  await flood(channel, 1, 10)
  await received(listener, 10)
  const first = listener.messages()
  await flood(channel, 11, 20)
  await received(listener, 20)
  listener.listen()
  await flood(channel, 21, 30)
  t.deepEqual(numbers(await collect(first, 30)), range(1, 30))
  await first.return()
  await listener.sync()
  t.deepEqual(called, range(21, 30))
})

test('each startup begins with an empty backlog', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  const [channel] = listener.channels as [string]
  await listener.startup()
  await flood(channel, 1, 10)
  await received(listener, 10)
  await listener.shutdown()
  await notify(channel, 'between')
  await listener.startup()
  await flood(channel, 11, 20)
  t.deepEqual(numbers(await collect(listener.messages(), 10)), range(11, 20))
})

test('an iterator counts from its making, not from its first next()', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  const [channel] = listener.channels as [string]
  await listener.startup()
  listener.listen()
  const early = listener.messages()
  await flood(channel, 1, 10)
  t.deepEqual(numbers(await collect(early, 10)), range(1, 10))
})

test('a loop that is left with break is released, and nothing is kept for it', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  const [channel] = listener.channels as [string]
  await listener.startup()
  const loop = listener.messages()
  const other = listener.messages()
  await flood(channel, 1, 100)
  let seen = 0
  for await (const message of loop) {
    seen = Number(message.payload)
    if (seen === 2) break
  }
  t.is(seen, 2)
  t.deepEqual(await loop.next(), { done: true, value: undefined })
  t.deepEqual(numbers(await collect(other, 100)), range(1, 100))
  t.is(listener.stats().buffered, 0)
  await flood(channel, 101, 1000)
  await received(listener, 1000)
  // Only `other` has something waiting, and sync() waits for nobody else.
  t.is(listener.stats().buffered, 900)
  t.deepEqual(numbers(await collect(other, 900)), range(101, 1000))
  t.is(listener.stats().buffered, 0)
  await other.return()
  await within(listener.sync())
  t.deepEqual(await serverChannels(listener), [channel])
})

test('a loop that throws is released too', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  const [channel] = listener.channels as [string]
  await listener.startup()
  const looping = (async () => {
    for await (const message of listener) throw new Error(message.payload)
  })()
  await notify(channel, 'thrown')
  await t.throwsAsync(looping, { message: 'thrown' })
  await flood(channel, 1, 100)
  await received(listener, 101)
  await within(listener.sync())
  // It was the first consumer; what comes when there is none is not kept.
  t.is(listener.stats().buffered, 0)
})

test('fences stand behind what was committed before them, for every consumer', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  const [channel] = listener.channels as [string]
  let finished = 0
  await listener.addCallback(channel, async (_, payload) => {
    await Promise.resolve()
    finished = Number(payload)
  })
  await listener.startup()
  listener.listen()
  const items: (ListenerNotificationMsg | Gap)[] = []
  const looping = (async () => {
    for await (const message of listener) items.push(message)
  })()
  for (const n of range(1, 50)) {
    await flood(channel, n * 10 - 9, n * 10)
    await listener.sync()
    t.is(finished, n * 10)
    t.is(items.length, n * 10)
  }
  await listener.shutdown()
  await looping
})

test('a fence waits for a callback that is running, and for a loop that has not asked', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const log: string[] = []
  let release = () => {}
  await listener.addCallback(channel, () => {
    log.push('called')
    return new Promise<void>((resolve) => {
      release = resolve
    })
  })
  await listener.startup()
  listener.listen()
  const messages = listener.messages()
  await notify(channel, '1')
  const synced = listener.sync().then(() => log.push('synced'))
  await waitFor(() => log.length > 0)
  await collect(messages, 1)
  log.push('released')
  release()
  const next = messages.next()
  await synced
  t.deepEqual(log, ['called', 'released', 'synced'])
  await messages.return()
  await next
})
