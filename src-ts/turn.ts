// Fairness: how much work may be done before the event loop gets its turn.

/**
 * How long one turn of the event loop may be spent on deliveries, in milliseconds. Timers and sockets wait no longer
 * than that, plus one stride.
 */
const SLICE_MS = 2

/** Checking the clock costs about as much as delivering a notification, so cheap ones are delivered in strides. */
const MAX_STRIDE = 16
/** What a stride may take, in milliseconds: the resolution of the clock. */
const STRIDE_MS = 1

/** The cheapest clock that there is. When it is set back, a slice ends. */
const { now } = Date

/**
 * Counts the time that deliveries take out of one turn of the event loop. Promises do not end a turn, so a chain of
 * callbacks that settle at once is counted as one.
 */
export class Turn {
  readonly #next: () => void
  #deadline = 0
  #checkedAt = 0
  #active = false
  #spent = false
  #wanted = false
  #stride = 1
  #left = 1

  /** `next` is called at the start of a turn that was asked for with {@link Turn.yield}. */
  constructor(next: () => void) {
    this.#next = next
  }

  /** To be called for each delivery, or once for several: whether the slice is used up. */
  isSpent(deliveries = 1): boolean {
    if (!this.#active) this.#begin()
    if (this.#spent) return true
    this.#left -= deliveries
    if (this.#left > 0) return false
    const checkedAt = now()
    const took = checkedAt - this.#checkedAt
    this.#checkedAt = checkedAt
    this.#stride = took <= STRIDE_MS ? Math.min(this.#stride * 2, MAX_STRIDE) : 1
    this.#left = this.#stride
    this.#spent = took < 0 || checkedAt >= this.#deadline
    return this.#spent
  }

  /** Asks for the next turn. */
  yield(): void {
    this.#wanted = true
    if (!this.#active) this.#begin()
  }

  #begin(): void {
    this.#active = true
    this.#spent = false
    this.#checkedAt = now()
    this.#deadline = this.#checkedAt + SLICE_MS
    this.#left = Math.min(this.#left, this.#stride)
    setImmediate(() => {
      this.#active = false
      if (!this.#wanted) return
      this.#wanted = false
      this.#next()
    })
  }
}
