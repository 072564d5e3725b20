// What tests of the relay share: a nats-server and a stream of their own, a database of their own, and a relay in this process.

import { jetstreamManager } from '@nats-io/jetstream'
import ava, { type ExecutionContext, type TestFn } from 'ava'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { ConnectionPool } from 'pglisten'
import { Relay, type RelayOptions } from 'pglisten-relay-nats'
import { natsBinaries } from '../../lab/relay/nats-binaries.js'
import { NatsServer, type NatsServerOptions } from '../../lab/relay/nats-server.js'
import { OracleWriter } from '../../lab/relay/oracle.js'
import {
  answered,
  makeStream,
  readStream,
  type StoredMessage,
} from '../../lab/relay/stream-reading.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { createDatabase } from '../support/database.js'

/** `test`, or `test.skip` where there is no nats-server: the test command counts what is skipped. */
export const test: TestFn =
  natsBinaries().length > 0 ? ava : Object.assign(ava.skip, ava, { serial: ava.serial.skip })

export interface Scene {
  nats: NatsServer
  nc: NatsConnection
  /** The name of the stream, and of the database in its subjects. */
  stream: string
  dsn: string
  writer: OracleWriter
  /** The options of a relay. */
  options: RelayOptions
  /** Everything that is in the stream. */
  read: () => Promise<StoredMessage[]>
}

export interface SceneOptions extends NatsServerOptions {
  stream?: Parameters<typeof makeStream>[2]
  channels?: number
  padding?: number
}

export async function openScene(t: ExecutionContext, options: SceneOptions = {}): Promise<Scene> {
  const nats = await NatsServer.start(options)
  t.teardown(() => nats.stop())
  const stream = uniqueName('S')
  await makeStream(nats.url, stream, options.stream)
  const nc = await connect({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
  t.teardown(() => nc.close())
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const dsn = url.href
  const writer = new OracleWriter(dsn, options)
  t.teardown(() => writer.close())
  return {
    nats,
    nc,
    stream,
    dsn,
    writer,
    options: {
      stream,
      database: stream,
      channels: writer.channels,
      postgres: dsn,
      nats: { servers: nats.url },
    },
    read: () => readStream(nc, stream),
  }
}

/** A scene whose relays work a durable subscription of the channels `orders` and `jobs`. */
export interface DurableScene extends Scene {
  pool: ConnectionPool
}

export async function openDurable(
  t: ExecutionContext,
  options: SceneOptions = {},
): Promise<DurableScene> {
  const scene = await openScene(t, options)
  const pool = new ConnectionPool(scene.dsn)
  t.teardown(() => pool.close())
  await pool.durable.install()
  return {
    ...scene,
    pool,
    options: {
      ...scene.options,
      channels: ['orders', 'jobs'],
      durable: { name: 'relay', from: 'beginning' },
    },
  }
}

export interface Running {
  relay: Relay
  warnings: string[]
  /** Ends it, and waits for that. */
  stop: () => Promise<void>
  done: Promise<void>
}

/** Starts a relay in this process. The end of the test ends it. */
export function startRelay(t: ExecutionContext, options: RelayOptions): Running {
  const relay = new Relay(options)
  const warnings: string[] = []
  relay.on('warning', ({ message, error }) =>
    warnings.push(error instanceof Error ? `${message}: ${error.message}` : message),
  )
  const ending = new AbortController()
  const done = relay.run({ signal: ending.signal })
  // A test that does not wait for it sees the failure at its end.
  done.catch(() => {})
  const stop = async () => {
    ending.abort()
    await within(done, { what: 'the relay to end' })
  }
  t.teardown(() => stop().catch(() => {}))
  return { relay, warnings, stop, done }
}

/** Waits until a relay leads in an epoch. One of a durable source begins that with its first event. */
export async function leading({ relay, done, warnings }: Running): Promise<void> {
  const leads = waitFor(() => relay.stats().epoch !== undefined, { what: 'the relay to lead' })
  await Promise.race([
    leads.catch((error: unknown) => {
      throw new Error(`${String(error)}: ${warnings.join('; ')}`)
    }),
    done.then(() => {
      throw new Error('The relay has ended')
    }),
  ])
}

/** Waits until the stream has that many messages. */
export async function stored({ nc, stream }: Scene, count: number): Promise<void> {
  const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: 1000 })
  const lastSequence = async () => (await answered(() => jsm.streams.info(stream))).state.last_seq
  await waitFor(async () => (await lastSequence()) >= count, {
    what: `${count} messages in the stream`,
    timeoutMs: 30_000,
  })
}
