// Bounded waits: a wait that is given up loses nothing and leaves nothing.

import test from 'ava'
import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionClosedError,
  ListenerTimeoutError,
  type ListenerEvents,
} from 'pglisten'
import { startProxy } from '../../lab/network/proxy.js'
import { block, collect, waitFor, within } from '../../lab/wait.js'
import { flood } from '../support/flood.js'
import {
  notify,
  openListener,
  serverChannels,
  sessionCount,
  uniqueChannel,
} from '../support/listener.js'
import { lostListener } from '../support/lost.js'

test('a next() that is given up loses nothing: the message is there for the next call', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  await t.throwsAsync(stream.next({ timeoutMs: 10 }), {
    instanceOf: ListenerTimeoutError,
    code: 'ERR_PGLISTEN_LISTENER_TIMEOUT',
    message: 'the next item took longer than 10 ms',
  })
  const controller = new AbortController()
  const aborted = stream.next({ signal: controller.signal })
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(aborted), reason)
  t.is(await t.throwsAsync(stream.next({ signal: controller.signal })), reason)
  await flood(channel, 1, 3)
  const got = []
  for (let n = 0; n < 3; n += 1) {
    got.push((await within(stream.next({ timeoutMs: 60_000 }))).value?.payload)
  }
  t.deepEqual(got, ['1', '2', '3'])
})

test('the calls that wait keep their order when one among them is given up', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  const first = stream.next()
  const given = t.throwsAsync(stream.next({ timeoutMs: 5 }), { instanceOf: ListenerTimeoutError })
  const third = stream.next({ timeoutMs: 60_000 })
  await within(given)
  await flood(channel, 1, 2)
  t.is((await within(first)).value?.payload, '1')
  t.is((await within(third)).value?.payload, '2')
})

test('what is there already is taken however short the time is, also a batch', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const [stream, batches] = [listener.messages(), listener.batches()]
  await flood(channel, 1, 2)
  // Two in each of the buffers.
  await waitFor(() => listener.stats().buffered === 4)
  t.is((await stream.next({ timeoutMs: 0 })).value?.payload, '1')
  t.is((await batches.next({ timeoutMs: 0 })).value?.length, 2)
  await t.throwsAsync(batches.next({ timeoutMs: 0 }), { instanceOf: ListenerTimeoutError })
})

test('what is there already is taken also when the turn is used up', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  await flood(channel, 1, 40)
  await waitFor(() => listener.stats().buffered === 40)
  // Timers that are due come before the next turn.
  await new Promise((resolve) => setTimeout(resolve))
  for (let number = 1; number <= 40; number += 1) {
    const next = stream.next({ timeoutMs: 0 })
    block(3)
    t.is((await next).value?.payload, `${number}`)
  }
  await t.throwsAsync(stream.next({ timeoutMs: 0 }), { instanceOf: ListenerTimeoutError })
})

test('a wait is over in time beside a callback that uses up every turn', async (t) => {
  const [busy, quiet] = [uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { channels: [quiet] })
  const count = 30_000
  let done = 0
  await listener.addCallback(busy, () => {
    done += 1
    block(0.1)
  })
  await listener.startup()
  listener.listen()
  const stream = listener.messages({ channels: [quiet] })
  await flood(busy, 1, count)
  await waitFor(() => done > 0)
  const late = { instanceOf: ListenerTimeoutError }
  await t.throwsAsync(stream.next({ timeoutMs: 50 }), late)
  await t.throwsAsync(listener.once(quiet, { timeoutMs: 50 }), late)
  t.true(done < count, `${done}`)
})

test('wrong bounds are refused, and a wait that is over takes nothing more', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const stream = listener.messages()
  await t.throwsAsync(stream.next({ timeoutMs: -1 }), { instanceOf: ArgumentRangeError })
  await t.throwsAsync(stream.next({ timeout: 1 } as object), { instanceOf: ArgumentTypeError })
  await t.throwsAsync(listener.addChannel('a', { timeoutMs: 'x' as unknown as number }), {
    instanceOf: ArgumentTypeError,
  })
  await t.throwsAsync(
    listener.addCallback('a', () => {}, { signal: {} as AbortSignal }),
    { instanceOf: ArgumentTypeError },
  )
  await stream.return()
  t.deepEqual(await stream.next({ timeoutMs: 0 }), { done: true, value: undefined })
  t.deepEqual(listener.channels, [])
})

test('a stream with a limit ends after so many messages, and its buffer with them', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages({ limit: 2 })
  await flood(channel, 1, 5)
  const got: string[] = []
  for await (const message of stream) {
    got.push(message.payload)
    // The lease of the last message lasts for as long as that of any other.
    t.is(await message.connection.fetchVal('SELECT 1'), 1)
  }
  t.deepEqual(got, ['1', '2'])
  t.is(listener.stats().buffered, 0)
  for (const limit of [0, 1.5, NaN]) {
    t.throws(() => listener.messages({ limit }), { instanceOf: ArgumentRangeError })
  }
})

test('a stream at its limit holds back neither a fence nor a shutdown that drains', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages({ limit: 1 })
  await notify(channel, 'only')
  await within(stream.next())
  await notify(channel, 'more')
  await within(listener.sync())
  await within(listener.shutdown({ drain: true, timeoutMs: 600_000 }))
  t.true((await stream.next()).done)
})

test('a shutdown ends the lease of the last message of a stream at its limit', async (t) => {
  const channel = uniqueChannel()
  const { listener, pool } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages({ limit: 1 })
  await notify(channel, 'only')
  const { value: message } = await within(stream.next())
  t.is(await message!.connection.fetchVal('SELECT 1'), 1)
  t.is(pool.status().available, 0)
  await listener.shutdown()
  await waitFor(() => pool.status().available === 1)
  await t.throwsAsync(message!.connection.fetchVal('SELECT 1'), {
    instanceOf: ConnectionClosedError,
  })
})

test('an iterator that waits for a channel which nobody added is told of, once', async (t) => {
  const [added, missing, late] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { channels: [added] })
  await listener.startup()
  const warnings: ListenerEvents['warning'][0][] = []
  listener.on('warning', (warning) => warnings.push(warning))
  const first = listener.messages({ channels: [added, missing, late] })
  const waiting = first.next()
  const adding = listener.addChannel(late)
  await nextTurn()
  await nextTurn()
  t.is(warnings.length, 1)
  t.is(warnings[0]!.channel, missing)
  t.regex(warnings[0]!.message, /to which the listener is not subscribed.*`subscribe\(\)`/)
  await adding
  await notify(late, 'heard')
  t.is((await within(waiting)).value?.payload, 'heard')
  const again = first.next()
  const silent = listener.messages({ channels: [added] }).next()
  await nextTurn()
  await nextTurn()
  t.is(warnings.length, 1)
  await first.return()
  t.true((await again).done)
  await notify(added, 'heard')
  t.is((await within(silent)).value?.payload, 'heard')
})

test('adding a channel or a callback is bounded, and only what was given up is taken back', async (t) => {
  const [called, added, both] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener, restore } = await lostListener(t)
  const late = { instanceOf: ListenerTimeoutError }
  const got: string[] = []
  const stays = listener.addChannel(both)
  const kept = listener.addCallback(both, (_, payload) => got.push(payload))
  await t.throwsAsync(
    listener.addCallback(called, () => {}, { timeoutMs: 5 }),
    late,
  )
  await t.throwsAsync(listener.addChannel(added, { timeoutMs: 5 }), late)
  await t.throwsAsync(listener.addChannel(both, { timeoutMs: 5 }), late)
  await t.throwsAsync(
    listener.addCallback(both, () => got.push('given up'), { timeoutMs: 5 }),
    late,
  )
  const once = uniqueChannel()
  await t.throwsAsync(listener.once(once, { timeoutMs: 5 }), {
    ...late,
    message: `once('${once}') took longer than 5 ms`,
  })
  t.deepEqual(listener.channels, [both])
  await restore()
  await within(Promise.all([stays, kept]))
  t.deepEqual(await serverChannels(listener), [both])
  listener.listen()
  await notify(both, 'text')
  await listener.sync()
  t.deepEqual(got, ['text'])
  await (
    await kept
  )()
  t.deepEqual(listener.channels, [both])
})

test('two who give the same channel up leave nothing, whoever goes first', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await lostListener(t)
  const adding = [30, 5].map((timeoutMs) => listener.addChannel(channel, { timeoutMs }))
  for (const outcome of await within(Promise.allSettled(adding))) t.is(outcome.status, 'rejected')
  t.deepEqual(listener.channels, [])
})

test('a startup is bounded, with retry too, and leaves nothing running', async (t) => {
  const proxy = await startProxy(t)
  const { listener, applicationName } = await openListener(
    t,
    { reconnect: { initialDelayMs: 5, maxDelayMs: 10 } },
    { dsn: proxy.dsn },
  )
  proxy.cut()
  await t.throwsAsync(listener.startup({ retry: true, timeoutMs: 40 }), {
    instanceOf: ListenerTimeoutError,
    message: 'the startup took longer than 40 ms',
  })
  t.is(listener.state, 'idle')
  t.is(await sessionCount(applicationName), 0)
  proxy.open()
  await within(listener.startup({ timeoutMs: 60_000 }))
  t.is(listener.state, 'connected')
  const [next] = await Promise.all([
    collect(await listener.subscribe('after_all'), 1),
    notify('after_all', 'heard'),
  ])
  t.is(next[0]!.payload, 'heard')
})

test('a sync() that a stream holds up can be given up', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel] })
  await listener.startup()
  const stream = listener.messages()
  await t.throwsAsync(listener.sync({ timeoutMs: 20 }), {
    instanceOf: ListenerTimeoutError,
    message: 'sync() took longer than 20 ms',
  })
  await stream.return()
  await within(listener.sync({ timeoutMs: 60_000 }))
})

test('a sync() before listen() warns that callbacks are not called, once', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.startup()
  await listener.sync()
  t.deepEqual(warnings, [])
  await listener.addCallback(channel, () => {})
  await listener.sync()
  await listener.sync()
  t.deepEqual(warnings, ['callbacks are not called before `listen()`'])
})
