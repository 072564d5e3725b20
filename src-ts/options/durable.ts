// The options of durable subscriptions: their documentation, their defaults and their checks.
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import type { CallOptions } from './call.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkChannel,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSignal,
  checkString,
  expected,
} from './validate.js'
import { checkWait } from './wait.js'

/** The options of {@link ConnectionPool.publish}: those of the event, and bounds of the call. */
export interface PublishOptions extends CallOptions {
  /**
   * What the event is about. A subscription with several partitions keeps the order of the events of one key.
   * @default none: the order of the channel is kept
   */
  key?: string | undefined
  /**
   * Whether a subscriber that sleeps is woken. A transaction that is to be prepared (`PREPARE TRANSACTION`) must not; its events are found
   * within {@link SubscriptionOptions.safetyNetMs}.
   * @default true
   */
  bell?: boolean | undefined
}

/**
 * The options of {@link ConnectionPool.subscription}.
 *
 * @typeParam Names - The names of the channels.
 */
export interface SubscriptionOptions<Names extends string = string> {
  /** The channels whose events it gets: from 1 on. */
  channels: readonly Names[]
  /**
   * Where a new subscription begins: with what is committed from now on, or with the oldest event that is kept. It has no effect
   * on one that exists.
   * @default 'now'
   */
  from?: 'now' | 'beginning' | undefined
  /**
   * The most events of one transaction: an integer from 1 to 100000. There are fewer where their payloads and keys
   * have more than some 16 MiB.
   * @default 100
   */
  batchSize?: number | undefined
  /**
   * The longest time that one transaction may take, all of its events included, in milliseconds: an integer from 100 to 2147483647. The
   * server ends one that takes longer, so this is also the time after which another process takes over from one that is frozen or cut
   * off; one that does not read while the server sends it events is so ended over TCP, by a server that runs on Linux. Before
   * PostgreSQL 17 half of it bounds each statement, and each pause between two. A handler gets the events that are left when a
   * quarter of it is over in the next transaction; a batch of a loop has no such early end.
   * @default 60000
   */
  maxHandlerMs?: number | undefined
  /**
   * How often a process looks whether it can take over while another one works, in milliseconds: an integer from 1 to 2147483647.
   * @default 1000
   */
  standbyPollMs?: number | undefined
  /**
   * How often a process that sleeps looks for events for which no bell was rung, in milliseconds: an integer from 100 to 2147483647. At the
   * same pace it says that it reads, with {@link SubscriptionOptions.onUnread} `'drop'` at least each 30 s, and removes what all have done.
   * @default 30000
   */
  safetyNetMs?: number | undefined
  /**
   * `synchronous_commit` of the transactions. With `off` a commit waits for no disk: a crash of the server may undo the last ones
   * together with their positions, so that what was done in the database is done once all the same, and anything else again.
   * @default that of the session
   */
  synchronousCommit?: 'on' | 'off' | 'local' | 'remote_write' | 'remote_apply' | undefined
  /**
   * How many parts of the events are worked beside each other, each on a connection of its own and in an order of its own: an integer from
   * 1 to 1000, and no more than the pool may have connections. The events of one key, or without one those of a channel, are in one part. It cannot be changed later.
   * @default 1
   */
  partitions?: number | undefined
  /**
   * How often an event is tried before {@link SubscriptionOptions.onFailure} counts: an integer from 1 to 2147483647. An attempt that
   * shares its transaction with other events is counted, and is never the last one, since another event may be to blame. Between two
   * attempts the worker waits, at first {@link SubscriptionOptions.retryDelayMs} and then twice as long each time, up to 30 s; after a failure
   * that is not counted, such as a deadlock, as after a first one.
   * @default 5
   */
  maxAttempts?: number | undefined
  /**
   * The wait after a first failure, in milliseconds, from 0 to 2147483647. One of more than 30 s is not doubled. @default 100
   */
  retryDelayMs?: number | undefined
  /**
   * After how long without a reader {@link SubscriptionOptions.onUnread} counts, in milliseconds: an integer from 60000 on and
   * at least four times {@link SubscriptionOptions.safetyNetMs}, or `false` for never. A subscription that nobody reads keeps every event that is published. It is read while a process
   * runs it, also one whose loop or handler is busy for long, when its position moves, and when an attempt fails. Kept in the database, by
   * the run that began last.
   * @default 86400000, or four times `safetyNetMs` where that is more
   */
  maxUnreadAgeMs?: number | false | undefined
  /**
   * What happens to the subscription when nobody has read it for so long. `warn`: whoever runs any subscription of the database gets an event
   * `warning`, once in each {@link SubscriptionOptions.maxUnreadAgeMs}. `drop`: it is dropped too, so that its events can be removed; a process
   * that runs it later begins as a new one. Whoever drops it has found it unread for two minutes by then, or for
   * {@link SubscriptionOptions.maxUnreadAgeMs} where that is less, and has reached the server without a break: after an outage, or when the
   * server's clock was set, others can say first that they read it.
   * @default 'warn'
   */
  onUnread?: 'warn' | 'drop' | undefined
  /**
   * What happens to an event that has failed so often: the subscription stops, or the event is kept apart and the next ones go on.
   * @default 'stop'
   */
  onFailure?: 'stop' | 'skip' | undefined
}

/** The options of {@link Subscription.run} and {@link Subscription.batches}. */
export interface RunOptions {
  /** Ends it: the event or batch that is being worked is finished, and what is done is committed. */
  signal?: AbortSignal | undefined
}

/** The options of {@link Durable.install}: its own, and bounds of the call. */
export interface InstallOptions extends CallOptions {
  /** Roles that may publish. */
  publishers?: readonly string[] | undefined
  /** Roles that may subscribe, and publish. */
  subscribers?: readonly string[] | undefined
  /**
   * How long events are kept that every subscription has done, in milliseconds: an integer from 0 on, or `false` for as long as nobody
   * calls {@link Durable.trim}. Whoever runs a subscription removes older ones. A later `install()` changes it.
   * @default as it is; 86400000 at first
   */
  retentionMs?: number | false | undefined
}

const DAY_MS = 86_400_000
/** A subscription that was not read for less is not called unread, nor for so many of its safety nets. */
const MIN_UNREAD_MS = 60_000
const NETS_TO_READ = 4
/** A hundred years: what an `interval` has no trouble with. */
const MAX_AGE_MS = 36_525 * DAY_MS

/** @internal The options of a subscription, checked and complete. */
export interface ResolvedSubscriptionOptions {
  channels: readonly string[]
  from: 'now' | 'beginning'
  batchSize: number
  maxHandlerMs: number
  standbyPollMs: number
  safetyNetMs: number
  synchronousCommit: string | null
  partitions: number
  maxAttempts: number
  retryDelayMs: number
  onFailure: 'stop' | 'skip'
  /** `null`: never. */
  maxUnreadAgeMs: number | null
  onUnread: 'warn' | 'drop'
}

const SUBSCRIPTION_OPTIONS = [
  'channels',
  'from',
  'batchSize',
  'maxHandlerMs',
  'standbyPollMs',
  'safetyNetMs',
  'synchronousCommit',
  'partitions',
  'maxAttempts',
  'retryDelayMs',
  'onFailure',
  'maxUnreadAgeMs',
  'onUnread',
] as const satisfies (keyof SubscriptionOptions)[]

/** @internal Checks the name of a subscription. */
export function checkSubscriptionName(value: unknown): asserts value is string {
  checkString('name', value)
  if (value === '' || value.includes('\0') || !value.isWellFormed()) {
    throw new ArgumentRangeError(expected('name', 'a text without NUL that is not empty', value))
  }
}

/** @internal Checks ids of events. */
export function checkEventIds(value: unknown): bigint[] {
  if (!Array.isArray(value))
    throw new ArgumentTypeError(expected('ids', 'an array of bigints', value))
  for (const [index, id] of (value as unknown[]).entries()) {
    const name = `ids[${index}]`
    if (typeof id !== 'bigint') throw new ArgumentTypeError(expected(name, 'a bigint', id))
    if (id < 1n || id >= 2n ** 63n) {
      throw new ArgumentRangeError(expected(name, 'the id of an event: from 1 to 2^63 - 1', id))
    }
  }
  return [...(value as bigint[])]
}

/** @internal Checks the options of a subscription. */
export function resolveSubscriptionOptions(
  options: SubscriptionOptions,
): ResolvedSubscriptionOptions {
  checkOptions('options', options, SUBSCRIPTION_OPTIONS)
  const {
    channels,
    from = 'now',
    batchSize = 100,
    maxHandlerMs = 60_000,
    standbyPollMs = 1000,
    safetyNetMs = 30_000,
    synchronousCommit,
    partitions = 1,
    maxAttempts = 5,
    retryDelayMs = 100,
    onFailure = 'stop',
    maxUnreadAgeMs = Math.max(DAY_MS, NETS_TO_READ * safetyNetMs),
    onUnread = 'warn',
  } = options
  if (!Array.isArray(channels) || channels.length === 0) {
    throw new ArgumentTypeError(expected('channels', 'an array with a channel', channels))
  }
  channels.forEach((channel, index) => checkChannel(channel, `channels[${index}]`))
  checkOneOf('from', from, ['now', 'beginning'])
  checkNumber('batchSize', batchSize, { min: 1, max: 100_000, integer: true })
  checkNumber('maxHandlerMs', maxHandlerMs, { min: 100, max: MAX_DELAY_MS, integer: true })
  checkNumber('standbyPollMs', standbyPollMs, { min: 1, max: MAX_DELAY_MS, integer: true })
  checkNumber('safetyNetMs', safetyNetMs, { min: 100, max: MAX_DELAY_MS, integer: true })
  if (synchronousCommit !== undefined) {
    const values = ['on', 'off', 'local', 'remote_write', 'remote_apply'] as const
    checkOneOf('synchronousCommit', synchronousCommit, values)
  }
  checkNumber('partitions', partitions, { min: 1, max: 1000, integer: true })
  checkNumber('maxAttempts', maxAttempts, { min: 1, max: MAX_DELAY_MS, integer: true })
  checkNumber('retryDelayMs', retryDelayMs, { min: 0, max: MAX_DELAY_MS })
  checkOneOf('onFailure', onFailure, ['stop', 'skip'])
  // Of one that runs and has nothing to do the position moves at its safety net, and no more often than in 10 s.
  checkAge('maxUnreadAgeMs', maxUnreadAgeMs, Math.max(MIN_UNREAD_MS, NETS_TO_READ * safetyNetMs))
  checkOneOf('onUnread', onUnread, ['warn', 'drop'])
  return {
    channels: [...new Set(channels as string[])],
    from,
    batchSize,
    maxHandlerMs,
    standbyPollMs,
    safetyNetMs,
    synchronousCommit: synchronousCommit ?? null,
    partitions,
    maxAttempts,
    retryDelayMs,
    onFailure,
    maxUnreadAgeMs: maxUnreadAgeMs === false ? null : maxUnreadAgeMs,
    onUnread,
  }
}

/** @internal Checks how long events are kept that every subscription has done. */
export function checkKept(name: string, value: unknown): asserts value is number {
  checkNumber(name, value, { min: 0, max: MAX_AGE_MS, integer: true })
}

/** Checks a time that no timer waits for; `false` stands for none. */
function checkAge(name: string, value: unknown, min: number): asserts value is number | false {
  if (value !== false) checkNumber(name, value, { min, max: MAX_AGE_MS, integer: true })
}

/** @internal Checks the options of a run. */
export function resolveRunOptions(options: RunOptions = {}): RunOptions {
  checkOptions('options', options, ['signal'])
  if (options.signal !== undefined) checkSignal('signal', options.signal)
  return options
}

/** @internal Checks what is published. */
export function checkPublication(channel: unknown, payload: unknown): void {
  checkChannel(channel)
  checkString('payload', payload)
  if (payload.includes('\0') || !payload.isWellFormed()) {
    throw new ArgumentRangeError(expected('payload', 'well-formed text without NUL', payload))
  }
}

/** @internal Checks the options of an event. */
export function resolvePublishOptions(options: PublishOptions = {}): PublishOptions {
  checkOptions('options', options, ['key', 'bell', 'signal', 'timeoutMs'])
  const { key, bell } = options
  if (key !== undefined) {
    checkString('key', key)
    if (key.includes('\0') || !key.isWellFormed())
      throw new ArgumentRangeError(expected('key', 'well-formed text without NUL', key))
  }
  if (bell !== undefined) checkBoolean('bell', bell)
  checkWait(options)
  return options
}

/** @internal What is installed, and for whom. */
export interface InstallSettings {
  readonly publishers: readonly string[]
  readonly subscribers: readonly string[]
  readonly retentionMs: number | false | undefined
}

/** @internal Checks the options of an installation. */
export function resolveInstallOptions(options: InstallOptions = {}): {
  settings: InstallSettings
  bounds: CallOptions
} {
  const names = ['publishers', 'subscribers', 'retentionMs', 'signal', 'timeoutMs'] as const
  checkOptions('options', options, names)
  const { publishers = [], subscribers = [], retentionMs, signal, timeoutMs } = options
  checkWait(options)
  if (retentionMs !== undefined) checkAge('retentionMs', retentionMs, 0)
  for (const [name, roles] of Object.entries({ publishers, subscribers })) {
    if (!Array.isArray(roles))
      throw new ArgumentTypeError(expected(name, 'an array of roles', roles))
    roles.forEach((role, index) => checkString(`${name}[${index}]`, role))
  }
  return { settings: { publishers, subscribers, retentionMs }, bounds: { signal, timeoutMs } }
}
