// Relays under faults by chance: two processes of one stream, numbered rows, and an oracle that reads the stream.

import { connect, type NatsConnection } from '@nats-io/transport-node'
import { ConnectionPool } from 'pglisten'
import { subscribe, type RelayOptions } from 'pglisten-relay-nats'
import { FaultProxy } from '../network/fault-proxy.js'
import { randomNumbers } from '../random.mjs'
import { startServer, type DevServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'
import { FAULTS, sessionsOf, users, type Scene } from './chaos-faults.js'
import type { NatsBinary } from './nats-binaries.js'
import { NatsServer } from './nats-server.js'
import { OracleWriter, type OracleVerdict } from './oracle.js'
import { RelayProcess } from './relay-process.js'
import {
  asRead,
  counterFaults,
  makeStream,
  readStream,
  type StoredMessage,
} from './stream-reading.js'

export interface ChaosOptions {
  /** The least number of faults. */
  faults: number
  /** For how long faults strike at least, in minutes. */
  minutes: number
  seed: number
  source: 'channels' | 'durable'
  binary: NatsBinary
  report: (line: string) => void
}

export interface ChaosResult {
  verdict: OracleVerdict
  /** What is wrong with the numbers in the headers. */
  counterFaults: string[]
  /** How many messages the package's own consumer has got otherwise than they are in the stream. */
  consumerFaults: string[]
  faults: Record<string, number>
  gaps: Record<string, number>
  epochs: number
  /** For how long faults struck, in minutes. */
  minutes: number
  /** How many messages came in atomic batches. */
  inBatches: number
}

const STREAM = 'CHAOS'
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Lets faults happen, one after the other, and judges. */
export async function chaos(options: ChaosOptions): Promise<ChaosResult> {
  const random = randomNumbers(options.seed)
  // What is killed keeps what it has answered for.
  const durability = { fsync: true, synchronous_commit: true, full_page_writes: true }
  const server = await startServer({ settings: { max_connections: 60, ...durability } })
  const nats = await NatsServer.start({ binary: options.binary, config: users(true) })
  const scene = await openScene(options, server, nats, random)
  const counts: Record<string, number> = {}
  const over = new AbortController()
  try {
    // With numbers of its own, so that the faults do not depend on how far it comes.
    const sizes = randomNumbers(options.seed + 1)
    const writing = write(scene, sizes, over.signal, options.source === 'durable' ? 25 : 5)
    const names = Object.keys(FAULTS)
    // Each at least once, if there is room, and then by chance.
    const plan = [...names.toSorted(() => random() - 0.5)]
    const begunAt = performance.now()
    const minutes = () => (performance.now() - begunAt) / 60_000
    for (let number = 1; number <= options.faults || minutes() < options.minutes; number += 1) {
      const name = plan.pop() ?? names[Math.floor(random() * names.length)]!
      counts[name] = (counts[name] ?? 0) + 1
      await FAULTS[name]!(scene)
      await wait(200 + random() * 800)
      if (number % 20 === 0)
        options.report(
          `${number} faults in ${minutes().toFixed(1)} min, ${scene.writer.count} rows, ${scene.read.length} messages read`,
        )
    }
    const lasted = minutes()
    over.abort()
    await writing
    await scene.settled()
    return await judged(scene, options, counts, lasted)
  } finally {
    over.abort()
    scene.ending.abort()
    for (const relay of scene.relays) await relay.kill()
    await scene.following
    await scene.writer.close()
    await scene.nc.close()
    scene.natsProxy.stop()
    scene.pgProxy.stop()
    await nats.stop()
    await server.stop('immediate')
  }
}

async function openScene(
  { source }: ChaosOptions,
  server: DevServer,
  nats: NatsServer,
  random: () => number,
): Promise<Scene> {
  await makeStream(nats.url, STREAM)
  const nc = await connect({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
  const writer = new OracleWriter(server.dsn, { channels: 3, isDurable: source === 'durable' })
  if (source === 'durable') {
    const pool = new ConnectionPool(server.dsn)
    await pool.durable.install()
    await pool.close()
  }
  const natsProxy = await FaultProxy.start(nats.port)
  const pgProxy = await FaultProxy.start(server.port)
  const relayOptions: RelayOptions = {
    stream: STREAM,
    database: STREAM,
    channels: writer.channels,
    postgres: pgProxy.dsn(server.dsn),
    nats: {
      servers: `127.0.0.1:${natsProxy.port}`,
      user: 'relay',
      password: 'r',
      pingIntervalMs: 500,
    },
    heartbeatMs: 300,
    publishTimeoutMs: 500,
    ...(source === 'durable'
      ? { durable: { name: 'relay', from: 'beginning' as const, maxHandlerMs: 2000 } }
      : {}),
  }
  let started = 0
  const scene: Scene = {
    ...{ server, nats, nc, source, writer, natsProxy, pgProxy, random, stream: STREAM },
    relays: [],
    read: [],
    consumed: [],
    deletions: [],
    ending: new AbortController(),
    following: Promise.resolve(),
    isPaused: false,
    writing: Promise.resolve(),
    start: () => {
      // Every second relay uses atomic batches, where the server has them.
      started += 1
      const batchFrom = started % 2 === 0 ? 100 : false
      const relay = new RelayProcess({ ...relayOptions, batchFrom })
      scene.relays.push(relay)
      relay.child.once('close', () => {
        scene.relays = scene.relays.filter((one) => one !== relay)
      })
    },
    readOn: async () => {
      const from =
        (scene.read.at(-1)?.stream === scene.deletions.length ? scene.read.at(-1)!.sequence : 0) + 1
      const more = await readStream(nc, STREAM, from)
      for (const message of more) scene.read.push({ ...message, stream: scene.deletions.length })
    },
    settled: () => settle(scene),
  }
  scene.start()
  scene.start()
  scene.following = follow(nc, scene)
  await waitFor(() => scene.relays.some(({ role }) => role === 'leading'))
  return scene
}

/** The package's own consumer reads along. */
async function follow(nc: NatsConnection, scene: Scene): Promise<void> {
  const { signal } = scene.ending
  for await (const item of subscribe(nc, { stream: STREAM, database: STREAM, from: 'all', signal }))
    scene.consumed.push(item.kind === 'message' ? item.payload : item.reason)
}

/** Writes until `signal` is aborted: fewer events than notifications, since each of them is several writes to a table. */
async function write(
  scene: Scene,
  random: () => number,
  signal: AbortSignal,
  pauseMs: number,
): Promise<void> {
  while (!signal.aborted) {
    if (!scene.isPaused) {
      const some = scene.writer.write(5)
      const many = random() < 0.05 ? scene.writer.write(200, { together: true }) : some
      scene.writing = many
      await many
    }
    await wait(pauseMs)
  }
}

/** Waits until every fault is over, and a row that is written then is in the stream. */
async function settle(scene: Scene): Promise<void> {
  const { writer } = scene
  await waitFor(
    async () => {
      await writer.write(1)
      const { last } = writer
      return waitFor(
        async () => {
          await scene.readOn()
          return scene.read.some(({ payload }) => payload === `${last}:`)
        },
        { timeoutMs: 5000 },
      ).catch(() => false)
    },
    {
      timeoutMs: 90_000,
      what: 'a row in the stream',
    },
  ).catch(async (error: unknown) => {
    const said = scene.relays.map(({ lines }) => lines.slice(-3))
    const sessions = await sessionsOf(scene)
    const { length } = scene.read
    throw new Error(
      `After ${length} messages: ${JSON.stringify({ said, sessions, last: scene.read.at(-1) }, null, 1)}`,
      { cause: error },
    )
  })
}

async function judged(
  scene: Scene,
  { source }: ChaosOptions,
  faults: Record<string, number>,
  minutes: number,
): Promise<ChaosResult> {
  const { read, consumed, deletions } = scene
  const streams = deletions.length + 1
  const perStream = Array.from({ length: streams }, (_, index) =>
    read.filter(({ stream }) => stream === index),
  )
  const gaps: Record<string, number> = {}
  const judgedRead = perStream.flatMap((messages, index) => {
    const all = asRead(messages)
    for (const one of all) {
      if (one.kind !== 'gap') continue
      gaps[one.reason] = (gaps[one.reason] ?? 0) + 1
      // Such a gap says that nothing is known to be complete. What was committed before the deletion had been read by then.
      if (one.reason === 'stream-reset') one.lostAt = deletions[index - 1]
    }
    return all
  })
  // In a durable stream the beginnings of epochs tell that nothing is missing.
  const isGap = (one: (typeof judgedRead)[number]) =>
    !(one.kind === 'gap' && (one.dropped === 0 || source === 'durable'))
  const messages = read.filter(({ subject }) => !subject.endsWith('.%gap'))
  const got = () => consumed.filter((text) => /^\d+:/.test(text))
  await waitFor(() => got().length >= messages.length, { timeoutMs: 20_000 }).catch(() => {})
  return {
    verdict: scene.writer.judge(judgedRead.filter((one) => isGap(one))),
    counterFaults: perStream.flatMap((one) => counterFaults(one)),
    consumerFaults: differences(messages, got()),
    faults,
    minutes,
    gaps,
    inBatches: read.filter(({ headers }) => 'Nats-Batch-Id' in headers).length,
    epochs: new Set(read.map(({ headers }) => headers['Pg-Seq']?.split(':')[0])).size,
  }
}

function differences(messages: readonly StoredMessage[], consumed: readonly string[]): string[] {
  const faults = messages.flatMap(({ payload }, index) =>
    payload === consumed[index] ? [] : [`${payload} is ${consumed[index]} for the consumer`],
  )
  if (consumed.length > messages.length) faults.push(`${consumed.length - messages.length} more`)
  return faults
}
