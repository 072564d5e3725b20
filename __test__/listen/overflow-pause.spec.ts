// The overflow policy `pause`: the server waits for a slow consumer, but never for long.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import {
  Gap,
  type ListenerNotificationMsg,
  type ListenerOptions,
  type MessageStream,
} from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { uniqueName } from '../../lab/unique-name.js'
import { range } from '../support/flood.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import { LONG } from '../../lab/witness.js'

type Items = MessageStream<ListenerNotificationMsg | Gap>

/** More than the buffers of both sockets take. */
const MANY = 3000
const MEBIBYTE = 1024 * 1024
const HEARTBEAT = { intervalMs: 200, timeoutMs: 2000 }

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.after.always(() => arena?.close())

const flood = (channel: string, from: number, to: number) =>
  arena.direct.flood(channel, from, to, { width: LONG })

async function start(
  t: ExecutionContext,
  buffer: ListenerOptions['buffer'],
  reconnect: ListenerOptions['reconnect'] = {},
) {
  const { ConnectionPool } = await import('pglisten')
  const pool = new ConnectionPool({ dsn: arena.directDsn })
  t.teardown(() => pool.close())
  const channel = uniqueName('channel')
  const listener = pool.listener({
    channels: [channel],
    heartbeat: HEARTBEAT,
    buffer: { maxMessages: 100, overflow: 'pause', ...buffer },
    reconnect,
  })
  const events: string[] = []
  for (const name of ['disconnected', 'reconnected'] as const)
    listener.on(name, () => events.push(name))
  await listener.startup()
  const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
  return { pool, listener, channel, events, processId }
}

const numberOf = (item: ListenerNotificationMsg | Gap) =>
  item instanceof Gap ? item : Number(item.payload)

/** Whether the server waits for that session to be read. */
async function isBlocked(processId: number): Promise<boolean> {
  return arena.ask(
    `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'ClientWrite')`,
    [processId],
  )
}

/** What the server cannot clean up because of sessions that are not read. */
async function pinned(): Promise<{ queue: number; holders: number }> {
  return arena.row(
    `SELECT pg_notification_queue_usage() AS queue, (
       SELECT count(*)::int4 FROM pg_stat_activity
       WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()) AS holders`,
  )
}

test.serial('a consumer that is slow, but not for too long, loses nothing', async (t) => {
  const { listener, channel, events, processId } = await start(t, { maxPauseMs: 60_000 })
  const slow: Items = listener.messages({ gaps: 'include' })
  const other: Items = listener.messages({ gaps: 'include' })
  await flood(channel, 1, MANY)
  await waitFor(() => isBlocked(processId))
  // Longer than the heartbeat allows, which does not count against a server that is not read.
  const since = performance.now()
  await waitFor(() => performance.now() - since > 2 * (HEARTBEAT.intervalMs + HEARTBEAT.timeoutMs))
  t.true(listener.stats().bufferedBytes < 4 * 1024 * 1024 * 2)
  const [got, gotToo] = await Promise.all([collect(slow, MANY), collect(other, MANY)])
  t.deepEqual(got.map(numberOf), range(1, MANY))
  t.deepEqual(gotToo.map(numberOf), range(1, MANY))
  t.deepEqual(events, [])
  await waitFor(async () => (await pinned()).queue === 0)
  await waitFor(async () => (await pinned()).holders === 0)
  // The heartbeat goes on after the pause.
  const before = listener.stats().lastRoundTripMs
  await waitFor(() => listener.stats().lastRoundTripMs !== before)
})

test.serial(
  'a pause ends after maxPauseMs, with a gap, and the server is free again',
  async (t) => {
    const maxPauseMs = 1000
    const { listener, channel, processId } = await start(t, { maxPauseMs })
    const slow: Items = listener.messages({ gaps: 'include' })
    const lost = once(listener, 'disconnected')
    await flood(channel, 1, MANY)
    await waitFor(() => isBlocked(processId))
    const during = await pinned()
    t.true(during.queue > 0, 'the fault is real: the queue is held')
    // A pause of a minute lasts until its consumer goes on, as the test before shows; this one ends by itself.
    await within(lost)
    await arena.isGone(processId)
    // The next session, which is starting up, holds something for a moment too.
    await waitFor(() => listener.state === 'connected')
    await waitFor(async () => (await pinned()).queue === 0)
    await waitFor(async () => (await pinned()).holders === 0)

    await flood(channel, MANY + 1, MANY + 5)
    const items: (number | Gap)[] = []
    while (items.at(-1) !== MANY + 5) items.push(numberOf((await collect(slow, 1))[0]!))
    const at = items.findIndex((item) => item instanceof Gap)
    const gap = items[at] as Gap
    t.like(gap, { reason: 'disconnect', dropped: null, sqlState: null, oldProcessId: processId })
    t.regex(gap.message, /maxPauseMs/)
    t.true(at >= 100)
    t.deepEqual(items, [...range(1, at), gap, ...range(MANY + 1, MANY + 5)])
  },
)

test.serial('one slow consumer pauses all, and each gets the gap in its place', async (t) => {
  const { listener, channel } = await start(t, { maxPauseMs: 300 })
  const idle: Items = listener.messages({ gaps: 'include' })
  const eager: Items = listener.messages({ gaps: 'include' })
  const seen: (number | Gap)[] = []
  const reading = (async () => {
    for await (const item of eager) {
      seen.push(numberOf(item))
      if (seen.at(-1) === MANY + 1) break
    }
  })()
  const back = once(listener, 'reconnected')
  await flood(channel, 1, MANY)
  await within(back)
  // There is no room for it: it comes after the next pause, or behind the next gap.
  await collect(idle, 60)
  await flood(channel, MANY + 1, MANY + 1)
  await within(reading)
  const gaps = seen.filter((item) => item instanceof Gap)
  t.is(gaps.length, 1)
  const at = seen.indexOf(gaps[0]!)
  t.deepEqual(seen, [...range(1, at), gaps[0], MANY + 1])
  const rest = await collect(idle, at - 60 + 2)
  t.deepEqual(rest.map(numberOf), [...range(61, at), gaps[0], MANY + 1])
})

test.serial('a pause that lasts longer than any consumer takes is not for ever', async (t) => {
  const reconnect = { initialDelayMs: 1, maxDelayMs: 10 }
  const { listener, channel, events } = await start(t, { maxPauseMs: 150 }, reconnect)
  const stuck: Items = listener.messages({ gaps: 'include' })
  let [sent, rounds] = [0, 0]
  const round = async () => {
    const back = once(listener, 'reconnected') as Promise<[{ gap: Gap }]>
    await flood(channel, sent + 1, (sent += MANY))
    const [{ gap }] = await within(back)
    rounds += 1
    return gap
  }
  // A consumer takes so much beyond its bounds, over any number of sessions.
  for (let most = 20; listener.stats().dropped === 0 && most > 0; most -= 1) await round()
  const { buffered, bufferedBytes } = listener.stats()
  t.true(bufferedBytes < 2 * MEBIBYTE, `${bufferedBytes}`)
  await round()
  const told = await round()
  t.like(listener.stats(), { buffered, bufferedBytes })
  t.is(events.filter((name) => name === 'disconnected').length, rounds)
  await waitFor(async () => (await pinned()).queue === 0)
  await waitFor(async () => (await pinned()).holders === 0)

  // A gap reaches as far as what came behind it and was not taken.
  const { dropped } = listener.stats()
  const since = Date.now()
  await waitFor(() => Date.now() > since + 50)
  const sentAt = Date.now()
  await flood(channel, sent + 1, (sent += 1))
  await waitFor(() => listener.stats().dropped === dropped + 1)
  const items = (await collect(stuck, buffered + rounds)).map(numberOf)
  const gaps = items.filter((item) => item instanceof Gap)
  // No break was merged with another.
  t.deepEqual(
    gaps.map(({ merged }) => merged),
    gaps.map(() => 1),
  )
  t.is(gaps.length, rounds)
  t.is(items.at(-1), gaps.at(-1)!)
  t.like(gaps.at(-1), { dropped: null, newProcessId: told.newProcessId })
  t.true(gaps.at(-1)!.resumedAt.getTime() >= sentAt && told.resumedAt.getTime() < sentAt)
  const numbers = items.filter((item) => typeof item === 'number')
  t.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  )
  await flood(channel, sent + 1, sent + 1)
  t.deepEqual((await collect(stuck, 1)).map(numberOf), [sent + 1])
})
