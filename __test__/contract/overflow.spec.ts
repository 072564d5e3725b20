// The delivery contract, "consumers" and "bounded memory": a slow consumer loses exactly what its gaps say, alone.

import { once } from 'node:events'
import test from 'ava'
import { Gap, type Listener, type ListenerNotificationMsg, ListenerOverflowError } from 'pglisten'
import { flood, notifyWhileBlocked, range } from '../support/flood.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { collect, waitFor, within } from '../../lab/wait.js'

type Item = ListenerNotificationMsg | Gap

async function received(listener: Listener, count: number): Promise<void> {
  await waitFor(() => listener.stats().received >= count, { what: `notification ${count}` })
}

/** Reads numbered notifications up to `last`; numbers may be missing where a gap counts them, and nowhere else. */
async function readTo(messages: AsyncIterator<Item>, last: number, from = 1) {
  let expected = from
  let dropped = 0
  const gaps: number[] = []
  while (expected <= last) {
    const { value, done } = await within(messages.next(), { what: `notification ${expected}` })
    if (done) throw new Error(`The iteration ended before ${expected}`)
    if (value instanceof Gap) {
      if (value.reason !== 'overflow') throw new Error(`A gap by ${value.reason} at ${expected}`)
      gaps.push(value.dropped!)
      dropped += value.dropped!
      expected += value.dropped!
    } else if (Number(value.payload) === expected) {
      expected += 1
    } else {
      throw new Error(`Expected ${expected}, got ${value.payload}`)
    }
  }
  return { dropped, gaps }
}

test('dropOldest keeps the newest, behind a gap that counts what is missing', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 10 } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  const told: Gap[] = []
  listener.on('gap', (gap) => told.push(gap))
  await flood(channel, 1, 1000)
  await received(listener, 1000)
  t.like(listener.stats(), { buffered: 10, dropped: 990 })
  const [gap, ...rest] = await collect(messages, 11)
  t.true(gap instanceof Gap)
  t.like(gap, { reason: 'overflow', dropped: 990, attempts: 0, sqlState: null })
  t.deepEqual(
    rest.map((item) => Number((item as ListenerNotificationMsg).payload)),
    range(991, 1000),
  )
  t.deepEqual(told, [gap])
  t.like(listener.stats(), { received: 1000, delivered: 10, dropped: 990, gaps: 1, buffered: 0 })
})

test('dropNewest keeps the oldest, and then the gap', async (t) => {
  const { listener } = await openListener(t, {
    buffer: { maxMessages: 10, overflow: 'dropNewest' },
  })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  await flood(channel, 1, 1000)
  await received(listener, 1000)
  const items = await collect(messages, 11)
  t.deepEqual(
    items.slice(0, 10).map((item) => Number((item as ListenerNotificationMsg).payload)),
    range(1, 10),
  )
  t.like(items[10], { reason: 'overflow', dropped: 990 })
  t.like(listener.stats(), { delivered: 10, dropped: 990, gaps: 1, buffered: 0 })
})

test('the bytes are bounded as documented: the payload, and 64 for each', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxBytes: 20_000 } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  await flood(channel, 1, 100, { width: 936 })
  await received(listener, 100)
  t.like(listener.stats(), { buffered: 20, bufferedBytes: 20_000, dropped: 80 })
  t.deepEqual(await readTo(messages, 100), { dropped: 80, gaps: [80] })
})

test('under `error` the consumers get what was there, and then the error', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 10, overflow: 'error' } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const closed = new Promise<unknown>((resolve) => {
    listener.once('closed', resolve)
  })
  await flood(channel, 1, 1000)
  t.true((await within(closed)) instanceof ListenerOverflowError)
  t.is(listener.state, 'closed')
  const payloads: number[] = []
  const error = await t.throwsAsync<ListenerOverflowError>(
    (async () => {
      for await (const message of messages) payloads.push(Number(message.payload))
    })(),
    { instanceOf: ListenerOverflowError },
  )
  t.is(error.code, 'ERR_PGLISTEN_LISTENER_OVERFLOW')
  t.true(payloads.length >= 10)
  t.deepEqual(payloads, range(1, payloads.length))
  t.is(listener.stats().dropped, 0)
})

for (const overflow of ['dropOldest', 'dropNewest'] as const) {
  test(`under ${overflow}, what a slow consumer lacks is what its gaps count`, async (t) => {
    const { listener } = await openListener(t, { buffer: { maxMessages: 100, overflow } })
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    await listener.startup()
    const slow = listener.messages({ gaps: 'include' })
    let last = 0
    let read = 0
    let dropped = 0
    // Bursts below and above the bounds, read now partly, now wholly.
    for (const size of [50, 400, 99, 100, 101, 1, 3000, 20]) {
      await flood(channel, last + 1, last + size)
      last += size
      await received(listener, last)
      if (size % 2 === 1) continue
      // A marker that fits: the count of a gap goes on as long as nothing was read behind it.
      const result = await readTo(slow, last, read + 1)
      read = last
      dropped += result.dropped
    }
    t.is(read, last)
    t.true(dropped > 2000)
    t.like(listener.stats(), { dropped, delivered: last - dropped, received: last, buffered: 0 })
  })
}

test('a slow consumer does not affect another one', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 100 } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const idle = listener.messages({ gaps: 'include' })
  const fast = listener.messages({ gaps: 'throw' })
  const called: number[] = []
  await listener.addCallback(channel, (_, n) => called.push(Number(n)))
  listener.listen()
  for (const n of range(1, 50)) {
    await flood(channel, n * 100 - 99, n * 100)
    const messages = await collect(fast, 100)
    t.is(messages[0]?.payload, String(n * 100 - 99))
    await waitFor(() => called.length === n * 100)
  }
  t.deepEqual(called, range(1, 5000))
  t.deepEqual(await readTo(idle, 5000), { dropped: 4900, gaps: [4900] })
  t.is(listener.stats().dropped, 4900)
  t.is(listener.stats().gaps, 1)
})

test('a callback that hangs does not affect iterators', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 100 } })
  const channel = uniqueChannel()
  await listener.addCallback(channel, () => new Promise(() => {}))
  await listener.startup()
  listener.listen()
  const fast = listener.messages({ gaps: 'throw' })
  for (const n of range(1, 20)) {
    await flood(channel, n * 100 - 99, n * 100)
    await collect(fast, 100)
  }
  await fast.return()
  t.true(listener.stats().dropped > 1000)
  t.is(listener.stats().delivered, 2001)
})

test('a gap is handed to gap callbacks at its place among the notifications', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 10 } })
  const channel = uniqueChannel()
  const log: (number | string)[] = []
  await listener.addCallback(channel, (_, n) => log.push(Number(n)))
  listener.addGapCallback(async (_, gap) => {
    log.push(`gap of ${gap.dropped}`)
    await notify(uniqueChannel())
    log.push('re-read')
  })
  await listener.startup()
  await flood(channel, 1, 100)
  await received(listener, 100)
  listener.listen()
  await listener.sync()
  t.deepEqual(log, ['gap of 90', 're-read', ...range(91, 100)])
})

test('under `error` nothing is taken beyond the bound', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 10, overflow: 'error' } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const closed = once(listener, 'closed')
  await flood(channel, 1, 5000, { width: 1000 })
  await within(closed)
  const payloads: number[] = []
  await t.throwsAsync(
    async () => {
      for await (const message of messages) payloads.push(Number(message.payload))
    },
    { instanceOf: ListenerOverflowError },
  )
  t.deepEqual(payloads, range(1, 10))
})

test('what is asked of a listener that has overflowed settles, also before it is told of its end', async (t) => {
  t.timeout(60_000)
  for (const session of ['own', 'shared'] as const) {
    for (let round = 0; round < 6; round += 1) {
      const { listener } = await openListener(t, {
        session,
        buffer: { maxMessages: 10, overflow: 'error' },
      })
      const channel = uniqueChannel()
      const callback = () => {}
      await listener.addCallback(channel, callback)
      await listener.startup()
      let asked: Promise<unknown>[] = []
      await notifyWhileBlocked(channel, 100, () => {
        if (listener.stats().received <= 10) return false
        // The session ends meanwhile: nobody else uses it.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
        t.is(listener.state, 'connected')
        asked = [
          listener.addCallback(uniqueChannel(), callback),
          listener.sync(),
          listener.removeCallback(channel, callback),
        ]
        return true
      })
      const [added, synced, removed] = await within(Promise.allSettled(asked), {
        what: `the answers, ${session}, round ${round}`,
      })
      for (const outcome of [added, synced])
        t.true(outcome?.status === 'rejected' && outcome.reason instanceof ListenerOverflowError)
      t.is(removed?.status, 'fulfilled')
      t.deepEqual(listener.channels, [])
      await listener.shutdown()
    }
  }
})
