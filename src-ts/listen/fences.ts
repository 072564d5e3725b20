// The fences of `sync()`: notifications that a listener sends to itself, and that every consumer has to pass.
import { watchAbort } from '../native/abort.js'

/** One fence that is on its way. */
interface Fence {
  /** Whether its notification has come back from the server. */
  arrived: boolean
  /** The consumers that have not passed it. */
  readonly pending: Set<object>
  resolve(): void
  reject(error: Error): void
}

/** The fences of one run that are on their way. */
export class Fences {
  /** Made for the first one. */
  #all: Map<number, Fence> | undefined
  #last = 0

  get #open(): Map<number, Fence> {
    this.#all ??= new Map()
    return this.#all
  }

  /**
   * Sends a new fence, and resolves when all of `consumers` have passed it. `send` sends the notification with the
   * fence's number and resolves when it has come back. When `signal` is aborted, the promise rejects with its reason.
   */
  async pass(
    consumers: Iterable<object>,
    send: (id: number) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    this.#last = (this.#last + 1) >>> 0
    const id = this.#last
    const pending = new Set(consumers)
    let unwatch = () => {}
    const passed = new Promise<void>((resolve, reject) => {
      const fence: Fence = { arrived: false, pending, resolve, reject }
      this.#open.set(id, fence)
      unwatch = watchAbort(signal, reject)
      send(id).then(() => {
        fence.arrived = true
        this.#settleIfPassed(id, fence)
      }, reject)
    })
    try {
      await passed
    } finally {
      unwatch()
      // A fence that is not waited for any more must not keep its consumers from being collected.
      this.#open.delete(id)
    }
  }

  /**
   * Notes that a consumer has passed a fence, and all that were sent before it: it has handed out all notifications before them.
   * Of several fences that follow each other in a buffer only the last one stands there.
   */
  passedBy(consumer: object, id: number): void {
    for (const [other, fence] of this.#all ?? []) {
      // Numbers wrap around.
      if (((id - other) | 0) < 0) return
      fence.pending.delete(consumer)
      this.#settleIfPassed(other, fence)
    }
  }

  /** Lets no fence wait for a consumer that has ended. */
  forget(consumer: object): void {
    for (const [id, fence] of this.#all ?? []) {
      fence.pending.delete(consumer)
      this.#settleIfPassed(id, fence)
    }
  }

  /** Rejects all fences with `error`, because no consumer will pass them. */
  rejectAll(error: Error): void {
    for (const [id, fence] of this.#all ?? []) {
      this.#open.delete(id)
      fence.reject(error)
    }
  }

  /** Resolves a fence that has come back and that all consumers have passed. */
  #settleIfPassed(id: number, fence: Fence): void {
    if (!fence.arrived || fence.pending.size > 0) return
    this.#open.delete(id)
    fence.resolve()
  }
}
