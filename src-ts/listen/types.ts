// The types of the listener's API: what goes in and what comes out, besides its options.
import type { Connection } from '../query/connection.js'
import type { Gap } from '../deliver/gap.js'
import type { GapMode } from '../options/iterator.js'
import type { ListenerNotificationMsg } from '../deliver/message.js'

/** The payloads of a listener's channels, by channel. Without a type argument: text on any channel. */
export type ListenerPayloads = Record<string, unknown>

/** What a listener is doing. */
export type ListenerState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'

/** Called in order with the notification callbacks; what comes after the gap waits until it settles. */
export type GapCallback = (connection: Connection, gap: Gap) => unknown

/** A message of one of some channels, with the payload of that channel. */
export type MessageOf<Payloads extends ListenerPayloads> = {
  [Name in keyof Payloads & string]: ListenerNotificationMsg<Payloads[Name], Name>
}[keyof Payloads & string]

/** What an iterator yields, depending on what it does at gaps. */
export type ItemOf<Payloads extends ListenerPayloads, Gaps extends GapMode> = 'include' extends Gaps
  ? MessageOf<Payloads> | Gap
  : MessageOf<Payloads>

/** What {@link Listener.messages} and {@link Listener.batches} give. A `break`, or `await using`, releases it. */
export interface MessageStream<Item>
  extends AsyncIterableIterator<Item, undefined>, AsyncDisposable {
  /** Itself: it can be iterated over once. */
  [Symbol.asyncIterator](): MessageStream<Item>
  /** Releases it, as `break` does: what is buffered for it is dropped. */
  return(): Promise<IteratorResult<Item, undefined>>
}

/** Options of {@link Listener.shutdown}. */
export interface ShutdownOptions {
  /** Whether to deliver first what is buffered. @default false */
  drain?: boolean
  /** The bound for all of it, in milliseconds. @default 5000 */
  timeoutMs?: number
}

/** Options of {@link Listener.sync}. */
export interface SyncOptions {
  /** Rejects with its reason when aborted. */
  signal?: AbortSignal
}

/** What {@link Listener.stats} gives: counted since the listener was made, over all its runs. */
export interface ListenerStats {
  /** Notifications read from the server, for subscribed channels. */
  received: number
  /** Notifications handed to consumers: each consumer counts. */
  delivered: number
  /** Notifications dropped because a consumer's buffer was full: each consumer counts. */
  dropped: number
  /** Notifications waiting for consumers, now. */
  buffered: number
  /** The bytes of those that wait in the bounded buffers, now. */
  bufferedBytes: number
  /** How often a callback or `parse` failed. */
  callbackErrors: number
  /** How many `gap` events there were. */
  gaps: number
  /** How often a lost session was replaced. */
  reconnects: number
  /** How long the oldest waiting notification has been waiting, in milliseconds; `undefined` when none is. */
  oldestBufferedAgeMs: number | undefined
  /** The round trip of the last heartbeat, in milliseconds; `undefined` before the first. */
  lastRoundTripMs: number | undefined
}
