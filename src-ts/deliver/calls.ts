// The callbacks whose promises are pending.

/** One of them. */
interface Call {
  /** When it was called, by `performance.now()`. */
  readonly since: number
}

/** The callbacks of a listener whose promises are pending: over all its runs, since a shutdown does not wait for them. */
export class Calls {
  /** In the order in which they were called. */
  #pending: Set<Call> | undefined

  /** Notes that a callback has returned a promise. The returned function is to be called when the promise has settled. */
  begin(): () => void {
    const call = { since: performance.now() }
    const pending = (this.#pending ??= new Set())
    pending.add(call)
    return () => pending.delete(call)
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
