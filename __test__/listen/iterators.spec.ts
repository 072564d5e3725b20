// Iterators: what they yield, how they end, and what they do at gaps.

import test from 'ava'
import { once } from 'node:events'
import {
  ConnectionFailedError,
  Gap,
  ListenerClosedError,
  ListenerGapError,
  ListenerNotificationMsg,
  ListenerOverflowError,
  ListenerStartError,
} from 'pglisten'
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
import { startProxy } from '../../lab/network/proxy.js'
import { collect, waitFor, within } from '../../lab/wait.js'

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `${from + n}`)

test('a listener that is not started cannot be iterated over', async (t) => {
  const { listener } = await openListener(t)
  const options = { instanceOf: ListenerStartError }
  t.throws(() => listener.messages(), options)
  t.throws(() => listener.batches(), options)
  await t.throwsAsync(async () => {
    for await (const _ of listener) t.fail()
  }, options)
  await t.throwsAsync(listener.sync(), options)
})

test('a message tells its channel, its payload and the backend that sent it', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  await using sender = await (await witness()).session()
  await sender.notify(channel, 'text')
  const [message] = await collect(listener, 1)
  t.true(message instanceof ListenerNotificationMsg)
  const { payload, processId } = message!
  t.deepEqual([message!.channel, payload, processId], [channel, 'text', sender.processId])
})

test('an iterator of some channels yields those only', async (t) => {
  const [one, two, three] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { channels: [one, two, three] })
  await listener.startup()
  const some = listener.messages({ channels: [one, three] })
  const all = listener.messages()
  const batches = listener.batches({ channels: [two] })
  for (const channel of [one, two, three]) await notify(channel)
  const names = (messages: { channel: string }[]) => messages.map(({ channel }) => channel)
  t.deepEqual(names(await collect(all, 3)), [one, two, three])
  t.deepEqual(names(await collect(some, 2)), [one, three])
  t.deepEqual(names((await collect(batches, 1))[0]!), [two])
})

test('an iterator of a channel that is subscribed to later yields it from then on', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.startup()
  const messages = listener.messages({ channels: [channel] })
  await notify(channel, 'too early')
  await listener.addChannel(channel)
  await notify(channel, 'in time')
  t.is((await collect(messages, 1))[0]?.payload, 'in time')
})

test('breaking out of a loop releases the iterator and what it had buffered', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  await flood(channel, 1, 1000)
  await waitFor(() => listener.stats().received === 1000)
  t.is(listener.stats().buffered, 1000)
  const iterator = listener[Symbol.asyncIterator]()
  for await (const message of iterator) {
    t.is(message.payload, '1')
    break
  }
  t.like(listener.stats(), { buffered: 0, bufferedBytes: 0, dropped: 0 })
  t.deepEqual(await iterator.next(), { done: true, value: undefined })
  // Nobody is there, so nothing is kept.
  await flood(channel, 1, 10)
  await waitFor(() => listener.stats().received === 1010)
  t.is(listener.stats().buffered, 0)
})

test('an iterator that was left takes nothing any more', async (t) => {
  const { listener } = await openListener(t, { buffer: { maxMessages: 5, overflow: 'error' } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  await notify(channel)
  for await (const _ of messages) break
  // Whoever still took them would overflow, and close the listener.
  await flood(channel, 1, 100)
  await listener.sync()
  t.is(listener.state, 'connected')
})

test('an iterator that is disposed of ends', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  await listener.startup()
  let kept
  {
    await using messages = listener.messages()
    kept = messages
  }
  t.deepEqual(await kept.next(), { done: true, value: undefined })
})

test('next() may be called several times before the first has settled', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const results = Promise.all([messages.next(), messages.next(), messages.next()])
  await flood(channel, 1, 3)
  t.deepEqual(
    (await within(results)).map(({ value }) => value?.payload),
    ['1', '2', '3'],
  )
})

test('aborting the signal ends an iterator with its reason, and only that one', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const controller = new AbortController()
  const reason = new Error('enough')
  const { signal } = controller
  const other = listener.messages()
  const aborted = [listener.messages({ signal }).next(), listener.batches({ signal }).next()]
  controller.abort(reason)
  for (const next of aborted) t.is(await t.throwsAsync(within<unknown>(next)), reason)
  t.is(await t.throwsAsync(listener.messages({ signal }).next()), reason)
  const ended = listener.messages({ signal })
  t.is(await t.throwsAsync(ended.next()), reason)
  t.deepEqual(await ended.next(), { done: true, value: undefined })
  await notify(channel, 'still there')
  t.is((await collect(other, 1))[0]?.payload, 'still there')
})

test('at a gap an iterator goes on, yields it, or throws it, as it was told', async (t) => {
  const { listener } = await openListener(t, { reconnect: { initialDelayMs: 1 } })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const skipping = listener.messages()
  const including = listener.messages({ gaps: 'include' })
  const throwing = listener.messages({ gaps: 'throw' })
  const batches = listener.batches({ gaps: 'include', maxSize: 3, maxWaitMs: 60_000 })
  await notify(channel, 'before')
  await listener.connection.execute('SELECT 1')
  const backend = await backendOf(listener)
  const back = once(listener, 'reconnected')
  await terminate(backend)
  await back
  await notify(channel, 'after')

  const payloads = (await collect(skipping, 2)).map(({ payload }) => payload)
  t.deepEqual(payloads, ['before', 'after'])
  for (const [before, gap, after] of [
    await collect(including, 3),
    (await collect(batches, 1))[0]!,
  ]) {
    t.like(before, { payload: 'before' })
    t.true(gap instanceof Gap)
    t.like(gap, { reason: 'disconnect', oldProcessId: backend, dropped: null })
    t.like(after, { payload: 'after' })
  }
  t.is((await collect(throwing, 1))[0]?.payload, 'before')
  const error = await t.throwsAsync(throwing.next(), { instanceOf: ListenerGapError })
  t.like(error.gap, { reason: 'disconnect', oldProcessId: backend })
  t.deepEqual(await throwing.next(), { done: true, value: undefined })
})

test('a listener that gives up ends its iterators with the reason, after what was buffered', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { reconnect: { initialDelayMs: 1, maxDelayMs: 2, maxAttempts: 2 } },
    { dsn: proxy.dsn },
  )
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const waiting = listener.messages({ channels: [uniqueChannel()] }).next()
  await notify(channel, 'last')
  await waitFor(() => listener.stats().received === 1)
  const closed = once(listener, 'closed')
  proxy.cut()
  const [reason] = (await closed) as [Error]
  t.true(reason instanceof ListenerClosedError)
  t.true(reason.cause instanceof ConnectionFailedError)
  await t.throwsAsync(waiting, { instanceOf: ListenerClosedError })
  t.is((await collect(messages, 1))[0]?.payload, 'last')
  await t.throwsAsync(messages.next(), { instanceOf: ListenerClosedError })
  t.is(listener.state, 'closed')
  proxy.open()
  await listener.startup()
  t.is(listener.state, 'connected')
})

test('a full buffer that must not drop closes the listener', async (t) => {
  const { listener, applicationName } = await openListener(t, {
    buffer: { maxMessages: 5, overflow: 'error' },
  })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const closed = once(listener, 'closed')
  const messages = listener.messages()
  await flood(channel, 1, 100)
  t.true((await closed)[0] instanceof ListenerOverflowError)
  const got: string[] = []
  await t.throwsAsync(
    async () => {
      for await (const { payload } of messages) got.push(payload)
    },
    { instanceOf: ListenerOverflowError },
  )
  t.deepEqual(got, numbers(1, got.length))
  t.true(got.length >= 5)
  await waitFor(
    async () =>
      (await ask<bigint>('SELECT count(*) FROM pg_stat_activity WHERE application_name = $1', [
        applicationName,
      ])) === 0n,
  )
})

test('messages that were asked for ahead give their connections back when the loop ends', async (t) => {
  const { listener, pool } = await openListener(t, {}, { maxDbPoolSize: 2 })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const asked = [messages.next(), messages.next(), messages.next()]
  await flood(channel, 1, 3)
  const got = (await Promise.all(asked)).map(({ value }) => value!)
  for (const { connection } of got.slice(0, 2)) await connection.execute('SELECT 1')
  await messages.return()
  t.deepEqual(
    got.map(({ connection }) => connection.isClosed),
    [true, true, true],
  )
  // The pool itself would wait for 30 s.
  const connection = await within(pool.connection())
  await connection.close()
})

test('an iterator whose signal was aborted before takes nothing from the next one', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  await notify(channel, 'early')
  await waitFor(() => listener.stats().received === 1)
  const signal = AbortSignal.abort(new Error('enough'))
  await t.throwsAsync(listener.messages({ signal }).next(), { message: 'enough' })
  await t.throwsAsync(listener.batches({ signal }).next(), { message: 'enough' })
  t.is((await collect(listener.messages(), 1))[0]?.payload, 'early')
})

test('an iteration that is ended by an event handler while it looks for the next message ends', async (t) => {
  const { listener } = await openListener(t, { parse: JSON.parse as never })
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const ended = new AbortController()
  listener.on('error', () => ended.abort(new Error('enough')))
  const messages = listener.messages({ signal: ended.signal })
  const batches = listener.batches({ signal: ended.signal, maxWaitMs: 60_000 })
  const next = [messages.next(), batches.next()]
  await notify(channel, 'no JSON')
  for (const one of next) await t.throwsAsync(one, { message: 'enough' })
  t.deepEqual(await messages.next(), { done: true, value: undefined })
})
