// A transaction: statements that take effect together or not at all.
import { clearTimeout, setTimeout } from '../native/timers.js'
import { brand } from '../brand.js'
import type { NativeCommitOutcome, NativeCursor, NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import { type InspectArguments, inspectCustom, printed } from '../native/inspect.js'
import { unknownKind } from '../native/kinds.js'
import {
  ConnectionTimeoutError,
  TransactionBeginError,
  TransactionClosedError,
  TransactionCommitError,
} from '../errors.js'
import { watchAbort } from '../native/abort.js'
import { bounded, type CallOptions } from './bounds.js'
import type { CursorScope } from './cursor.js'
import { Queryable, boundsOf, leaseOf, scopeOf, typesOf } from './queryable.js'
import type { ResolvedTypes } from '../options/types.js'

/** The function that {@link Connection.transaction} runs within a transaction. */
export type TransactionWork<Result> = (tx: Transaction) => Promise<Result> | Result

/** The bounds of a transaction, from its begin on. */
class Limits {
  /** Rejects when a bound is reached. Never resolves. */
  readonly reached: Promise<never>
  /** Aborted when a bound is reached, for the statements that run then. */
  readonly #abort = new AbortController()
  readonly #isBounded: boolean
  readonly #timer: NodeJS.Timeout | undefined
  readonly #deadline: number
  readonly #late: () => ConnectionTimeoutError
  readonly #unwatch: () => void

  constructor({ signal, timeoutMs }: CallOptions) {
    signal?.throwIfAborted()
    this.#isBounded = signal !== undefined || timeoutMs !== undefined
    const { promise, reject } = withResolvers()
    this.reached = promise
    // Nobody may be waiting for it.
    promise.catch(() => {})
    const give = (reason: unknown) => {
      this.#abort.abort(reason)
      reject(reason)
    }
    this.#unwatch = watchAbort(signal, give)
    this.#deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs
    this.#late = () =>
      new ConnectionTimeoutError(`the transaction took longer than ${timeoutMs} ms`)
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => give(this.#late()), timeoutMs)
  }

  /** Throws when a bound is reached, also when its timer has had no turn yet. */
  check(): void {
    this.#abort.signal.throwIfAborted()
    if (performance.now() >= this.#deadline) throw this.#late()
  }

  /** The bounds of a statement within the transaction. */
  remaining({ signal, timeoutMs }: CallOptions): CallOptions {
    if (!this.#isBounded) return { signal, timeoutMs }
    const own = this.#abort.signal
    return { signal: signal ? AbortSignal.any([signal, own]) : own, timeoutMs }
  }

  /** Lets go of the signal and of the time. */
  end(): void {
    clearTimeout(this.#timer)
    this.#unwatch()
  }
}

function withResolvers(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject!: (reason: unknown) => void
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse
  })
  return { promise, reject }
}

let open: (lease: NativeLease, limits: Limits, types: ResolvedTypes) => Transaction
let end: (tx: Transaction) => void

/**
 * Runs statements within a transaction. {@link Connection.transaction} makes one for its `work`. When that settles, the
 * transaction has ended, and every method rejects with {@link TransactionClosedError}.
 */
export class Transaction extends Queryable {
  readonly #lease: NativeLease
  readonly #limits: Limits
  readonly #types: ResolvedTypes
  #ended = false

  static {
    open = (lease, limits, types) => new Transaction(lease, limits, types)
    end = (tx) => {
      tx.#ended = true
    }
  }

  private constructor(lease: NativeLease, limits: Limits, types: ResolvedTypes) {
    super()
    this.#lease = lease
    this.#limits = limits
    this.#types = types
  }

  /** Whether the transaction has ended. */
  get isEnded(): boolean {
    return this.#ended
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    return printed('Transaction', { isEnded: this.#ended }, how)
  }

  /** @internal */
  override [boundsOf](options: CallOptions): CallOptions {
    return this.#limits.remaining(options)
  }

  /** @internal */
  [leaseOf](): NativeLease {
    if (this.#ended) throw new TransactionClosedError('The transaction has ended')
    return this.#lease
  }

  /** @internal */
  [scopeOf](open: (queryable: Queryable) => Promise<NativeCursor>): CursorScope {
    return { open: () => open(this), end: () => Promise.resolve() }
  }

  /** @internal */
  [typesOf](): ResolvedTypes {
    return this.#types
  }
}

brand(Transaction, 'Transaction')

/** @internal Begins a transaction, runs `work`, and commits; rolls back when `work` rejects or a bound is reached. */
export async function runTransaction<Result>(
  lease: NativeLease | Promise<NativeLease>,
  work: TransactionWork<Result>,
  options: CallOptions,
  types: ResolvedTypes,
): Promise<Result> {
  const limits = new Limits(options)
  try {
    const leased = lease instanceof Promise ? await Promise.race([lease, limits.reached]) : lease
    return await runWithin(leased, work, limits, types)
  } finally {
    limits.end()
  }
}

async function runWithin<Result>(
  lease: NativeLease,
  work: TransactionWork<Result>,
  limits: Limits,
  types: ResolvedTypes,
): Promise<Result> {
  const begun = bounded(limits.remaining({}), (bounds) =>
    bridge.call<boolean>((id) => lease.begin(id, 'BEGIN', bounds)),
  )
  if (!(await begun)) {
    throw new TransactionBeginError(
      'A statement has begun a transaction on this connection, and it is still open',
    )
  }
  const tx = open(lease, limits, types)
  let result: Result
  try {
    result = await Promise.race([work(tx), limits.reached])
    limits.check()
  } catch (error) {
    end(tx)
    // If the rollback fails, the connection is lost, and the transaction with it.
    await bridge.call((id) => lease.rollback(id)).catch(() => {})
    throw error
  }
  // Statements that `work` called and did not await run before the commit, because operations run in the order of the
  // calls.
  end(tx)
  const outcome = await bridge.call<`${NativeCommitOutcome}`>((id) => lease.commit(id))
  switch (outcome) {
    case 'committed':
      return result
    case 'rolledBack':
      throw new TransactionCommitError(
        'The transaction was rolled back: a statement in it had failed',
      )
    case 'alreadyEnded':
      throw new TransactionClosedError(
        'A statement had ended the transaction before it could be committed',
      )
    default:
      throw unknownKind('commit outcome', outcome)
  }
}
