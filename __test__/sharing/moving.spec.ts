// A listener that takes a session of its own: nothing is missing, doubled or out of order, and there is no gap.

import { once } from 'node:events'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { ConnectionPool, Gap } from 'pglisten'
import {
  ask,
  backendOf,
  notify,
  openListener,
  sessionCount,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { Arena } from '../../lab/faults/arena.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'

/** A listener on a channel, with the numbers that it has heard. */
async function counting(pool: ConnectionPool, channel: string) {
  const numbers: number[] = []
  const gaps: Gap[] = []
  const listener = pool.listener()
  await listener.addCallback(channel, (_connection, payload) => void numbers.push(Number(payload)))
  listener.on('gap', (gap) => gaps.push(gap))
  await listener.startup()
  listener.listen()
  return { listener, numbers, gaps }
}

/** Notifies ascending numbers, each in a transaction of its own, until it is stopped; then tells how many. */
function writing(pool: ConnectionPool, channel: string) {
  const stop = new AbortController()
  let count = 0
  const written = (async () => {
    while (!stop.signal.aborted) {
      await pool.execute('SELECT pg_notify($1, $2)', [channel, `${count}`])
      count += 1
    }
    return count
  })()
  return {
    get count() {
      return count
    },
    async stop() {
      stop.abort()
      return written
    },
  }
}

function isUnbroken(t: ExecutionContext, numbers: number[], count: number) {
  t.is(numbers.length, count)
  t.true(numbers.every((number, place) => number === place))
}

test('the first method of listener.connection moves the listener, and only it', async (t) => {
  const { pool, applicationName } = await openListener(t)
  const channel = uniqueChannel()
  const [one, other] = [await counting(pool, channel), await counting(pool, channel)]
  const shared = one.listener.stats().session!.processId
  // Neither the getter nor what it is asked of itself is a use.
  t.false(one.listener.connection.isClosed)
  t.is(one.listener.stats().session!.processId, shared)

  const own = await backendOf(one.listener)
  t.not(own, shared)
  t.deepEqual(one.listener.stats().session, { processId: own, listeners: 1, channels: 1 })
  t.is(other.listener.stats().session!.processId, shared)
  t.is(await sessionCount(applicationName), 2)
  t.is(await backendOf(one.listener), own, 'and it stays there')

  await one.listener.addChannel(`${channel} 2`)
  await notify(channel, '0')
  await Promise.all([one.listener.sync(), other.listener.sync()])
  isUnbroken(t, one.numbers, 1)
  isUnbroken(t, other.numbers, 1)

  // The loss of either is no loss of the other.
  const lost = once(other.listener, 'reconnected')
  await terminate(shared)
  await lost
  t.deepEqual([one.gaps.length, other.gaps.length], [0, 1])
  const back = once(one.listener, 'reconnected')
  await terminate(own)
  await back
  t.deepEqual([one.gaps.length, other.gaps.length], [1, 1])

  await one.listener.shutdown()
  t.is(await sessionCount(applicationName), 1, 'the other one')
})

test('listeners that move under load miss nothing and hear nothing twice', async (t) => {
  const { pool } = await openListener(t)
  const channel = uniqueChannel()
  const listeners = await Promise.all(Array.from({ length: 8 }, () => counting(pool, channel)))
  const writer = writing(pool, channel)
  for (const { listener } of listeners) {
    const before = writer.count
    await waitFor(() => writer.count > before + 20)
    // Methods that are called at once, and changes meanwhile, wait for one move.
    const [pid, same] = await Promise.all([
      backendOf(listener),
      backendOf(listener),
      listener.addChannel(uniqueChannel()),
      listener.sync(),
    ])
    t.is(pid, same)
    t.deepEqual(listener.stats().session, { processId: pid, listeners: 1, channels: 2 })
  }
  const count = await writer.stop()
  await Promise.all(listeners.map(({ listener }) => listener.sync()))
  for (const { numbers, gaps } of listeners) {
    isUnbroken(t, numbers, count)
    t.is(gaps.length, 0)
  }
})

test('a channel that is added while its listener moves is heard from then on', async (t) => {
  const { pool } = await openListener(t)
  const channel = uniqueChannel()
  const writer = writing(pool, channel)
  const stays = await counting(pool, channel)
  for (let round = 0; round < 20; round += 1) {
    const { listener } = await counting(pool, uniqueChannel())
    const numbers: number[] = []
    const moved = backendOf(listener)
    for (let step = 0; step < round; step += 1) await turn()
    await listener.addCallback(
      channel,
      (_connection, payload) => void numbers.push(Number(payload)),
    )
    // The one that is under way may have been committed before.
    const from = writer.count + 1
    await moved
    await waitFor(() => writer.count > from + 20)
    await listener.sync()
    const later = numbers.filter((number) => number >= from)
    t.true(later.length >= 20)
    t.true(later.every((number, place) => number === from + place))
    await listener.shutdown()
  }
  const count = await writer.stop()
  await stays.listener.sync()
  t.is(stays.numbers.at(-1), count - 1)
})

test('statements are carried out in the order of their calls, across the move', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  await listener.startup()
  const { connection } = listener
  await connection.execute('CREATE TEMPORARY TABLE seen (n serial, what text)')
  const { listener: next } = await openListener(t, { channels: [uniqueChannel()] })
  await next.startup()
  const calls = [
    next.connection.execute('CREATE TEMPORARY TABLE seen (n serial, what int)'),
    ...Array.from({ length: 5 }, (_, n) =>
      next.connection.execute('INSERT INTO seen (what) VALUES ($1)', [n]),
    ),
  ]
  await turn()
  calls.push(next.connection.execute('INSERT INTO seen (what) VALUES (5)'))
  await Promise.all(calls)
  const rows = await next.connection.fetch<{ what: number }>('SELECT what FROM seen ORDER BY n')
  t.deepEqual(
    [...rows].map(({ what }) => what),
    [0, 1, 2, 3, 4, 5],
  )
})

test('sync() settles at any moment at which the last listener of a session leaves it', async (t) => {
  const proxy = await FaultProxy.start(Number(new URL(await serverDsn()).port))
  t.teardown(() => proxy.stop())
  const { pool } = await openListener(t, {}, { dsn: proxy.dsn(await serverDsn()) })
  t.timeout(120_000)
  proxy.set({ delayMs: 20 })
  let moveMs = 0
  for (let part = 0; part <= 30; part += 1) {
    const listener = pool.listener({ channels: [uniqueChannel()] })
    await listener.startup()
    // What the session listens to has changed, so that it is asked for that before it notifies.
    await listener.addChannel(uniqueChannel())
    const began = performance.now()
    const moved = listener.connection.execute('SELECT 1')
    // The first move tells how long they take.
    if (part > 0) await Promise.race([moved, sleep((moveMs * part) / 30)])
    else await moved
    moveMs ||= performance.now() - began
    await within(listener.sync(), { what: `sync() after ${part} of 30 parts of ${moveMs} ms` })
    t.is((await moved).length, 1)
    await listener.shutdown()
  }
})

test('either session may be lost while a listener moves: each notification is heard or lies in a gap', async (t) => {
  const { pool } = await openListener(t, {}, {})
  const channel = uniqueChannel()
  const writer = writing(pool, channel)
  for (let round = 0; round < 12; round += 1) {
    const { listener, numbers, gaps } = await counting(pool, channel)
    const neighbour = await counting(pool, channel)
    const shared = listener.stats().session!.processId
    const moved = backendOf(listener).catch((error: unknown) => error)
    // At any moment of the move.
    for (let step = 0; step < round; step += 1) await turn()
    const victims =
      round % 3 === 0
        ? [shared]
        : await ask<number[]>(
            'SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = $1 AND pid <> $2',
            [await applicationOf(shared), round % 3 === 1 ? shared : 0],
          )
    for (const victim of victims ?? []) await terminate(victim)
    await moved
    const own = await waitFor(() => backendOf(listener).catch(() => undefined))
    t.truthy(own)
    await Promise.all([listener.sync(), neighbour.listener.sync()])
    checkHoles(t, numbers, gaps)
    checkHoles(t, neighbour.numbers, neighbour.gaps)
    await listener.shutdown()
    await neighbour.listener.shutdown()
  }
  await writer.stop().catch(() => {})
})

async function applicationOf(pid: number): Promise<string> {
  return ask<string>('SELECT application_name FROM pg_stat_activity WHERE pid = $1', [pid])
}

/** No more holes than gaps, nothing twice, everything in order. */
function checkHoles(t: ExecutionContext, numbers: number[], gaps: Gap[]) {
  const pairs = numbers.slice(1).map((number, place) => [numbers[place]!, number] as const)
  t.true(pairs.every(([before, after]) => after > before))
  t.true(pairs.filter(([before, after]) => after > before + 1).length <= gaps.length)
}

test('a move is given up by a shutdown, at any moment, and leaves no session', async (t) => {
  const { pool, applicationName } = await openListener(t)
  const channel = uniqueChannel()
  const stays = await counting(pool, channel)
  for (let round = 0; round < 20; round += 1) {
    const { listener } = await counting(pool, channel)
    const moved = backendOf(listener).catch(() => undefined)
    for (let step = 0; step < round; step += 1) await turn()
    await listener.shutdown()
    await moved
  }
  await waitFor(async () => (await sessionCount(applicationName)) === 1)
  t.deepEqual(stays.listener.stats().session!.listeners, 1)
  await notify(channel, '0')
  await stays.listener.sync()
  isUnbroken(t, stays.numbers, 1)
  t.is(stays.gaps.length, 0)
})

test('a move that fails leaves the listener where it was', async (t) => {
  const { pool } = await openListener(t)
  const role = uniqueChannel()
  await pool.execute(`CREATE ROLE ${role} LOGIN CONNECTION LIMIT 1 PASSWORD 'p'`)
  t.teardown(() => ask(`DROP ROLE ${role}`))
  const channel = uniqueChannel()
  const { pool: limited } = await openListener(t, {}, { username: role, password: 'p' })
  const { listener, numbers, gaps } = await counting(limited, channel)
  const { processId } = listener.stats().session!
  const error = await t.throwsAsync(() => backendOf(listener))
  t.regex(error?.message ?? '', /too many connections for role/)
  t.is(listener.stats().session!.processId, processId)
  const added = `${channel} 2`
  await Promise.all([backendOf(listener).catch(() => undefined), listener.addChannel(added)])
  t.deepEqual(listener.stats().session, { processId, listeners: 1, channels: 2 })
  await notify(channel, '0')
  await listener.sync()
  isUnbroken(t, numbers, 1)
  t.is(gaps.length, 0)
  await limited.close()
})

test('while the session is lost the connection says so, and a move comes later', async (t) => {
  const { listener } = await openListener(t, {
    channels: [uniqueChannel()],
    reconnect: { initialDelayMs: 1, maxDelayMs: 5 },
  })
  await listener.startup()
  const shared = listener.stats().session!.processId
  const lost = once(listener, 'disconnected')
  const back = once(listener, 'reconnected')
  await terminate(shared)
  await lost
  if (listener.state === 'reconnecting') {
    await t.throwsAsync(() => listener.connection.execute('SELECT 1'))
  }
  await back
  t.not(await backendOf(listener), shared)
})

test('a channel that is removed while its listener moves is no longer listened to on either session', async (t) => {
  const { pool } = await openListener(t)
  const [kept, removed] = [uniqueChannel(), uniqueChannel()]
  const stays = await counting(pool, uniqueChannel())
  for (const ending of ['move', 'shutdown'] as const) {
    const { listener } = await counting(pool, kept)
    await listener.addChannel(removed)
    const moved = backendOf(listener)
    const done = listener.removeChannel(removed)
    if (ending === 'shutdown') await Promise.allSettled([listener.shutdown(), moved, done])
    else {
      await Promise.all([moved, done])
      t.is(listener.stats().session!.channels, 1)
    }
    await stays.listener.sync()
    t.like(stays.listener.stats().session, { listeners: 1, channels: 1 }, ending)
    await listener.shutdown()
  }
})

test('what was asked right before a move is done once the listener has moved', async (t) => {
  const { pool } = await openListener(t)
  const stays = await counting(pool, uniqueChannel())
  const { listener } = await counting(pool, uniqueChannel())
  const shared = listener.stats().session!.processId
  // The session that is left answers nothing that is asked from here on before the listener has gone: it LISTENs to many channels.
  const busy = Array.from({ length: 20_000 }, () => stays.listener.addChannel(uniqueChannel()))
  const works = `SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1`
  const begun = waitFor(() => ask<boolean>(works, [shared]), { what: 'the LISTENs' })
  // A server that is done with them before anybody looks has nothing to show.
  await Promise.race([begun.catch(() => {}), Promise.all(busy)])
  const [channel, numbers] = [uniqueChannel(), [] as number[]]
  const added = listener.addCallback(
    channel,
    (_connection, payload) => void numbers.push(Number(payload)),
  )
  await Promise.all([backendOf(listener), within(added, { what: 'the channel' })])
  await notify(channel, '1')
  await listener.sync()
  t.deepEqual(numbers, [1])
  await Promise.all(busy)
})

test('a listener whose own session would come to another server stays where it is', async (t) => {
  const arenas = await Promise.all([Arena.open(), Arena.open()])
  for (const arena of arenas) t.teardown(() => arena.close())
  const [here, elsewhere] = arenas
  const { pool } = await openListener(t, {}, { dsn: here.dsn })
  const channel = uniqueChannel()
  const { listener, numbers, gaps } = await counting(pool, channel)
  const shared = listener.stats().session!.processId
  here.proxy.retarget(elsewhere.server.port)
  const moved = t.throwsAsync(backendOf(listener), {
    code: 'ERR_PGLISTEN_CONNECTION_FAILED',
    message: /a connection of its own came to another server/,
  })
  const added = listener.addCallback(`${channel} 2`, (_connection, payload) => {
    numbers.push(Number(payload))
  })
  await within(Promise.all([moved, added, listener.sync()]))
  t.like(listener.stats().session, { processId: shared, channels: 2 })
  await here.direct.notify(channel, '0')
  await here.direct.notify(`${channel} 2`, '1')
  await within(listener.sync())
  isUnbroken(t, numbers, 2)
  t.is(gaps.length, 0)
  here.proxy.retarget(here.server.port)
  t.not(await within(backendOf(listener)), shared)
})
