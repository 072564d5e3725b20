// How soon another relay leads when the leader's session is ended or its process is killed, and where the time goes: `takeover.ts TIMES BUSY`.
//
// The time runs from the strike to the gap in the stream, which begins the next time of leading, by the stream's own clock. BUSY processes
// that do nothing but calculate run beside it.

import { fork, type ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeliverPolicy, jetstream } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { RelayGapBody, RelayOptions } from 'pglisten-relay-nats'
import { Client } from 'pg'
import { startServer } from '../server/test-server.js'
import { waitFor, within } from '../wait.js'
import { NatsServer } from './nats-server.js'
import { RelayProcess } from './relay-process.js'
import { makeStream } from './stream-reading.js'

const STREAM = 'TAKEOVER'
const CHANNELS = ['a', 'b', 'c']

if (process.argv[2] === 'busy') for (;;) Math.sqrt(Math.random())

const times = Number(process.argv[2] ?? 20)
const busy = Number(process.argv[3] ?? 0)

/** One takeover, in milliseconds since the strike. */
interface Takeover {
  /** Whether another relay leads now, or the leader in a new session. */
  by: 'another' | 'itself'
  /** The next leader had the lock, and asked for its LISTENs. */
  locked: number
  /** The LISTENs were committed. */
  heard: number
  /** The gap was in the stream. */
  stored: number
}

const server = await startServer()
const nats = await NatsServer.start()
await makeStream(nats.url, STREAM)
const nc = await connect({ servers: nats.url })
const client = new Client({ connectionString: server.dsn })
await client.connect()
const spinning: ChildProcess[] = Array.from({ length: busy }, () =>
  fork(process.argv[1]!, ['busy'], { execArgv: ['--import=tsx'] }),
)
const options: RelayOptions = {
  ...{ stream: STREAM, database: STREAM, channels: CHANNELS, postgres: server.dsn },
  nats: { servers: nats.url },
}
const relays: RelayProcess[] = []

/** The gaps of the stream, as they come. */
const consumer = await jetstream(nc).consumers.get(STREAM, {
  filter_subjects: `pg.${STREAM}.%gap`,
  deliver_policy: DeliverPolicy.All,
})
const gaps = (await consumer.consume())[Symbol.asyncIterator]()
const nextGap = async () => {
  const { value } = await within(gaps.next(), { what: 'a gap', timeoutMs: 30_000 })
  return value!
}

function start(): RelayProcess {
  const relay = new RelayProcess(options)
  relays.push(relay)
  return relay
}

async function holder(): Promise<number> {
  const { rows } = await client.query<{ pid: number }>(
    `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted`,
  )
  return rows[0]!.pid
}

async function takeover(strike: () => Promise<unknown>): Promise<Takeover> {
  const struckAt = Date.now()
  await strike()
  const gap = await nextGap()
  const { reason, resumedAt } = gap.json() as unknown as RelayGapBody
  const heard = Date.parse(resumedAt) - struckAt
  return {
    by: reason === 'takeover' ? 'another' : 'itself',
    // The leader that has come back had the lock when it had a session again.
    locked: reason === 'takeover' ? Number(gap.headers!.get('Pg-Complete')) - struckAt : heard,
    heard,
    stored: gap.info.timestampNanos / 1e6 - struckAt,
  }
}

/** Waits until one leads and another one stands by. */
async function ready(): Promise<RelayProcess> {
  const leader = await waitFor(() => relays.find(({ role }) => role === 'leading'))
  for (const relay of relays) if (relay !== leader) await relay.becomes('standby')
  // As long as a relay may be at any point of its round.
  await sleep(200 + Math.random() * 100)
  return leader
}

const percentile = (values: number[], of: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * of))]!

function row(what: string, all: readonly Takeover[]): string {
  const cells = (['locked', 'heard', 'stored'] as const).map((name) => {
    const values = all.map((one) => one[name])
    return `${Math.round(percentile(values, 0.5))} / ${Math.round(percentile(values, 1))}`
  })
  return `| the leader’s ${what} | ${all.length} | ${cells.join(' | ')} |`
}

try {
  await start().becomes('leading')
  await nextGap()
  await start().becomes('standby')
  console.log('| strike | times | lock, ms (p50 / most) | LISTEN, ms | gap in the stream, ms |')
  console.log('| --- | --- | --- | --- | --- |')
  const ended: Takeover[] = []
  const killed: Takeover[] = []
  for (let time = 0; time < times; time += 1) {
    const leader = await ready()
    const pid = await holder()
    ended.push(await takeover(() => client.query('SELECT pg_terminate_backend($1)', [pid])))
    await leader.becomes('standby').catch(() => leader.becomes('leading'))
    // Either of them may be first.
    await within(Promise.race(relays.map((relay) => relay.becomes('leading'))), {
      what: 'a leader',
    })
  }
  console.log(row('session is ended', ended))
  for (let time = 0; time < times; time += 1) {
    const leader = await ready()
    relays.splice(relays.indexOf(leader), 1)
    killed.push(await takeover(() => leader.kill()))
    await relays[0]!.becomes('leading')
    await start().becomes('standby')
  }
  console.log(row('process is killed, another leads', killed))
} finally {
  for (const relay of relays) await relay.kill()
  for (const child of spinning) child.kill('SIGKILL')
  await client.end()
  await nc.close()
  await nats.stop()
  await server.stop('immediate')
}
