// The bounds of a transaction: a signal, a time, and those of the transaction that it is nested in.
import { clearTimeout, setTimeout } from '../native/timers.js'
import { ConnectionTimeoutError } from '../errors.js'
import { watchAbort } from '../native/abort.js'
import type { CallOptions } from './bounds.js'

/** @internal The bounds of a transaction, from its begin on. */
export class Limits {
  /** Rejects when a bound is reached. Never resolves. */
  readonly reached: Promise<never>
  /** Aborted when a bound is reached, for the statements that run then. */
  readonly #abort = new AbortController()
  readonly #isBounded: boolean
  readonly #timer: NodeJS.Timeout | undefined
  readonly #deadline: number
  readonly #late: () => ConnectionTimeoutError
  readonly #unwatch: () => void
  readonly #unwatchOuter: () => void
  readonly #outer: Limits | undefined

  /** Throws when the signal is aborted already. */
  constructor({ signal, timeoutMs }: CallOptions, outer?: Limits) {
    signal?.throwIfAborted()
    outer?.check()
    this.#outer = outer
    const isOuterBounded = outer !== undefined && outer.#isBounded
    this.#isBounded = signal !== undefined || timeoutMs !== undefined || isOuterBounded
    const { promise, reject } = withResolvers()
    this.reached = promise
    // Nobody may be waiting for it.
    promise.catch(() => {})
    const give = (reason: unknown) => {
      // Before those of a nested transaction, which end with this one.
      reject(reason)
      this.#abort.abort(reason)
    }
    this.#unwatch = watchAbort(signal, give)
    this.#unwatchOuter = watchAbort(isOuterBounded ? outer.#abort.signal : undefined, give)
    this.#deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs
    this.#late = () =>
      new ConnectionTimeoutError(`the transaction took longer than ${timeoutMs} ms`)
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => give(this.#late()), timeoutMs)
  }

  /** Throws when a bound is reached, also when its timer has had no turn yet. */
  check(): void {
    this.#abort.signal.throwIfAborted()
    this.#outer?.check()
    if (performance.now() >= this.#deadline) throw this.#late()
  }

  /** The bounds of a statement within the transaction. */
  remaining({ signal, timeoutMs }: CallOptions): CallOptions {
    if (!this.#isBounded) return { signal, timeoutMs }
    const own = this.#abort.signal
    return { signal: signal ? AbortSignal.any([signal, own]) : own, timeoutMs }
  }

  /** Lets go of the signals and of the time. */
  end(): void {
    clearTimeout(this.#timer)
    this.#unwatch()
    this.#unwatchOuter()
  }
}

function withResolvers(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject!: (reason: unknown) => void
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse
  })
  return { promise, reject }
}
