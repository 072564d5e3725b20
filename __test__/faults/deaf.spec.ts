// A session that lives and delivers nothing: its LISTENs are gone, or notifications are not passed on.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Listener, type ListenerOptions, Gap } from 'pglisten'
import { startNotificationFilter } from '../../lab/network/notification-filter.js'
import { waitFor, within } from '../../lab/wait.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'

const HEARTBEAT = { intervalMs: 300, timeoutMs: 5000 }
/** What is waited for in vain: the arrival of a probe. */
const PROBED = { intervalMs: 300, timeoutMs: 2000 }
const RECONNECT = { initialDelayMs: 1, maxDelayMs: 20 }

interface Heard {
  listener: Listener
  channel: string
  /** Payloads in order; a gap is `|`. */
  heard: string[]
  gaps: Gap[]
  warnings: string[]
}

/** A started listener on a channel, with all that it hears. */
async function hear(
  t: ExecutionContext,
  options: ListenerOptions<string> = {},
  dsn?: string,
): Promise<Heard> {
  const { listener } = await openListener(
    t,
    { session: 'own', heartbeat: HEARTBEAT, reconnect: RECONNECT, ...options },
    dsn === undefined ? {} : { dsn },
  )
  const channel = uniqueChannel()
  const [heard, gaps, warnings]: [string[], Gap[], string[]] = [[], [], []]
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.addChannel(channel)
  await listener.startup()
  void (async () => {
    for await (const item of listener.messages({ gaps: 'include' })) {
      if (item instanceof Gap) gaps.push(item)
      heard.push(item instanceof Gap ? '|' : item.payload)
    }
  })().catch(() => {})
  return { listener, channel, heard, gaps, warnings }
}

/** Waits for the next answer to a heartbeat, and gives its time in milliseconds: two are never the same to the microsecond. */
async function heartbeat(listener: Listener): Promise<number> {
  const before = listener.stats().lastRoundTripMs
  await waitFor(() => listener.stats().lastRoundTripMs !== before, { what: 'a heartbeat' })
  return listener.stats().lastRoundTripMs!
}

/** Waits for so many answers to heartbeats. */
async function heartbeats(listener: Listener, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) await heartbeat(listener)
}

/** The times of the heartbeats that are answered until it settles, as far as somebody looks in time; the first one came before. */
async function answeredUntil(promise: Promise<unknown>, listener: Listener): Promise<Set<number>> {
  const times = new Set<number>()
  const looking = setInterval(() => {
    const { lastRoundTripMs } = listener.stats()
    if (lastRoundTripMs !== null && lastRoundTripMs !== undefined) times.add(lastRoundTripMs)
  }, 5)
  try {
    await promise
  } finally {
    clearInterval(looking)
  }
  return times
}

for (const sql of ['UNLISTEN *', 'DISCARD ALL']) {
  test.serial(`after ${sql} delivery comes back with one gap`, async (t) => {
    const { listener, channel, heard, gaps, warnings } = await hear(t)
    await notify(channel, 'before')
    await listener.sync()
    await heartbeats(listener, 1)
    const back = once(listener, 'reconnected')
    const lost = once(listener, 'disconnected')
    const struckAt = Date.now()
    await listener.connection.execute(sql)
    const answered = answeredUntil(lost, listener)
    await notify(channel, 'lost')
    await within(back)
    // The one before, one that was under way, and the one that has noticed it.
    t.true((await answered).size <= 3, [...(await answered)].join(' '))
    await notify(channel, 'after')
    await within(listener.sync())
    // Further heartbeats find nothing.
    await heartbeats(listener, 3)
    t.deepEqual(heard, ['before', '|', 'after'])
    t.like(gaps[0], { reason: 'disconnect', dropped: null, sqlState: null })
    t.regex(gaps[0]!.message, /no longer listens to 1 of 1 channels .* UNLISTEN or DISCARD ALL/)
    t.true(gaps[0]!.lostAt.getTime() <= struckAt)
    t.is(warnings.filter((it) => /no longer listens.*pooler/.test(it)).length, 1)
  })

  test.serial(`sync() after ${sql} comes back behind the gap`, async (t) => {
    // No heartbeat comes to its help, and the first of the two uses fences for the first time.
    for (const usedBefore of [false, true]) {
      const { listener, channel, heard } = await hear(t, { heartbeat: false })
      if (usedBefore) await listener.sync()
      await listener.connection.execute(sql)
      await notify(channel, 'lost')
      await within(listener.sync())
      t.deepEqual(heard, ['|'])
      await notify(channel, 'after')
      await within(listener.sync())
      t.deepEqual(heard, ['|', 'after'])
    }
  })
}

test.serial('sync() rejects when the channels are gone and there is no reconnecting', async (t) => {
  const { listener } = await hear(t, { reconnect: false })
  await listener.connection.execute('UNLISTEN *')
  const error = await t.throwsAsync(within(listener.sync()))
  t.regex(`${error.message} ${String(error.cause)}`, /no longer listens|closed/)
  t.is(listener.state, 'closed')
})

test.serial('UNLISTEN of a single channel is noticed, and named', async (t) => {
  const { listener, channel, heard, gaps } = await hear(t)
  const others = [uniqueChannel(), uniqueChannel()]
  for (const other of others) await listener.addChannel(other)
  await listener.connection.execute(`UNLISTEN "${others[0]}"`)
  await waitFor(() => gaps.length > 0)
  t.regex(gaps[0]!.message, new RegExp(`1 of 3 channels \\(\`${others[0]}\`\\)`))
  await notify(others[0]!, 'x')
  await notify(channel, 'y')
  await within(listener.sync())
  t.deepEqual(heard, ['|', 'x', 'y'])
})

test.serial('UNLISTEN in a transaction counts from its commit, and disturbs it not', async (t) => {
  const { listener, channel, heard } = await hear(t)
  await listener.connection.transaction(async (transaction) => {
    await transaction.execute('UNLISTEN *')
    await heartbeats(listener, 3)
    await transaction.execute('SELECT 1')
    t.deepEqual(heard, [])
  })
  await notify(channel, 'lost')
  await waitFor(() => heard.length > 0)
  await notify(channel, 'after')
  await within(listener.sync())
  t.deepEqual(heard, ['|', 'after'])
})

test.serial('UNLISTEN that is rolled back, and LISTEN beside us, are no reason', async (t) => {
  const { listener, channel, heard, gaps } = await hear(t)
  const rolledBack = listener.connection.transaction(async (transaction) => {
    await transaction.execute('UNLISTEN *')
    throw new Error('on purpose')
  })
  await t.throwsAsync(rolledBack, { message: 'on purpose' })
  await listener.connection.execute(`LISTEN "${uniqueChannel()}"`)
  await within(listener.sync())
  await heartbeats(listener, 3)
  await notify(channel, 'x')
  await within(listener.sync())
  t.deepEqual([heard, gaps], [['x'], []])
})

test.serial('a heartbeat leaves the isolation of a transaction to be set', async (t) => {
  const { listener } = await hear(t, { heartbeat: { intervalMs: 20, timeoutMs: 5000 } })
  await listener.connection.transaction(async (transaction) => {
    await heartbeats(listener, 3)
    // A query of ours before it would make it fail.
    await transaction.execute('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE')
  })
  t.is(listener.stats().reconnects, 0)
})

test.serial('a proxy that passes no notifications on is an error of startup()', async (t) => {
  const proxy = await startNotificationFilter(t)
  proxy.drops = true
  const { listener } = await openListener(t, { heartbeat: PROBED }, { dsn: proxy.dsn })
  await listener.addChannel(uniqueChannel())
  await t.throwsAsync(within(listener.startup()), { message: /did not come within 2 s.*pooler/ })
  t.true(proxy.dropped > 0)

  // Who wants no probe has none.
  const unprobing = await startNotificationFilter(t)
  unprobing.drops = true
  const heartbeat = { ...HEARTBEAT, probeIntervalMs: false } as const
  const unprobed = await openListener(t, { heartbeat }, { dsn: unprobing.dsn })
  await unprobed.listener.startup()
  await heartbeats(unprobed.listener, 2)
  t.is(unprobing.dropped, 0)
})

test.serial('a proxy that stops to pass notifications on is noticed by the probe', async (t) => {
  const proxy = await startNotificationFilter(t)
  const heartbeat = { ...PROBED, probeIntervalMs: 400 }
  const { listener, channel, heard, gaps, warnings } = await hear(t, { heartbeat }, proxy.dsn)
  await sleep(3 * heartbeat.probeIntervalMs)
  t.deepEqual([heard, warnings], [[], []])
  t.is(listener.stats().received, 0)
  // Nothing of the next session can have passed the proxy before the event is told.
  const lost = once(listener, 'disconnected').then(() => proxy.dropped)
  proxy.drops = true
  await notify(channel, 'lost')
  const dropped = await within(lost)
  // The notification, and the first probe that did not come.
  t.is(dropped, 2)
  t.regex(warnings[0]!, /did not come within 2 s.*pooler.*proxy/)
  // An attempt is proven too, before the listener counts as connected.
  await waitFor(() => warnings.length > 1)
  t.not(listener.state, 'listening')
  proxy.drops = false
  await waitFor(() => heard.length > 0)
  await notify(channel, 'after')
  await within(listener.sync())
  t.deepEqual(heard, ['|', 'after'])
  t.true(gaps[0]!.lostAt.getTime() <= gaps[0]!.resumedAt.getTime())
})

test.serial('10,000 channels are asked about with each heartbeat', async (t) => {
  const channels = Array.from({ length: 10_000 }, (_, index) => `${uniqueChannel()}_${index}`)
  const { listener } = await openListener(t, {
    channels,
    heartbeat: { intervalMs: 50, timeoutMs: 10_000 },
  })
  await listener.startup()
  const times: number[] = []
  for (let n = 0; n < 10; n += 1) {
    times.push(await heartbeat(listener))
  }
  t.log(`heartbeats with 10,000 channels: ${times.map((ms) => ms.toFixed(1)).join(' ')} ms`)
  t.is(listener.stats().reconnects, 0)
  const [gap] = await Promise.all([
    once(listener, 'reconnected'),
    listener.connection.execute(`UNLISTEN "${channels[7]}"`),
  ])
  t.truthy(gap)
  await listener.shutdown()
})

test.serial('messages go on while statements keep the session busy', async (t) => {
  const { listener, channel, heard } = await hear(t, {
    heartbeat: { intervalMs: 20, timeoutMs: 5000 },
  })
  const over = new AbortController()
  const busy = Array.from({ length: 4 }, async () => {
    while (!over.signal.aborted) await listener.connection.execute('SELECT 1')
  })
  await notify(channel, 'x')
  await waitFor(() => heard.length > 0)
  await heartbeats(listener, 10)
  over.abort()
  await Promise.all(busy)
  await within(listener.sync())
  t.deepEqual([heard, listener.stats().reconnects], [['x'], 0])
})
