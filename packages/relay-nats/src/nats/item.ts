// What is to be stored, before it has numbers.
import { Header } from '../wire/headers.js'
import { ownGap, type RelayGapBody } from '../wire/gaps.js'

/** One message for the stream. */
export interface Item {
  subject: string
  payload: string
  /** The channel, or `undefined` for a gap. */
  channel: string | undefined
  /** Headers beside the numbers. */
  headers: Record<string, string | undefined>
  /** A gap that is stored in place of this one when the stream does not take a message of this size. */
  smaller?: Item
}

/** A gap's message. */
export function gapItem(
  subject: string,
  body: RelayGapBody,
  headers: Record<string, string | undefined> = {},
): Item {
  return { subject, payload: JSON.stringify(body), channel: undefined, headers }
}

/** What takes the place of a message that the stream will never take. */
export function insteadOf(item: Item, gapSubject: string): Item {
  const now = new Date().toISOString()
  const about = {
    ...(item.channel === undefined ? {} : { channel: item.channel }),
    size: Buffer.byteLength(item.payload),
  }
  const body = ownGap({
    reason: 'unpublishable',
    lostAt: now,
    resumedAt: now,
    dropped: 1,
    ...about,
  })
  // The others may be what is too large.
  const kept = [Header.complete, Header.settled, Header.uid, Header.transaction]
  return gapItem(
    gapSubject,
    body,
    Object.fromEntries(kept.map((name) => [name, item.headers[name]])),
  )
}
