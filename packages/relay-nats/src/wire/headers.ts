// The headers of a message, and what they say.
import { headers, type MsgHdrs } from '@nats-io/transport-node'

/** The names of the headers. */
export const Header = {
  /** `<epoch>:<n>`: the number of the message among all of its epoch, gaps included. */
  sequence: 'Pg-Seq',
  /** `<epoch>:<n>`: the number of the message among those of its subject in its epoch. */
  channelSequence: 'Pg-Channel-Seq',
  /** The process id of the notifying backend. */
  processId: 'Pg-Pid',
  /** Milliseconds since 1970: what was committed before is in the stream up to this message, or in a gap of it. */
  complete: 'Pg-Complete',
  /** The unique name of a durable event. */
  uid: 'Pg-Uid',
  /** The key of a durable event, percent-encoded. */
  key: 'Pg-Key',
  /** The id of PostgreSQL's transaction in which a durable event was handed to the relay. */
  transaction: 'Pg-Xact',
  /** The sequence of the stream up to which the durable subscription has moved its position. */
  settled: 'Pg-Settled',
} as const

/** A number within an epoch. */
export interface Numbered {
  /** The epoch: one relay's time of leading. */
  epoch: string
  /** The number, from 1. */
  n: number
}

/** The text of a number within an epoch. */
export const formatNumbered = (epoch: string, n: number): string => `${epoch}:${n}`

/** Reads `<epoch>:<n>`; `undefined` where there is none. */
export function parseNumbered(text: string | undefined): Numbered | undefined {
  const match = /^([\w-]+):(\d{1,15})$/.exec(text ?? '')
  return match ? { epoch: match[1]!, n: Number(match[2]) } : undefined
}

/** The value of a header, or `undefined`. */
export function headerOf(all: MsgHdrs | undefined, name: string): string | undefined {
  return all?.get(name) || undefined
}

/** Headers made of names and values; those that are `undefined` are left out. */
export function makeHeaders(values: Record<string, string | undefined>): MsgHdrs {
  const made = headers()
  for (const [name, value] of Object.entries(values)) if (value !== undefined) made.set(name, value)
  return made
}
