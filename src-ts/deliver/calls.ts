// The callbacks whose promises are pending, and those of them that take too long.
import { setTimeout } from '../native/timers.js'
import { errorFacts } from '../observe/facts.js'
import type { Observer } from '../observe/observer.js'
import { areSettledTold, tellSettled } from '../observe/settled.js'

/** One of them. */
interface Call {
  /** When it was called, by `performance.now()`. */
  readonly since: number
  /** The channel of its notification; `undefined` for a gap callback. */
  readonly channel: string | undefined
}

/** Called for a callback that has been pending for too long. */
export type OnSlow = (channel: string | undefined, pendingMs: number) => void

/** The callbacks of a listener whose promises are pending: over all its runs, since a shutdown does not wait for them. */
export class Calls {
  /** In the order in which they were called. */
  #pending: Set<Call> | undefined
  readonly #observer: Observer
  readonly #watch: SlowCalls | undefined

  /** `observer` tells of settled calls; `watch` is told of the calls, if there is one. */
  constructor(observer: Observer, watch?: SlowCalls) {
    this.#observer = observer
    this.#watch = watch
  }

  /**
   * Notes that a callback, which was called at `since`, has returned a promise. The returned function is to be called when the
   * promise has settled, with the reason if it was rejected.
   */
  begin(
    channel: string | undefined,
    since = performance.now(),
  ): (failure?: { reason: unknown }) => void {
    const call = { since, channel }
    const pending = (this.#pending ??= new Set())
    pending.add(call)
    this.#watch?.add(call)
    return (failure) => {
      pending.delete(call)
      this.#watch?.delete(call)
      if (!areSettledTold()) return
      const durationMs = performance.now() - since
      const error = failure && errorFacts(failure.reason)
      tellSettled({ ...this.#observer.identity, channel, durationMs, error })
    }
  }

  /** How many there are. */
  get count(): number {
    return this.#pending?.size ?? 0
  }

  /** How long the oldest has been pending, in milliseconds; `undefined` when none is. */
  get oldestAgeMs(): number | undefined {
    for (const { since } of this.#pending ?? []) return performance.now() - since
    return undefined
  }
}

/**
 * Tells of each call that is pending for longer than a time, once. There is one timer for all of them: it is set for the oldest
 * call that was not told of, and not changed when that settles.
 */
export class SlowCalls {
  readonly #slowMs: number
  readonly #onSlow: OnSlow
  /** The calls that were not told of, in the order in which they were called. */
  readonly #untold = new Set<Call>()
  #isTimed = false

  constructor(slowMs: number, onSlow: OnSlow) {
    this.#slowMs = slowMs
    this.#onSlow = onSlow
  }

  add(call: Call): void {
    this.#untold.add(call)
    this.#setTimer(this.#slowMs)
  }

  delete(call: Call): void {
    this.#untold.delete(call)
  }

  #setTimer(delayMs: number): void {
    if (this.#isTimed) return
    this.#isTimed = true
    setTimeout(() => this.#look(), delayMs).unref()
  }

  #look(): void {
    this.#isTimed = false
    for (const call of this.#untold) {
      const pendingMs = performance.now() - call.since
      // The timers of Node may be a millisecond early.
      if (pendingMs < this.#slowMs) return this.#setTimer(Math.ceil(this.#slowMs - pendingMs))
      this.#untold.delete(call)
      this.#onSlow(call.channel, pendingMs)
    }
  }
}
