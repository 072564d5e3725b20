// The callbacks whose promises are pending, and those of them that take too long.
import { setTimeout } from '../native/timers.js'
import { errorFacts } from '../observe/facts.js'
import type { Observer } from '../observe/observer.js'
import { areSettledTold, tellSettled } from '../observe/settled.js'

/** A callback whose promise is pending. */
export interface Call {
  /** When it was called, by `performance.now()`. */
  readonly since: number
  /** The channel of its notification; `undefined` for a gap callback. */
  readonly channel: string | undefined
  /** Whether it has been told of as one that takes too long. */
  isTold: boolean
  /** The one that was called before it. */
  before: Call | undefined
  /** The one that was called after it. */
  after: Call | undefined
}

/** Calls that are pending for longer than a time are told of, once each. */
export interface SlowWatch {
  /** The time, in milliseconds. */
  readonly slowMs: number
  /** Called for each of them. */
  onSlow(channel: string | undefined, pendingMs: number): void
}

/**
 * The callbacks of a listener whose promises are pending: over all its runs, since a shutdown does not wait for them.
 *
 * They are linked in the order in which they were called. A set is made anew again and again while one comes as another goes.
 */
export class Calls {
  #first: Call | undefined
  #last: Call | undefined
  #count = 0
  readonly #observer: Observer
  readonly #watch: SlowWatch | undefined
  /** Whether a timer is set for the oldest call that was not told of. It is not changed when that settles. */
  #isTimed = false

  /** `observer` tells of settled calls; `watch` is told of those that take too long, if there is one. */
  constructor(observer: Observer, watch?: SlowWatch) {
    this.#observer = observer
    this.#watch = watch
  }

  /** Notes that a callback, which was called at `since`, has returned a promise. */
  begin(channel: string | undefined, since = performance.now()): Call {
    const call: Call = { since, channel, isTold: false, before: this.#last, after: undefined }
    if (this.#last) this.#last.after = call
    else this.#first = call
    this.#last = call
    this.#count += 1
    if (this.#watch) this.#setTimer(this.#watch, this.#watch.slowMs)
    return call
  }

  /** Notes that the promise has settled, with the reason if it was rejected. */
  end(call: Call, failure?: { reason: unknown }): void {
    const { before, after } = call
    if (before) before.after = after
    else this.#first = after
    if (after) after.before = before
    else this.#last = before
    this.#count -= 1
    if (!areSettledTold()) return
    const { channel, since } = call
    const durationMs = performance.now() - since
    const error = failure && errorFacts(failure.reason)
    tellSettled({ ...this.#observer.identity, channel, durationMs, error })
  }

  /** How many there are. */
  get count(): number {
    return this.#count
  }

  /** How long the oldest has been pending, in milliseconds; `undefined` when none is. */
  get oldestAgeMs(): number | undefined {
    return this.#first && performance.now() - this.#first.since
  }

  #setTimer(watch: SlowWatch, delayMs: number): void {
    if (this.#isTimed) return
    this.#isTimed = true
    setTimeout(() => this.#look(watch), delayMs).unref()
  }

  #look(watch: SlowWatch): void {
    this.#isTimed = false
    const { slowMs } = watch
    for (let call = this.#first; call; call = call.after) {
      if (call.isTold) continue
      const pendingMs = performance.now() - call.since
      // The timers of Node may be a millisecond early.
      if (pendingMs < slowMs) return this.#setTimer(watch, Math.ceil(slowMs - pendingMs))
      call.isTold = true
      watch.onSlow(call.channel, pendingMs)
    }
  }
}
