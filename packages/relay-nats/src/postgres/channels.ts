// The source `channels`: what a listener hears while this relay leads, and the gaps of it.
import { Gap, type Listener, type ListenerNotificationMsg, type MessageStream } from 'pglisten'
import type { Item } from '../nats/item.js'
import { gapItem } from '../nats/item.js'
import { TermEnded, type Outlet } from '../nats/outlet.js'
import { bodyOfGap, ownGap, type RelayGapReason } from '../wire/gaps.js'
import { Header, formatNumbered, headerOf, type Numbered } from '../wire/headers.js'
import type { Stored } from '../nats/stream.js'
import { Completeness } from './completeness.js'
import type { Leader } from './leader.js'

/** How many notifications are taken at once. */
const MAX_BATCH = 1000

/** What a time of leading needs. */
export interface ChannelsTerm {
  listener: Listener
  leader: Leader
  channels: readonly string[]
  /** The last message of the stream that a relay has written; `undefined` without any. */
  lastStored: Stored | undefined
  reason: RelayGapReason
  subjectOf: (channel: string) => string
  gapSubject: string
  onTerm: () => void
}

type Batch = readonly (ListenerNotificationMsg | Gap)[]

/** When the listener was subscribed, and what it hears. */
export interface Subscribed {
  stream: MessageStream<(ListenerNotificationMsg | Gap)[]>
  /** Before the LISTENs were sent, in milliseconds since 1970. */
  askedAt: number
  /** After they were committed. */
  heardAt: number
}

/**
 * Subscribes to the channels. Nobody listens while standing by, so nothing comes that the relay before has published: what is heard was
 * committed after the LISTENs, when its session was gone.
 */
export async function subscribe(
  listener: Listener,
  channels: readonly string[],
  signal: AbortSignal,
): Promise<Subscribed> {
  const stream = listener.batches({ maxSize: MAX_BATCH, gaps: 'include' })
  const askedAt = Date.now()
  await Promise.all(channels.map((channel) => listener.addChannel(channel, { signal })))
  return { stream, askedAt, heardAt: Date.now() }
}

/** Takes the channels back, without waiting for a server that is away. */
export function unsubscribe(listener: Listener, stream: MessageStream<unknown> | undefined): void {
  void stream?.return?.().catch(() => {})
  // A listener that has ended has no channels any more; one that reconnects does it in its next session.
  listener.clearAllChannels().catch(() => {})
}

/** Relays until the listener is shut down. Rejects with {@link TermEnded} when this relay leads no more. */
export async function relayChannels(
  term: ChannelsTerm,
  { stream, askedAt, heardAt }: Subscribed,
  outlet: Outlet,
  signal: AbortSignal,
): Promise<void> {
  const { listener, leader, gapSubject, lastStored, reason } = term
  const completeness = new Completeness(listener, askedAt)
  const previous = lastStored?.numbered
  const first = ownGap({
    reason,
    lostAt: lastStored === undefined ? null : completeTime(lastStored).toISOString(),
    resumedAt: new Date(heardAt).toISOString(),
    previous: previous === undefined ? null : formatted(previous),
  })
  await outlet.store([gapItem(gapSubject, first, { [Header.complete]: String(askedAt) })], signal)
  term.onTerm()
  for await (const batch of stream) {
    const before = String(completeness.until)
    completeness.look()
    for (const part of splitAtLostSessions(batch)) {
      // What comes after the loss of a session is heard by another one, which may lead only if it has the lock.
      if (isLostSession(part[0]) && !(await leader.confirm(signal)))
        throw new TermEnded('lock', 'another relay has taken the lock')
      const items = part.map((entry) => itemOf(entry, term, before))
      if (part.at(-1) === batch.at(-1))
        items.at(-1)!.headers[Header.complete] = String(completeness.until)
      await outlet.store(items, signal)
    }
  }
}

function itemOf(
  entry: ListenerNotificationMsg | Gap,
  { subjectOf, gapSubject }: ChannelsTerm,
  complete: string,
): Item {
  const headers = { [Header.complete]: complete }
  if (entry instanceof Gap) return gapItem(gapSubject, bodyOfGap(entry), headers)
  const { channel, payload, processId } = entry
  return {
    subject: subjectOf(channel),
    payload,
    channel,
    headers: { [Header.processId]: String(processId), ...headers },
  }
}

const isLostSession = (entry: Batch[number] | undefined) =>
  entry instanceof Gap && entry.reason === 'disconnect'

/** Parts of a batch, of which each but the first begins with the loss of a session. */
function splitAtLostSessions(batch: Batch): Batch[] {
  const parts: Batch[number][][] = []
  for (const entry of batch) {
    if (parts.length === 0 || isLostSession(entry)) parts.push([entry])
    else parts.at(-1)!.push(entry)
  }
  return parts
}

/** Up to when a relay knew the stream to be complete when it wrote a message. */
function completeTime({ headers, time }: Stored): Date {
  const complete = Number(headerOf(headers, Header.complete))
  return Number.isSafeInteger(complete) && complete > 0 ? new Date(complete) : time
}

const formatted = ({ epoch, n }: Numbered) => formatNumbered(epoch, n)
