// Subscribing, iterating and releasing as one: `subscribe()` and `once()`, and the function that removes a callback.

import test from 'ava'
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionExecuteError,
  Gap,
  ListenerClosedError,
  ListenerGapError,
  ListenerStartError,
  ListenerTimeoutError,
} from 'pglisten'
import { collect, waitFor, within } from '../../lab/wait.js'
import {
  backendOf,
  notify,
  openListener,
  run,
  serverChannels,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { lostListener } from '../support/lost.js'

test('a stream has what is sent once it is there, and releases its channels at its end', async (t) => {
  const [first, second] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t)
  await listener.startup()
  const stream = await listener.subscribe([first, second])
  t.deepEqual((await serverChannels(listener)).toSorted(), [first, second].toSorted())
  await notify(first, 'a')
  await notify(second, 'b')
  const got: string[] = []
  for await (const { payload } of stream) {
    got.push(payload)
    if (got.length === 2) break
  }
  t.deepEqual(got, ['a', 'b'])
  t.deepEqual(listener.channels, [])
  await waitFor(async () => (await serverChannels(listener)).length === 0)
})

test('a stream ends after as many messages as it may have, and releases its channel', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  const stream = await listener.subscribe(channel, { limit: 2 })
  for (const payload of ['a', 'b', 'c']) await notify(channel, payload)
  const got: string[] = []
  for await (const { payload } of stream) got.push(payload)
  t.deepEqual(got, ['a', 'b'])
  t.deepEqual(listener.channels, [])
})

test('a channel is released when nobody else wants it, whoever came first', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  const first = await listener.subscribe(channel)
  const second = await listener.subscribe([channel, channel])
  await listener.addChannel(channel)
  await first.return()
  await listener.removeChannel(channel)
  t.deepEqual(listener.channels, [channel])
  const message = second.next()
  await notify(channel, 'still')
  t.is((await within(message)).value?.payload, 'still')
  const remove = await listener.addCallback(channel, () => {})
  await second.return()
  t.deepEqual(listener.channels, [channel])
  await remove()
  t.deepEqual(listener.channels, [])
})

test('a return() ends a next() that waits, also when another iterator wraps the stream', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  const stream = await listener.subscribe(channel)
  const wrapped = {
    next: () => stream.next(),
    return: () => stream.return(),
    [Symbol.asyncIterator]: () => wrapped,
  }
  const waiting = wrapped.next()
  await within(wrapped.return())
  t.deepEqual(await within(waiting), { done: true, value: undefined })
  t.deepEqual(listener.channels, [])
})

test('other consumers keep what has arrived since the startup', async (t) => {
  const [called, other] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t)
  const got: string[] = []
  await listener.addCallback(called, (_, payload) => got.push(payload))
  await listener.startup()
  await notify(called, 'before')
  await waitFor(() => listener.stats().received === 1)
  await using stream = await listener.subscribe([called, other])
  listener.listen()
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['before'])
  const message = stream.next()
  await notify(other, 'after')
  t.is((await within(message)).value?.payload, 'after')
})

test('clearAllChannels() and a shutdown end the streams, and a new start does not listen for them', async (t) => {
  const [first, second] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t)
  await listener.startup()
  const stream = await listener.subscribe(first)
  const waiting = stream.next()
  await listener.clearAllChannels()
  t.true((await within(waiting)).done)
  const other = await listener.subscribe(second)
  const ended = other.next()
  await listener.shutdown()
  t.true((await within(ended)).done)
  t.deepEqual(listener.channels, [])
  await listener.startup()
  t.deepEqual(await serverChannels(listener), [])
})

test('a stream outlives its session, with a gap at its place', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  await using stream = await listener.subscribe(channel, { gaps: 'include' })
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await within(back)
  await notify(channel, 'after')
  const [gap, message] = await collect(stream, 2)
  t.true(gap instanceof Gap)
  t.is((message as { payload: string }).payload, 'after')
})

test('wrong arguments and a listener that is not started are refused, and nothing is subscribed', async (t) => {
  const { listener } = await openListener(t)
  await t.throwsAsync(listener.subscribe(uniqueChannel()), { instanceOf: ListenerStartError })
  await listener.startup()
  const refused: [unknown, unknown, unknown][] = [
    [[], {}, ArgumentRangeError],
    [5, {}, ArgumentTypeError],
    [undefined, {}, ArgumentTypeError],
    [[''], {}, ArgumentRangeError],
    ['a', { channels: ['b'] }, ArgumentTypeError],
    ['a', { gaps: 'other' }, ArgumentTypeError],
    ['a', { timeoutMs: -1 }, ArgumentRangeError],
    ['a', { signal: {} }, ArgumentTypeError],
  ]
  for (const [channels, options, instanceOf] of refused) {
    await t.throwsAsync(listener.subscribe(channels as 'a', options as object), {
      instanceOf: instanceOf as typeof ArgumentTypeError,
    })
  }
  const reason = new Error('aborted before')
  const thrown = await t.throwsAsync(listener.subscribe('a', { signal: AbortSignal.abort(reason) }))
  t.is(thrown, reason)
  t.deepEqual(listener.channels, [])
})

test('while the session is lost the wait is bounded, and the channel is given up', async (t) => {
  const channel = uniqueChannel()
  const { listener, restore } = await lostListener(t)
  await t.throwsAsync(listener.subscribe(channel, { timeoutMs: 20 }), {
    instanceOf: ListenerTimeoutError,
    message: new RegExp(`channel \`${channel}\` took longer than 20 ms`),
  })
  const controller = new AbortController()
  const aborted = listener.once(channel, { signal: controller.signal })
  controller.abort(new Error('enough'))
  await t.throwsAsync(aborted, { message: 'enough' })
  t.deepEqual(listener.channels, [])
  await restore()
  t.deepEqual(await serverChannels(listener), [])
})

test('a LISTEN that fails leaves nothing, and the channel can be had later', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  await listener.connection.execute('BEGIN')
  await t.throwsAsync(listener.subscribe(channel), {
    instanceOf: ConnectionExecuteError,
    message: /a transaction is open on the listening session/,
  })
  t.deepEqual(listener.channels, [])
  await listener.connection.execute('ROLLBACK')
  await using stream = await listener.subscribe(channel)
  const message = stream.next()
  await notify(channel, 'now')
  t.is((await within(message)).value?.payload, 'now')
})

test('once() resolves with the next notification of a channel, and releases it', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  const next = listener.once(channel)
  await waitFor(async () => (await serverChannels(listener)).includes(channel))
  await notify(channel, 'first')
  await notify(channel, 'second')
  const message = await within(next)
  t.is(message.payload, 'first')
  t.is(message.channel, channel)
  t.deepEqual(listener.channels, [])
})

test('once() of a channel with the name of an event is no event, and once() of an event still is one', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const next = listener.once('closed')
  const events: unknown[] = []
  t.is(
    listener.once('closed', (error) => events.push(error)),
    listener,
  )
  await waitFor(async () => (await serverChannels(listener)).includes('closed'))
  await notify('closed', 'text')
  t.is((await within(next)).payload, 'text')
  t.deepEqual(events, [])
  await listener.shutdown()
  t.deepEqual(events, [undefined])
})

test('once() is bounded, and rejects when the listener ends or, if asked to, at a gap', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  await t.throwsAsync(listener.once(channel, { timeoutMs: 30 }), {
    instanceOf: ListenerTimeoutError,
    message: `once('${channel}') took longer than 30 ms`,
  })
  await t.throwsAsync(listener.once(channel, { gaps: 'include' as 'skip' }), {
    instanceOf: ArgumentTypeError,
  })
  t.deepEqual(listener.channels, [])
  const gap = t.throwsAsync(listener.once(channel, { gaps: 'throw' }), {
    instanceOf: ListenerGapError,
  })
  const goesOn = listener.once(channel)
  await waitFor(async () => (await serverChannels(listener)).includes(channel))
  const back = once(listener, 'reconnected')
  await terminate(await backendOf(listener))
  await within(back)
  await within(gap)
  await notify(channel, 'after')
  t.is((await within(goesOn)).payload, 'after')
  const ends = t.throwsAsync(listener.once(channel), { instanceOf: ListenerClosedError })
  await waitFor(async () => (await serverChannels(listener)).includes(channel))
  await listener.shutdown()
  await within(ends)
})

test('addCallback() resolves to a function that removes that registration and no other', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  const got: string[] = []
  const callback = (_: unknown, payload: string) => got.push(payload)
  const removeFirst = await listener.addCallback(channel, callback)
  const removeSecond = await listener.addCallback(channel, callback)
  listener.listen()
  await notify(channel, 'twice')
  await listener.sync()
  await removeSecond()
  await removeSecond()
  await notify(channel, 'once')
  await listener.sync()
  t.deepEqual(got, ['twice', 'twice', 'once'])
  await removeFirst()
  t.deepEqual(listener.channels, [])
  t.deepEqual(await serverChannels(listener), [])
  // What was registered anew is not that registration.
  await listener.addCallback(channel, callback)
  await removeFirst()
  t.deepEqual(listener.channels, [channel])
})

test('a stream that is forgotten releases its channel', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  await listener.startup()
  await (async () => void (await listener.subscribe(channel)))()
  const { gc } = globalThis as { gc?: () => void }
  t.truthy(gc)
  await waitFor(async () => {
    gc!()
    await nextTurn()
    return listener.channels.length === 0
  })
  await run('SELECT 1')
  await waitFor(async () => (await serverChannels(listener)).length === 0)
})

for (const overflow of ['dropOldest', 'pause', 'error'] as const) {
  test(`a channel that only a stream holds fills no other buffer, with overflow ${overflow}`, async (t) => {
    const [held, kept] = [uniqueChannel(), uniqueChannel()]
    const { listener } = await openListener(t, { buffer: { maxMessages: 3, overflow } })
    await listener.startup()
    const stream = await listener.subscribe([held, kept])
    for (let n = 0; n < 10; n += 1) {
      await notify(held, `${n}`)
      t.is((await within(stream.next())).value?.payload, `${n}`)
    }
    t.like(listener.stats(), { buffered: 0, dropped: 0, gaps: 0, reconnects: 0 })
    // What others want is kept for the first consumer all the same.
    await listener.addChannel(kept)
    await notify(kept, 'kept')
    t.is((await within(stream.next())).value?.payload, 'kept')
    const first = await collect(listener.messages(), 1)
    t.is(first[0]!.payload, 'kept')
  })
}

test('once() with the name of an event and no handler is told of', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await t.throwsAsync(listener.once('reconnected', { timeoutMs: 20 }), {
    message: "once('reconnected') took longer than 20 ms",
  })
  t.is(warnings.length, 1)
  t.regex(warnings[0]!, /waits for a notification of channel `reconnected`/)
})
