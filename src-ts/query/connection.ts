// The public connection: leased from the pool at once or at its first use, or that of a listening session.
import { brand } from '../brand.js'
import type { NativeCursor, NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import { warnOfDefect } from '../native/defect.js'
import { type InspectArguments, inspectCustom, printed } from '../native/inspect.js'
import { isOutdated, lacksTransaction } from '../native/native-errors.js'
import { ConnectionClosedError, ConnectionExecuteError } from '../errors.js'
import { countdown, type CallOptions } from './bounds.js'
import type { CursorScope } from './cursor.js'
import { infoOf, type ConnectionInfo, type TransactionStatus } from './info.js'
import { backendOf, observationOf } from './observed.js'
import { presentOf, type Present } from './prepared-statement.js'
import { Queryable, atomically, scopeOf } from './queryable.js'
import { leaseOf } from './run.js'
import { typesOf } from './statement.js'
import { checkFree, copyIn, occupant } from './occupant.js'
import type { Companion } from './transaction/flight.js'
import {
  resolveTransactionOptions,
  type ResolvedTransactionOptions,
  type TransactionOptions,
} from './transaction/options.js'
import { isBegunAlready, Transaction, type Opening, type TransactionWork } from './transaction.js'
import { checkFunction } from '../options/validate.js'
import { UNOBSERVED, type ResolvedObservation } from '../options/observation.js'
import { DEFAULT_TYPES, type ResolvedTypes } from '../options/types.js'

/** @internal The outcome of the end of a lease. */
export interface Finished {
  /** Whether a transaction had been left open, and was rolled back. */
  rolledBack: boolean
}

/** @internal Gives a connection its lease. */
export interface LeaseSource {
  /** `channel` is that of the callback or message that the connection is for. */
  (channel?: string): NativeLease | Promise<NativeLease>
  /** How values are read and written without options of the call. */
  readonly types?: ResolvedTypes | undefined
  /** What is told of the statements. */
  readonly observation?: ResolvedObservation | undefined
}

const NOTHING_LEASED: Finished = { rolledBack: false }

/** What a connection has leased, and how that ends. */
class Held {
  /** Whether it is the connection of a listening session, which may be another session at the next statement. */
  isSession = false
  /** The present lease; for a listening session, the lease that was used last. */
  lease: NativeLease | Promise<NativeLease> | undefined
  /** The lease of {@link Held.lease}, to look at, once it is there: statements that wait for the promise come first. */
  present: NativeLease | undefined
  finished: Promise<Finished> | undefined
  /** Ends the pool that has only this connection. */
  endPool: (() => Promise<void>) | undefined
  isClosed = false
}

/** In place of what is held, after the end of a connection that never was used. */
const NEVER_HELD = new Held()
NEVER_HELD.isClosed = true

/**
 * A connection to the server.
 *
 * - {@link ConnectionPool.connection} leases one until {@link Connection.close}.
 * - {@link connect} opens one with a session of its own, which {@link Connection.close} ends.
 * - A callback of a listener gets one that is leased from the pool at its first use. The lease ends when the callback
 *   settles.
 * - {@link ListenerNotificationMsg.connection} is leased from the pool at its first use. The lease ends when the loop
 *   asks for its next item.
 * - {@link Listener.connection} is that of the listening session. Closing it makes only the object unusable.
 *
 * The lease of a connection that is not closed ends when the connection is collected as garbage.
 */
export class Connection extends Queryable implements AsyncDisposable {
  // Few fields, because each callback gets a connection, which it mostly does not use.
  readonly #source: LeaseSource
  readonly #channel: string | undefined
  /** Made when something is leased. */
  #held: Held | undefined

  private constructor(source: LeaseSource, channel: string | undefined) {
    super()
    this.#source = source
    this.#channel = channel
  }

  /** @internal Makes a connection that has its lease. */
  static leased(lease: NativeLease, source: LeaseSource = noSource): Connection {
    const connection = new Connection(source, undefined)
    const held = Connection.#hold(connection)
    held.lease = lease
    held.present = lease
    return connection
  }

  /** @internal Lets the end of a connection's lease end the pool that it is from. */
  static owning(connection: Connection, endPool: () => Promise<void>): Connection {
    Connection.#hold(connection).endPool = endPool
    return connection
  }

  /** @internal Makes a connection that is leased at its first use. */
  static lazy(acquire: LeaseSource, channel?: string): Connection {
    return new Connection(acquire, channel)
  }

  /**
   * @internal Makes the connection of a listening session. `source` returns the same lease for as long as the session
   * is the same, a promise of it while there will be a session, and throws while there is none.
   */
  static session(source: LeaseSource): Connection {
    const connection = new Connection(source, undefined)
    Connection.#hold(connection).isSession = true
    return connection
  }

  /** Whether the connection was closed: by {@link Connection.close}, or by the end of its callback or loop. */
  get isClosed(): boolean {
    return this.#held?.isClosed === true
  }

  /**
   * Whether a transaction block is open, as the server told with its last answer. `idle` also while nothing is leased. A
   * statement that is running counts once it was answered.
   */
  get transactionStatus(): TransactionStatus {
    return this.#held?.present?.transactionStatus() ?? 'idle'
  }

  /** Whether a transaction block is open, as {@link Connection.transactionStatus} tells: `active` or `failed`. */
  get inTransaction(): boolean {
    return this.transactionStatus !== 'idle'
  }

  /**
   * The facts of the connection: the server, the backend and what they report. Each read gives a new frozen object with
   * what is so at that moment.
   *
   * @throws {@link ConnectionClosedError} when the connection was closed or its session has ended, and
   * {@link ConnectionExecuteError} when nothing is leased yet: a connection of a callback, of a message or of a listener is
   * leased by its first statement.
   */
  get info(): ConnectionInfo {
    Connection.#checkOpen(this)
    const present = this.#held?.present
    if (!present) {
      throw new ConnectionExecuteError(
        'Nothing is leased for this connection yet: its first statement does that',
      )
    }
    return infoOf(present)
  }

  /**
   * Runs `work` in a transaction. Commits when `work` resolves, and resolves with its result; rolls back when `work`
   * rejects, and rejects with its error. The transaction has the statements that `work` runs on its
   * {@link Transaction}; meanwhile the connection itself runs no statement. `work` may end the transaction itself, by
   * {@link Transaction.commit} or {@link Transaction.rollback}.
   *
   * Rejects with {@link TransactionBeginError} when a transaction is open already, with {@link TransactionCommitError}
   * when `work` resolved although a statement had failed, or while something was still open in the transaction (nothing was
   * committed), with {@link TransactionClosedError} when a statement ended the transaction itself, and with
   * {@link ConnectionClosedError} when the connection is closed or lost. When a bound of `options` is reached, the statement
   * that runs is cancelled, the transaction is rolled back, and the call rejects without waiting for `work`: with
   * {@link ConnectionTimeoutError} or the signal's reason. The commit itself is not bounded.
   *
   * @param options - How the transaction begins, and bounds of the whole transaction. @default those of the session; none
   */
  async transaction<Result>(
    work: TransactionWork<Result>,
    options?: TransactionOptions,
  ): Promise<Result> {
    checkFunction('work', work)
    return Transaction.run(await this.begin(options), work)
  }

  /**
   * Begins a transaction that {@link Transaction.commit} and {@link Transaction.rollback} end. Meanwhile the connection
   * itself runs no statement. With `await using tx = await connection.begin()` what was not committed is rolled back at the
   * end of the block, however that ends.
   *
   * When a bound of `options` is reached, the statement that runs is cancelled, the transaction is rolled back, and every
   * later call rejects with {@link ConnectionTimeoutError} or the signal's reason. Rejects with
   * {@link TransactionBeginError} when a transaction is open already.
   *
   * A transaction that nobody ends keeps the connection until its {@link Transaction} is collected as garbage: then it is
   * rolled back, a warning of the process tells of it, and the connection runs statements again.
   *
   * @param options - How the transaction begins, and bounds of the whole transaction. @default those of the session; none
   */
  async begin(options?: TransactionOptions): Promise<Transaction> {
    return Connection.#begin(this, resolveTransactionOptions(options), {})
  }

  /** @internal Begins a transaction and runs its first statement; both are sent in one go. The connection is leased and free. */
  static beginWith(
    self: Connection,
    options: ResolvedTransactionOptions,
    first: Companion,
    signal: AbortSignal,
  ): Opening {
    Connection.#checkOpen(self)
    return Transaction.beginWith(self, self.#held!.present!, options, first, signal)
  }

  /**
   * Ends the lease of the connection, once the statements that were called before have ended. A transaction that was
   * left open is rolled back. A second call has no effect.
   */
  async close(): Promise<void> {
    await this.finish()
  }

  /** Closes the connection, as {@link Connection.close} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish()
  }

  /** @internal Closes the connection. Returns `undefined` when there never was a lease. */
  finish(): Promise<Finished> | undefined {
    const held = this.#held
    if (!held) {
      this.#held = NEVER_HELD
      this[occupant]?.giveUp(closed())
      return undefined
    }
    if (held.isClosed) return held.finished
    held.isClosed = true
    this[occupant]?.giveUp(closed())
    const { lease } = held
    if (!lease) return undefined
    const release = held.isSession ? leave : giveBack
    held.finished =
      lease instanceof Promise
        ? // Released behind the statements that wait for the same promise.
          lease.then(release, () => NOTHING_LEASED)
        : release(lease)
    if (held.endPool) held.finished = endedWith(held.finished, held.endPool)
    return held.finished
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    const held = this.#held
    const fields = {
      of: held?.isSession ? 'listener' : held?.endPool ? 'connect()' : 'pool',
      // A connection of a callback is leased when it is first used.
      isLeased: held?.lease !== undefined && !held.isClosed,
      isClosed: this.isClosed,
      inTransaction: this.inTransaction,
    }
    return printed('Connection', fields, how)
  }

  /** @internal */
  [leaseOf](): NativeLease | Promise<NativeLease> {
    Connection.#checkOpen(this)
    checkFree(this)
    return Connection.#open(this)
  }

  /** @internal */
  [presentOf](): Present {
    return { lease: this.#held?.present, copy: copyIn(this) }
  }

  /** @internal */
  async [atomically]<Result>(
    work: (queryable: Queryable) => Promise<Result>,
    bounds: CallOptions,
  ): Promise<Result> {
    const left = countdown(bounds)
    const own = () => this.begin(left())
    const part = async () => {
      Connection.#checkOpen(this)
      return Transaction.beginPart(this, this.#held!.present!, left())
    }
    return Transaction.run(await Connection.#within(this, own, part), work)
  }

  /** @internal */
  [scopeOf](
    open: (queryable: Queryable, bounds: CallOptions) => Promise<NativeCursor>,
  ): CursorScope {
    let own: Transaction | undefined
    const openOwn = async (left: () => CallOptions): Promise<NativeCursor> => {
      own = await Connection.#begin(this, resolveTransactionOptions(), left())
      try {
        return await open(own, left())
      } catch (error) {
        await own.rollback().catch(() => {})
        throw error
      }
    }
    return {
      open: (left) => {
        const begun = async () => {
          try {
            return await openOwn(left)
          } catch (error) {
            // Nothing else was done in the transaction.
            if (isOutdated(error)) return openOwn(left)
            throw error
          }
        }
        return Connection.#within(this, begun, () => open(this, left()))
      },
      // A transaction of its own has no bounds.
      bounds: (left) => left,
      copy: () => copyIn(this),
      isOwn: () => own !== undefined,
      end: async (failed) => {
        if (!own || own.isEnded) return
        if (failed) await own.rollback()
        else await own.commit()
      },
    }
  }

  /** @internal */
  [typesOf](): ResolvedTypes {
    return this.#source.types ?? DEFAULT_TYPES
  }

  /** @internal */
  [observationOf](): ResolvedObservation {
    return this.#source.observation ?? UNOBSERVED
  }

  /** @internal */
  [backendOf](): number | undefined {
    return this.#held?.present?.info()?.processId
  }

  // Static, because private instance methods cost time for each connection that is made, and each callback gets one.

  static #checkOpen(self: Connection): void {
    if (self.#held?.isClosed) throw closed()
  }

  static async #begin(
    self: Connection,
    options: ResolvedTransactionOptions,
    within: CallOptions,
  ): Promise<Transaction> {
    Connection.#checkOpen(self)
    return Transaction.begin(self, () => Connection.#open(self), options, within)
  }

  /**
   * Begins something that lives in a transaction: `own` in one of its own, `inside` in the one that a statement has begun. Which of them is
   * right shows at their turn, as a call before may begin a transaction or end it: the other one is tried then.
   */
  static async #within<Result>(
    self: Connection,
    own: () => Promise<Result>,
    inside: () => Promise<Result>,
  ): Promise<Result> {
    const isInside = () => self.transactionStatus === 'active' && !self[occupant]
    if (isInside()) {
      try {
        return await inside()
      } catch (error) {
        if (!lacksTransaction(error)) throw error
      }
      return own()
    }
    try {
      return await own()
    } catch (error) {
      if (!isBegunAlready(error) || !isInside()) throw error
    }
    return inside()
  }

  static #hold(self: Connection): Held {
    return (self.#held ??= new Held())
  }

  static #open(self: Connection): NativeLease | Promise<NativeLease> {
    const held = Connection.#hold(self)
    if (held.lease && !held.isSession) return held.lease
    const lease = self.#source(self.#channel)
    if (lease instanceof Promise) return (held.lease = acquired(held, lease))
    held.present = lease
    return (held.lease = lease)
  }
}

brand(Connection, 'Connection')

async function acquired(held: Held, lease: Promise<NativeLease>): Promise<NativeLease> {
  try {
    return (held.present = await lease)
  } catch (error) {
    // The next statement asks for a lease again.
    held.lease = undefined
    throw error
  }
}

async function giveBack(lease: NativeLease): Promise<Finished> {
  try {
    return { rolledBack: await bridge.call<boolean>((id) => lease.release(id)) }
  } catch (error) {
    // The pool has it all the same. Mostly nobody waits for this who could catch it.
    warnOfDefect(error)
    return NOTHING_LEASED
  }
}

async function endedWith(
  finished: Promise<Finished>,
  endPool: () => Promise<void>,
): Promise<Finished> {
  const outcome = await finished
  await endPool()
  return outcome
}

/** Rolls an open transaction of a listening session back, because no one could end it any more. The session goes on. */
async function leave(lease: NativeLease): Promise<Finished> {
  try {
    return { rolledBack: await bridge.call<boolean>((id) => lease.leaveBlock(id)) }
  } catch {
    // The session is lost, and the transaction with it.
    return NOTHING_LEASED
  }
}

function noSource(): never {
  throw closed()
}

function closed(): ConnectionClosedError {
  return new ConnectionClosedError('the connection was closed')
}
