// The options of a listener: their documentation, their defaults and their checks.
import { types } from 'node:util'
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import {
  BUFFER_BYTES,
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
  type Complete,
  type NumberBounds,
} from './validate.js'
import {
  type CoalesceMode,
  type NotificationFilter,
  type ResolvedFilter,
  resolveSelection,
} from './selection.js'

const SESSIONS: readonly SessionChoice[] = ['auto', 'shared', 'own']
const OVERFLOW_POLICIES: readonly OverflowPolicy[] = ['dropOldest', 'dropNewest', 'pause', 'error']

/**
 * What happens when a consumer's buffer has no room for a notification.
 *
 * - `dropOldest`: the oldest buffered notification is dropped. A {@link Gap} with the exact count stands at its place.
 * - `dropNewest`: the new notification is dropped. A {@link Gap} with the exact count stands at its place.
 * - `pause`: the session, which is the listener's own, is not read, so that no consumer gets notifications, until the
 *   buffer has room. After `maxPauseMs` the listener reconnects, with a gap. A buffer that is full then takes more than its
 *   bounds allow, over any number of sessions: at most 1 MiB, or 2 MiB where payloads are tiny and a place in the buffer
 *   is most of what each counts. Beyond that the gap reaches as far as what was not taken.
 * - `error`: the listener closes with a {@link ListenerOverflowError}.
 */
export type OverflowPolicy = 'dropOldest' | 'dropNewest' | 'pause' | 'error'

/**
 * Whose server session a listener uses.
 *
 * - `auto`: that of all listeners of the process with the same settings, in any thread and of any pool, until the first
 *   method of {@link Listener.connection} is called. Then the listener moves to a session of its own, without a gap.
 * - `shared`: the same, for good. The methods of {@link Listener.connection} reject.
 * - `own`: a session of its own from the start.
 *
 * The settings are all that reach the server or the check of it: addresses, user, password, database, `options`, TLS,
 * `applicationName`, time-outs, and the listener's `heartbeat` and `reconnect`. A function as `password` belongs to its
 * pool: listeners of other pools do not share its sessions.
 */
export type SessionChoice = 'auto' | 'shared' | 'own'

/** The bounds of a consumer's buffer, and what happens when it is full. */
export interface BufferOptions {
  /** The most notifications in the buffer: an integer from 1 to 2147483648. @default 262144 */
  maxMessages?: number | undefined
  /**
   * The most bytes in the buffer: an integer from 16384. Each notification counts its payload plus 64 bytes. The buffers of all
   * listeners of a pool together have the bound `maxBufferedBytes` of `ConnectionPoolOptions`.
   * @default 67108864 (64 MiB)
   */
  maxBytes?: number | undefined
  /** What happens to a notification for which the buffer has no room. @default `dropOldest` */
  overflow?: OverflowPolicy | undefined
  /**
   * The longest pause with `overflow: 'pause'`, in milliseconds, from 1 to 2147483647. While a session is not read, the
   * server cannot clean up its queue of notifications.
   * @default 10000
   */
  maxPauseMs?: number | undefined
}

/**
 * How a listener replaces a lost session. The first attempt after a stable session begins at once; only when more than 8
 * stable sessions of the process are lost within 100 ms, those beyond 8 are spread over 100 ms. After a refusal or an
 * error the next attempt waits, with exponential back-off, in which each delay is random up to its bound (full jitter). An
 * attempt that gets no answer is no reason to wait: the next one begins 1 s after it began, up to three are under way at the
 * same time, and the first that succeeds is used.
 */
export interface ReconnectOptions {
  /**
   * The bound of the first delay, in milliseconds, from 1 to `maxDelayMs`; it doubles with each attempt that is refused.
   * @default 100
   */
  initialDelayMs?: number | undefined
  /** The bound of every delay, in milliseconds, from 1 to 2147483647. @default 30000 */
  maxDelayMs?: number | undefined
  /**
   * The most attempts in a row, after which the listener closes: an integer from 1 to 2147483648, or `Infinity`. An
   * attempt that gets no answer counts too; the last ones have their time (`connectTimeoutSec`) before the listener closes.
   * @default Infinity
   */
  maxAttempts?: number | undefined
  /**
   * The time after which a session counts as stable, in milliseconds, from 1 to 2147483647. When a stable session is lost,
   * the first attempt begins at once, and the delays after it begin with `initialDelayMs` again. The loss of a session that
   * was not stable is followed by the next delay of the back-off.
   * @default 10000
   */
  stableAfterMs?: number | undefined
}

/**
 * How a listener notices that the server or the network has silently gone: by regular round trips. Each of them also asks
 * whether the server still listens to every channel. `UNLISTEN` or `DISCARD ALL` on {@link Listener.connection} ends that
 * although the session lives, and so may a pooler. Then there is a `warning` event, and the listener reconnects, with a gap.
 */
export interface HeartbeatOptions {
  /** The time between two round trips, in milliseconds, from 1 to 2147483647. @default 10000 */
  intervalMs?: number | undefined
  /** The longest time that the answer may take, in milliseconds, from 1 to 2147483647. @default 5000 */
  timeoutMs?: number | undefined
  /**
   * The time between two probes of the delivery, in milliseconds, from 1 to 2147483647, or `false` for none. A probe is a
   * notification to a channel of the listener's own, which has to come back within `timeoutMs`. A session is probed when it
   * has connected, and then at this interval. A pooler or a proxy that takes LISTEN and passes no notification on is noticed
   * so: at first it is an error of {@link Listener.startup}, later there is a `warning` event, and the listener reconnects,
   * with a gap.
   * @default 300000
   */
  probeIntervalMs?: number | false | undefined
}

/**
 * The name of a channel, as `parse` gets it. At run time it is a string. The second half of the type lets `JSON.parse` be
 * the `parse` of a listener: the second parameter of `JSON.parse` is a function, and it ignores any other value.
 */
// oxlint-disable-next-line typescript/no-explicit-any -- as in the declaration of JSON.parse
export type ParseChannel = string & ((this: any, key: string, value: any) => any)

/** @internal The user's `parse`, whatever it returns. */
export type ParsePayload = (payload: string, channel: ParseChannel) => unknown

/** The options of {@link ConnectionPool.listener}. */
export interface ListenerOptions<Payload = unknown> {
  /** The names of channels to subscribe to from the start, as {@link Listener.addChannel} does. @default none */
  channels?: readonly string[] | undefined
  /**
   * The most notifications whose callbacks run at the same time: an integer from 1, or `Infinity`. With `ordered`, up
   * to 1024 notifications wait outside the buffer for an earlier one of their channel while other channels go on; when
   * there are that many, other channels wait too.
   * @default 1
   */
  concurrency?: number | undefined
  /**
   * Whether the notifications of one channel are delivered one at a time although `concurrency` is above 1.
   * @default true
   */
  ordered?: boolean | undefined
  /** The bounds of each consumer's buffer. @default the defaults of {@link BufferOptions} */
  buffer?: BufferOptions | undefined
  /**
   * How to replace a lost session. With `false` the listener closes when its session ends.
   * @default the defaults of {@link ReconnectOptions}
   */
  reconnect?: ReconnectOptions | false | undefined
  /**
   * How to notice a server that has silently gone. With `false` there are no heartbeats.
   * @default the defaults of {@link HeartbeatOptions}
   */
  heartbeat?: HeartbeatOptions | false | undefined
  /**
   * Converts the text of a payload to the value that callbacks and iterators get. It runs once for each consumer. It has
   * to be synchronous: an `async` function is refused here. When it throws, or returns a promise all the same, the
   * notification is not delivered to that consumer, and an `error` event has a {@link ListenerCallbackError}.
   * @default the text itself
   */
  parse?:
    | ((
        payload: string,
        channel: ParseChannel,
      ) => Payload extends PromiseLike<unknown> ? never : Payload)
    | undefined
  /**
   * Whether to leave out notifications that this pool's own connections and listeners sent. They are recognized by the
   * process id of the backend. Because a server may reuse the id, it counts as foreign from 10 s after the connection's
   * end on.
   * @default false
   */
  ignoreOwn?: boolean | undefined
  /**
   * How long a notification may wait for others while many come, in whole milliseconds from 0 to 10, so that they are read
   * together: one wake of the process costs several times as much as a notification. With 1, above 10,000 a second, it may be
   * 2 ms. Nothing waits below some 3,000 notifications a second, nor with 0. Of listeners that share a session the least holds. The event loop has to be that of
   * Node.js on Linux or macOS; elsewhere nothing waits.
   * @default 1
   */
  maxDelayMs?: number | undefined
  /**
   * Which notifications are merged while they wait for the callbacks: a consumer that falls behind gets the newest state
   * instead of every step on the way to it. It is the default of the listener's iterators too, which merge for themselves. It
   * is decided when a notification is read, after `ignoreOwn` and `filter` and before `parse`. {@link CoalesceMode} has the
   * rules.
   * @default false (none)
   */
  coalesce?: CoalesceMode | false | undefined
  /**
   * Which notifications the callbacks get, and by default the listener's iterators. What does not pass is neither parsed nor
   * delivered. It is decided when a notification is read, after `ignoreOwn`, in Rust and once for all consumers with an
   * equal filter.
   * @default false (every notification)
   */
  filter?: NotificationFilter | false | undefined
  /**
   * Shuts the listener down when it is aborted. From then on `startup()` rejects with its reason.
   * @default no signal
   */
  signal?: AbortSignal | undefined
  /**
   * Whose server session the listener uses. Each listening session is a backend of the server, and before PostgreSQL 19
   * every NOTIFY wakes all backends of its database that listen. With `buffer.overflow: 'pause'` it is `own`, and `shared`
   * is an error: who pauses keeps everybody from reading.
   * @default 'auto'
   */
  session?: SessionChoice | undefined
  /**
   * Where the listening session connects, as a DSN: for a pool behind a transaction pooler, which cannot serve LISTEN. It
   * takes the place of the pool's `listenDsn`. The pool's other options apply, but for `host` and `port`. The connections
   * of callbacks are the pool's.
   * @default the pool's `listenDsn`, or where the pool connects
   */
  dsn?: string | undefined
  /**
   * The name of the listener in messages about it, and on the server: 1 to 63 characters. The listening session tells the
   * names of the listeners that it serves in `pg_stat_activity`, where `?` stands for each character but letters and digits of ASCII, the
   * space and `._-:/@#+`: in a comment of its statements, and as `application_name` if none is set, with the names at the start of the session.
   * @default no name
   */
  name?: string | undefined
  /**
   * The time after which a callback whose promise is pending counts as slow, in milliseconds, from 1 to 2147483647, or
   * `false`. There is one `warning` event for each slow callback. Gap callbacks count too.
   * @default false (no warning)
   */
  slowCallbackMs?: number | false | undefined
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
  'maxDelayMs',
  'coalesce',
  'filter',
  'signal',
  'session',
  'dsn',
  'name',
  'slowCallbackMs',
] as const satisfies readonly (keyof ListenerOptions)[]

/** @internal The options of a listener, checked and complete. */
export interface ResolvedListenerOptions {
  channels: readonly string[]
  concurrency: number
  ordered: boolean
  buffer: Complete<BufferOptions>
  reconnect: Complete<ReconnectOptions> | null
  heartbeat: Complete<HeartbeatOptions> | null
  parse: ParsePayload | undefined
  ignoreOwn: boolean
  maxDelayMs: number
  coalesce: CoalesceMode | false
  filter: ResolvedFilter | false
  signal: AbortSignal | undefined
  session: SessionChoice
  dsn: string | undefined
  name: string | undefined
  slowCallbackMs: number | false
}

/** The longest `maxDelayMs`: who waits longer seems not to read. */
const MOST_DELAY_MS = 10

const MILLISECONDS: NumberBounds = { min: 1, max: MAX_DELAY_MS }

/** @internal The defaults of {@link ReconnectOptions}. */
export const DEFAULT_RECONNECT: Complete<ReconnectOptions> = {
  initialDelayMs: 100,
  maxDelayMs: 30_000,
  maxAttempts: Infinity,
  stableAfterMs: 10_000,
}

const DEFAULT_HEARTBEAT: Complete<HeartbeatOptions> = {
  intervalMs: 10_000,
  timeoutMs: 5000,
  probeIntervalMs: 300_000,
}

/** @internal Checks the options of a listener. Throws {@link ArgumentTypeError} or {@link ArgumentRangeError}. */
export function resolveListenerOptions(options?: ListenerOptions): ResolvedListenerOptions {
  return options === undefined ? defaults() : resolved(options)
}

let resolvedDefaults: ResolvedListenerOptions | undefined

/** The options of all listeners that have none. */
function defaults(): ResolvedListenerOptions {
  resolvedDefaults ??= resolved({})
  return resolvedDefaults
}

function resolved(options: ListenerOptions): ResolvedListenerOptions {
  checkOptions('options', options, LISTENER_OPTIONS)
  const {
    channels = [],
    concurrency = 1,
    ordered = true,
    ignoreOwn = false,
    maxDelayMs = 1,
    parse,
    signal,
    session = 'auto',
    dsn,
    name,
    slowCallbackMs = false,
  } = options
  if (!Array.isArray(channels))
    throw new ArgumentTypeError(expected('channels', 'an array of names', channels))
  channels.forEach((channel, index) => checkChannel(channel, `channels[${index}]`))
  checkNumber('concurrency', concurrency, { min: 1, integer: true, infinity: true })
  checkBoolean('ordered', ordered)
  checkBoolean('ignoreOwn', ignoreOwn)
  checkNumber('maxDelayMs', maxDelayMs, { min: 0, max: MOST_DELAY_MS, integer: true })
  if (parse !== undefined) {
    checkFunction('parse', parse)
    if (types.isAsyncFunction(parse)) {
      const what = 'a function that returns the payload itself'
      throw new ArgumentTypeError(`Expected \`parse\` to be ${what}, got an async function`)
    }
  }
  const { coalesce = false, filter = false } = resolveSelection(options)
  if (signal !== undefined) checkSignal('signal', signal)
  checkOneOf('session', session, SESSIONS)
  if (name !== undefined) checkName(name)
  if (slowCallbackMs !== false)
    checkNumber('slowCallbackMs', slowCallbackMs, { ...MILLISECONDS, or: '`false`' })
  const reconnect = group(options.reconnect, 'reconnect', DEFAULT_RECONNECT)
  if (reconnect) {
    checkNumber('reconnect.initialDelayMs', reconnect.initialDelayMs, MILLISECONDS)
    checkNumber('reconnect.maxDelayMs', reconnect.maxDelayMs, MILLISECONDS)
    checkNumber('reconnect.stableAfterMs', reconnect.stableAfterMs, MILLISECONDS)
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
  const heartbeat = group(options.heartbeat, 'heartbeat', DEFAULT_HEARTBEAT)
  if (heartbeat) {
    checkNumber('heartbeat.intervalMs', heartbeat.intervalMs, MILLISECONDS)
    checkNumber('heartbeat.timeoutMs', heartbeat.timeoutMs, MILLISECONDS)
    if (heartbeat.probeIntervalMs !== false)
      checkNumber('heartbeat.probeIntervalMs', heartbeat.probeIntervalMs, MILLISECONDS)
  }
  const buffer = resolveBuffer(options.buffer)
  if (buffer.overflow === 'pause' && session === 'shared') {
    throw new ArgumentRangeError(
      "Expected `session` to be 'own' or 'auto' with `buffer.overflow: 'pause'`, which keeps a session from being read, got 'shared'",
    )
  }
  return {
    channels,
    concurrency,
    ordered,
    ignoreOwn,
    maxDelayMs,
    reconnect,
    heartbeat,
    parse,
    coalesce,
    filter,
    signal,
    session: buffer.overflow === 'pause' ? 'own' : session,
    dsn,
    name,
    slowCallbackMs,
    buffer,
  }
}

/** The longest name of a listener, in characters. */
const MAX_NAME = 63

function checkName(name: unknown): asserts name is string {
  checkString('name', name)
  if (name === '' || name.length > MAX_NAME || name.includes('\0'))
    throw new ArgumentRangeError(expected('name', `1 to ${MAX_NAME} characters without NUL`, name))
}

const DEFAULT_BUFFER: Complete<BufferOptions> = {
  maxMessages: 262_144,
  maxBytes: 64 * 1024 * 1024,
  overflow: 'dropOldest',
  maxPauseMs: 10_000,
}

function resolveBuffer(options: BufferOptions | undefined): Complete<BufferOptions> {
  const buffer = fill(options, 'buffer', DEFAULT_BUFFER)
  checkNumber('buffer.maxMessages', buffer.maxMessages, { min: 1, max: 2 ** 31, integer: true })
  checkNumber('buffer.maxBytes', buffer.maxBytes, BUFFER_BYTES)
  checkOneOf('buffer.overflow', buffer.overflow, OVERFLOW_POLICIES)
  checkNumber('buffer.maxPauseMs', buffer.maxPauseMs, MILLISECONDS)
  return buffer
}

/** A group of options as it is given. */
type Given<Group> = { [Name in keyof Group]?: Group[Name] | undefined }

/** Fills in the defaults of a group of options that `false` switches off. */
function group<Group extends object>(
  value: Given<Group> | false | undefined,
  name: string,
  defaults: Group,
): Group | null {
  return value === false ? null : fill(value, name, defaults)
}

/** Fills in the defaults of a group of options. */
function fill<Group extends object>(
  value: Given<Group> | undefined,
  name: string,
  defaults: Group,
): Group {
  // Not copied: a process may have thousands of listeners.
  if (value === undefined) return defaults
  checkOptions(name, value, Object.keys(defaults))
  const given = Object.entries(value).filter(([, one]) => one !== undefined)
  return { ...defaults, ...Object.fromEntries(given) }
}
