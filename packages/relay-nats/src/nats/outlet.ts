// Stores messages in the stream: in order, each once, whatever happens to the connection.
//
// Messages are sent without waiting for each other, in a chain: the first one expects the last sequence of the stream, each of the others
// the id of the one before it. So what is stored is always a prefix of what was sent, and nothing else is among it. After any failure the
// stream itself is asked how far it has come, and sending goes on from there. Frames of an old connection that arrive late belong to the
// same chain; those of a relay that does not know that it leads no more belong to a chain that is broken for good.
//
// A chain of expected sequences would not do: when somebody else stores a message in between, the first of ours is refused, and the
// second one finds just the sequence that it expects.
import { textOf } from '../errors.js'
import type { Counters } from '../wire/counters.js'
import type { RelayGapBody } from '../wire/gaps.js'
import { Header, formatNumbered, makeHeaders } from '../wire/headers.js'
import { Answers, type Outcome, type Outgoing, type Refusal } from './answers.js'
import { BATCH_DISABLED, MAX_BATCH, batchHeaders, newBatchId } from './batch.js'
import { insteadOf, type Item } from './item.js'
import type { Link } from './link.js'
import { Backoff } from './sleep.js'
import type { StreamReader } from './stream.js'

/** JetStream's codes for a message that will never be taken: larger than the stream allows, or its headers are. */
const POISON = new Set([10_054, 10_097])
/** JetStream's codes for a message that does not follow the one that it expects: by sequence, by id. */
const WRONG_LAST_SEQUENCE = 10_071
/** A message that no server of NATS takes is told by this code, which is none of JetStream's. */
const TOO_LARGE = -1
/** What leaves its socket in one turn of the event loop. */
const MAX_WINDOW_BYTES = 4 * 1024 * 1024
/** How many messages of others are looked through for the last one of this epoch. */
const MAX_FOREIGN = 10_000

/** Why this relay's time of leading is over. */
export type EndReason = 'foreign' | 'reset' | 'unknown' | 'lock'

/** The end of a time of leading. What was not stored by then is covered by the gap that begins the next one. */
export class TermEnded extends Error {
  readonly reason: EndReason

  constructor(reason: EndReason, message: string) {
    super(message)
    this.reason = reason
  }
}

/** What the outlet tells of itself. */
export interface OutletEvents {
  /** An attempt to store messages has failed, and is repeated. */
  onFailure: (failure: { code: number; message: string }) => void
  /** A message is replaced by a gap. */
  onUnpublishable: (item: Item) => void
  /** A gap is stored. */
  onGap: (body: RelayGapBody) => void
  /** Messages are stored. */
  onStored: (count: number, how: 'window' | 'batch') => void
}

export interface OutletOptions {
  /** The most messages that are under way at the same time. */
  window: number
  /** From how many messages on an atomic batch is used; `Infinity` for never. */
  batchFrom: number
  timeoutMs: number
}

/** Where the stream ended when the outlet was made. */
export interface OutletStart {
  created: string
  last: number
}

/** See the file. */
export class Outlet {
  readonly counters: Counters
  readonly #link: Link
  readonly #stream: StreamReader
  readonly #answers: Answers
  readonly #gapSubject: string
  readonly #options: OutletOptions
  readonly #events: OutletEvents
  #created: string
  #batchFrom: number
  /** The last sequence of the stream that is known to be this relay's own, or that it began with. */
  #last: number

  constructor(
    link: Link,
    stream: StreamReader,
    counters: Counters,
    start: OutletStart,
    gapSubject: string,
    options: OutletOptions,
    events: OutletEvents,
  ) {
    this.#link = link
    this.#stream = stream
    this.counters = counters
    this.#answers = new Answers(link)
    this.#gapSubject = gapSubject
    this.#options = options
    this.#batchFrom = options.batchFrom
    this.#events = events
    this.#created = start.created
    this.#last = start.last
  }

  /** The last sequence of the stream that is known to be this relay's own, or that it began with. */
  get last(): number {
    return this.#last
  }

  close(): void {
    this.#answers.close()
  }

  /**
   * Resolves when all of the messages are stored, however long that takes. Rejects with {@link TermEnded} when somebody else has
   * written to the stream, and with the reason of `signal` when that is aborted.
   */
  async store(items: readonly Item[], signal: AbortSignal): Promise<void> {
    const left = [...items]
    const backoff = new Backoff(20, 2000)
    let mayBatch = true
    while (left.length > 0) {
      await this.#link.connected(signal)
      const isBatch = mayBatch && left.length >= this.#batchFrom
      const { stored, refusal } = isBatch
        ? await this.#sendBatch(left)
        : await this.#sendWindow(left)
      this.#count(left.splice(0, stored), isBatch)
      if (refusal === undefined) {
        backoff.reset()
        mayBatch = true
        continue
      }
      // A batch is refused as a whole: one by one it shows which message is at fault.
      mayBatch = false
      const isPoison = POISON.has(refusal.code) || refusal.code === TOO_LARGE
      if (!isPoison) this.#events.onFailure(refusal)
      const before = this.#last
      const recovered = await this.#recover(left.length, signal)
      this.#count(left.splice(0, recovered), false)
      if (isBatch && refusal.code === BATCH_DISABLED) this.#batchFrom = Infinity
      if (recovered > 0) backoff.reset()
      else if (isPoison && !isBatch) {
        if (this.#replaceFirst(left)) continue
        // The stream may be given other limits.
        this.#events.onFailure(refusal)
        await backoff.wait(signal)
      } else if (!isBatch && this.#last === before) await backoff.wait(signal)
    }
  }

  /** Replaces the first message, which the stream does not take at its size. Returns whether anything can take its place. */
  #replaceFirst(left: Item[]): boolean {
    const item = left[0]!
    if (item.channel !== undefined) {
      this.#events.onUnpublishable(item)
      left[0] = insteadOf(item, this.#gapSubject)
      return true
    }
    if (item.smaller === undefined) return false
    left[0] = item.smaller
    return true
  }

  #count(items: readonly Item[], isBatch: boolean): void {
    for (const { subject, channel, payload } of items) {
      this.counters.count(subject)
      if (channel === undefined) this.#events.onGap(JSON.parse(payload) as RelayGapBody)
    }
    if (items.length > 0) this.#events.onStored(items.length, isBatch ? 'batch' : 'window')
  }

  async #sendWindow(items: readonly Item[]): Promise<Sent> {
    const outgoing = this.#prepare(items, (index, _count, before) =>
      index === 0
        ? {
            'Nats-Expected-Last-Sequence': String(this.#last),
            'Nats-Expected-Stream': this.#stream.name,
          }
        : { 'Nats-Expected-Last-Msg-Id': before },
    )
    if (outgoing.length === 0) return { stored: 0, refusal: tooLarge }
    const outcome = await this.#answers.send(outgoing, this.#options.timeoutMs)
    let stored = 0
    while (outcome.answers[stored]?.sequence === this.#last + 1) {
      this.#last += 1
      stored += 1
    }
    if (stored === outgoing.length) return { stored, refusal: undefined }
    return { stored, refusal: refusalOf(outcome, stored) }
  }

  async #sendBatch(items: readonly Item[]): Promise<Sent> {
    const id = newBatchId()
    const outgoing = this.#prepare(items, (index, count) => ({
      ...batchHeaders(id, index, count),
      ...(index === 0 ? { 'Nats-Expected-Last-Sequence': String(this.#last) } : {}),
    }))
    for (const message of outgoing.slice(1, -1)) message.isAnswered = false
    if (outgoing.length < 2) return this.#sendWindow(items)
    const outcome = await this.#answers.send(outgoing, this.#options.timeoutMs)
    const [first, end] = outcome.answers
    if (end?.sequence !== undefined && end.sequence === this.#last + outgoing.length) {
      this.#last = end.sequence
      return { stored: outgoing.length, refusal: undefined }
    }
    const refusal = end?.refusal ?? first?.refusal
    return { stored: 0, refusal: refusal ?? refusalOf(outcome, 0) }
  }

  /** Makes messages of the first items, as many as may be under way; none if already the first is too large for any server. */
  #prepare(
    items: readonly Item[],
    extra: (index: number, count: number, before: string) => Record<string, string>,
  ): Outgoing[] {
    const maxPayload = this.#link.nc.info?.max_payload ?? 1_048_576
    const candidates = items.slice(0, Math.min(this.#options.window, MAX_BATCH))
    const numbers = this.counters.number(candidates.map(({ subject }) => subject))
    const payloads: Uint8Array[] = []
    let bytes = 0
    for (const item of candidates) {
      const payload = Buffer.from(item.payload)
      const size = payload.length + headerRoom(item)
      if (size > maxPayload || (bytes > 0 && bytes + size > MAX_WINDOW_BYTES)) break
      bytes += size
      payloads.push(payload)
    }
    const { epoch } = this.counters
    let before = ''
    return payloads.map((payload, index) => {
      const item = candidates[index]!
      const { n, channelN } = numbers[index]!
      const id = formatNumbered(epoch, n)
      const headers = makeHeaders({
        'Nats-Msg-Id': id,
        [Header.sequence]: id,
        [Header.channelSequence]: formatNumbered(epoch, channelN),
        ...item.headers,
        ...extra(index, payloads.length, before),
      })
      before = id
      return { subject: item.subject, payload, headers, isAnswered: true }
    })
  }

  /** Asks the stream how many of the messages that were sent are stored after the last one that is known to be. */
  async #recover(sent: number, signal: AbortSignal): Promise<number> {
    const backoff = new Backoff(50, 1000)
    for (;;) {
      await this.#link.connected(signal)
      try {
        return await this.#storedSince(sent)
      } catch (error) {
        if (error instanceof TermEnded) throw error
        this.#events.onFailure({ code: 0, message: `the stream cannot be read: ${textOf(error)}` })
        await backoff.wait(signal)
      }
    }
  }

  /**
   * Whether the message of a sequence is of this epoch. Then the stream is the same one, whatever it says of its time of creation: nats-server 2.12
   * forgets that of a stream whose settings were changed, when it is restarted.
   */
  async #isOurs(sequence: number): Promise<boolean> {
    const message = await this.#stream.message(sequence)
    return message?.numbered?.epoch === this.counters.epoch
  }

  async #storedSince(sent: number): Promise<number> {
    const { created, last } = await this.#stream.end()
    if (last < this.#last || (created !== this.#created && !(await this.#isOurs(this.#last))))
      throw new TermEnded('reset', 'the stream was deleted and made again, or restored')
    this.#created = created
    for (let sequence = last; sequence > this.#last; sequence -= 1) {
      if (last - sequence > MAX_FOREIGN)
        throw new TermEnded('foreign', 'others have written to the stream')
      const message = await this.#stream.message(sequence)
      if (message === undefined)
        throw new TermEnded('unknown', 'the stream has lost messages that may be this relay’s')
      const { numbered } = message
      // Somebody who is no relay has written to the stream: not forbidden, but nothing of ours.
      if (numbered === undefined) continue
      if (numbered.epoch !== this.counters.epoch)
        throw new TermEnded('foreign', 'another relay has written to the stream')
      const stored = numbered.n - this.counters.stored
      if (stored < 0 || stored > sent)
        throw new TermEnded('unknown', 'the stream has numbers that this relay has not given')
      this.#last = last
      return stored
    }
    this.#last = last
    return 0
  }
}

/** What has become of messages that were sent: how many are stored, and why not the next one. */
interface Sent {
  stored: number
  refusal: Refusal | undefined
}

const tooLarge: Refusal = { code: TOO_LARGE, message: 'larger than the server’s max_payload' }

function refusalOf({ answers, failure }: Outcome, index: number): Refusal {
  const refusal = answers[index]?.refusal
  if (refusal) return refusal
  if (failure) return { code: 0, message: textOf(failure) }
  return { code: WRONG_LAST_SEQUENCE, message: 'the stream has stored it elsewhere than expected' }
}

/** More than the headers of a message can take, in bytes. */
function headerRoom(item: Item): number {
  const own = Object.entries(item.headers).reduce(
    (sum, [name, value]) => sum + name.length + (value?.length ?? 0) + 4,
    0,
  )
  return own + 400
}
