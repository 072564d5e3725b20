// Fences: `sync()` resolves when everything committed before it was delivered, and not before.

import test from 'ava'
import { once } from 'node:events'
import { ListenerClosedError } from 'pglisten'
import { Fences } from '../../src-ts/listen/fences.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { collect, deferred, within } from '../../lab/wait.js'
import { isPending } from '../support/occupy.js'

const FAST = { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }

test('a fence waits until callbacks have settled, however many run at a time', async (t) => {
  for (const concurrency of [1, 4]) {
    const { listener } = await openListener(t, { concurrency })
    const channel = uniqueChannel()
    const running = deferred()
    const release = deferred()
    const calls: string[] = []
    await listener.addCallback(channel, async (_, payload) => {
      running.resolve()
      await release.promise
      calls.push(payload)
    })
    await listener.startup()
    listener.listen()
    await notify(channel, '1')
    await notify(channel, '2')
    await running.promise
    const synced = listener.sync().then(() => calls.push('synced'))
    // By then the fence has come back.
    for (let n = 0; n < 3; n += 1) await listener.connection.execute('SELECT 1')
    t.true(await isPending(synced))
    release.resolve()
    await within(synced)
    t.deepEqual(calls, ['1', '2', 'synced'])
  }
})

test('a fence waits until iterators have handed out what is before it', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const left = listener.messages()
  await notify(channel, '1')
  const synced = listener.sync()
  t.true(await isPending(synced))
  t.is((await collect(messages, 1))[0]?.payload, '1')
  const next = messages.next()
  t.true(await isPending(synced))
  // Nobody waits for an iterator that is gone.
  await left.return()
  await within(synced)
  // The fence is nobody's message.
  t.true(await isPending(next))
  t.deepEqual(listener.channels, [channel])
})

test('a fence without a consumer resolves', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  await within(Promise.all([listener.sync(), listener.sync()]))
  t.is(listener.stats().received, 0)
})

test('a fence is passed with the one behind it, which may not be waited for any more', async (t) => {
  const fences = new Fences()
  const [one, other] = [{}, {}]
  const gate = deferred()
  const controller = new AbortController()
  const first = fences.pass([one, other], () => Promise.resolve(), undefined)
  const aborted = fences.pass([one, other], () => Promise.resolve(), controller.signal)
  const late = fences.pass([one], () => gate.promise, undefined)
  const last = fences.pass([one], () => Promise.resolve(), undefined)
  controller.abort(new Error('enough'))
  await t.throwsAsync(aborted, { message: 'enough' })
  fences.passedBy(one, 2)
  t.true(await isPending(first))
  fences.passedBy(other, 2)
  await within(first)
  t.true(await isPending(last))
  fences.passedBy(one, 4)
  await within(last)
  // It has not come back.
  t.true(await isPending(late))
  gate.resolve()
  await within(late)
})

test('fences that a consumer has not passed yet are passed together', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  const idle = listener.messages()
  const controller = new AbortController()
  const before = [listener.sync(), listener.sync()]
  const aborted = listener.sync({ signal: controller.signal })
  // By then the fences have come back.
  for (let n = 0; n < 3; n += 1) await listener.connection.execute('SELECT 1')
  await notify(channel, '1')
  controller.abort(new Error('enough'))
  await t.throwsAsync(aborted, { message: 'enough' })
  await idle.return()
  t.true(await isPending(Promise.race(before)))
  t.is((await collect(messages, 1))[0]?.payload, '1')
  await within(Promise.all(before))
})

test('a fence is given up on request, and when the listener is shut down', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  listener.messages()
  const blocking = listener.messages()
  const controller = new AbortController()
  const aborted = listener.sync({ signal: controller.signal })
  const closed = listener.sync()
  t.true(await isPending(closed))
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(aborted), reason)
  t.is(await t.throwsAsync(listener.sync({ signal: controller.signal })), reason)
  const refused = t.throwsAsync(closed, { instanceOf: ListenerClosedError })
  await listener.shutdown()
  await refused
  t.true((await blocking.next()).done)
})

test('a fence that is asked for during an outage waits for the next session', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, FAST, { dsn: proxy.dsn })
  await listener.startup()
  const lost = once(listener, 'disconnected')
  proxy.cut()
  await lost
  const synced = listener.sync()
  t.true(await isPending(synced))
  proxy.open()
  await within(synced)
  t.is(listener.state, 'connected')
})

test('a fence does not wait for a batch to fill up, and not before the batch is handed out', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const batches = listener.batches({ maxSize: 10, maxWaitMs: 600_000 })
  const log: unknown[] = []
  const first = batches.next().then(({ value }) => log.push(value?.map(({ payload }) => payload)))
  await notify(channel, '1')
  await notify(channel, '2')
  await within(listener.sync().then(() => log.push('synced')))
  t.deepEqual(log, [['1', '2'], 'synced'])
  await first
  t.is(listener.stats().delivered, 2)
})
