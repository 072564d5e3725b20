// The types of pg-listen 1.7, and what its options are here.
import type { EventEmitter } from 'node:events'
import { ArgumentTypeError } from '../errors.js'
import type { HeartbeatOptions } from '../options/listener.js'
import type { ConnectionPoolOptions } from '../options/pool.js'
import {
  MAX_DELAY_MS,
  checkLimit,
  ignored,
  port,
  refused,
  settings,
  time,
  tls,
  translated,
} from './settings.js'
import type { Translations } from './settings.js'

/* oxlint-disable typescript/no-explicit-any -- where pg-listen has it, programs that use it would not compile with another type. */

/** The configuration of a client of pg. At run time options of `ConnectionPool` are taken too. */
export interface ConnectionConfig {
  /** The address of the server. Other options have precedence over it, but for `ssl`. */
  connectionString?: string | undefined
  /** The server's host. */
  host?: string | undefined
  /** The server's port. */
  port?: number | undefined
  /** The name of the user. */
  user?: string | undefined
  /** The password, or a function that returns it. */
  password?: string | (() => string | Promise<string>) | undefined
  /** The name of the database. */
  database?: string | undefined
  /** The encryption: `true` verifies with the authorities of the system. An object has `rejectUnauthorized`, `ca`, `cert`, `key`. */
  ssl?: boolean | object | undefined
  /** How TLS begins. */
  sslnegotiation?: 'postgres' | 'direct' | undefined
  /** The name under which sessions appear in `pg_stat_activity`. */
  application_name?: string | undefined
  /** The same, where there is no other. */
  fallback_application_name?: string | undefined
  /** The longest time for an attempt to connect, in milliseconds. */
  connectionTimeoutMillis?: number | undefined
  /** The idle time before the first keepalive probe, in milliseconds. */
  keepAliveInitialDelayMillis?: number | undefined
  /** The server's command-line options for each session. */
  options?: string | undefined
  /** A limit of the server, in milliseconds. */
  statement_timeout?: false | number | undefined
  /** A limit of the server, in milliseconds. */
  lock_timeout?: number | undefined
  /** A limit of the server, in milliseconds. */
  idle_in_transaction_session_timeout?: number | undefined
  /** Is not used: it is always on. */
  keepAlive?: boolean | undefined
}

/** The options of pg-listen. */
export interface Options {
  /** Is not used: the core is native. */
  native?: boolean | undefined
  /** The time between two heartbeats, in milliseconds; `false` for none. @default 10000 */
  paranoidChecking?: number | false | undefined
  /** The bound of the delays between attempts, in milliseconds. @default 100, which doubles up to 30000 */
  retryInterval?: number | ((attempt: number) => number) | undefined
  /** The most attempts after the loss of the connection; 0 for no limit. @default no limit */
  retryLimit?: number | undefined
  /**
   * The longest time without a connection, in milliseconds, after which there is an `error`; 0, `Infinity` and what is longer than
   * 2147483647 for no limit. @default no limit
   */
  retryTimeout?: number | undefined
  /** Makes a value of the text of a payload. It has to be synchronous. @default `JSON.parse` */
  parse?: ((serialized: string) => any) | undefined
  /** Makes the text of a payload. @default `JSON.stringify` */
  serialize?: ((data: any) => string) | undefined
}

/** A notification, as the event `notification` has it. */
export interface PgParsedNotification {
  /** The process id of the notifying backend. */
  processId: number
  /** The name of the channel. */
  channel: string
  /** What `parse` made of the payload; `undefined` for an empty one. */
  payload?: any
}

/** The events of a subscriber. */
export interface SubscriberEvents {
  /** It is connected, for the first time or again. */
  connected: []
  /** It has given up, a handler or `parse` has failed, or notifications were dropped. */
  error: [error: Error]
  /** A notification of any channel. */
  notification: [notification: PgParsedNotification]
  /** The connection is lost, and an attempt to connect again begins. */
  reconnect: [attempt: number]
}

/** A subscriber, with the API of pg-listen. */
export interface Subscriber<Events extends object = Record<string, any>> {
  /** Emits {@link SubscriberEvents}. */
  events: EventEmitter<SubscriberEvents>
  /** Emits the payloads of each channel, as an event of the channel's name. */
  notifications: EventEmitter<{ [Channel in keyof Events]: [payload: Events[Channel]] }>
  /** Connects, and listens to the channels of `listenTo()`. Rejects when there is no server. */
  connect(): Promise<void>
  /** Closes every connection. */
  close(): Promise<void>
  /** Returns the names of the channels of `listenTo()`. */
  getSubscribedChannels(): string[]
  /**
   * Subscribes to a channel. Resolves when that is committed; returns `undefined` when it was done before. Before the first
   * `connect()` the channel is only noted. Rejects once it has given up, until `connect()` is called again.
   */
  listenTo(channelName: string): Promise<void> | undefined
  /** Sends a notification, with what `serialize` makes of the payload; without one it is empty. */
  notify<Channel extends keyof Events & string>(
    channelName: Channel,
    ...payload: Events[Channel] extends void ? [] : [payload: Events[Channel]]
  ): Promise<void>
  /** Takes `listenTo()` back; returns `undefined` when there is nothing to take back. */
  unlisten(channelName: string): Promise<void> | undefined
  /** Takes every `listenTo()` back. */
  unlistenAll(): Promise<void>
}

/** A limit of the server's, in milliseconds; 0 and `false` stand for none. */
const limit = (value: unknown, others: ConnectionPoolOptions, name: string) =>
  settings({ [name]: Number(value) }, others)

const CONFIGURATION = {
  connectionString: 'dsn',
  user: 'username',
  database: 'dbName',
  port,
  ssl: tls,
  sslnegotiation: 'sslNegotiation',
  application_name: 'applicationName',
  fallback_application_name: (value, { applicationName = String(value) }) => ({ applicationName }),
  options: (value, { options }) => ({ options: [options, value].filter(Boolean).join(' ') }),
  connectionTimeoutMillis: time('connectTimeoutSec', 1000),
  keepAliveInitialDelayMillis: time('keepalivesIdleSec', 1000),
  statement_timeout: limit,
  lock_timeout: limit,
  idle_in_transaction_session_timeout: limit,
  query_timeout: refused('is not taken: `statement_timeout` bounds `notify()`, in the server'),
  stream: refused('is not taken: the socket is not one of Node.js'),
  // Always on, or tried; for results; for pools, whose configuration is often the same object.
  ...{ keepAlive: ignored, types: ignored, binary: ignored, client_encoding: ignored },
  enableChannelBinding: ignored,
  ...{ max: ignored, min: ignored, idleTimeoutMillis: ignored, allowExitOnIdle: ignored },
  ...{ maxUses: ignored, maxLifetimeSeconds: ignored },
} satisfies Translations

/** Makes options of a pool of the configuration of a client of pg. */
export function poolOptions(config: ConnectionConfig): ConnectionPoolOptions {
  const { ssl, ...others } = config
  // As in pg, where what the address says of encryption counts.
  const isSaid = /[?&\s]ssl(mode)?=/.test(config.connectionString ?? '')
  return translated(isSaid ? others : { ...others, ssl }, CONFIGURATION)
}

const OPTIONS = new Set([
  ...['native', 'paranoidChecking', 'parse', 'serialize'],
  ...['retryInterval', 'retryLimit', 'retryTimeout'],
])

/** Makes options of a listener of those of pg-listen. */
export function listenerOptions(options: Options) {
  const strange = Object.keys(options).find((name) => !OPTIONS.has(name))
  if (strange !== undefined)
    throw new ArgumentTypeError(`unknown option \`${strange}\` of pg-listen's`)
  const { paranoidChecking, retryInterval, retryLimit, retryTimeout } = options
  // In pg-listen `null` is no limit too.
  const timeoutMs = retryTimeout ?? 0
  checkLimit('retryTimeout', timeoutMs)
  if (typeof retryInterval === 'function') {
    const message =
      'Expected `retryInterval` to be a number: it bounds the delays, which are random'
    throw new ArgumentTypeError(message)
  }
  const delayMs = retryInterval === undefined ? undefined : Math.max(1, retryInterval)
  const heartbeat: HeartbeatOptions | false =
    paranoidChecking === undefined || paranoidChecking ? { intervalMs: paranoidChecking } : false
  return {
    heartbeat,
    /** `undefined` for no limit: longer than a timer can wait, or none. */
    retryTimeoutMs: timeoutMs > 0 && timeoutMs <= MAX_DELAY_MS ? timeoutMs : undefined,
    reconnect: {
      initialDelayMs: delayMs,
      maxDelayMs: delayMs,
      maxAttempts: retryLimit || Infinity,
    },
  }
}
