// What a consumer saw, kept so that millions of notifications need little memory, and can go to another thread.

import type { Gap } from 'pglisten'

const FIRST_CAPACITY = 1024

/** A stream as plain data. */
export interface Recorded {
  keys: Float64Array<ArrayBuffer>
  /** Each gap, with the count of keys before it. */
  gaps: readonly { at: number; gap: Gap }[]
}

export class Recording {
  #keys = new Float64Array(FIRST_CAPACITY)
  #length = 0
  readonly #gaps: { at: number; gap: Gap }[] = []

  add(key: number): void {
    if (this.#length === this.#keys.length) {
      const larger = new Float64Array(2 * this.#length)
      larger.set(this.#keys)
      this.#keys = larger
    }
    this.#keys[this.#length] = key
    this.#length += 1
  }

  addGap(gap: Gap): void {
    this.#gaps.push({ at: this.#length, gap })
  }

  /** What was recorded so far. */
  recorded(): Recorded {
    return { keys: this.#keys.slice(0, this.#length), gaps: this.#gaps }
  }
}

/** The stream in its order, for the oracle. */
export function* seenOf({ keys, gaps }: Recorded): Generator<number | Gap, void> {
  let from = 0
  for (const { at, gap } of gaps) {
    for (; from < at; from += 1) yield keys[from]!
    yield gap
  }
  for (; from < keys.length; from += 1) yield keys[from]!
}
