// The options of a listener: their documentation, their defaults, and their checks.
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkChannel,
  checkFunction,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSignal,
  expected,
  type NumberBounds,
} from './validate.js'

const SESSIONS = ['own'] as const
const OVERFLOW_POLICIES: readonly OverflowPolicy[] = ['dropOldest', 'dropNewest', 'pause', 'error']

/** What happens to a notification for which a consumer's buffer has no room. */
export type OverflowPolicy = 'dropOldest' | 'dropNewest' | 'pause' | 'error'

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

/**
 * The name of a channel, for `parse`. The second half of the type lets `JSON.parse` be given as it is: its second
 * parameter is a function, and it ignores what is none.
 */
// oxlint-disable-next-line typescript/no-explicit-any -- as in the declaration of JSON.parse
export type ParseChannel = string & ((this: any, key: string, value: any) => any)

/** @internal The user's `parse`, whatever it returns. */
export type ParsePayload = (payload: string, channel: ParseChannel) => unknown

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
  parse?: (payload: string, channel: ParseChannel) => Payload
  /**
   * Whether to leave out what this pool's own connections and listeners sent, which is known by the process id of the
   * backend. 10 s after a connection has ended its id may be somebody else's, and counts as that. @default false
   */
  ignoreOwn?: boolean
  /** When aborted, the listener is shut down. */
  signal?: AbortSignal
  /** Whose server session the listener uses. `own`: each listener has a server session of its own. @default 'own' */
  session?: 'own'
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
  'session',
] as const satisfies readonly (keyof ListenerOptions)[]

/** @internal Checked and complete. */
export interface ResolvedListenerOptions {
  channels: readonly string[]
  concurrency: number
  ordered: boolean
  buffer: Required<BufferOptions>
  reconnect: Required<ReconnectOptions> | null
  heartbeat: Required<HeartbeatOptions> | null
  parse: ParsePayload | undefined
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
    session = 'own',
  } = options
  if (!Array.isArray(channels))
    throw new ArgumentTypeError(expected('channels', 'an array of names', channels))
  channels.forEach((channel, index) => checkChannel(channel, `channels[${index}]`))
  checkNumber('concurrency', concurrency, { min: 1, integer: true, infinity: true })
  checkBoolean('ordered', ordered)
  checkBoolean('ignoreOwn', ignoreOwn)
  if (parse !== undefined) checkFunction('parse', parse)
  if (signal !== undefined) checkSignal('signal', signal)
  checkOneOf('session', session, SESSIONS)
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

const DEFAULT_BUFFER: Required<BufferOptions> = {
  maxMessages: 262_144,
  maxBytes: 64 * 1024 * 1024,
  overflow: 'dropOldest',
  maxPauseMs: 10_000,
}

function resolveBuffer(options: BufferOptions | undefined): Required<BufferOptions> {
  const buffer = fill(options ?? {}, 'buffer', DEFAULT_BUFFER)
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
