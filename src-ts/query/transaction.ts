// A transaction, or a part of one: statements that take effect together or not at all.
import { brand } from '../brand.js'
import type { NativeCursor, NativeLease, NativeQueryOutput } from '#native'
import { Abandoned } from '../native/abandoned.js'
import { bridge } from '../native/bridge.js'
import { type InspectArguments, inspectCustom, printed } from '../native/inspect.js'
import { TransactionBeginError, TransactionClosedError, TransactionCommitError } from '../errors.js'
import { checkFunction } from '../options/validate.js'
import {
  bounded,
  countdown,
  leasedWithin,
  resolveCallOptions,
  type CallBounds,
  type CallOptions,
} from './bounds.js'
import {
  WHOLE,
  atSavepoint,
  commit,
  partOf,
  rollback,
  undo,
  type Block,
} from './transaction/block.js'
import { Flight, type Companion } from './transaction/flight.js'
import { Limits } from './transaction/limits.js'
import { checkFree, copyIn, occupant, vacate, type Occupant, type Occupiable } from './occupant.js'
import type { CursorScope } from './cursor.js'
import type { ResolvedObservation } from '../options/observation.js'
import type { ResolvedTypes } from '../options/types.js'
import { backendOf, observationOf, observed } from './observed.js'
import { presentOf, type Present } from './prepared-statement.js'
import { Queryable, atomically, scopeOf } from './queryable.js'
import { boundsOf, leaseOf } from './run.js'
import { typesOf } from './statement.js'
import type { ResolvedTransactionOptions } from './transaction/options.js'

/** The function that {@link Connection.transaction} and {@link Transaction.transaction} run within a transaction. */
export type TransactionWork<Result> = (tx: Transaction) => Promise<Result> | Result

/** The place of a transaction on its connection, or in the transaction that it is nested in. It does not keep the object. */
interface Place extends Occupant {
  tx: WeakRef<Transaction> | undefined
  /** Set when it was given up. */
  lost: { reason: unknown } | undefined
}

/** A connection, or the transaction that another one is nested in. */
type Owner = Occupiable &
  Pick<Queryable, typeof typesOf | typeof observationOf | typeof backendOf | typeof boundsOf>

/** Errors of transactions that were not begun because a statement had begun one already. */
const begunAlready = new WeakSet()

/** @internal Whether a transaction was not begun because a statement had begun one already. */
export function isBegunAlready(error: unknown): boolean {
  return error instanceof TransactionBeginError && begunAlready.has(error)
}

/** @internal A transaction that begins together with its first statement. */
export interface Opening {
  readonly tx: Promise<Transaction>
  /** The result of the first statement; to be asked for once the transaction has begun. */
  readonly first: () => Promise<NativeQueryOutput>
}

/** @internal The method that commits together with a last statement, for whoever can find out what became of the commit. */
export const endWith = Symbol('endWith')

const REFUSAL = 'A transaction is open on this connection: run its statements on the transaction'

/** Rolls back what objects began that were collected as garbage. */
const abandoned = new Abandoned()

/**
 * Runs statements within a transaction, which {@link Connection.transaction} makes for its `work` and
 * {@link Connection.begin} for its caller. {@link Transaction.transaction} nests another one in it. Once it has ended, every
 * method rejects with {@link TransactionClosedError}, or with the error of the bound that ended it.
 */
export class Transaction extends Queryable implements AsyncDisposable {
  readonly #owner: Owner
  readonly #place: Place
  readonly #lease: NativeLease
  readonly #limits: Limits
  readonly #block: Block
  /** Rejects when the transaction is given up, for whoever waits for its `work`. */
  readonly #givenUp: Promise<never>
  readonly #rejectGivenUp: (reason: unknown) => void
  /** The end of the transaction, once it has begun. */
  #ending: Promise<void> | undefined
  /** Set when it ends by being rolled back, and its cursors with it. */
  #undone: { reason: unknown } | undefined

  private constructor(
    owner: Owner,
    place: Place,
    lease: NativeLease,
    limits: Limits,
    block: Block,
  ) {
    super()
    this.#owner = owner
    this.#place = place
    this.#lease = lease
    this.#limits = limits
    this.#block = block
    let rejectGivenUp!: (reason: unknown) => void
    this.#givenUp = new Promise<never>((_, reject) => {
      rejectGivenUp = reject
    })
    this.#givenUp.catch(() => {})
    this.#rejectGivenUp = rejectGivenUp
    const self = new WeakRef(this)
    place.tx = self
    limits.reached?.catch((reason: unknown) => {
      const tx = self.deref()
      return tx && tx.#expire(reason)
    })
    abandoned.register(this, undoLater(owner, place, lease, limits, block), place)
  }

  /**
   * @internal Begins a transaction on a connection. `lease` is asked once the connection is known to be free; `within` bounds the
   * beginning alone.
   */
  static async begin(
    connection: Owner,
    lease: () => NativeLease | Promise<NativeLease>,
    { sql, bounds }: ResolvedTransactionOptions,
    within: CallOptions,
  ): Promise<Transaction> {
    if (connection[occupant]?.isTransaction) {
      throw new TransactionBeginError('A transaction is open on this connection already')
    }
    checkFree(connection)
    const limits = new Limits(bounds)
    return Transaction.#open(connection, REFUSAL, limits, WHOLE, async () => {
      const left = countdown(within)
      // A beginning that was aborted before leases nothing.
      within.signal?.throwIfAborted()
      const leasing = lease()
      let leased: NativeLease
      if (!(leasing instanceof Promise)) leased = leasing
      else {
        const either = limits.reached ? Promise.race([leasing, limits.reached]) : leasing
        leased = await leasedWithin(within, either)
      }
      const begun = await observed(connection, 'begin', sql, () =>
        bounded(limits.remaining(left()), (bounds) =>
          bridge.call<boolean>((id) => leased.begin(id, sql, bounds)),
        ),
      )
      if (!begun) {
        const error = new TransactionBeginError(
          'A statement has begun a transaction on this connection, and it is still open',
        )
        begunAlready.add(error)
        throw error
      }
      return leased
    })
  }

  /** @internal Begins a transaction on a free connection, and runs its first statement; both are sent in one go, and `signal` gives up these two alone. */
  static beginWith(
    connection: Owner,
    lease: NativeLease,
    { sql, bounds }: ResolvedTransactionOptions,
    first: Companion,
    signal: AbortSignal,
  ): Opening {
    checkFree(connection)
    const limits = new Limits(bounds)
    // Not AbortSignal.any(): Node.js 20 keeps a trace of each such signal for as long as `signal` lives.
    const within = { signal, timeoutMs: bounds.timeoutMs }
    const flight = new Flight(connection, lease, [[sql, []], first], within)
    return Transaction.#openBy(flight, 0, connection, lease, limits)
  }

  /** @internal Begins a part of the transaction that a statement has begun on a connection. */
  static async beginPart(
    connection: Owner,
    lease: NativeLease,
    bounds: CallOptions,
  ): Promise<Transaction> {
    checkFree(connection)
    return Transaction.#openPart(connection, REFUSAL, new Limits(bounds), WHOLE, lease)
  }

  /** Makes a transaction that a statement of a flight begins, of which the last one is the transaction's first. */
  static #openBy(
    flight: Flight,
    begin: number,
    owner: Owner,
    lease: NativeLease,
    limits: Limits,
  ): Opening {
    const tx = Transaction.#open(owner, REFUSAL, limits, WHOLE, async () => {
      await flight.done(begin)
      return lease
    })
    // Whoever needs it awaits it, which may be nobody.
    tx.catch(() => {})
    return { tx, first: () => flight.last() }
  }

  /** @internal Runs `work`, and commits; rolls back when `work` rejects or the transaction is given up. */
  static async run<Result>(tx: Transaction, work: TransactionWork<Result>): Promise<Result> {
    let result: Result
    try {
      result = await Promise.race([work(tx), tx.#givenUp])
    } catch (error) {
      await tx.#undo(new TransactionClosedError('The transaction was rolled back'))
      throw error
    }
    if (tx.#ending) {
      await tx.#ending
      if (tx.#place.lost) throw tx.#place.lost.reason
    } else if (tx[occupant]) {
      const error = new TransactionCommitError(
        `The ${tx.#block.what} was rolled back: its work resolved while something that it had begun was still open in it`,
      )
      await tx.#undo(error)
      throw error
    } else {
      // Statements that `work` called and did not await run before, because operations run in the order of the calls.
      await tx.commit()
    }
    return result
  }

  /** @internal Why the transaction was given up, if it was: by a bound, for instance. */
  static lossOf(tx: Transaction): { reason: unknown } | undefined {
    return tx.#place.lost
  }

  /** Whether the transaction has ended. */
  get isEnded(): boolean {
    return this.#ending !== undefined
  }

  /**
   * Commits the transaction; a nested one becomes part of the outer one. It is not bounded: what became of a commit that is
   * given up would not be known.
   *
   * Rejects with {@link TransactionCommitError} when the server rolled it back because a statement had failed, with
   * {@link TransactionClosedError} when it has ended, also by a statement, with {@link ConnectionExecuteError} while a nested
   * transaction is open in it, and with {@link DatabaseError} when the server refuses, as for a deferred constraint.
   * Unless something is open in it, the transaction has ended then.
   */
  async commit(): Promise<void> {
    this.#checkOpen()
    checkFree(this)
    try {
      this.#limits.check()
    } catch (reason) {
      await this.#expire(reason)
      throw reason
    }
    await this.#end(() => commit(this, this.#lease, this.#block))
  }

  /**
   * @internal Runs a last statement and commits the transaction, a whole one; with `next` begins another one on the same connection and
   * runs its first statement. All of it is sent in one go. `committed` rejects when there is no answer within the time: then only the server
   * knows what became of the commit.
   */
  [endWith](
    last: Companion,
    timeoutMs: number,
    next?: { options: ResolvedTransactionOptions; first: Companion },
  ): { committed: Promise<void>; next: Opening | undefined } {
    this.#checkOpen()
    checkFree(this)
    const behind: Companion[] = next ? [[next.options.sql, []], next.first] : []
    const statements: Companion[] = [last, ['COMMIT', []], ...behind]
    const flight = new Flight(this, this.#lease, statements, { timeoutMs })
    const committed = this.#end(async () => {
      try {
        await flight.done(1)
      } catch (error) {
        // What is open by the failure is ended, before the next one begins.
        await undo(this.#lease, this.#block).catch(() => {})
        throw error
      }
    })
    committed.catch(() => {})
    if (!next) return { committed, next: undefined }
    const limits = new Limits(next.options.bounds)
    return {
      committed,
      next: Transaction.#openBy(flight, 2, this.#owner, this.#lease, limits),
    }
  }

  /**
   * Rolls the transaction back; of a nested one, only what was done in it. Ends what is open in it. Rejects with
   * {@link TransactionClosedError} when it has ended. A transaction of a connection that is lost is rolled back by that.
   */
  async rollback(): Promise<void> {
    this.#checkOpen()
    this.#giveUpInner(new TransactionClosedError('The transaction was rolled back'))
    await this.#end(() => rollback(this, this.#lease, this.#block))
  }

  /** Rolls the transaction back, unless it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ending) await this.#ending.catch(() => {})
    else await this.rollback()
  }

  /**
   * Runs `work` in a nested transaction: a savepoint of this one. When `work` resolves, what it did is part of this
   * transaction; when it rejects, that alone is undone, this transaction goes on, and the call rejects with its error.
   * Meanwhile this transaction itself runs no statement. Nesting may be as deep as one likes.
   *
   * When a bound of `options` is reached, the statement that runs is cancelled, and what `work` did is undone. Rejects as
   * {@link Connection.transaction} does: with {@link TransactionBeginError} while another nested transaction is open in this
   * one, with {@link TransactionCommitError} when `work` resolved although a statement in it had failed.
   *
   * @param options - Bounds of the nested transaction. @default those of this one
   */
  async transaction<Result>(work: TransactionWork<Result>, options?: CallOptions): Promise<Result> {
    checkFunction('work', work)
    return Transaction.run(await this.#nest(resolveCallOptions(options)), work)
  }

  /** Runs `work` in a nested transaction, as {@link Transaction.transaction} does. */
  async savepoint<Result>(work: TransactionWork<Result>, options?: CallOptions): Promise<Result> {
    return this.transaction(work, options)
  }

  /**
   * Makes a savepoint, to which {@link Transaction.rollbackToSavepoint} goes back. A second one with the same name hides the
   * first until it is released.
   *
   * @param name - Its name: 1 to 63 bytes without NUL, case-sensitive. `pglisten:` begins the names that nested transactions have.
   * @param options - Bounds of the call. @default none
   */
  async createSavepoint(name: string, options?: CallOptions): Promise<void> {
    await this.#atSavepoint('SAVEPOINT', name, options)
  }

  /**
   * Undoes what was done since a savepoint, which stays. A transaction in which a statement has failed goes on by it. Rejects
   * with {@link DatabaseError} when there is no savepoint of that name.
   *
   * @param name - The name of the savepoint.
   * @param options - Bounds of the call. @default none
   */
  async rollbackToSavepoint(name: string, options?: CallOptions): Promise<void> {
    await this.#atSavepoint('ROLLBACK TO SAVEPOINT', name, options)
  }

  /**
   * Forgets a savepoint and those made since, and keeps what was done. Rejects with {@link DatabaseError} when there is no
   * savepoint of that name.
   *
   * @param name - The name of the savepoint.
   * @param options - Bounds of the call. @default none
   */
  async releaseSavepoint(name: string, options?: CallOptions): Promise<void> {
    await this.#atSavepoint('RELEASE SAVEPOINT', name, options)
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    return printed('Transaction', { isEnded: this.isEnded }, how)
  }

  /** @internal */
  override [boundsOf](options: CallOptions): CallBounds {
    return this.#limits.remaining(options)
  }

  /** @internal */
  [leaseOf](): NativeLease {
    this.#checkOpen()
    checkFree(this)
    return this.#lease
  }

  /** @internal */
  [presentOf](): Present {
    return { lease: this.#lease, copy: copyIn(this.#home()) }
  }

  /** @internal */
  [atomically]<Result>(
    work: (queryable: Queryable) => Promise<Result>,
    bounds: CallOptions,
  ): Promise<Result> {
    return this.transaction(work, bounds)
  }

  /** @internal */
  [scopeOf](
    open: (queryable: Queryable, bounds: CallOptions) => Promise<NativeCursor>,
  ): CursorScope {
    return {
      open: (left) => open(this, left()),
      bounds: (left) => {
        this.#checkCursors()
        return this.#home()[boundsOf](left)
      },
      copy: () => copyIn(this.#home()),
      isOwn: () => false,
      end: () => Promise.resolve(),
    }
  }

  /** @internal */
  [typesOf](): ResolvedTypes {
    return this.#owner[typesOf]()
  }

  /** @internal */
  [observationOf](): ResolvedObservation {
    return this.#owner[observationOf]()
  }

  /** @internal */
  [backendOf](): number | undefined {
    return this.#owner[backendOf]()
  }

  /** Begins a block, and makes its object. The block's place is taken at once. */
  static async #open(
    owner: Owner,
    refusal: string,
    limits: Limits,
    block: Block,
    begin: () => Promise<NativeLease>,
  ): Promise<Transaction> {
    const place: Place = {
      refusal,
      isTransaction: true,
      tx: undefined,
      lost: undefined,
      giveUp(reason) {
        place.lost ??= { reason }
        const tx = place.tx?.deref()
        if (tx) tx.#giveUp(reason)
      },
      copy: () => {
        const tx = place.tx?.deref()
        return tx && copyIn(tx)
      },
    }
    owner[occupant] = place
    let tx: Transaction
    try {
      const lease = await begin()
      // What it is in has ended meanwhile, and undoes it.
      if (place.lost) throw place.lost.reason
      tx = new Transaction(owner, place, lease, limits, block)
    } catch (error) {
      limits.end()
      vacate(owner, place)
      throw error
    }
    try {
      limits.check()
    } catch (reason) {
      await tx.#expire(reason)
      throw reason
    }
    return tx
  }

  async #nest(bounds: CallOptions): Promise<Transaction> {
    this.#checkOpen()
    if (this[occupant]?.isTransaction) {
      throw new TransactionBeginError(
        'A nested transaction is open in this transaction already: await it first',
      )
    }
    checkFree(this)
    const limits = new Limits(bounds, this.#limits)
    const refusal =
      'A nested transaction is open in this transaction: run its statements on the nested one'
    return Transaction.#openPart(this, refusal, limits, this.#block, this.#lease)
  }

  /** Begins a part of a block, and makes its object. */
  static #openPart(
    owner: Owner,
    refusal: string,
    limits: Limits,
    outer: Block,
    lease: NativeLease,
  ): Promise<Transaction> {
    const block = partOf(outer)
    const { savepoint } = block
    return Transaction.#open(owner, refusal, limits, block, async () => {
      await observed(owner, 'begin', `SAVEPOINT ${savepoint}`, () =>
        bounded(limits.remaining({}), (bounds) =>
          bridge.call((id) => lease.savepoint(id, savepoint, bounds)),
        ),
      )
      return lease
    })
  }

  /** What its cursors live in: once it has ended as a part of another, they go on in that. */
  #home(): Owner {
    if (!this.#ending) return this
    return this.#owner instanceof Transaction ? this.#owner.#home() : this.#owner
  }

  /** Throws when its cursors were rolled back with it: fetching from one would fail the transaction around it. */
  #checkCursors(): void {
    if (this.#undone) throw this.#undone.reason
    if (this.#ending && this.#owner instanceof Transaction) this.#owner.#checkCursors()
  }

  async #atSavepoint(command: string, name: string, options?: CallOptions): Promise<void> {
    await this.executeBatch(atSavepoint(command, name), [], options)
  }

  #checkOpen(): void {
    if (this.#place.lost) throw this.#place.lost.reason
    if (this.#ending) {
      throw new TransactionClosedError(`The ${this.#block.what} has ended`)
    }
  }

  /** A bound is reached. */
  async #expire(reason: unknown): Promise<void> {
    if (this.#ending) return
    this.#place.lost = { reason }
    await this.#undo(reason)
  }

  /** What it is in has ended. */
  #giveUp(reason: unknown): void {
    if (this.#ending) return
    this.#giveUpInner(reason)
    this.#rejectGivenUp(reason)
    void this.#end(async () => {})
  }

  /** Rolls back, unless the end has begun, and waits for the end. `reason` is the error of what is open in it. */
  async #undo(reason: unknown): Promise<void> {
    if (!this.#ending) {
      this.#giveUpInner(reason)
      this.#rejectGivenUp(reason)
      void this.#end(() => rollback(this, this.#lease, this.#block))
    }
    await this.#ending?.catch(() => {})
  }

  /** Ends what is open in it and its cursors, before it is rolled back. */
  #giveUpInner(reason: unknown): void {
    this.#undone = { reason }
    this[occupant]?.giveUp(reason)
  }

  /** Begins the end, which is awaited by every caller: one more reaction would hide them from the stacks of its errors. */
  #end(end: () => Promise<void>): Promise<void> {
    abandoned.unregister(this.#place)
    this.#ending = this.#settled(end())
    // What is called from now on comes behind the end.
    vacate(this.#owner, this.#place)
    return this.#ending
  }

  async #settled(end: Promise<void>): Promise<void> {
    try {
      await end
    } finally {
      this.#limits.end()
    }
  }
}

brand(Transaction, 'Transaction')

/** Makes the function that ends a transaction whose object was collected. It must not reach the object. */
function undoLater(
  owner: Owner,
  place: Place,
  lease: NativeLease,
  limits: Limits,
  block: Block,
): () => void {
  return () => {
    limits.end()
    undo(lease, block)
      .then(
        () => {
          process.emitWarning(
            `A ${block.what} was rolled back because nobody could end it any more: its object was collected as garbage ` +
              'without `commit()` or `rollback()`',
            { type: 'PglistenWarning', code: 'PGLISTEN_TRANSACTION_ABANDONED' },
          )
        },
        // The connection was closed or lost, and the transaction with it.
        () => {},
      )
      .finally(() => vacate(owner, place))
  }
}
