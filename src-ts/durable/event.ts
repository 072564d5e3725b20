// Events, as handlers get them, and as the server gives them.
import type { DurableOwner } from './owner.js'

/**
 * An event of a durable subscription.
 *
 * @typeParam Payload - The type of the payload: text, or what the pool's schema of the channel makes of it.
 */
export interface DurableEvent<Payload = string> {
  /** The number of the event. It may be given again after a crash or a failover in which an asynchronous commit was lost. */
  readonly id: bigint
  /** Names the event for ever, also after such a crash: what is done outside of the database is to be keyed by it. */
  readonly uid: string
  /** The channel. */
  readonly channel: string
  /** The payload. */
  readonly payload: Payload
  /** What the event is about; `null` without a key. */
  readonly key: string | null
  /** When it was published, by the server's clock. */
  readonly publishedAt: Date
  /** The number of this attempt, from 1 on. */
  readonly attempt: number
}

/** The way that the position goes when the events of a batch are done. */
export interface Way {
  xact: string
  /** Ids of events that were given up and are tried again; then the position stays. */
  retried?: string[]
  base?: string
  target?: string | null
  after?: string | number | null
  /** Ids of events that are done and had been tried before. */
  tried?: string[]
  /** The base and the target for a part of the batch. */
  from?: string
  to?: string
}

/** A row that `pglisten.take` returns. */
export type Row = [
  id: string | null,
  xact: string,
  channel: string,
  payload: string,
  key: string | null,
  /** When it was published, in microseconds since 1970. */
  micros: string,
  attempt: string,
]

/** The columns of {@link Row}, as text whatever the types of the pool are. */
export const COLUMNS = 'id::text, xact, channel, payload, key, micros::text, attempt::text'

/** Makes an event of a row, with its payload as text. */
export function rawEvent([id, xact, channel, payload, key, micros, attempt]: Row): DurableEvent {
  return {
    id: BigInt(id!),
    uid: uidOf(id!, xact, micros),
    channel,
    payload,
    key,
    publishedAt: new Date(Number(micros) / 1000),
    attempt: Number(attempt),
  }
}

/** What names an event for ever: its number, its transaction and its moment. */
export function uidOf(id: string, xact: string, micros: string): string {
  return `${id}-${xact}-${micros}`
}

/** Makes an event of a row as handlers get it. Throws when the payload does not fit the schema of its channel. */
export function eventOf(row: Row, { parse }: DurableOwner): DurableEvent<unknown> {
  const event = rawEvent(row)
  return parse ? { ...event, payload: parse(event.payload, event.channel as never) } : event
}
