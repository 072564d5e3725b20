// Batches in columns: the same notifications as everywhere, without an object for each of them.

import test, { type ExecutionContext } from 'ava'
import {
  ArgumentTypeError,
  Gap,
  type GapMode,
  type Listener,
  ListenerGapError,
  ListenerOverflowError,
  type NotificationColumns,
} from 'pglisten'
import { collect, waitFor, within } from '../../lab/wait.js'
import { flood } from '../support/flood.js'
import {
  ask,
  backendOf,
  notify,
  openListener,
  terminate,
  uniqueChannel,
  witness,
} from '../support/listener.js'
import { isPending } from '../support/occupy.js'

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `${from + n}`)

/** Short and long payloads, with characters of one to four bytes, mixed. */
const PAYLOADS = [
  ...['', 'a', '', 'bc', 'x'.repeat(13), 'ü', 'y'.repeat(64), 'z'.repeat(65), '', 'd', '😀', 'e'],
  ...Array.from({ length: 70 }, (_, n) => `${n}`.repeat(1 + n)),
  ...Array.from({ length: 9 }, (_, n) => `${n}${'w'.repeat(63)}`),
  ...['x'.repeat(7999), 'f', 'é'.repeat(3000), 'g', 'h'],
]

/** A started listener whose session is of its own, so that a test may end it. */
async function open(t: ExecutionContext, channels: readonly string[] = [uniqueChannel()]) {
  const { listener } = await openListener(t, { channels, session: 'own' })
  await listener.startup()
  return { listener, channel: channels[0]! }
}

/** Loses the session and waits for the next one. */
async function lose(listener: Listener): Promise<void> {
  const { reconnects } = listener.stats()
  await terminate(await backendOf(listener))
  await waitFor(() => listener.stats().reconnects > reconnects)
}

test('columns tell of each notification what a message tells, in the same order', async (t) => {
  const channels = [uniqueChannel(), uniqueChannel()]
  const { listener } = await open(t, channels)
  const messages = listener.messages()
  const columns = listener.batches({ shape: 'columns', maxSize: 50 })
  await using other = await (await witness()).session()
  for (const [index, payload] of PAYLOADS.entries()) {
    const sender = index % 3 === 0 ? other : await witness()
    await sender.notify(channels[index % 2]!, payload)
  }
  await waitFor(() => listener.stats().received === PAYLOADS.length)
  const expected = (await collect(messages, PAYLOADS.length)).map(
    ({ payload, channel, processId }) => [payload, channel, processId],
  )
  t.deepEqual(
    expected.map(([payload]) => payload),
    PAYLOADS,
  )
  const got = []
  while (got.length < PAYLOADS.length) {
    const { value } = await within(columns.next())
    t.true(value!.processIds instanceof Int32Array)
    t.true(value!.length >= 1 && value!.length <= 50)
    for (const column of [value!.payloads, value!.channels, value!.processIds])
      t.is(column.length, value!.length)
    for (let index = 0; index < value!.length; index += 1)
      got.push([value!.payloads[index], value!.channels[index], value!.processIds[index]])
  }
  t.deepEqual(got, expected)
})

test('payloads that came in one go are what was sent, to every kind of consumer', async (t) => {
  const { listener, channel } = await open(t)
  const got: string[] = []
  await listener.addCallback(channel, (_, payload) => got.push(payload))
  listener.listen()
  const messages = listener.messages()
  const batches = listener.batches()
  const columns = listener.batches({ shape: 'columns' })
  // PostgreSQL folds equal payloads of one transaction.
  const payloads = [...new Set(PAYLOADS)]
  await ask('SELECT count(pg_notify($1, p)) FROM unnest($2::text[]) AS p', [channel, payloads])
  const own = (await collect(messages, payloads.length)).map(({ payload }) => payload)
  t.deepEqual(own, payloads)
  const flat = async <Item>(stream: AsyncIterable<Item>, of: (item: Item) => string[]) => {
    const all: string[] = []
    while (all.length < payloads.length) all.push(...of((await collect(stream, 1))[0]!))
    return all
  }
  t.deepEqual(await flat(batches, (batch) => batch.map(({ payload }) => payload)), payloads)
  t.deepEqual(await flat(columns, (batch) => batch.payloads), payloads)
  await waitFor(() => got.length === payloads.length)
  t.deepEqual(got, payloads)
})

/** What an iterator yields of `1`, `2`, a gap, `3`, `4`, all of which were there before. */
async function aroundAGap<Gaps extends GapMode>(t: ExecutionContext, gaps: Gaps) {
  const { listener, channel } = await open(t)
  const stream = listener.batches({ shape: 'columns', gaps, maxWaitMs: 50 })
  for (const payload of ['1', '2']) await notify(channel, payload)
  await waitFor(() => listener.stats().received === 2)
  await lose(listener)
  for (const payload of ['3', '4']) await notify(channel, payload)
  await waitFor(() => listener.stats().received === 4)
  return stream
}

const shown = (item: NotificationColumns | Gap | undefined) =>
  item instanceof Gap ? item.reason : item?.payloads

test('a gap is yielded by itself, between the columns from before and from after it', async (t) => {
  const stream = await aroundAGap(t, 'include')
  t.deepEqual((await collect(stream, 3)).map(shown), [['1', '2'], 'disconnect', ['3', '4']])
})

test('columns do not span a gap that is not yielded', async (t) => {
  const stream = await aroundAGap(t, 'skip')
  t.deepEqual((await collect(stream, 2)).map(shown), [
    ['1', '2'],
    ['3', '4'],
  ])
})

test('columns from before a gap come before its error', async (t) => {
  const stream = await aroundAGap(t, 'throw')
  t.deepEqual((await collect(stream, 1)).map(shown), [['1', '2']])
  await t.throwsAsync(within(stream.next()), { instanceOf: ListenerGapError })
  t.true((await stream.next()).done)
})

test('a gap that comes while columns wait for more ends the wait', async (t) => {
  const { listener, channel } = await open(t)
  const stream = listener.batches({ shape: 'columns', gaps: 'include', maxWaitMs: 600_000 })
  const items = [stream.next(), stream.next()]
  await notify(channel, 'before')
  await waitFor(() => listener.stats().received === 1 && listener.stats().buffered === 0)
  await lose(listener)
  const [first, second] = await within(Promise.all(items))
  t.deepEqual(shown(first!.value), ['before'])
  t.is(shown(second!.value), 'disconnect')
})

test('gaps and what was lost are counted as for every other consumer', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel], buffer: { maxMessages: 10 } })
  await listener.startup()
  const stream = listener.batches({ shape: 'columns', gaps: 'include' })
  await flood(channel, 1, 100)
  await waitFor(() => listener.stats().received === 100)
  const [gap] = await collect(stream, 1)
  t.like(gap, { reason: 'overflow', dropped: 90 })
  const kept: unknown[] = []
  // The end of a turn of the event loop may part them.
  while (kept.length < 10) kept.push(...[shown((await collect(stream, 1))[0])].flat())
  t.deepEqual(kept, numbers(91, 100))
  t.like(listener.stats(), { delivered: 10, dropped: 90, gaps: 1, buffered: 0 })
})

test('columns are no larger than asked for, and as large where enough is there', async (t) => {
  const { listener, channel } = await open(t)
  const [small, large] = [7, 3000].map((maxSize) =>
    listener.batches({ shape: 'columns', maxSize, maxWaitMs: 10_000 }),
  )
  await flood(channel, 1, 3000)
  await waitFor(() => listener.stats().received === 3000)
  for (let from = 1; from <= 700; from += 7)
    t.deepEqual((await within(small!.next())).value!.payloads, numbers(from, from + 6))
  const { value } = await within(large!.next())
  t.deepEqual(value!.payloads, numbers(1, 3000))
  t.is(value!.processIds.length, 3000)
  t.true(value!.channels.every((name) => name === channel))
})

test('small columns hold all that is there', async (t) => {
  const { listener, channel } = await open(t)
  const stream = listener.batches({ shape: 'columns', maxSize: 256 })
  await flood(channel, 1, 1024)
  await waitFor(() => listener.stats().received === 1024)
  const sizes = (await collect(stream, 4)).map(({ length }) => length)
  t.deepEqual(sizes, [256, 256, 256, 256])
})

test('what `parse` makes stands in the columns, and what it fails on is left out', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener<Record<string, number>>(t, {
    channels: [channel],
    parse: JSON.parse,
  })
  const errors: string[] = []
  listener.on('error', ({ message }) => errors.push(message))
  await listener.startup()
  const stream = listener.batches({ shape: 'columns', maxSize: 3, maxWaitMs: 600_000 })
  for (const payload of ['1', 'no JSON', '2', '']) await notify(channel, payload)
  await notify(channel, '3')
  await waitFor(() => listener.stats().received === 5)
  const { value } = await within(stream.next())
  t.deepEqual(value!.payloads, [1, 2, 3])
  t.is(value!.processIds.length, 3)
  t.is(errors.length, 2)
  t.like(listener.stats(), { delivered: 3, callbackErrors: 2 })
})

test('columns hold only the channels that were chosen, and none that was removed', async (t) => {
  const [one, two, three] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener } = await open(t, [one, two, three])
  const all = listener.batches({ shape: 'columns' })
  const some = listener.batches({ shape: 'columns', channels: [one, two] })
  const waiting = listener.batches({ shape: 'columns', maxSize: 3, maxWaitMs: 600_000 })
  const full = waiting.next()
  for (const channel of [one, two, three, one]) await notify(channel, channel)
  await waitFor(() => listener.stats().received === 4)
  t.deepEqual((await within(full)).value!.channels, [one, two, three])
  const next = waiting.next()
  await waitFor(() => listener.stats().buffered === 7)
  await listener.removeChannel(one)
  t.deepEqual((await within(all.next())).value!.payloads, [two, three])
  t.deepEqual((await within(some.next())).value!.channels, [two])
  for (const channel of [two, three, two]) await notify(channel, channel)
  const { value } = await within(next)
  t.deepEqual(value!.payloads, [two, three, two])
  t.deepEqual(value!.channels, [two, three, two])
  t.is(value!.processIds.length, 3)
})

test('a fence is passed by whoever asks for more than the columns before it', async (t) => {
  const { listener, channel } = await open(t)
  const stream = listener.batches({ shape: 'columns' })
  await flood(channel, 1, 100)
  const synced = listener.sync()
  await waitFor(() => listener.stats().received === 100)
  t.true(await isPending(synced))
  const got: string[] = []
  while (got.length < 100) got.push(...(await within(stream.next())).value!.payloads)
  t.deepEqual(got, numbers(1, 100))
  await notify(channel, 'last')
  t.deepEqual((await within(stream.next())).value!.payloads, ['last'])
  await within(synced)
})

test('a break releases the buffer, also while columns wait for more', async (t) => {
  const { listener, channel } = await open(t)
  const [left, waiting] = [1, 5].map((maxSize) =>
    listener.batches({ shape: 'columns', maxSize, maxWaitMs: 600_000 }),
  )
  const next = waiting!.next()
  await flood(channel, 1, 3)
  await waitFor(() => listener.stats().received === 3)
  for await (const { payloads } of left!) {
    t.deepEqual(payloads, ['1'])
    break
  }
  await waiting!.return()
  t.true((await within(next)).done)
  t.like(listener.stats(), { buffered: 0, bufferedBytes: 0, delivered: 1 })
  await flood(channel, 4, 10)
  await listener.sync()
  t.is(listener.stats().buffered, 0)
})

test('a listener that ends gives what it holds in columns first', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, {
    channels: [channel],
    buffer: { maxMessages: 5, overflow: 'error' },
  })
  await listener.startup()
  const stream = listener.batches({ shape: 'columns', maxWaitMs: 600_000 })
  await flood(channel, 1, 6)
  t.deepEqual((await within(stream.next())).value!.payloads, numbers(1, 5))
  await t.throwsAsync(within(stream.next()), { instanceOf: ListenerOverflowError })
  t.true((await stream.next()).done)
})

test('a drain gives what is held in columns', async (t) => {
  const { listener, channel } = await open(t)
  const stream = listener.batches({ shape: 'columns', maxWaitMs: 600_000 })
  const next = stream.next()
  await notify(channel, 'held')
  await waitFor(() => listener.stats().received === 1 && listener.stats().buffered === 0)
  await listener.shutdown({ drain: true })
  t.deepEqual((await next).value?.payloads, ['held'])
  t.true((await stream.next()).done)
})

test('another shape is refused', async (t) => {
  const { listener } = await open(t)
  t.throws(() => listener.batches({ shape: 'rows' as 'columns' }), {
    instanceOf: ArgumentTypeError,
    message: 'Expected `shape` to be one of `messages`, `columns`, got `rows` (string)',
  })
})

test.serial('a payload that is kept keeps nothing else of its batch', async (t) => {
  const { listener, channel } = await open(t)
  const stream = listener.batches({ shape: 'columns' })
  const kept: string[] = []
  const held = () => {
    globalThis.gc!()
    return process.memoryUsage().heapUsed
  }
  const take = async (count: number) => {
    await flood(channel, 1, count, { width: 40 })
    for (let taken = 0; taken < count;) {
      const { value } = await within(stream.next())
      for (const payload of value!.payloads) {
        taken += 1
        if (taken % 100 === 0) kept.push(payload)
      }
    }
  }
  await take(20_000)
  kept.length = 0
  const before = held()
  await take(200_000)
  t.is(kept.length, 2000)
  const each = (held() - before) / kept.length
  t.true(each < 250, `${each} bytes each`)
})
