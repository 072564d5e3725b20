// The types of the listener's API, besides its options.
import type { NativePool } from '#native'
import type { Connection } from '../query/connection.js'
import type { NotificationColumns } from '../deliver/columns.js'
import type { Gap } from '../deliver/gap.js'
import type { BatchShape, GapMode, MessagesOptions } from '../options/iterator.js'
import type { ListenerNotificationMsg } from '../deliver/message.js'
import type { ListenerCallback } from '../deliver/subscriptions.js'
import type { ListenerOptions } from '../options/listener.js'
import type { PayloadsOf } from '../options/schemas.js'
import type { WaitOptions } from '../options/wait.js'

/** The type of each channel's payload, by channel. A listener without this type argument has text on every channel. */
export type ListenerPayloads = object

/** @internal The pools behind a listener. They differ when its session connects elsewhere than its pool. */
export interface ListenerPools {
  /** Says where the listening session connects. */
  session: NativePool
  /** The pool that made the listener. */
  own: NativePool
}

/**
 * The state of a listener.
 *
 * - `idle`: no `startup()` has succeeded yet.
 * - `connecting`: `startup()` is connecting for the first time.
 * - `connected`: the session is up.
 * - `reconnecting`: the session is lost, and the listener is trying to replace it.
 * - `closed`: `shutdown()` has ended, or the listener gave up. `startup()` is allowed again.
 */
export type ListenerState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'

/**
 * A callback for gaps. It runs in order with the notification callbacks; notifications after the gap wait until it
 * settles.
 *
 * @param connection - A connection of the pool, leased at its first use; the lease ends when the callback settles.
 * @param gap - The gap.
 */
export type GapCallback = (connection: Connection, gap: Gap) => unknown

/** A message of one of the channels of `Payloads`, with the payload type of that channel. */
export type MessageOf<Payloads extends ListenerPayloads> = {
  [Name in keyof Payloads & string]: ListenerNotificationMsg<Payloads[Name], Name>
}[keyof Payloads & string]

/** The items of an iterator: messages, and with the option `gaps: 'include'` also gaps. */
export type ItemOf<Payloads extends ListenerPayloads, Gaps extends GapMode> = 'include' extends Gaps
  ? MessageOf<Payloads> | Gap
  : MessageOf<Payloads>

/** A batch of {@link Listener.batches}, in its shape. In columns a payload may be one of any channel of the listener. */
export type BatchOf<
  Payloads extends ListenerPayloads,
  Gaps extends GapMode,
  Shape extends BatchShape,
> = {
  /** Messages, and with `gaps: 'include'` gaps among them. */
  messages: ItemOf<Payloads, Gaps>[]
  /** Columns, or with `gaps: 'include'` a gap by itself. */
  columns:
    | NotificationColumns<Payloads[keyof Payloads & string], keyof Payloads & string>
    | ('include' extends Gaps ? Gap : never)
}[Shape]

/**
 * The iterator that {@link Listener.messages} and {@link Listener.batches} return. A `break`, or `await using`,
 * releases it.
 */
export interface MessageStream<Item> extends AsyncIterableIterator<Item>, AsyncDisposable {
  /**
   * Returns the next item; waits if there is none yet. It may be called again before the last call has settled.
   *
   * The options bound this one wait, and not the iteration: an item that comes later is there for the next call. When the
   * time is over, the call rejects with {@link ListenerTimeoutError}, and when the signal is aborted, with its reason.
   */
  next(options?: WaitOptions): Promise<IteratorResult<Item, undefined>>
  /** Returns the stream itself: it can be iterated over once. */
  [Symbol.asyncIterator](): MessageStream<Item>
  /** Ends the iteration, as `break` does, and drops the notifications that are buffered for it. */
  return(): Promise<IteratorResult<Item, undefined>>
}

/** Options of {@link Listener.subscribe}. */
export interface SubscribeOptions<Gaps extends GapMode = GapMode> extends Omit<
  MessagesOptions<Gaps>,
  'channels'
> {
  /**
   * The longest time until the LISTENs are committed, in milliseconds, from 0 to 2147483647. Then the promise rejects with
   * {@link ListenerTimeoutError}. It does not bound the iteration.
   * @default no limit
   */
  timeoutMs?: number | undefined
}

/** Options of {@link Listener.once} for a channel. */
export interface OnceOptions extends WaitOptions {
  /**
   * What happens at a {@link Gap}: with `skip` the wait goes on, with `throw` the promise rejects with
   * {@link ListenerGapError}.
   * @default `skip`
   */
  gaps?: 'skip' | 'throw' | undefined
}

/**
 * Removes the registration of a callback that {@link Listener.addCallback} made. A second call does nothing. Resolves and
 * rejects as {@link Listener.removeCallback} does.
 */
export type RemoveCallback = () => Promise<void>

/** The callbacks of {@link ConnectionPool.listen}, by channel. */
export type Callbacks<Payloads extends ListenerPayloads> = {
  readonly [Name in keyof Payloads & string]?: ListenerCallback<Payloads[Name], Name> | undefined
}

/** The options of {@link ConnectionPool.listen}: those of the listener, and of its startup. */
export interface ListenOptions<Payload = unknown>
  extends ListenerOptions<Payload>, Pick<StartupOptions, 'retry' | 'timeoutMs'> {}

/** Options with or without `parse`. */
export interface ParseOption {
  /** Converts a payload. */
  parse?: unknown
}

/** Options without `parse`. */
export interface NoParse {
  /** Not there. */
  parse?: undefined
}

/** `Options`, with a `parse` for sure. */
export type WithParse<Options extends ParseOption> = Options & Required<Pick<Options, 'parse'>>

/** `Options`, with `parse` or without, as the payloads need it. */
export type ParseArguments<Options extends ParseOption, Payloads, Schemas> =
  PayloadsOf<Schemas> extends Payloads
    ? [keyof Schemas] extends [never]
      ? // Every payload is text. With `parse` the payloads have the type that it returns.
        [options?: Options & NoParse]
      : [options?: Options]
    : Payloads extends Record<keyof Payloads, string>
      ? [options?: Options]
      : [options: WithParse<Options>]

/** The arguments of {@link ConnectionPool.listener}. */
export type ListenerArguments<Payloads extends ListenerPayloads, Schemas> = ParseArguments<
  ListenerOptions<Payloads[keyof Payloads]>,
  Payloads,
  Schemas
>

/** The arguments of {@link ConnectionPool.listen} after the callbacks. */
export type ListenArguments<Payloads extends ListenerPayloads, Schemas> = ParseArguments<
  ListenOptions<Payloads[keyof Payloads]>,
  Payloads,
  Schemas
>

/** Options of {@link Listener.startup}. */
export interface StartupOptions {
  /**
   * Whether to go on trying when the server cannot be reached or refuses, as the listener does when it reconnects: with the
   * delays and the `maxAttempts` of {@link ReconnectOptions}, and with a `warning` or `error` event for each attempt that
   * failed. A wrong configuration rejects all the same. For a process that starts before its database.
   * @default false
   */
  retry?: boolean | undefined
  /**
   * Ends the startup when it is aborted: the promise rejects with its reason, and nothing is left running. It has no effect
   * once the listener is started.
   * @default no signal
   */
  signal?: AbortSignal | undefined
  /**
   * The longest time that the whole startup may take, in milliseconds, from 0 to 2147483647. Then the promise rejects with
   * {@link ListenerTimeoutError}, and nothing is left running. Each attempt to connect has its own bound,
   * `connectTimeoutSec`.
   * @default no limit
   */
  timeoutMs?: number | undefined
}

/** Options of {@link Listener.shutdown}. */
export interface ShutdownOptions {
  /** Whether to deliver the buffered notifications before the listener ends. @default false */
  drain?: boolean | undefined
  /**
   * The longest time that the whole shutdown may take, in milliseconds: from 0 to 2147483647. With `drain` the last quarter of it, at most
   * 500 ms, is kept for the end of the session: what was not delivered by then is dropped.
   * @default 5000
   */
  timeoutMs?: number | undefined
}

/** Options of {@link Listener.sync}. */
export type SyncOptions = WaitOptions

/**
 * The result of {@link Listener.stats}: totals since the listener was made, over all its runs, and the present state of
 * its buffers.
 */
export interface ListenerStats {
  /** Notifications read from the server, for subscribed channels; also those that no filter lets pass. */
  received: number
  /** Notifications handed to consumers. A notification counts once for each consumer that gets it. */
  delivered: number
  /** Notifications dropped because a consumer's buffer was full. A notification counts once for each such consumer. */
  dropped: number
  /** Notifications merged into an equal one that waited, counted for each consumer. */
  coalesced: number
  /** Notifications that a `filter` kept from a consumer, counted for each consumer. */
  filtered: number
  /** Notifications that wait for consumers now. */
  buffered: number
  /** The bytes that count against `buffer.maxBytes` now, for all consumers together. */
  bufferedBytes: number
  /** Failures of callbacks and of `parse`. */
  callbackErrors: number
  /** Callbacks and gap callbacks whose promises are pending now, also those that a shutdown did not wait for. */
  callbacksInFlight: number
  /** How long the oldest of them has been pending, in milliseconds; `undefined` when there is none. */
  oldestCallbackAgeMs: number | undefined
  /** `gap` events. */
  gaps: number
  /** Lost sessions that were replaced. */
  reconnects: number
  /** How long the oldest waiting notification has been waiting, in milliseconds; `undefined` when none waits. */
  oldestBufferedAgeMs: number | undefined
  /** The round-trip time of the session's last heartbeat, in milliseconds; `undefined` before the first. */
  lastRoundTripMs: number | undefined
  /** The server session that the listener uses; `undefined` while there is none. */
  session: SessionStats | undefined
}

/** The result of {@link Listener.health}: how a listener is at this moment. */
export interface ListenerHealth {
  /** The option `name` of the listener. */
  name: string | undefined
  /** The state of the listener. It is `connected` from a session's LISTENs to the moment at which its loss is noticed. */
  state: ListenerState
  /**
   * How long ago the server answered a request of the listening session, in milliseconds: a heartbeat, a LISTEN, a fence. While a
   * session is lost it grows. `undefined` before the first session, and when the listener is not started.
   */
  lastAnswerAgeMs: number | undefined
  /** How long ago anything was read from the server on the listening session, in milliseconds; `undefined` as above. */
  lastHeardAgeMs: number | undefined
  /** Callbacks and gap callbacks whose promises are pending. */
  callbacksInFlight: number
  /** How long the oldest of them has been pending, in milliseconds; `undefined` when there is none. */
  oldestCallbackAgeMs: number | undefined
  /** Notifications that wait for consumers. */
  buffered: number
  /** How long the oldest of them has been waiting, in milliseconds; `undefined` when none waits. */
  oldestBufferedAgeMs: number | undefined
  /** The server session that the listener uses; `undefined` while there is none. */
  session: SessionStats | undefined
}

/** A server session, with everything that it serves in this process. */
export interface SessionStats {
  /** The process id of its backend. */
  processId: number
  /** How many listeners use it. */
  listeners: number
  /** How many channels it listens to for them. A channel of several listeners counts once. */
  channels: number
}
