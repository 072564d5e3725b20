// Stalls of the machine, as a clock of this process sees them: a bound on time says something only about a round without one.

import type { ExecutionContext } from 'ava'
import { within } from './wait.js'

const TICK_MS = 5
/** A pause of the event loop that is as long is a stall. */
const STALL_MS = 200
const ROUNDS = 4
const DEADLINE_MS = 60_000

/** Watches the event loop until it is disposed of. */
export class Stalls {
  #longestMs = 0
  #last = performance.now()
  readonly #timer = setInterval(() => this.#look(), TICK_MS)

  /** How long the event loop stood still at most, in milliseconds. */
  get longestMs(): number {
    this.#look()
    return this.#longestMs
  }

  /** Whether there was a stall. */
  get hasStalled(): boolean {
    return this.longestMs >= STALL_MS
  }

  #look(): void {
    const now = performance.now()
    this.#longestMs = Math.max(this.#longestMs, now - this.#last - TICK_MS)
    this.#last = now
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

/**
 * Repeats a round until there was no stall in it, and gives what it resolves to; `undefined` when there was a stall in each. What
 * a stall cannot change is to be asserted in the round, and what it can in the result.
 */
export async function withoutStall<Result>(
  round: () => Promise<Result>,
): Promise<Result | undefined> {
  for (let count = 0; count < ROUNDS; count += 1) {
    using stalls = new Stalls()
    const result = await round()
    if (!stalls.hasStalled) return result
  }
  return undefined
}

/**
 * Measures until a number is below a bound, and gives the least one. For counts that other load of the machine can raise and never
 * lower: what is wrong with the package is in every round.
 */
export async function leastOf(bound: number, measure: () => Promise<number>): Promise<number> {
  let least = Infinity
  for (let count = 0; count < ROUNDS && least >= bound; count += 1)
    least = Math.min(least, await measure())
  return least
}

/** Waits for something that takes less than a bound, unless the machine stalls meanwhile, and gives what it resolves to. */
export async function timely<Value>(
  t: ExecutionContext,
  what: string,
  boundMs: number,
  work: () => PromiseLike<Value>,
): Promise<Value> {
  using stalls = new Stalls()
  const began = performance.now()
  const value = await within(work(), { what, timeoutMs: DEADLINE_MS })
  const tookMs = Math.round(performance.now() - began)
  const stalledMs = Math.round(stalls.longestMs)
  t.true(tookMs < boundMs || stalledMs >= STALL_MS, `${what}: ${tookMs} ms`)
  t.log(
    `${what}: ${tookMs} ms${stalledMs < STALL_MS ? '' : `, in which the machine stalled for ${stalledMs} ms`}`,
  )
  return value
}
