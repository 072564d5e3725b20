// The counters of an epoch: of all messages, and of each subject. They have no holes, so a hole that a consumer finds is a loss.
import { randomBytes } from 'node:crypto'

/** The numbers of one message. */
export interface Numbers {
  /** Among all messages of the epoch, from 1. */
  n: number
  /** Among those of its subject in the epoch, from 1. */
  channelN: number
}

/** What is stored so far. Only what the stream has confirmed counts, so that a message which is sent again gets the same numbers. */
export class Counters {
  /** Names the epoch. No two epochs of one stream are equal: it has the time and 48 random bits. */
  readonly epoch = `${Date.now().toString(36)}-${randomBytes(6).toString('hex')}`
  #n = 0
  readonly #subjects = new Map<string, number>()

  /** How many messages of this epoch are stored. */
  get stored(): number {
    return this.#n
  }

  /** How many messages of a subject are stored. */
  storedOf(subject: string): number {
    return this.#subjects.get(subject) ?? 0
  }

  /** The numbers that messages with these subjects get if they are stored next. */
  number(subjects: readonly string[]): Numbers[] {
    const next = new Map<string, number>()
    return subjects.map((subject, index) => {
      const channelN = (next.get(subject) ?? this.storedOf(subject)) + 1
      next.set(subject, channelN)
      return { n: this.#n + index + 1, channelN }
    })
  }

  /** Counts a message that is stored. */
  count(subject: string): void {
    this.#n += 1
    this.#subjects.set(subject, this.storedOf(subject) + 1)
  }
}
