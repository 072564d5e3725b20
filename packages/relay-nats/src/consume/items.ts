// What a consumer gets.
import type { JsMsg } from '@nats-io/jetstream'
import type { RelayGapBody, RelayGapReason } from '../wire/gaps.js'
import { Header, headerOf, parseNumbered } from '../wire/headers.js'
import { channelOf } from '../wire/subjects.js'

/** A notification that a relay has stored. */
export interface RelayMessage {
  kind: 'message'
  /** The channel. */
  channel: string
  /** The payload, as it was sent. */
  payload: string
  /** The process id of the notifying backend; `undefined` for an event of a durable subscription. */
  processId: number | undefined
  /** The unique name of an event of a durable subscription; `undefined` for a notification. */
  uid: string | undefined
  /** The key of such an event; `undefined` without one. */
  key: string | undefined
  /** The sequence in the stream. */
  sequence: number
  /** When the stream has stored it. */
  storedAt: Date
  /** Whether the stream hands it out again. */
  redelivered: boolean
  /** Tells the stream that a durable consumer is done with it. Does nothing for other consumers. */
  ack: () => void
}

/** A place in the stream at which notifications may be missing. */
export interface RelayGap {
  kind: 'gap'
  /** Why; `retention` if the stream has had messages that this consumer did not get: they were removed by age, size or hand. */
  reason: RelayGapReason | 'retention'
  /** What was committed before is not missing; `null` when that is unknown. */
  lostAt: Date | null
  /** What was committed later is not missing; `null` when that is unknown. */
  resumedAt: Date | null
  /** How many notifications are missing; `null` when that is unknown. */
  dropped: number | null
  /** The channel, of `unpublishable`. */
  channel: string | undefined
  /** The sequence in the stream of the gap, or of the message that it was noticed at. */
  sequence: number
  /** Tells the stream that a durable consumer is done with it. Does nothing where there is no message of its own, or for other consumers. */
  ack: () => void
}

/** Whether a relay has written the message: each of theirs has a number. */
export const isOfRelay = (message: JsMsg): boolean =>
  parseNumbered(headerOf(message.headers, Header.sequence)) !== undefined

/** The body of a gap, or `undefined` for a notification. */
export function gapBodyOf(message: JsMsg): RelayGapBody | undefined {
  return channelOf(message.subject) === undefined ? message.json<RelayGapBody>() : undefined
}

/** What a tracker looks at. */
export function seenOf(message: JsMsg, gap: RelayGapBody | undefined) {
  return {
    subject: message.subject,
    number: parseNumbered(headerOf(message.headers, Header.sequence)),
    channelNumber: parseNumbered(headerOf(message.headers, Header.channelSequence)),
    gap,
  }
}

export function messageOf(message: JsMsg, isAgain: boolean, ack: () => void): RelayMessage {
  const processId = headerOf(message.headers, Header.processId)
  const key = headerOf(message.headers, Header.key)
  return {
    kind: 'message',
    channel: channelOf(message.subject) ?? '',
    payload: message.string(),
    processId: processId === undefined ? undefined : Number(processId),
    uid: headerOf(message.headers, Header.uid),
    key: key === undefined ? undefined : decodeURIComponent(key),
    sequence: message.seq,
    storedAt: message.time,
    // A server that was killed may have forgotten that it has handed the message out.
    redelivered: message.redelivered || isAgain,
    ack,
  }
}

export function gapOf(message: JsMsg, body: RelayGapBody, ack: () => void): RelayGap {
  return {
    kind: 'gap',
    reason: body.reason,
    lostAt: body.lostAt === null ? null : new Date(body.lostAt),
    resumedAt: new Date(body.resumedAt),
    dropped: body.dropped,
    channel: body.channel,
    sequence: message.seq,
    ack,
  }
}

/** A gap that no relay has stored. */
export function noticedGap(
  reason: 'retention' | 'stream-reset',
  dropped: number | null,
  sequence: number,
): RelayGap {
  return {
    kind: 'gap',
    reason,
    lostAt: null,
    resumedAt: null,
    dropped,
    channel: undefined,
    sequence,
    ack: () => {},
  }
}
