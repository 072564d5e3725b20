// The fences of `sync()`: notifications to ourselves, which every consumer has to pass.

interface Fence {
  /** Whether its notification came back. */
  arrived: boolean
  /** The consumers that have not passed it. */
  readonly pending: Set<object>
  resolve(): void
  reject(error: Error): void
}

export class Fences {
  readonly #open = new Map<number, Fence>()
  #last = 0

  /**
   * Resolves when all of `consumers` have passed a new fence. `send` notifies ourselves under its number, and resolves when
   * that has come back. `signal` ends the waiting.
   */
  async pass(
    consumers: Iterable<object>,
    send: (id: number) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    this.#last = (this.#last + 1) >>> 0
    const id = this.#last
    const pending = new Set(consumers)
    const passed = new Promise<void>((resolve, reject) => {
      const fence: Fence = { arrived: false, pending, resolve, reject }
      this.#open.set(id, fence)
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      send(id).then(() => {
        fence.arrived = true
        this.#settleIfPassed(id, fence)
      }, reject)
    })
    try {
      await passed
    } finally {
      // It must not keep the consumers that it waited for.
      this.#open.delete(id)
    }
  }

  /** A consumer has handed out everything before a fence. */
  passedBy(consumer: object, id: number): void {
    const fence = this.#open.get(id)
    if (!fence) return
    fence.pending.delete(consumer)
    this.#settleIfPassed(id, fence)
  }

  /** A consumer is at its end: nothing waits for it. */
  forget(consumer: object): void {
    for (const [id, fence] of this.#open) {
      fence.pending.delete(consumer)
      this.#settleIfPassed(id, fence)
    }
  }

  /** No consumer will pass any. */
  rejectAll(error: Error): void {
    for (const [id, fence] of this.#open) {
      this.#open.delete(id)
      fence.reject(error)
    }
  }

  #settleIfPassed(id: number, fence: Fence): void {
    if (!fence.arrived || fence.pending.size > 0) return
    this.#open.delete(id)
    fence.resolve()
  }
}
