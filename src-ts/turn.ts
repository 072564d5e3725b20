// Fairness: how much work may be done before the event loop gets its turn.

/**
 * How long one turn of the event loop may be spent on deliveries, in milliseconds. Timers and sockets wait no longer
 * than that, plus one stride and the first delivery.
 */
const SLICE_MS = 2

/** Checking the clock costs about as much as delivering a notification, so cheap ones are delivered in strides. */
const MAX_STRIDE = 16
/** What a stride may take, in milliseconds: the resolution of the clock. */
const STRIDE_MS = 1

/** The cheapest clock that there is. When it is set back, a slice ends. */
const { now } = Date

/**
 * Counts the time that deliveries take out of one turn of the event loop, those of all consumers together. Promises do
 * not end a turn, so a chain of callbacks that settle at once is counted as one.
 */
class Turn {
  /** Who goes on in the next turn, in the order in which they asked. */
  readonly #waiting = new Set<() => void>()
  #deadline = 0
  #checkedAt = 0
  /** Something was delivered since the last turn. */
  #begun = false
  /** The time is counted, and the next turn is asked for. */
  #counting = false
  #spent = false
  #stride = 1
  #left = 1

  /** To be called for each delivery, or once for several: whether the slice is used up. */
  isSpent(deliveries = 1): boolean {
    if (!this.#counting) {
      // Often it is the only one: then it need not wait for what would count it.
      if (!this.#begun) {
        this.#begun = true
        return false
      }
      this.#count()
    }
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

  /** Calls `next` in a turn to come, once, after those who asked before. It must not throw. */
  yield(next: () => void): void {
    this.#waiting.add(next)
    if (!this.#counting) this.#count()
  }

  #count(): void {
    this.#counting = true
    this.#spent = false
    this.#checkedAt = now()
    this.#deadline = this.#checkedAt + SLICE_MS
    this.#left = Math.min(this.#left, this.#stride)
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#counting = false
    this.#spent = false
    this.#begun = false
    const [next] = this.#waiting
    if (!next) return
    this.#waiting.delete(next)
    // One alone, with all that its promises start: of many at a time, the garbage of each would outlive its youth.
    if (this.#waiting.size > 0) this.#count()
    next()
  }
}

/** One per environment: the event loop does not care which consumer keeps it. */
export const turn = new Turn()
