// The options of the relay, their defaults and their checks.
import type { ConnectionPoolOptions } from 'pglisten'
import type { TlsOptions } from '@nats-io/transport-node'
import { RelayOptionError } from '../errors.js'
import {
  checkBoolean,
  checkInteger,
  checkNames,
  checkText,
  checkTexts,
  isObject,
  refuse,
} from './checks.js'

/** How to reach NATS. */
export interface NatsOptions {
  /** Addresses such as `nats://host:4222` or `tls://host:4222`; one with `tls://` makes TLS a must for all. @default 127.0.0.1:4222 */
  servers?: string | readonly string[] | undefined
  /** The user. @default none */
  user?: string | undefined
  /** Its password. @default none */
  password?: string | undefined
  /** A token in place of a user. @default none */
  token?: string | undefined
  /** The path of a file with a JWT and its seed, which each connection reads again. @default none */
  credsFile?: string | undefined
  /** The path of a file with the seed of an NKey, which each connection reads again. @default none */
  nkeyFile?: string | undefined
  /**
   * TLS as a must, with files by their paths, which each connection reads again: `caFile` (else Node's own authorities), and `certFile` with
   * `keyFile` where the server asks for a certificate; `ca`, `cert` and `key` are the same as PEM. `handshakeFirst` for a server that begins
   * with TLS. `{}` for none of them. The certificate of the server is always verified.
   * @default none: TLS if the server offers it
   */
  tls?: TlsOptions | undefined
  /** The name of the connection on the server. @default 'pglisten-relay-nats' */
  name?: string | undefined
  /** The first token of the subjects of answers; the account needs the right to subscribe to it. @default '_INBOX_relay' */
  inboxPrefix?: string | undefined
  /** How often the client asks whether the server is there, in milliseconds: an integer from 100. @default 10000 */
  pingIntervalMs?: number | undefined
  /** The longest time that connecting may take, in milliseconds: an integer from 100. @default 5000 */
  connectTimeoutMs?: number | undefined
}

/** The durable subscription that is the source of the relay. */
export interface DurableSource {
  /** The name of the subscription. It is made if it does not exist. */
  name: string
  /** Where a new subscription begins. @default 'now' */
  from?: 'now' | 'beginning' | undefined
  /** The most events of one transaction: an integer from 1 to 10000. @default 100 */
  batchSize?: number | undefined
  /**
   * The longest time that one transaction may take, in milliseconds: an integer from 1000. Its events have to be stored within two fifths of
   * it; otherwise they are handed out again.
   * @default 60000
   */
  maxHandlerMs?: number | undefined
}

/** What the relay keeps while NATS is away or slow. */
export interface RelayBuffer {
  /** The most notifications: an integer from 1. @default 262144 */
  maxMessages?: number | undefined
  /** The most bytes: an integer from 16384. @default 67108864 (64 MiB) */
  maxBytes?: number | undefined
}

/** The options of {@link Relay}. */
export interface RelayOptions {
  /** The stream that gets the messages. Nobody but relays may write to its subjects. */
  stream: string
  /** The channels that are relayed: from 1 on. */
  channels: readonly string[]
  /** PostgreSQL, as a DSN or the options of a pool. @default libpq's environment variables */
  postgres?: string | ConnectionPoolOptions | undefined
  /** NATS. @default 127.0.0.1:4222 without credentials */
  nats?: NatsOptions | undefined
  /** The name of the database in subjects. @default its name on the server */
  database?: string | undefined
  /** The first tokens of the subjects. @default 'pg' */
  prefix?: string | undefined
  /** A durable subscription in place of plain notifications. @default none */
  durable?: DurableSource | undefined
  /** The most messages that are under way to the stream: an integer from 1 to 1000. @default 1000 */
  window?: number | undefined
  /**
   * From how many waiting messages on an atomic batch is used, if the stream takes them: an integer from 2 to 1000, or `false` for never.
   * @default false
   */
  batchFrom?: number | false | undefined
  /** The longest time in which the stream has to answer, in milliseconds: an integer from 100. @default 2000 */
  publishTimeoutMs?: number | undefined
  /**
   * How often the listening session shows that it lives, in milliseconds: an integer from 100. A leader that has not done so for
   * twice as long is thrown out, so all relays of a stream need the same value.
   * @default 1000
   */
  heartbeatMs?: number | undefined
  /** How often a relay that stands by asks for the lock, in milliseconds: an integer from 10. @default 20 */
  standbyPollMs?: number | undefined
  /** What the relay keeps while NATS is away. Beyond it the oldest is dropped, and a gap tells how many. Without effect with a durable source. */
  buffer?: RelayBuffer | undefined
  /** How long the relay may take to store what it has read when it is ended, in milliseconds: an integer from 0. @default 5000 */
  graceMs?: number | undefined
}

/** @internal See {@link NatsOptions}. */
export interface ResolvedNats {
  servers: readonly string[]
  user: string | undefined
  password: string | undefined
  token: string | undefined
  credsFile: string | undefined
  nkeyFile: string | undefined
  tls: TlsOptions | undefined
  name: string
  inboxPrefix: string
  pingIntervalMs: number
  connectTimeoutMs: number
}

/** @internal The options, checked and complete. */
export interface ResolvedOptions {
  stream: string
  channels: readonly string[]
  postgres: string | ConnectionPoolOptions | undefined
  nats: ResolvedNats
  database: string | undefined
  prefix: string
  durable:
    { name: string; from: 'now' | 'beginning'; batchSize: number; maxHandlerMs: number } | undefined
  window: number
  batchFrom: number
  publishTimeoutMs: number
  heartbeatMs: number
  standbyPollMs: number
  buffer: { maxMessages: number; maxBytes: number }
  graceMs: number
}

const NAMES = [
  ...['stream', 'channels', 'postgres', 'nats', 'database', 'prefix', 'durable', 'window'],
  ...['batchFrom', 'publishTimeoutMs', 'heartbeatMs', 'standbyPollMs', 'buffer', 'graceMs'],
]
const NATS_NAMES = [
  ...['servers', 'user', 'password', 'token', 'credsFile', 'nkeyFile', 'tls', 'name'],
  ...['inboxPrefix', 'pingIntervalMs', 'connectTimeoutMs'],
]
const TLS_TEXTS = ['caFile', 'ca', 'certFile', 'cert', 'keyFile', 'key'] as const
const MAX_CHANNEL_BYTES = 63
const MAX_TIMER_MS = 2_147_483_647

/** @internal Checks the options. */
export function resolveOptions(options: RelayOptions): ResolvedOptions {
  checkNames('options', options, NAMES)
  const ms = (name: keyof RelayOptions, least: number, otherwise: number) =>
    checkInteger(name, options[name] ?? otherwise, least, MAX_TIMER_MS)
  return {
    stream: checkStream(options.stream),
    channels: checkChannels(options.channels),
    postgres: checkPostgres(options.postgres),
    nats: resolveNats(options.nats ?? {}),
    database: checkText('database', options.database),
    prefix: checkPrefix(options.prefix ?? 'pg'),
    durable: options.durable === undefined ? undefined : resolveDurable(options.durable),
    window: checkInteger('window', options.window ?? 1000, 1, 1000),
    batchFrom: checkBatchFrom(options.batchFrom ?? false),
    publishTimeoutMs: ms('publishTimeoutMs', 100, 2000),
    heartbeatMs: ms('heartbeatMs', 100, 1000),
    standbyPollMs: ms('standbyPollMs', 10, 20),
    buffer: resolveBuffer(options.buffer ?? {}),
    graceMs: ms('graceMs', 0, 5000),
  }
}

/** @internal Checks how NATS is reached. */
export function resolveNats(nats: NatsOptions): ResolvedNats {
  checkNames('nats', nats, NATS_NAMES)
  const text = (name: keyof NatsOptions) => checkText(`nats.${name}`, nats[name])
  const servers = nats.servers ?? '127.0.0.1:4222'
  const addresses = checkTexts('nats.servers', typeof servers === 'string' ? [servers] : servers)
  return {
    servers: addresses,
    user: text('user'),
    password: text('password'),
    token: text('token'),
    credsFile: text('credsFile'),
    nkeyFile: text('nkeyFile'),
    tls: resolveTls(nats.tls, addresses),
    name: text('name') ?? 'pglisten-relay-nats',
    inboxPrefix: checkPrefix(nats.inboxPrefix ?? '_INBOX_relay', 'nats.inboxPrefix'),
    pingIntervalMs: checkInteger(
      'nats.pingIntervalMs',
      nats.pingIntervalMs ?? 10_000,
      100,
      MAX_TIMER_MS,
    ),
    connectTimeoutMs: checkInteger(
      'nats.connectTimeoutMs',
      nats.connectTimeoutMs ?? 5000,
      100,
      MAX_TIMER_MS,
    ),
  }
}

/** The client takes `tls://` for `nats://`, and would send a password in the clear to a server without TLS. */
function resolveTls(
  tls: TlsOptions | undefined,
  servers: readonly string[],
): TlsOptions | undefined {
  if (tls === undefined) return servers.some((one) => /^tls:/i.test(one)) ? {} : undefined
  checkNames('nats.tls', tls, ['handshakeFirst', ...TLS_TEXTS])
  if (tls.handshakeFirst !== undefined) checkBoolean('nats.tls.handshakeFirst', tls.handshakeFirst)
  for (const name of TLS_TEXTS) checkText(`nats.tls.${name}`, tls[name])
  const hasCertificate = (tls.certFile ?? tls.cert) !== undefined
  if (hasCertificate !== ((tls.keyFile ?? tls.key) !== undefined))
    throw new RelayOptionError(
      `Expected \`nats.tls\` to have a certificate and its key, or neither, got ${hasCertificate ? 'no key' : 'no certificate'}`,
    )
  return tls
}

function resolveDurable(durable: DurableSource): NonNullable<ResolvedOptions['durable']> {
  checkNames('durable', durable, ['name', 'from', 'batchSize', 'maxHandlerMs'])
  const { from = 'now', batchSize = 100, maxHandlerMs = 60_000 } = durable
  if (from !== 'now' && from !== 'beginning') refuse('durable.from', "'now' or 'beginning'", from)
  return {
    name: checkText('durable.name', durable.name) ?? refuse('durable.name', 'a text', undefined),
    from,
    batchSize: checkInteger('durable.batchSize', batchSize, 1, 10_000),
    maxHandlerMs: checkInteger('durable.maxHandlerMs', maxHandlerMs, 1000, MAX_TIMER_MS),
  }
}

function resolveBuffer(buffer: RelayBuffer): ResolvedOptions['buffer'] {
  checkNames('buffer', buffer, ['maxMessages', 'maxBytes'])
  const { maxMessages = 262_144, maxBytes = 64 * 1024 * 1024 } = buffer
  return {
    maxMessages: checkInteger('buffer.maxMessages', maxMessages, 1, 2 ** 31),
    maxBytes: checkInteger('buffer.maxBytes', maxBytes, 16_384, Number.MAX_SAFE_INTEGER),
  }
}

function checkStream(stream: unknown): string {
  if (typeof stream !== 'string' || !/^[^\s.*>/\\]{1,255}$/.test(stream))
    refuse('stream', 'the name of a stream, without spaces or any of `.*>/\\`', stream)
  return stream
}

/** @internal Tokens without wildcards, that together fit into a subject. */
export function checkPrefix(prefix: unknown, name = 'prefix'): string {
  if (typeof prefix !== 'string' || !/^[\w-]+(\.[\w-]+)*$/.test(prefix) || prefix.length > 200)
    refuse(name, 'tokens of letters, digits, `_` and `-`, with dots between them', prefix)
  return prefix
}

/** @internal Names of channels, each once. */
export function checkChannels(channels: unknown): readonly string[] {
  const texts = checkTexts('channels', channels)
  if (texts.length === 0) refuse('channels', 'an array of at least one channel', channels)
  for (const channel of texts) {
    const bytes = Buffer.byteLength(channel)
    if (
      bytes === 0 ||
      bytes > MAX_CHANNEL_BYTES ||
      channel.includes('\0') ||
      !channel.isWellFormed()
    )
      refuse('channels', `names of 1 to ${MAX_CHANNEL_BYTES} bytes without NUL`, channel)
  }
  return [...new Set(texts)]
}

/** What it says may hold a password, so it is not shown. */
function checkPostgres(postgres: unknown): ResolvedOptions['postgres'] {
  if (postgres === undefined || typeof postgres === 'string' || isObject(postgres)) return postgres
  return refuse('postgres', 'a DSN or the options of a pool', typeof postgres)
}

function checkBatchFrom(batchFrom: unknown): number {
  if (batchFrom === false) return Infinity
  if (typeof batchFrom === 'boolean')
    refuse('batchFrom', 'an integer from 2 to 1000 or false', batchFrom)
  return checkInteger('batchFrom', batchFrom, 2, 1000)
}
