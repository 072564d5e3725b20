// A connection as users have it: leased from the pool, leased at first use, or a listener's own.
import type { NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import { ConnectionClosedError, ConnectionExecuteError, TransactionBeginError } from '../errors.js'
import { Queryable, leaseOf } from './queryable.js'
import { runTransaction, type TransactionWork } from './transaction.js'
import { checkFunction } from '../options/validate.js'

/** @internal What giving a lease back came to. */
export interface Finished {
  /** A transaction had been left open. */
  rolledBack: boolean
}

/** @internal Where a connection gets its lease from. */
export type LeaseSource = () => NativeLease | Promise<NativeLease>

const NOTHING_LEASED: Finished = { rolledBack: false }

/**
 * A connection to the server.
 *
 * - From {@link ConnectionPool.connection}: yours until {@link Connection.close}.
 * - Handed to a callback of a listener: leased from the pool at its first use, and given back when the callback
 *   settles.
 * - {@link Listener.connection}: the listening session itself. Closing it makes only this object unusable.
 *
 * Whoever forgets to close one loses nothing but time: once it is collected as garbage, it goes back to the pool.
 */
export class Connection extends Queryable implements AsyncDisposable {
  readonly #source: LeaseSource
  /** A listening session may be another one at the next statement. */
  readonly #isSession: boolean
  /** The one leased; of a listening session, the one used last. */
  #lease: NativeLease | Promise<NativeLease> | undefined
  #finished: Promise<Finished> | undefined
  #isClosed = false
  #inTransaction = false

  private constructor(source: LeaseSource, isSession: boolean) {
    super()
    this.#source = source
    this.#isSession = isSession
  }

  /** @internal A connection that is leased already. */
  static leased(lease: NativeLease): Connection {
    const connection = new Connection(noSource, false)
    connection.#lease = lease
    return connection
  }

  /** @internal A connection that is leased at its first use. */
  static lazy(acquire: LeaseSource): Connection {
    return new Connection(acquire, false)
  }

  /**
   * @internal The connection of the current listening session. `source` gives the same lease as long as the session
   * is the same, and throws while there is none.
   */
  static session(source: () => NativeLease): Connection {
    return new Connection(source, true)
  }

  /** Whether it was closed: by {@link Connection.close}, or because the callback that had it has settled. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /**
   * Runs `work` in a transaction: commits when it resolves, rolls back when it throws, and then rejects with what it
   * threw. The statements of the transaction are those called on the {@link Transaction} that `work` is given;
   * meanwhile the connection itself runs none.
   *
   * Rejects with {@link TransactionBeginError} when a transaction is open already, and with
   * {@link TransactionCommitError} when a statement had failed although `work` resolved: nothing was committed.
   */
  async transaction<Result>(work: TransactionWork<Result>): Promise<Result> {
    checkFunction('work', work)
    Connection.#checkOpen(this)
    if (this.#inTransaction) {
      throw new TransactionBeginError('A transaction is open on this connection already')
    }
    this.#inTransaction = true
    try {
      const lease = Connection.#open(this)
      return await runTransaction(lease instanceof Promise ? await lease : lease, work)
    } finally {
      this.#inTransaction = false
    }
  }

  /**
   * Gives the connection back, once the statements called before have ended. A transaction that was left open is
   * rolled back. Closing twice is closing once.
   */
  async close(): Promise<void> {
    await this.finish()
  }

  /** {@link Connection.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish()
  }

  /** @internal Closes it. Gives `undefined`, at once, when nothing was ever leased. */
  finish(): Promise<Finished> | undefined {
    if (this.#isClosed) return this.#finished
    this.#isClosed = true
    const lease = this.#lease
    if (!lease) return undefined
    const release = this.#isSession ? leave : giveBack
    this.#finished =
      lease instanceof Promise
        ? // Behind the statements that wait for the same promise.
          lease.then(release, () => NOTHING_LEASED)
        : release(lease)
    return this.#finished
  }

  /** @internal */
  [leaseOf](): NativeLease | Promise<NativeLease> {
    Connection.#checkOpen(this)
    if (this.#inTransaction) {
      throw new ConnectionExecuteError(
        'A transaction is open on this connection: run its statements on the transaction',
      )
    }
    return Connection.#open(this)
  }

  // Static, as private methods of instances would mark each of them when it is made.

  static #checkOpen(self: Connection): void {
    if (self.#isClosed) throw new ConnectionClosedError('The connection was closed')
  }

  static #open(self: Connection): NativeLease | Promise<NativeLease> {
    if (self.#lease && !self.#isSession) return self.#lease
    const lease = self.#source()
    self.#lease = lease instanceof Promise ? Connection.#acquired(self, lease) : lease
    return self.#lease
  }

  static async #acquired(self: Connection, lease: Promise<NativeLease>): Promise<NativeLease> {
    try {
      return await lease
    } catch (error) {
      // The next statement tries again.
      self.#lease = undefined
      throw error
    }
  }
}

async function giveBack(lease: NativeLease): Promise<Finished> {
  return { rolledBack: await bridge.call<boolean>((id) => lease.release(id)) }
}

/** A listening session goes on, but not within a transaction that nobody can end any more. */
async function leave(lease: NativeLease): Promise<Finished> {
  try {
    return { rolledBack: await bridge.call<boolean>((id) => lease.leaveBlock(id)) }
  } catch {
    // The session is lost, and the transaction with it.
    return NOTHING_LEASED
  }
}

function noSource(): never {
  throw new ConnectionClosedError('The connection was closed')
}
