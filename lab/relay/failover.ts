// `npm run clusters -- --relay`: what a stream lacks when a cluster that Patroni keeps changes its leader under relays. A Markdown table.
//
// One writer fills a table in the order of its numbers, through HAProxy. A trigger notifies each row, and publishes it. Two relays each
// store that, from both sources and by both ways to the leader. The table of the last leader says what should be in the streams.

import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { ConnectionPool } from 'pglisten'
import type { RelayOptions } from 'pglisten-relay-nats'
import { judge, type GapLike } from '../cluster/cluster-judge.js'
import { Writer, type Attempt, type Row } from '../cluster/cluster-writer.js'
import { PatroniCluster, findPrograms, type Programs } from '../cluster/patroni.js'
import { waitFor } from '../wait.js'
import { NatsServer } from './nats-server.js'
import { RelayProcess } from './relay-process.js'
import { asRead, counterFaults, makeStream, readStream } from './stream-reading.js'

const BEFORE_MS = 5000
/** After everything is in the streams again. */
const AFTER_MS = 5000
/** So long the replicas are behind before the leader is killed. */
const BEHIND_MS = 1000
const RECOVERY_DEADLINE_MS = 180_000
const CHANNEL = 'rows'

interface Event {
  what: string
  isSynchronous: boolean
  /** Whether the new leader lacks what the old one had confirmed, and with it moves of the position of a subscription. */
  loses?: boolean
  strike: (cluster: PatroniCluster) => Promise<void>
}

const EVENTS: readonly Event[] = [
  { what: 'switchover', isSynchronous: false, strike: (cluster) => cluster.switchOver() },
  {
    what: 'leader and its agent killed, synchronous',
    isSynchronous: true,
    strike: (cluster) => cluster.killLeader(),
  },
  {
    what: 'leader and its agent killed, replicas behind',
    isSynchronous: false,
    loses: true,
    strike: (cluster) => cluster.killLeaderAhead(BEHIND_MS),
  },
  {
    what: 'only the agent killed, the old leader goes on',
    isSynchronous: false,
    strike: (cluster) => cluster.killAgent(),
  },
]

/** Two relays and their stream. */
interface Pair {
  what: string
  isDurable: boolean
  stream: string
  relays: RelayProcess[]
}

async function startPair(
  nats: NatsServer,
  isDurable: boolean,
  way: string,
  postgres: RelayOptions['postgres'],
): Promise<Pair> {
  const stream = `${isDurable ? 'DURABLE' : 'CHANNELS'}_${way}`
  await makeStream(nats.url, stream)
  const options: RelayOptions = {
    ...{ stream, database: stream, channels: [CHANNEL], postgres },
    nats: { servers: nats.url },
    ...(isDurable
      ? { durable: { name: stream, from: 'beginning' as const, maxHandlerMs: 5000 } }
      : {}),
  }
  const relays = [new RelayProcess(options), new RelayProcess(options)]
  return { what: `${isDurable ? 'durable' : 'channels'}, ${way}`, isDurable, stream, relays }
}

/** What is in the stream of a pair, as numbers and gaps. */
async function seenBy(nc: NatsConnection, { stream, isDurable }: Pair) {
  const messages = await readStream(nc, stream)
  const seen = asRead(messages).flatMap((one): (number | GapLike)[] => {
    if (one.kind === 'message') return [Number(one.payload)]
    // With a durable source an epoch begins with a gap that tells that nothing is missing.
    if (isDurable && one.dropped === 0) return []
    const { lostAt, resumedAt, reason: message } = one
    return [{ lostAt: new Date(lostAt ?? 0), resumedAt: new Date(resumedAt), message }]
  })
  return { seen, counterFaults: counterFaults(messages) }
}

async function observe(programs: Programs, event: Event): Promise<boolean> {
  const cluster = await PatroniCluster.start(programs, event.isSynchronous)
  const nats = await NatsServer.start()
  const nc = await connect({ servers: nats.url, maxReconnectAttempts: -1 })
  const pairs: Pair[] = []
  let writer: Writer | undefined
  try {
    const leader = await waitFor(() => cluster.leader(), { what: 'a leader' })
    const first = new ConnectionPool({ dsn: cluster.dsn(`127.0.0.1:${leader.port}`) })
    await first.durable.install()
    await first.close()
    const through = cluster.dsn(`127.0.0.1:${cluster.haproxyPort}`)
    writer = await Writer.prepare(through, CHANNEL, { isPublished: true })
    // The leader comes first: whoever does not look stays there.
    const nodes = [leader, ...cluster.nodes.filter((node) => node !== leader)]
    const hosts = cluster.dsn(nodes.map(({ port }) => `127.0.0.1:${port}`).join(','))
    for (const isDurable of [false, true]) {
      const several = { dsn: hosts, targetSessionAttrs: 'primary' as const }
      pairs.push(await startPair(nats, isDurable, 'hosts', several))
      pairs.push(await startPair(nats, isDurable, 'HAProxy', through))
    }
    writer.begin()
    for (const { what, relays } of pairs)
      await waitFor(() => relays.some(({ role }) => role === 'leading'), {
        timeoutMs: 30_000,
        what: `a leader of ${what}`,
      })
    await sleep(BEFORE_MS)
    const struckAt = Date.now()
    await event.strike(cluster)
    const next = await waitFor(
      async () => {
        const now = await cluster.leader()
        return now && now !== leader ? now : undefined
      },
      { timeoutMs: RECOVERY_DEADLINE_MS, what: 'another leader' },
    )
    const promoted = Date.now() - struckAt
    const back = new Map<Pair, number>()
    await waitFor(
      async () => {
        const committed = new Set(writer!.committedOn(next.port))
        for (const pair of pairs.filter((one) => !back.has(one))) {
          const { seen } = await seenBy(nc, pair)
          if (seen.some((n) => typeof n === 'number' && committed.has(n)))
            back.set(pair, Date.now() - struckAt)
        }
        return back.size === pairs.length
      },
      { timeoutMs: RECOVERY_DEADLINE_MS, what: 'rows of the new leader' },
    ).catch((error: unknown) => console.error(String(error)))
    await sleep(AFTER_MS)
    const attempts = await writer.stop()
    const pool = new ConnectionPool({ dsn: cluster.dsn(`127.0.0.1:${next.port}`) })
    const rows = await rowsOf(pool)
    await pool.close()
    let isKept = true
    for (const pair of pairs) {
      const last = rows.at(-1)!
      await waitFor(async () => (await seenBy(nc, pair)).seen.includes(last), {
        timeoutMs: 30_000,
        what: `row ${last}`,
      }).catch((error: unknown) => console.error(`${pair.what}: ${String(error)}`))
      const backMs = back.get(pair)
      isKept = (await told(nc, pair, event, rows, attempts, promoted, backMs)) && isKept
    }
    return isKept
  } finally {
    await writer?.stop()
    for (const { relays } of pairs) for (const relay of relays) await relay.kill()
    await nc.close()
    await nats.stop()
    await cluster.stop()
  }
}

/** Prints the row of a pair. Returns whether it keeps what is promised. */
async function told(
  nc: NatsConnection,
  pair: Pair,
  event: Event,
  rows: readonly number[],
  attempts: readonly Attempt[],
  promotedMs: number,
  backMs: number | undefined,
): Promise<boolean> {
  const { seen, counterFaults: faults } = await seenBy(nc, pair)
  const it = judge(seen, rows, attempts)
  const isThere = new Set(rows)
  const gone = seen.filter((one) => typeof one === 'number' && !isThere.has(one)).length
  const ended = pair.relays.filter(({ ended }) => ended !== undefined)
  for (const { errors, lines } of ended)
    console.error(`${pair.what}: a relay has ended: ${errors} ${JSON.stringify(lines.slice(-3))}`)
  if (it.outside.length > 0)
    console.error(
      `${pair.what}: outside of gaps ${it.outside.slice(0, 5).join(', ')} …\n${it.places.join('\n')}`,
    )
  const seconds = (ms: number | undefined) => (ms === undefined ? '–' : (ms / 1000).toFixed(1))
  console.log(
    `| ${event.what} | ${pair.what} | ${rows.length} | ${seconds(promotedMs)} | ${seconds(backMs)} | ` +
      `${it.missing} | ${it.outside.length} | ${it.twice} | ${it.disordered} | ${gone} | ${it.gaps} |`,
  )
  if (faults.length > 0) console.error(faults.slice(0, 5).join('\n'))
  const isOnce = it.twice + it.disordered === 0 || (pair.isDurable && event.loses === true)
  return (
    isOnce &&
    it.outside.length + faults.length + ended.length === 0 &&
    (!event.isSynchronous || gone === 0) &&
    (!pair.isDurable || it.missing === 0)
  )
}

async function rowsOf(pool: ConnectionPool): Promise<number[]> {
  const rows = await pool.execute<Row>('SELECT n FROM rows ORDER BY n')
  return rows.map(({ n }) => n)
}

const [, , patroni = 'patroni', only] = process.argv
const { programs, missing } = findPrograms(patroni)
if (missing.length > 0) {
  console.error(`Not installed: ${missing.join(', ')}`)
  process.exit(1)
}
console.log(
  '| event | source, way to the leader | rows | another leads, s | its rows stored, s | missing | outside of gaps | twice | out of order | stored, and gone from the table | gaps |',
)
console.log(`|${' --- |'.repeat(11)}`)
let isKept = true
for (const event of EVENTS) {
  if (only !== undefined && !event.what.includes(only)) continue
  isKept = (await observe(programs, event)) && isKept
}
process.exitCode = isKept ? 0 : 1
