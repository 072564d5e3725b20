// How a listener ends: promptly, whatever it is doing, and with nothing left of it.

import test from 'ava'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { ConnectionPool, ListenerClosedError } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { flood } from '../support/flood.js'
import {
  backendOf,
  notify,
  openListener,
  type Opened,
  run,
  sessionCount,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { timely } from '../../lab/stalls.js'
import { deferred, waitFor, within } from '../../lab/wait.js'

/** Longer than a test waits: what resolves was not just given up. */
const PATIENT = { timeoutMs: 60_000 }
/** Below the five seconds that `shutdown()` allows itself where it is not told its time. */
const PROMPT_MS = 4000

test('a startup that is shut down rejects at once', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo
  const pool = new ConnectionPool({ host: '127.0.0.1', port, connectTimeoutSec: 60 })
  const listener = pool.listener()
  const starting = t.throwsAsync(listener.startup(), { instanceOf: ListenerClosedError })
  await once(silent, 'connection')
  await within(listener.shutdown(PATIENT))
  await within(starting)
  t.false(listener.isStarted)
  await pool.close()
})

test('a shutdown right after startup was called ends it', async (t) => {
  const { listener, applicationName } = await openListener(t)
  const starting = Promise.allSettled([listener.startup()])
  await within(listener.shutdown(PATIENT))
  const [started] = await within(starting)
  t.is(started.status, 'rejected')
  t.false(listener.isStarted)
  t.is(await sessionCount(applicationName), 0)
})

test('shutdown may be called before startup, twice, and at the same time', async (t) => {
  const { listener, applicationName } = await openListener(t)
  let closed = 0
  listener.on('closed', () => (closed += 1))
  await listener.shutdown()
  t.is(closed, 0)
  await listener.startup()
  await Promise.all([listener.shutdown(), listener.shutdown(), listener.shutdown()])
  t.is(await sessionCount(applicationName), 0)
  await listener.shutdown()
  t.is(closed, 1)
})

test('a listener that gives up while it is shut down is closed once', async (t) => {
  const { listener } = await openListener(t, { reconnect: false })
  const channel = uniqueChannel()
  const [running, release] = [deferred(), deferred()]
  await listener.addCallback(channel, () => {
    running.resolve()
    return release.promise
  })
  const closed: unknown[] = []
  listener.on('closed', (error) => closed.push(error))
  await listener.startup()
  listener.listen()
  await notify(channel)
  await within(running.promise)
  const backend = await backendOf(listener)
  const given = once(listener, 'closed')
  const ended = listener.shutdown({ drain: true, ...PATIENT })
  await terminate(backend)
  await within(given)
  release.resolve()
  await within(ended)
  t.is(closed.length, 1)
  t.true(closed[0] instanceof ListenerClosedError)
  t.is(listener.state, 'closed')
})

test('once shutdown has resolved the database can be dropped', async (t) => {
  const dbName = uniqueName('dropped')
  await run(`CREATE DATABASE ${dbName}`)
  const { listener } = await openListener(t, { channels: [uniqueChannel()] }, { dbName })
  for (let round = 0; round < 5; round += 1) {
    await listener.startup()
    await listener.shutdown()
  }
  await t.notThrowsAsync(run(`DROP DATABASE ${dbName}`))
})

test('shutdown interrupts the wait for the next attempt to connect', async (t) => {
  const { listener } = await openListener(t, {
    reconnect: { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 },
  })
  await listener.startup()
  const lost = once(listener, 'disconnected')
  await terminate(await backendOf(listener))
  await lost
  await within(listener.shutdown(PATIENT))
  t.is(listener.state, 'closed')
})

test('shutdown interrupts an attempt to connect again', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { reconnect: { initialDelayMs: 1, maxDelayMs: 1 } },
    { dsn: proxy.dsn, connectTimeoutSec: 60 },
  )
  await listener.startup()
  proxy.hang()
  await waitFor(() => proxy.unanswered > 0)
  await within(listener.shutdown(PATIENT))
  t.is(listener.state, 'closed')
})

test('shutdown does not wait for a consumer that has kept the session from being read', async (t) => {
  const { listener, applicationName } = await openListener(t, {
    channels: ['full'],
    buffer: { maxMessages: 1, overflow: 'pause', maxPauseMs: 60_000 },
  })
  await listener.startup()
  await flood('full', 1, 5000, { width: 7000 })
  await waitFor(() => listener.stats().buffered > 0)
  await within(listener.shutdown(PATIENT))
  await waitFor(async () => (await sessionCount(applicationName)) === 0)
  t.is(listener.state, 'closed')
})

test('shutdown is bounded when the network swallows everything', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, {}, { dsn: proxy.dsn })
  await listener.startup()
  proxy.freeze()
  await timely(t, 'the shutdown', PROMPT_MS, () => listener.shutdown({ timeoutMs: 200 }))
  t.is(listener.state, 'closed')
})

const SENT = Array.from({ length: 20 }, (_, n) => `${n}`)

for (const drain of [true, false]) {
  const does = drain ? 'delivers' : 'does not deliver'

  test(`shutdown({ drain: ${drain} }) ${does} to callbacks what is buffered`, async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    const called: string[] = []
    const gate = deferred()
    await listener.addCallback(channel, async (_, payload) => {
      await gate.promise
      await new Promise(setImmediate)
      called.push(payload)
    })
    await listener.startup()
    listener.listen()
    for (const payload of SENT) await notify(channel, payload)
    await waitFor(() => listener.stats().received === SENT.length)
    const ending = listener.shutdown({ drain })
    gate.resolve()
    await ending
    if (drain) t.deepEqual(called, SENT)
    else t.true(called.length <= 1, `${called.length}`)
  })

  test(`shutdown({ drain: ${drain} }) ${does} to iterators what is buffered`, async (t) => {
    const { listener } = await openListener(t)
    const channel = uniqueChannel()
    await listener.addChannel(channel)
    await listener.startup()
    const messages = listener.messages()
    for (const payload of SENT) await notify(channel, payload)
    await waitFor(() => listener.stats().received === SENT.length)
    const looped = (async () => {
      const payloads: string[] = []
      for await (const { payload } of messages) {
        payloads.push(payload)
        await new Promise(setImmediate)
      }
      return payloads
    })()
    await listener.shutdown({ drain })
    const payloads = await looped
    if (drain) t.deepEqual(payloads, SENT)
    else t.true(payloads.length < SENT.length, `${payloads.length}`)
  })
}

test('a drained shutdown ends in time although a consumer asks for nothing', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addChannel(channel)
  await listener.startup()
  const messages = listener.messages()
  await notify(channel, 'unread')
  await waitFor(() => listener.stats().received === 1)
  await timely(t, 'the shutdown', PROMPT_MS, () =>
    listener.shutdown({ drain: true, timeoutMs: 200 }),
  )
  t.true((await messages.next()).done)
})

test('after a shutdown no callback is started any more', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueChannel()
  const running = deferred()
  const release = deferred()
  const settled = deferred()
  const calls: string[] = []
  await listener.addCallback(channel, async () => {
    calls.push('first')
    running.resolve()
    await release.promise
    setImmediate(() => setImmediate(settled.resolve))
  })
  await listener.addCallback(channel, () => calls.push('second'))
  await listener.startup()
  listener.listen()
  await notify(channel)
  await running.promise
  await listener.shutdown()
  release.resolve()
  await settled.promise
  t.deepEqual(calls, ['first'])
})

test('aborting the signal shuts the listener down, and refuses to start it again', async (t) => {
  const controller = new AbortController()
  const { listener, applicationName } = await openListener(t, { signal: controller.signal })
  await listener.startup()
  const closed = once(listener, 'closed')
  const next = listener.messages().next()
  controller.abort(new Error('enough'))
  await within(closed)
  t.deepEqual(await next, { done: true, value: undefined })
  t.is(await sessionCount(applicationName), 0)
  await t.throwsAsync(listener.startup(), { message: 'enough' })
})

test('closing the pool shuts its listeners down and refuses new ones', async (t) => {
  const { pool, listener, applicationName } = await openListener(t)
  const other = pool.listener()
  await listener.startup()
  await other.startup()
  await pool.close()
  t.deepEqual([listener.state, other.state], ['closed', 'closed'])
  t.is(await sessionCount(applicationName), 0)
  t.throws(() => pool.listener())
  await t.throwsAsync(listener.startup())
})

for (const [what, again] of Object.entries({
  'shutdown() without draining': ({ listener }) => listener.shutdown({ timeoutMs: 100 }),
  'a shutdown() that drains for a shorter time': ({ listener }) =>
    listener.shutdown({ drain: true, timeoutMs: 100 }),
  'the end of the pool': ({ pool }) => pool.close(),
} satisfies Record<string, (opened: Opened) => Promise<void>>)) {
  test(`${what} does not wait for as long as a shutdown that is draining`, async (t) => {
    const opened = await openListener(t)
    const { listener } = opened
    const channel = uniqueChannel()
    const running = deferred()
    const stuck = deferred()
    await listener.addCallback(channel, () => {
      running.resolve()
      return stuck.promise
    })
    await listener.startup()
    listener.listen()
    await notify(channel)
    await running.promise
    const draining = listener.shutdown({ drain: true, timeoutMs: 20_000 })
    await timely(t, what, PROMPT_MS, () => again(opened))
    stuck.resolve()
    await within(draining)
    t.is(listener.state, 'closed')
  })
}
