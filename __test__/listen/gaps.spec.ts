// Gaps as callbacks get them: what they tell, and their place among the notifications.

import test from 'ava'
import { once } from 'node:events'
import { ListenerCallbackError, type Gap } from 'pglisten'
import { backendOf, notify, openListener, terminate, uniqueChannel } from '../support/listener.js'
import { deferred, waitFor } from '../../lab/wait.js'
import { isPending } from '../support/occupy.js'

const FAST = { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } }

test('a gap tells what is known of a lost session', async (t) => {
  const { listener } = await openListener(t, FAST)
  await listener.startup()
  const oldProcessId = await backendOf(listener)
  const from = Date.now()
  const lost = once(listener, 'gap')
  await terminate(oldProcessId)
  const [gap] = (await lost) as [Gap]
  t.like(gap, {
    reason: 'disconnect',
    dropped: null,
    sqlState: '57P01',
    serverRestarted: false,
    oldProcessId,
    newProcessId: await backendOf(listener),
  })
  t.regex(gap.message, /terminating connection/)
  t.true(gap.attempts >= 1)
  t.true(gap.lostAt <= gap.resumedAt)
  t.true(gap.resumedAt.getTime() >= from && gap.resumedAt.getTime() <= Date.now())
  t.is(gap.downtimeMs, gap.resumedAt.getTime() - gap.lostAt.getTime())
})

test('whoever handles a gap finds the listener connected again, and was told so before', async (t) => {
  for (const consumer of ['callback', 'iterator']) {
    const { listener } = await openListener(t, FAST)
    const channel = uniqueChannel()
    const told: string[] = []
    for (const event of ['disconnected', 'connected', 'gap', 'reconnected'] as const) {
      listener.on(event, () => told.push(event))
    }
    await listener.addChannel(channel)
    const handled = deferred<unknown[]>()
    const handle = async () =>
      handled.resolve([listener.state, await listener.connection.fetchVal('SELECT 1'), ...told])
    if (consumer === 'callback') listener.addGapCallback(handle)
    await listener.startup()
    if (consumer === 'callback') listener.listen()
    const messages = listener.messages({ gaps: 'include' })
    told.length = 0
    await terminate(await backendOf(listener))
    if (consumer === 'iterator') {
      await messages.next()
      await handle()
    }
    t.deepEqual(await handled.promise, [
      ...['connected', 1],
      ...['disconnected', 'connected', 'gap', 'reconnected'],
    ])
    await listener.shutdown()
  }
})

test('gap callbacks run in their place, and what comes after the gap waits for them', async (t) => {
  for (const concurrency of [1, 4]) {
    const { listener } = await openListener(t, { ...FAST, concurrency })
    const channel = uniqueChannel()
    const seen: unknown[] = []
    const gates = { before: deferred(), gap: deferred(), after: deferred() }
    const gapRunning = deferred()
    gates.after.resolve()
    await listener.addCallback(channel, async (_, payload) => {
      await gates[payload as 'before' | 'after'].promise
      seen.push(payload)
    })
    listener.addGapCallback(async (connection, { reason }) => {
      gapRunning.resolve()
      await gates.gap.promise
      seen.push([reason, await connection.fetchVal('SELECT 1')])
    })
    listener.addGapCallback(() => seen.push('last'))
    await listener.startup()
    listener.listen()
    await notify(channel, 'before')
    await waitFor(() => listener.stats().delivered === 1)
    const back = once(listener, 'reconnected')
    await terminate(await backendOf(listener))
    await back
    await notify(channel, 'after')
    await waitFor(() => listener.stats().received === 2)
    t.true(await isPending(gapRunning.promise))
    gates.before.resolve()
    await gapRunning.promise
    await new Promise(setImmediate)
    t.deepEqual(seen, ['before'])
    gates.gap.resolve()
    await listener.sync()
    t.deepEqual(seen, ['before', ['disconnect', 1], 'last', 'after'])
  }
})

test('a gap callback that fails is reported; one that was removed is not called', async (t) => {
  const { listener } = await openListener(t, FAST)
  const seen: string[] = []
  const errors: unknown[] = []
  listener.on('error', (error) => errors.push(error))
  listener.addGapCallback(() => {
    throw new Error('on purpose')
  })
  listener.addGapCallback(async () => Promise.reject(new Error('on purpose')))
  const removed = () => seen.push('removed')
  listener.addGapCallback(removed)
  listener.addGapCallback(() => seen.push('last'))
  listener.removeGapCallback(removed)
  listener.removeGapCallback(removed)
  await listener.startup()
  listener.listen()
  // `once` of node:events would reject with the errors that are expected here.
  const back = new Promise((resolve) => listener.once('reconnected', resolve))
  await terminate(await backendOf(listener))
  await back
  await listener.sync()
  t.deepEqual(seen, ['last'])
  t.is(errors.length, 2)
  for (const error of errors) t.true(error instanceof ListenerCallbackError)
})
