// A transaction: statements that take effect together or not at all.
import type { NativeCommitOutcome, NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import { type InspectArguments, inspectCustom, printed } from '../native/inspect.js'
import { unknownKind } from '../native/kinds.js'
import { TransactionBeginError, TransactionClosedError, TransactionCommitError } from '../errors.js'
import { Queryable, leaseOf } from './queryable.js'

/** The function that {@link Connection.transaction} runs within a transaction. */
export type TransactionWork<Result> = (tx: Transaction) => Promise<Result> | Result

let open: (lease: NativeLease) => Transaction
let end: (tx: Transaction) => void

/**
 * Runs statements within a transaction. {@link Connection.transaction} makes one for its `work`. When that settles, the
 * transaction has ended, and every method rejects with {@link TransactionClosedError}.
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

  /** Whether the transaction has ended. */
  get isEnded(): boolean {
    return this.#ended
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    return printed('Transaction', { isEnded: this.#ended }, how)
  }

  /** @internal */
  [leaseOf](): NativeLease {
    if (this.#ended) throw new TransactionClosedError('The transaction has ended')
    return this.#lease
  }
}

/** @internal Begins a transaction, runs `work`, and commits; rolls back when `work` rejects. */
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
