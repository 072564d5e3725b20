// The faults of the chaos run: each happens, lasts a while, and is over when its promise resolves.

import { DiscardPolicy, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { Client } from 'pg'
import type { FaultProxy } from '../network/fault-proxy.js'
import type { DevServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'
import type { NatsServer } from './nats-server.js'
import type { OracleWriter } from './oracle.js'
import type { RelayProcess } from './relay-process.js'
import { makeStream, type StoredMessage } from './stream-reading.js'

/** Everything that faults can hit. */
export interface Scene {
  server: DevServer
  nats: NatsServer
  nc: NatsConnection
  stream: string
  source: 'channels' | 'durable'
  writer: OracleWriter
  natsProxy: FaultProxy
  pgProxy: FaultProxy
  /** The relays that run. */
  relays: RelayProcess[]
  /** What was read from the stream, and from its successors when it was deleted and made again. */
  read: (StoredMessage & { stream: number })[]
  /** What the package's own consumer has got. */
  consumed: string[]
  /** When the stream was deleted, in milliseconds since 1970. */
  deletions: number[]
  ending: AbortController
  following: Promise<void>
  /** Whether nothing more is written for now. */
  isPaused: boolean
  /** What is being written. */
  writing: Promise<void>
  random: () => number
  /** Starts a relay. */
  start: () => void
  /** Reads what has come to the stream. */
  readOn: () => Promise<void>
  /** Waits until a row that is written now is in the stream. */
  settled: () => Promise<void>
}

/** The relay has no other rights than it needs; whoever names no user may do everything. */
export const users = (mayPublish: boolean): string => `
  accounts { A { jetstream: enabled, users: [
    { user: relay, password: r, permissions: {
        publish: [${mayPublish ? '"pg.>",' : ''} "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*"],
        subscribe: ["_INBOX_relay.>"] } },
    { user: admin, password: a } ] } }
  no_auth_user: admin`

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** A while: mostly short, now and then longer than any time-out of the relay. */
const aWhile = ({ random }: Scene) => wait(random() < 0.3 ? 1500 + random() * 1500 : random() * 400)

const leaderOf = ({ relays }: Scene) => relays.find(({ role }) => role === 'leading') ?? relays[0]
const otherOf = ({ relays }: Scene) =>
  relays.find(({ role }) => role !== 'leading') ?? relays.at(-1)

async function query<Row extends object = { pid: number }>(
  scene: Scene,
  sql: string,
): Promise<Row[]> {
  const client = new Client({ connectionString: scene.server.dsn })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<Row>(sql)).rows
  } finally {
    await client.end()
  }
}

const SESSIONS = `SELECT pid FROM pg_stat_activity WHERE application_name = 'pglisten-relay-nats'`
const HOLDER = `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted`

/** What the sessions of the relays do, for whoever looks for the cause of a failure. */
export const sessionsOf = (scene: Scene): Promise<object[]> =>
  query(
    scene,
    `SELECT pid, state, wait_event, xact_start, state_change, left(query, 80) AS query FROM pg_stat_activity
      WHERE application_name = 'pglisten-relay-nats'`,
  )

function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {
      // It has ended meanwhile.
    }
  }
}

async function killed(scene: Scene, relay: RelayProcess | undefined): Promise<void> {
  await relay?.kill()
  scene.start()
}

async function frozen(scene: Scene, relay: RelayProcess | undefined): Promise<void> {
  relay?.freeze()
  await aWhile(scene)
  relay?.thaw()
}

/** Everything that was written is in the stream, was read by both readers, and is done for a durable subscription. */
async function caughtUp(scene: Scene): Promise<void> {
  scene.isPaused = true
  await scene.writing
  await scene.settled()
  await scene.readOn()
  const messages = scene.read.filter(({ subject }) => !subject.endsWith('.%gap')).length
  await waitFor(() => scene.consumed.filter((text) => /^\d+:/.test(text)).length >= messages, {
    timeoutMs: 30_000,
    what: 'the consumer to catch up',
  })
  if (scene.source === 'durable')
    await waitFor(
      async () =>
        (await query<{ events: string }>(scene, `SELECT events FROM pglisten.lag('relay')`))[0]
          ?.events === '0',
      { timeoutMs: 30_000, what: 'the position of the subscription to move' },
    )
}

/** The faults by their names. */
export const FAULTS: Record<string, (scene: Scene) => Promise<void>> = {
  'nats-server killed': async (scene) => {
    await scene.nats.kill()
    await aWhile(scene)
    await scene.nats.start()
  },
  'nats-server ended': async (scene) => {
    await scene.nats.halt()
    await aWhile(scene)
    await scene.nats.start()
  },
  'nats-server frozen': async (scene) => {
    scene.nats.freeze()
    await aWhile(scene)
    scene.nats.thaw()
  },
  'network to NATS cut': async ({ natsProxy }) => {
    natsProxy.reset()
  },
  'network to NATS away': async (scene) => {
    scene.natsProxy.set({ refuse: true })
    scene.natsProxy.reset()
    await aWhile(scene)
    scene.natsProxy.clear()
  },
  'network to NATS with a hole': async (scene) => {
    scene.natsProxy.beginHole()
    await aWhile(scene)
    scene.natsProxy.endHole()
  },
  'answers of NATS swallowed': async (scene) => {
    scene.natsProxy.swallow('toClient')
    await aWhile(scene)
    scene.natsProxy.clear()
    scene.natsProxy.reset()
  },
  'leader killed': (scene) => killed(scene, leaderOf(scene)),
  'standby killed': (scene) => killed(scene, otherOf(scene)),
  'leader frozen': (scene) => frozen(scene, leaderOf(scene)),
  'standby frozen': (scene) => frozen(scene, otherOf(scene)),
  'leader ended': async (scene) => {
    await leaderOf(scene)?.kill('SIGTERM')
    scene.start()
  },
  'session of the leader ended': async (scene) => {
    await query(scene, `SELECT pg_terminate_backend(pid) FROM (${HOLDER}) AS holder`)
  },
  'all sessions ended': async (scene) => {
    await query(scene, `SELECT pg_terminate_backend(pid) FROM (${SESSIONS}) AS sessions`)
  },
  'backend of the leader frozen': async (scene) => {
    const pids = (await query(scene, HOLDER)).map(({ pid }) => pid)
    signal(pids, 'SIGSTOP')
    await aWhile(scene)
    signal(pids, 'SIGCONT')
  },
  'PostgreSQL frozen': async (scene) => {
    const all = await query(scene, 'SELECT pid FROM pg_stat_activity')
    // The postmaster first, so that none is added.
    const pids = [scene.server.pid!, ...all.map(({ pid }) => pid)]
    signal(pids, 'SIGSTOP')
    await aWhile(scene)
    signal(pids, 'SIGCONT')
  },
  'PostgreSQL killed': async (scene) => {
    await scene.server.kill()
    await scene.server.start()
  },
  'PostgreSQL restarted': async (scene) => {
    await scene.server.restart()
  },
  'network to PostgreSQL cut': async ({ pgProxy }) => {
    pgProxy.reset()
  },
  'network to PostgreSQL with a hole': async (scene) => {
    scene.pgProxy.beginHole()
    await aWhile(scene)
    scene.pgProxy.endHole()
  },
  'right to publish taken away': async (scene) => {
    scene.nats.configure(users(false))
    scene.nats.reload()
    await aWhile(scene)
    scene.nats.configure(users(true))
    scene.nats.reload()
  },
  'stream full': async ({ nc, stream, random }) => {
    const { streams } = await jetstreamManager(nc)
    const { state } = await streams.info(stream)
    await streams.update(stream, {
      max_msgs: Math.max(1, state.messages),
      discard: DiscardPolicy.New,
    })
    await wait(200 + random() * 800)
    await streams.update(stream, { max_msgs: -1, discard: DiscardPolicy.Old })
  },
  'stream purged of what was read': async (scene) => {
    await caughtUp(scene)
    const { streams } = await jetstreamManager(scene.nc)
    await streams.purge(scene.stream, { seq: scene.read.at(-1)!.sequence + 1 })
    scene.isPaused = false
  },
  'stream deleted and made again': async (scene) => {
    await caughtUp(scene)
    const { streams } = await jetstreamManager(scene.nc)
    scene.deletions.push(Date.now())
    await streams.delete(scene.stream)
    await makeStream(scene.nats.url, scene.stream)
    scene.isPaused = false
  },
}
