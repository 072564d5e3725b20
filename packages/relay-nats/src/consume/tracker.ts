// Follows the counters of a stream as a consumer sees them, and tells what is missing between one message and the next.
import type { RelayGapBody } from '../wire/gaps.js'
import { parseNumbered, type Numbered } from '../wire/headers.js'
import { channelOf } from '../wire/subjects.js'

/** A message as the tracker looks at it. */
export interface Seen {
  subject: string
  /** `Pg-Seq`; `undefined` if no relay has written it. */
  number: Numbered | undefined
  /** `Pg-Channel-Seq`. */
  channelNumber: Numbered | undefined
  /** What a gap says; `undefined` for a notification. */
  gap: RelayGapBody | undefined
}

/** How many messages are missing before one: a number, or `null` for an unknown number. 0 for none. */
export type Missing = number | null

/** See the file. */
export class Tracker {
  /** The subjects that the consumer gets; `undefined` for all. */
  readonly #wanted: readonly string[] | undefined
  #epoch: string | undefined
  #n = 0
  /** The last number of each subject; one that is not in it was not seen in this epoch. */
  readonly #subjects = new Map<string, number>()
  /** Whether the consumer has followed the epoch from its beginning, so that a subject that was not seen had no message. */
  #isWhole = false

  /** @param wanted - The subjects that the consumer gets; `undefined` for all. */
  constructor(wanted: readonly string[] | undefined) {
    this.#wanted = wanted
  }

  /** Begins with what the stream had before the consumer's first message, as far as that is known. */
  start(number: Numbered, ofSubjects: ReadonlyMap<string, Numbered>): void {
    this.#begin(number.epoch, number.n)
    this.#isWhole = ofSubjects.size > 0
    for (const [subject, { epoch, n }] of ofSubjects)
      if (epoch === number.epoch) this.#subjects.set(subject, n)
  }

  /** Nothing of before counts any more: the stream is another one. */
  reset(): void {
    this.#epoch = ''
    this.#n = 0
    this.#subjects.clear()
    this.#isWhole = true
  }

  /** Notes a message, and tells how many are missing before it. */
  see(message: Seen): Missing {
    const { number, channelNumber, subject, gap } = message
    if (number === undefined || channelNumber === undefined) return 0
    const missing =
      number.epoch === this.#epoch
        ? this.#missingInEpoch(subject, number, channelNumber)
        : this.#missingBetweenEpochs(subject, number, channelNumber, gap)
    this.#n = Math.max(this.#n, number.n)
    this.#subjects.set(subject, channelNumber.n)
    return missing
  }

  #missingInEpoch(subject: string, number: Numbered, channelNumber: Numbered): Missing {
    if (this.#wanted === undefined) return Math.max(0, number.n - this.#n - 1)
    const before = this.#lastOf(subject)
    return before === undefined ? 0 : Math.max(0, channelNumber.n - before - 1)
  }

  #missingBetweenEpochs(
    subject: string,
    number: Numbered,
    channelNumber: Numbered,
    gap: RelayGapBody | undefined,
  ): Missing {
    const isFirst = this.#epoch === undefined
    const isBeginning = number.n === 1 && gap !== undefined
    const missing = isBeginning ? this.#missingAtEnd(gap) : null
    this.#begin(number.epoch, number.n)
    this.#isWhole = !isFirst || isBeginning
    if (isFirst) return 0
    // Of this subject as many are missing as were counted; of the epoch before, nobody knows.
    if (!isBeginning) this.#subjects.set(subject, channelNumber.n)
    return missing
  }

  /** How many of the epoch before are missing, of which its successor tells the last numbers. */
  #missingAtEnd({ dropped, previous, previousOf }: RelayGapBody): Missing {
    if (this.#epoch === undefined || this.#epoch === '') return 0
    const last = parseNumbered(previous ?? undefined)
    if (last?.epoch !== this.#epoch) return null
    if (this.#wanted === undefined) return Math.max(0, last.n - this.#n)
    // A beginning with a loss of its own is told as a gap anyway. One without a loss lacks the numbers when they were too many for a message.
    if (previousOf === undefined) return dropped === 0 ? null : 0
    let missing = 0
    for (const subject of this.#wanted) {
      const channel = channelOf(subject)
      const number = channel === undefined ? undefined : parseNumbered(previousOf[channel])
      const before = this.#lastOf(subject)
      if (number?.epoch !== this.#epoch || before === undefined) continue
      missing += Math.max(0, number.n - before)
    }
    return missing
  }

  /** The last number of a subject in this epoch, 0 if it had no message; `undefined` if that is unknown. */
  #lastOf(subject: string): number | undefined {
    return this.#subjects.get(subject) ?? (this.#isWhole ? 0 : undefined)
  }

  #begin(epoch: string, n: number): void {
    this.#epoch = epoch
    this.#n = n
    this.#subjects.clear()
  }
}
