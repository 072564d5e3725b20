// Events, as handlers get them, and as the server gives them.
import type { ChannelOutput } from '../options/schemas.js'
import type { DurableOwner } from './owner.js'

/**
 * An event of a durable subscription.
 *
 * @typeParam Payload - The type of the payload: text, or what the pool's schema of the channel makes of it.
 * @typeParam Channel - The name of the channel.
 */
export interface DurableEvent<Payload = string, Channel extends string = string> {
  /** The number of the event. It may be given again after a crash or a failover in which an asynchronous commit was lost. */
  readonly id: bigint
  /**
   * Names the event for ever, also after such a crash: what is done outside of the database is to be keyed by it. It is
   * `<id>-<transaction>-<microseconds since 1970>`.
   */
  readonly uid: string
  /** The channel. */
  readonly channel: Channel
  /** The payload. */
  readonly payload: Payload
  /** What the event is about; `null` without a key. */
  readonly key: string | null
  /** When it was published, by the server's clock. */
  readonly publishedAt: Date
  /** The number of this attempt, from 1 on. */
  readonly attempt: number
}

/**
 * The events of a pool's channels: of several channels one of each, told apart by `channel`.
 *
 * @typeParam Schemas - The types of the pool's schemas.
 * @typeParam Names - The names of the channels.
 */
export type DurableEventOf<Schemas, Names extends keyof Schemas & string> = {
  [Name in Names]: DurableEvent<ChannelOutput<Schemas[Name]>, Name>
}[Names]

/** The way that the position goes when the events of a batch are done. */
export interface Way {
  xact: string
  /** When the subscription was made that the events were taken for. */
  made?: string
  /** Ids of events that were given up and are tried again; then the position stays. */
  retried?: string[]
  base?: string
  target?: string | null
  /** The last event of the walk that is done. */
  after?: string
  /** Ids of events that are done and had been tried before. */
  tried?: string[]
  /** The base and the target for a part of the batch. */
  from?: string
  to?: string
}

/** An event, as the server gives it. */
export type Row = [
  id: bigint,
  xact: bigint,
  channel: string,
  payload: string,
  key: string | null,
  /** When it was published, in microseconds since 1970. */
  micros: number,
  attempt: number,
]

/** Events that were taken, and the way that the position goes when they are done. */
export interface Taken {
  way: Way
  /** At least one. */
  rows: readonly Row[]
}

/** The columns of {@link Row}. */
export const COLUMNS = 'id, xact, channel, payload, key, micros, attempt'

/** Makes an event of a row, with its payload as text. */
export function rawEvent([id, xact, channel, payload, key, micros, attempt]: Row): DurableEvent {
  return {
    id,
    uid: uidOf(id, xact, micros),
    channel,
    payload,
    key,
    publishedAt: new Date(micros / 1000),
    attempt,
  }
}

/** @internal What names an event for ever: its number, its transaction and its moment, in microseconds since 1970. */
export function uidOf(id: bigint, xact: bigint, micros: number): string {
  return `${id}-${xact}-${micros}`
}

/** @internal Makes an event as handlers get it. Throws when the payload does not fit the schema of its channel. */
export function eventOf(event: DurableEvent, { parse }: DurableOwner): DurableEvent<unknown> {
  return parse ? { ...event, payload: parse(event.payload, event.channel as never) } : event
}
