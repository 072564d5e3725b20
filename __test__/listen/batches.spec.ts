// Batches: how many notifications are handed out at a time, and how long they are waited for.

import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import { flood } from '../support/flood.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { waitFor, within } from '../../lab/wait.js'
import { isPending } from '../support/occupy.js'

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `${from + n}`)

test('batches hold what has arrived, in order, and no more than asked for', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  await flood(channel, 1, 1000)
  await waitFor(() => listener.stats().received === 1000)
  const batches = listener.batches({ maxSize: 300 })
  const got = []
  while (got.flat().length < 1000) {
    const { value } = await within(batches.next())
    got.push(value!.map(({ payload }) => payload))
  }
  t.deepEqual(got.flat(), numbers(1, 1000))
  t.true(got.every((batch) => batch.length > 0 && batch.length <= 300))
  // A slice of the event loop's time may end a batch early, but not each of them.
  t.true(got.length < 100, `${got.length}`)
})

test('a batch waits for more until it is full or its time is up', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const full = listener.batches({ maxSize: 3, maxWaitMs: 600_000 })
  const late = listener.batches({ maxSize: 100, maxWaitMs: 100 })
  const unwaiting = listener.batches({ maxSize: 100 })
  const firsts = [full.next(), late.next(), unwaiting.next()] as const
  await notify(channel, '1')
  const alone = (await within(firsts[2])).value
  t.is(alone?.length, 1)
  await notify(channel, '2')
  await notify(channel, '3')
  t.is((await within(firsts[0])).value?.length, 3)
  const started = performance.now()
  const waited = (await within(firsts[1])).value
  t.true(waited!.length >= 1 && waited!.length <= 3)
  t.true(performance.now() - started < 10_000)
  const next = full.next()
  await notify(channel, '4')
  await waitFor(() => listener.stats().received === 4)
  await listener.shutdown({ drain: true })
  // What was waited with is not lost at the end.
  t.deepEqual(
    (await next).value?.map(({ payload }) => payload),
    ['4'],
  )
})

test('a batch that nobody got is not counted as delivered', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const batches = listener.batches({ maxWaitMs: 600_000 })
  const next = batches.next()
  await notify(channel, 'held back')
  await waitFor(() => listener.stats().received === 1 && listener.stats().buffered === 0)
  await batches.return()
  t.true((await next).done)
  t.is(listener.stats().delivered, 0)
})

test('what a batch holds of a channel that is removed is not handed out', async (t) => {
  const { listener } = await openListener(t)
  const [removed, kept] = [uniqueChannel(), uniqueChannel()]
  for (const channel of [removed, kept]) await listener.addChannel(channel)
  await listener.startup()
  const next = listener.batches({ maxSize: 3, maxWaitMs: 600_000 }).next()
  await notify(removed, 'old')
  await notify(kept, '1')
  await waitFor(() => listener.stats().received === 2 && listener.stats().buffered === 0)
  await listener.removeChannel(removed)
  // Nor does it come back with the channel.
  await listener.addChannel(removed)
  await notify(removed, 'new')
  await notify(kept, '2')
  t.deepEqual(
    (await within(next)).value?.map(({ payload }) => payload),
    ['1', 'new', '2'],
  )
})

test('a batch of which nothing is left waits for its first message anew', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const waitMs = 300
  const next = listener.batches({ maxWaitMs: waitMs }).next()
  await notify(channel, 'old')
  await waitFor(() => listener.stats().received === 1 && listener.stats().buffered === 0)
  await listener.clearAllChannels()
  await sleep(waitMs)
  t.true(await isPending(next))
  await listener.addChannel(channel)
  const notified = performance.now()
  await notify(channel, 'new')
  t.deepEqual(
    (await within(next)).value?.map(({ payload }) => payload),
    ['new'],
  )
  // Timers count whole milliseconds.
  t.true(performance.now() - notified >= waitMs - 1)
})
