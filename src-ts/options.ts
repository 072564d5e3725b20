// The options of a pool and of a listener: their documentation, their defaults, and their checks.
import { checkConnectOptions, type NativeConnectOptions, type NativeSettings } from '#native'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionPoolConfigurationError,
  fromNativeError,
} from './errors.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkChannel,
  checkFunction,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSignal,
  checkString,
  expected,
  type CheckErrors,
  type NumberBounds,
} from './validate.js'

const TARGET_SESSION_ATTRS = ['any', 'read-write', 'read-only'] as const
const LOAD_BALANCE_HOSTS = ['disable', 'random'] as const
const CONN_RECYCLING_METHODS = ['fast', 'verified', 'clean'] as const
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
const OVERFLOW_POLICIES = ['dropOldest', 'dropNewest', 'pause', 'error'] as const

/** The role that a server must have: it is asked `SHOW transaction_read_only`. */
export type TargetSessionAttrs = (typeof TARGET_SESSION_ATTRS)[number]
/** The order in which several hosts are tried. */
export type LoadBalanceHosts = (typeof LOAD_BALANCE_HOSTS)[number]
/**
 * What is done to a pooled connection before it is used again: `fast` looks whether it is closed, `verified` also
 * makes a round trip, `clean` also resets the session (settings, LISTENs, temporary tables, advisory locks).
 */
export type ConnRecyclingMethod = (typeof CONN_RECYCLING_METHODS)[number]
/** libpq's modes of encryption. */
export type SslMode = (typeof SSL_MODES)[number]
/** What happens to a notification for which a consumer's buffer has no room. */
export type OverflowPolicy = (typeof OVERFLOW_POLICIES)[number]

/**
 * How to connect. Each setting comes from the first place that has it: the option, the `dsn`, libpq's environment
 * variable, the default.
 */
export interface ConnectionPoolOptions {
  /** A URL (`postgres://user:password@host:5432/database`) or key/value pairs (`host=localhost user=postgres`). */
  dsn?: string
  /** @default `PGUSER`, or the user who runs the process */
  username?: string
  /** @default `PGPASSWORD`, or none */
  password?: string
  /** A name, an address, or the folder of a Unix-domain socket. @default `PGHOST`, or `localhost` */
  host?: string
  /** Several hosts, to be tried in turn; not together with `host`. */
  hosts?: readonly string[]
  /** @default `PGPORT`, or 5432 */
  port?: number
  /** One port for all hosts, or one for each; not together with `port`. */
  ports?: readonly number[]
  /** @default `PGDATABASE`, or the name of the user */
  dbName?: string
  /** Command-line options for the session, such as `-c statement_timeout=5s`. @default `PGOPTIONS`, or none */
  options?: string
  /** @default `PGAPPNAME`, or `pglisten` */
  applicationName?: string
  /** @default `PGTARGETSESSIONATTRS`, or `any` */
  targetSessionAttrs?: TargetSessionAttrs
  /** @default `PGLOADBALANCEHOSTS`, or `disable` */
  loadBalanceHosts?: LoadBalanceHosts
  /**
   * The bound for each host, in seconds, from name resolution to the last answer of start-up. Fractions are allowed.
   * @default `PGCONNECT_TIMEOUT`, or 10
   */
  connectTimeoutSec?: number
  /** How long sent data may stay unacknowledged, in seconds; Linux only. @default the operating system's */
  tcpUserTimeoutSec?: number
  /** Whether TCP keepalive is on. @default true */
  keepalives?: boolean
  /** Idle time before the first keepalive probe, in seconds. @default 60 */
  keepalivesIdleSec?: number
  /** Time between keepalive probes, in seconds. @default the operating system's */
  keepalivesIntervalSec?: number
  /** Keepalive probes without an answer before the connection is given up. @default the operating system's */
  keepalivesRetries?: number
  /** The most connections of the pool. A listener's own session does not count. @default 10 */
  maxDbPoolSize?: number
  /** @default `fast` */
  connRecyclingMethod?: ConnRecyclingMethod
  /**
   * This version cannot encrypt: `require` and above are refused, `allow` and `prefer` end on a plain connection, as
   * they do with a server that has no TLS. @default `PGSSLMODE`, or `prefer`
   */
  sslMode?: SslMode
  /** A file with certificates of authorities. Refused, as this version cannot encrypt. */
  caFile?: string
}

const POOL_OPTIONS = [
  'dsn',
  'username',
  'password',
  'host',
  'hosts',
  'port',
  'ports',
  'dbName',
  'options',
  'applicationName',
  'targetSessionAttrs',
  'loadBalanceHosts',
  'connectTimeoutSec',
  'tcpUserTimeoutSec',
  'keepalives',
  'keepalivesIdleSec',
  'keepalivesIntervalSec',
  'keepalivesRetries',
  'maxDbPoolSize',
  'connRecyclingMethod',
  'sslMode',
  'caFile',
] as const satisfies readonly (keyof ConnectionPoolOptions)[]

/** @internal Checked and complete. */
export interface ResolvedPoolOptions {
  connect: NativeConnectOptions
  maxDbPoolSize: number
  connRecyclingMethod: ConnRecyclingMethod
}

const DEFAULT_POOL_SIZE = 10
/** Beyond this a pool is a mistake: PostgreSQL's own limit of `max_connections` is 262143. */
const MAX_POOL_SIZE = 262_143
const PORT: NumberBounds = { min: 1, max: 65_535, integer: true }
const SECONDS: NumberBounds = { min: 0.001, max: MAX_DELAY_MS / 1000 }

/** What a failed check of a pool's option throws. */
function configurationErrors(option: string): CheckErrors {
  const error = (message: string) => new ConnectionPoolConfigurationError(message, { option })
  return { type: error, range: error }
}

/** @internal Checks the options of a pool. Throws {@link ConnectionPoolConfigurationError}. */
export function resolvePoolOptions(
  input: ConnectionPoolOptions | string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ResolvedPoolOptions {
  const options: ConnectionPoolOptions = typeof input === 'string' ? { dsn: input } : (input ?? {})
  checkOptions('options', options, POOL_OPTIONS, configurationErrors('options'))
  const settings = optionSettings(options)
  const connect: NativeConnectOptions = {
    dsn: options.dsn ?? null,
    settings,
    environment: environmentSettings(env),
  }
  const error = checkConnectOptions(connect)
  if (error) throw fromNativeError(error)
  return {
    connect,
    maxDbPoolSize:
      numberOption(options, 'maxDbPoolSize', { min: 1, max: MAX_POOL_SIZE, integer: true }) ??
      DEFAULT_POOL_SIZE,
    connRecyclingMethod:
      choiceOption(options, 'connRecyclingMethod', CONN_RECYCLING_METHODS) ?? 'fast',
  }
}

/** @internal Checks a pool's size. */
export function checkPoolSize(value: unknown): asserts value is number {
  checkNumber('size', value, { min: 1, max: MAX_POOL_SIZE, integer: true })
}

function optionSettings(options: ConnectionPoolOptions): NativeSettings {
  // The values of these two are never shown.
  secretOption(options, 'dsn')
  if (options.caFile !== undefined) {
    throw new ConnectionPoolConfigurationError(
      '`caFile` asks for encryption, but this version cannot encrypt connections',
      {
        option: 'caFile',
      },
    )
  }
  exclusive(options, 'host', 'hosts')
  exclusive(options, 'port', 'ports')
  const host = textOption(options, 'host')
  const port = numberOption(options, 'port', PORT)
  const loadBalance = choiceOption(options, 'loadBalanceHosts', LOAD_BALANCE_HOSTS)
  return complete({
    user: textOption(options, 'username'),
    password: secretOption(options, 'password'),
    hosts:
      host === undefined
        ? listOption(options, 'hosts', (name, value) => checkText(name, value, 'hosts'))
        : [host],
    ports:
      port === undefined
        ? listOption(options, 'ports', (name, value) =>
            checkNumber(name, value, PORT, configurationErrors('ports')),
          )
        : [port],
    dbName: textOption(options, 'dbName'),
    options: textOption(options, 'options'),
    applicationName: textOption(options, 'applicationName'),
    targetSessionAttrs: choiceOption(options, 'targetSessionAttrs', TARGET_SESSION_ATTRS),
    loadBalance: loadBalance === undefined ? undefined : loadBalance === 'random',
    connectTimeoutMs: secondsOption(options, 'connectTimeoutSec'),
    tcpUserTimeoutMs: secondsOption(options, 'tcpUserTimeoutSec'),
    keepalives: booleanOption(options, 'keepalives'),
    keepalivesIdleMs: secondsOption(options, 'keepalivesIdleSec'),
    keepalivesIntervalMs: secondsOption(options, 'keepalivesIntervalSec'),
    keepalivesRetries: numberOption(options, 'keepalivesRetries', {
      min: 1,
      max: 1000,
      integer: true,
    }),
    sslMode: choiceOption(options, 'sslMode', SSL_MODES),
  })
}

/** What libpq reads from the environment (https://www.postgresql.org/docs/current/libpq-envars.html). */
function environmentSettings(env: NodeJS.ProcessEnv): NativeSettings {
  const read = <Value>(name: string, convert: (text: string) => Value): Value | undefined => {
    const text = env[name]
    return text === undefined || text === '' ? undefined : convert(text)
  }
  const numbers = (name: string, bounds: NumberBounds) => (text: string) =>
    text.split(',').map((part) => {
      const value = part.trim() === '' ? Number.NaN : Number(part)
      checkNumber(name, value, bounds, configurationErrors(name))
      return value
    })
  const choice =
    <Value extends string>(name: string, accepted: readonly Value[]) =>
    (text: string) => {
      checkOneOf(name, text, accepted, configurationErrors(name))
      return text
    }
  return complete({
    user: env['PGUSER'] || undefined,
    password: env['PGPASSWORD'] || undefined,
    hosts: read('PGHOST', (text) => text.split(',')),
    ports: read('PGPORT', numbers('PGPORT', PORT)),
    dbName: env['PGDATABASE'] || undefined,
    options: env['PGOPTIONS'] || undefined,
    applicationName: env['PGAPPNAME'] || undefined,
    targetSessionAttrs: read(
      'PGTARGETSESSIONATTRS',
      choice('PGTARGETSESSIONATTRS', TARGET_SESSION_ATTRS),
    ),
    loadBalance:
      read('PGLOADBALANCEHOSTS', choice('PGLOADBALANCEHOSTS', LOAD_BALANCE_HOSTS)) === 'random' ||
      undefined,
    // Zero is libpq's way of saying: no limit. There is always one here.
    connectTimeoutMs: read(
      'PGCONNECT_TIMEOUT',
      (text) =>
        numbers('PGCONNECT_TIMEOUT', { min: 0, max: MAX_DELAY_MS / 1000 })(text)[0]! * 1000 ||
        undefined,
    ),
    sslMode: read('PGSSLMODE', choice('PGSSLMODE', SSL_MODES)),
    // libpq has no variables for these.
    tcpUserTimeoutMs: undefined,
    keepalives: undefined,
    keepalivesIdleMs: undefined,
    keepalivesIntervalMs: undefined,
    keepalivesRetries: undefined,
  })
}

type Settings = { [Key in keyof NativeSettings]: Exclude<NativeSettings[Key], null> | undefined }

/** Options cross complete: what is not given is `null`, so that a forgotten field is an error. */
function complete(settings: Settings): NativeSettings {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [key, value ?? null]),
  ) as unknown as NativeSettings
}

function exclusive(
  options: ConnectionPoolOptions,
  one: keyof ConnectionPoolOptions,
  other: keyof ConnectionPoolOptions,
): void {
  if (options[one] !== undefined && options[other] !== undefined) {
    throw new ConnectionPoolConfigurationError(`Expected \`${one}\` or \`${other}\`, got both`, {
      option: one,
    })
  }
}

function checkText(name: string, value: unknown, option: string): asserts value is string {
  checkString(name, value, configurationErrors(option))
  if (value === '' || value.includes('\0')) {
    throw new ConnectionPoolConfigurationError(
      expected(name, 'a string that is not empty and has no NUL', value),
      { option },
    )
  }
}

function textOption(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
): string | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  checkText(name, value, name)
  return value
}

function secretOption(
  options: ConnectionPoolOptions,
  name: 'password' | 'dsn',
): string | undefined {
  const value = options[name] as unknown
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value.includes('\0') || (name === 'dsn' && value === '')) {
    throw new ConnectionPoolConfigurationError(
      `Expected \`${name}\` to be a string ${name === 'dsn' ? 'that is not empty and has no NUL' : 'without NUL'}, got ${
        typeof value === 'string'
          ? 'one that is not (not shown)'
          : `a value of type ${typeof value} (not shown)`
      }`,
      { option: name },
    )
  }
  return value
}

function booleanOption(options: ConnectionPoolOptions, name: 'keepalives'): boolean | undefined {
  const value = options[name]
  if (value !== undefined) checkBoolean(name, value, configurationErrors(name))
  return value
}

function numberOption(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
  bounds: NumberBounds,
): number | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  checkNumber(name, value, bounds, configurationErrors(name))
  return value
}

function secondsOption(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
): number | undefined {
  const value = numberOption(options, name, SECONDS)
  return value === undefined ? undefined : value * 1000
}

function choiceOption<Value extends string>(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
  accepted: readonly Value[],
): Value | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  checkOneOf(name, value, accepted, configurationErrors(name))
  return value
}

function listOption<Value>(
  options: ConnectionPoolOptions,
  option: 'hosts' | 'ports',
  check: (name: string, value: unknown) => asserts value is Value,
): Value[] | undefined {
  const values: readonly unknown[] | undefined = options[option]
  if (values === undefined) return undefined
  if (!Array.isArray(values) || values.length === 0) {
    throw new ConnectionPoolConfigurationError(
      expected(option, 'an array that is not empty', values),
      { option },
    )
  }
  return values.map((value, index) => {
    check(`${option}[${index}]`, value)
    return value
  })
}

/** How much a consumer may have waiting, and what happens beyond. */
export interface BufferOptions {
  /** The most notifications. @default 262144 */
  maxMessages?: number
  /** The most bytes: payloads, and 64 bytes for each notification. @default 67108864 (64 MiB) */
  maxBytes?: number
  /**
   * `dropOldest` and `dropNewest` drop, and put a {@link Gap} with the exact count where they dropped. `pause` stops
   * reading from the server, for all consumers, for at most `maxPauseMs`; then it reconnects, with a gap. `error` closes
   * the listener with a {@link ListenerOverflowError}.
   * @default `dropOldest`
   */
  overflow?: OverflowPolicy
  /** The longest pause, in milliseconds; a server that is not read cannot clean up. @default 10000 */
  maxPauseMs?: number
}

/** How to come back after the session was lost: full-jitter exponential back-off. */
export interface ReconnectOptions {
  /** The longest first delay, in milliseconds; it doubles from there. @default 100 */
  initialDelayMs?: number
  /** The longest delay, in milliseconds. @default 30000 */
  maxDelayMs?: number
  /** How many attempts in a row, after which the listener closes. @default Infinity */
  maxAttempts?: number
}

/** How to notice a server, or a network, that is gone without a word. */
export interface HeartbeatOptions {
  /** How often the session makes a round trip, in milliseconds. @default 10000 */
  intervalMs?: number
  /** How long the answer may take, in milliseconds. @default 5000 */
  timeoutMs?: number
}

/** The options of a listener. */
export interface ListenerOptions<Payload = unknown> {
  /** Channels to subscribe to from the start, as `addChannel()` does. @default none */
  channels?: readonly string[]
  /**
   * How many notifications may be with callbacks at the same time. With `ordered`, those of a channel that is busy wait
   * aside, up to 1024 of them besides what is buffered; when there are that many, other channels wait too. @default 1
   */
  concurrency?: number
  /** Whether those of one channel come one at a time even when `concurrency` is above 1. @default true */
  ordered?: boolean
  /** The bounds of each consumer's buffer. */
  buffer?: BufferOptions
  /** `false`: the listener closes when its session ends. */
  reconnect?: ReconnectOptions | false
  /** `false`: no heartbeat. */
  heartbeat?: HeartbeatOptions | false
  /**
   * Makes a value of a payload's text; callbacks and iterators get the value. When it throws, the notification is
   * reported as an `error` event and not delivered. It runs once for each consumer.
   * @default the text itself
   */
  parse?: (payload: string, channel: string) => Payload
  /** Whether to leave out what this pool's own connections and listeners sent. @default false */
  ignoreOwn?: boolean
  /** When aborted, the listener is shut down. */
  signal?: AbortSignal
}

const LISTENER_OPTIONS = [
  'channels',
  'concurrency',
  'ordered',
  'buffer',
  'reconnect',
  'heartbeat',
  'parse',
  'ignoreOwn',
  'signal',
] as const satisfies readonly (keyof ListenerOptions)[]

/** @internal Checked and complete. */
export interface ResolvedListenerOptions {
  channels: readonly string[]
  concurrency: number
  ordered: boolean
  buffer: Required<BufferOptions>
  reconnect: Required<ReconnectOptions> | null
  heartbeat: Required<HeartbeatOptions> | null
  parse: ((payload: string, channel: string) => unknown) | undefined
  ignoreOwn: boolean
  signal: AbortSignal | undefined
}

const MILLISECONDS: NumberBounds = { min: 1, max: MAX_DELAY_MS }
/** A buffer must hold at least one payload of the largest size. */
const MIN_BUFFER_BYTES = 16_384

/** @internal Checks the options of a listener. Throws {@link ArgumentTypeError} or {@link ArgumentRangeError}. */
export function resolveListenerOptions(options: ListenerOptions = {}): ResolvedListenerOptions {
  checkOptions('options', options, LISTENER_OPTIONS)
  const {
    channels = [],
    concurrency = 1,
    ordered = true,
    ignoreOwn = false,
    parse,
    signal,
  } = options
  if (!Array.isArray(channels))
    throw new ArgumentTypeError(expected('channels', 'an array of names', channels))
  channels.forEach((channel, index) => checkChannel(channel, `channels[${index}]`))
  checkNumber('concurrency', concurrency, { min: 1, integer: true, infinity: true })
  checkBoolean('ordered', ordered)
  checkBoolean('ignoreOwn', ignoreOwn)
  if (parse !== undefined) checkFunction('parse', parse)
  if (signal !== undefined) checkSignal('signal', signal)
  const reconnect = group(options.reconnect, 'reconnect', {
    initialDelayMs: 100,
    maxDelayMs: 30_000,
    maxAttempts: Infinity,
  })
  if (reconnect) {
    checkNumber('reconnect.initialDelayMs', reconnect.initialDelayMs, MILLISECONDS)
    checkNumber('reconnect.maxDelayMs', reconnect.maxDelayMs, MILLISECONDS)
    checkNumber('reconnect.maxAttempts', reconnect.maxAttempts, {
      min: 1,
      max: 2 ** 31,
      integer: true,
      infinity: true,
    })
    if (reconnect.initialDelayMs > reconnect.maxDelayMs) {
      throw new ArgumentRangeError(
        `Expected \`reconnect.initialDelayMs\` to be at most \`reconnect.maxDelayMs\` (${reconnect.maxDelayMs}), got ${reconnect.initialDelayMs}`,
      )
    }
  }
  const heartbeat = group(options.heartbeat, 'heartbeat', { intervalMs: 10_000, timeoutMs: 5000 })
  if (heartbeat) {
    checkNumber('heartbeat.intervalMs', heartbeat.intervalMs, MILLISECONDS)
    checkNumber('heartbeat.timeoutMs', heartbeat.timeoutMs, MILLISECONDS)
  }
  return {
    channels,
    concurrency,
    ordered,
    ignoreOwn,
    reconnect,
    heartbeat,
    parse,
    signal,
    buffer: resolveBuffer(options.buffer),
  }
}

function resolveBuffer(options: BufferOptions | undefined): Required<BufferOptions> {
  const buffer = fill(options ?? {}, 'buffer', {
    maxMessages: 262_144,
    maxBytes: 64 * 1024 * 1024,
    overflow: 'dropOldest' as OverflowPolicy,
    maxPauseMs: 10_000,
  })
  checkNumber('buffer.maxMessages', buffer.maxMessages, { min: 1, max: 2 ** 31, integer: true })
  checkNumber('buffer.maxBytes', buffer.maxBytes, { min: MIN_BUFFER_BYTES, integer: true })
  checkOneOf('buffer.overflow', buffer.overflow, OVERFLOW_POLICIES)
  checkNumber('buffer.maxPauseMs', buffer.maxPauseMs, MILLISECONDS)
  return buffer
}

/** A group of options that `false` switches off. */
function group<Group extends object>(
  value: Partial<Group> | false | undefined,
  name: string,
  defaults: Group,
): Group | null {
  return value === false ? null : fill(value ?? {}, name, defaults)
}

/** A group of options with its defaults. */
function fill<Group extends object>(value: Partial<Group>, name: string, defaults: Group): Group {
  checkOptions(name, value, Object.keys(defaults))
  const given = Object.entries(value).filter(([, one]) => one !== undefined)
  return { ...defaults, ...Object.fromEntries(given) }
}
