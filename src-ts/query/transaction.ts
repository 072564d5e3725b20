// A transaction: statements that take effect together or not at all.
import type { NativeCommitOutcome, NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import { TransactionBeginError, TransactionClosedError, TransactionCommitError } from '../errors.js'
import { Queryable, leaseOf } from './queryable.js'

/** What is done within a transaction. */
export type TransactionWork<Result> = (tx: Transaction) => Promise<Result> | Result

let open: (lease: NativeLease) => Transaction
let end: (tx: Transaction) => void

/**
 * Runs statements within a transaction. Given to the function that {@link Connection.transaction} is called with, and
 * of use until that function settles: then every method rejects with {@link TransactionClosedError}.
 */
export class Transaction extends Queryable {
  readonly #lease: NativeLease
  #ended = false

  static {
    open = (lease) => new Transaction(lease)
    end = (tx) => {
      tx.#ended = true
    }
  }

  private constructor(lease: NativeLease) {
    super()
    this.#lease = lease
  }

  /** Whether the function that it was given to has settled. */
  get isEnded(): boolean {
    return this.#ended
  }

  /** @internal */
  [leaseOf](): NativeLease {
    if (this.#ended) throw new TransactionClosedError('The transaction has ended')
    return this.#lease
  }
}

/** @internal Begins, works, and commits; rolls back when the work throws. */
export async function runTransaction<Result>(
  lease: NativeLease,
  work: TransactionWork<Result>,
): Promise<Result> {
  if (!(await bridge.call<boolean>((id) => lease.begin(id, 'BEGIN')))) {
    throw new TransactionBeginError(
      'A statement has begun a transaction on this connection, and it is still open',
    )
  }
  const tx = open(lease)
  let result: Result
  try {
    result = await work(tx)
  } catch (error) {
    end(tx)
    // When even that fails, the connection is lost, and the transaction with it.
    await bridge.call((id) => lease.rollback(id)).catch(() => {})
    throw error
  }
  // Statements that were not awaited were called before, so they run before it commits.
  end(tx)
  const outcome = await bridge.call<`${NativeCommitOutcome}`>((id) => lease.commit(id))
  if (outcome === 'rolledBack') {
    throw new TransactionCommitError(
      'The transaction was rolled back: a statement in it had failed',
    )
  }
  if (outcome === 'alreadyEnded') {
    throw new TransactionClosedError(
      'A statement had ended the transaction before it could be committed',
    )
  }
  return result
}
