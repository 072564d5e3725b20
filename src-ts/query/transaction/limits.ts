// The bounds of a transaction: a signal, a time, and those of the transaction that it is nested in.
import { clearTimeout, setTimeout } from '../../native/timers.js'
import { ConnectionTimeoutError } from '../../errors.js'
import { watchAbort } from '../../native/abort.js'
import type { CallBounds, CallOptions } from '../bounds.js'

/** @internal The bounds of a transaction, from its begin on. */
export class Limits {
  /** Rejects when a bound is reached. Never resolves. `undefined` without bounds. */
  readonly reached: Promise<never> | undefined
  /** Aborted when a bound is reached, for the statements that run then. `undefined` without bounds. */
  readonly #abort: AbortController | undefined
  readonly #timer: NodeJS.Timeout | undefined
  readonly #deadline: number
  readonly #late: () => ConnectionTimeoutError
  readonly #unwatch: (() => void) | undefined
  readonly #unwatchOuter: (() => void) | undefined
  readonly #outer: Limits | undefined

  /** Throws when the signal is aborted already. */
  constructor({ signal, timeoutMs }: CallOptions, outer?: Limits) {
    signal?.throwIfAborted()
    outer?.check()
    this.#outer = outer
    this.#late = () =>
      new ConnectionTimeoutError(`the transaction took longer than ${timeoutMs} ms`)
    this.#deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs
    const outerAbort = outer ? outer.#abort : undefined
    if (signal === undefined && timeoutMs === undefined && !outerAbort) return
    const abort = (this.#abort = new AbortController())
    const { promise, reject } = withResolvers()
    this.reached = promise
    // Nobody may be waiting for it.
    promise.catch(() => {})
    const give = (reason: unknown) => {
      // Before those of a nested transaction, which end with this one.
      reject(reason)
      abort.abort(reason)
    }
    this.#unwatch = watchAbort(signal, give)
    this.#unwatchOuter = watchAbort(outerAbort?.signal, give)
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => give(this.#late()), timeoutMs)
  }

  /** Throws when a bound is reached, also when its timer has had no turn yet. */
  check(): void {
    this.#abort?.signal.throwIfAborted()
    this.#outer?.check()
    if (this.#deadline !== Infinity && performance.now() >= this.#deadline) throw this.#late()
  }

  /** The bounds of a statement within the transaction. */
  remaining(options: CallOptions): CallBounds {
    const ofTransaction = this.#abort?.signal
    return ofTransaction ? { ...options, ofTransaction } : options
  }

  /** Lets go of the signals and of the time. */
  end(): void {
    clearTimeout(this.#timer)
    this.#unwatch?.()
    this.#unwatchOuter?.()
  }
}

function withResolvers(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject!: (reason: unknown) => void
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse
  })
  return { promise, reject }
}
