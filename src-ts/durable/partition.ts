// A partition of a subscription on the server: the statements by which it is worked.
import type { ResolvedSubscriptionOptions } from '../options/durable.js'
import type { Connection } from '../query/connection.js'
import type { QueryParameter } from '../query/parameters.js'
import type { Queryable } from '../query/queryable.js'
import { commitWithin, type Transaction } from '../query/transaction.js'
import { COLUMNS, type Row, type Stretch, type Taken, type Walk, type Way } from './event.js'
import { PLAIN, withConnection, type DurableOwner } from './owner.js'

/** A flag is for so many safety nets, and for so long at least, in milliseconds: by then its worker has set it again, or is gone. */
const FLAG_NETS = 3
const MIN_FLAG_MS = 60_000

/** What there is to do, and which transaction is the first one that is still open. */
export interface Look {
  hasMore: boolean
  openFrom: bigint
  isFlagged: boolean
}

/** A partition of a subscription. */
export class Partition {
  readonly #owner: DurableOwner
  readonly #name: string
  readonly #number: number
  readonly #options: ResolvedSubscriptionOptions

  constructor(
    owner: DurableOwner,
    name: string,
    number: number,
    options: ResolvedSubscriptionOptions,
  ) {
    this.#owner = owner
    this.#name = name
    this.#number = number
    this.#options = options
  }

  /** The options of a statement: a connection that is cut off in silence never answers. */
  get #bounded() {
    return { ...PLAIN, timeoutMs: this.#options.maxHandlerMs }
  }

  /** Takes the next events, at most so many. Returns `undefined` when there are none. */
  async take(queryable: Queryable, most: number): Promise<Taken | undefined> {
    const { maxHandlerMs, synchronousCommit } = this.#options
    const [first, ...rows] = await this.#rows(
      queryable,
      `SELECT ${COLUMNS} FROM pglisten.take($1, $2, $3, $4, $5)`,
      [this.#name, this.#number, most, maxHandlerMs, synchronousCommit],
    )
    // The first row has no event: it says how the position moves.
    return first && { way: JSON.parse(first[3]) as Way, rows }
  }

  /** Takes events that were read ahead. Returns `undefined` when they are no longer what comes next. */
  async takeOn(queryable: Queryable, { walk, rows }: Stretch): Promise<Taken | undefined> {
    const { maxHandlerMs, synchronousCommit } = this.#options
    const { base, target, after } = walk
    const xact = await queryable.fetchVal<string | null>(
      'SELECT pglisten.take_on($1, $2, $3::text::pg_snapshot, $4::text::pg_snapshot, $5, $6, $7)',
      [this.#name, this.#number, base, target, BigInt(after), maxHandlerMs, synchronousCommit],
      this.#bounded,
    )
    if (xact === null) return undefined
    const way = { xact, base, target, after: `${rows.at(-1)![0]}`, from: base, to: target }
    return { way, rows }
  }

  /** Reads the events that follow in a walk, at most so many. They are not taken by that. */
  async readOn(queryable: Queryable, most: number, walk: Walk): Promise<Row[]> {
    return this.#rows(
      queryable,
      `SELECT ${COLUMNS} FROM pglisten.read_on($1, $2, $3, $4::text::pg_snapshot, $5::text::pg_snapshot, $6)`,
      [this.#name, this.#number, most, walk.base, walk.target, BigInt(walk.after)],
    )
  }

  async #rows(
    queryable: Queryable,
    sql: string,
    parameters: readonly QueryParameter[],
  ): Promise<Row[]> {
    const options = { ...this.#bounded, rowMode: 'array' } as const
    return [...(await queryable.execute<Row>(sql, parameters, options))]
  }

  /** Moves the position, and commits. */
  async advance(tx: Transaction, way: Way): Promise<void> {
    // Both are sent before the first is answered: one round trip.
    const moved = tx.execute(
      'SELECT pglisten.advance($1, $2, $3::text::jsonb)',
      [this.#name, this.#number, JSON.stringify(way)],
      PLAIN,
    )
    // The position tells what became of a commit that nobody has answered.
    const committed = tx[commitWithin](this.#options.maxHandlerMs)
    const [first, second] = await Promise.allSettled([moved, committed])
    for (const outcome of [first, second]) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** Sets an event apart, in the transaction that has taken it alone. */
  async giveUp(tx: Transaction, event: bigint, reason: unknown): Promise<void> {
    await tx.execute(
      'SELECT pglisten.give_up($1, $2, $3, $4)',
      [this.#name, this.#number, event, textOf(reason)],
      PLAIN,
    )
  }

  /** Counts a failure of an event. Returns how many there were; 0 when the event is done. */
  async countFailure(event: bigint, reason: unknown): Promise<number> {
    return withConnection(this.#owner, (connection) =>
      connection.fetchVal<number>(
        'SELECT pglisten.count_attempt($1, $2, $3)',
        [this.#name, event, textOf(reason)],
        this.#bounded,
      ),
    )
  }

  /** Looks whether there is something to take. */
  async hasMore(connection: Connection): Promise<boolean> {
    return connection.fetchVal<boolean>(
      'SELECT pglisten.has_more($1, $2)',
      [this.#name, this.#number],
      this.#bounded,
    )
  }

  /** Looks whether there is something to take, which transaction is the first one that is still open, and whether publishers ring for a worker. */
  async look(connection: Connection, worker: string): Promise<Look> {
    return connection.fetchRow<Look>(
      // The snapshot of the statement is older than those of what the function reads.
      `SELECT pg_snapshot_xmin(pg_current_snapshot()) AS "openFrom", pglisten.has_more($1, $2) AS "hasMore",
         pglisten.is_rung_for($1, $2, $3::text::uuid) AS "isFlagged"`,
      [this.#name, this.#number, worker],
      this.#bounded,
    )
  }

  /**
   * Has publishers ring for a worker. Returns the fence: whoever takes a transaction id after it sees the flag, and whoever has one may have
   * missed it. No snapshot tells which ids are taken: its xmax is that of the last transaction that has ended.
   */
  async doze(connection: Connection, worker: string): Promise<bigint> {
    const duration = `${Math.max(FLAG_NETS * this.#options.safetyNetMs, MIN_FLAG_MS)} ms`
    // Both are sent before the first is answered, and the second is a transaction that begins when the first has ended.
    const [, fence] = await Promise.all([
      connection.execute(
        'SELECT pglisten.doze($1, $2, $3::text::uuid, $4::text::interval)',
        [this.#name, this.#number, worker, duration],
        this.#bounded,
      ),
      connection.fetchVal<bigint>('SELECT pg_current_xact_id()', [], this.#bounded),
    ])
    return fence
  }

  /** Has publishers no longer ring for a worker. */
  async rouse(worker: string): Promise<void> {
    await withConnection(this.#owner, (connection) =>
      connection.execute(
        'SELECT pglisten.rouse($1, $2, $3::text::uuid)',
        [this.#name, this.#number, worker],
        this.#bounded,
      ),
    )
  }
}

/** An error in few words, for the table of events that have failed. */
function textOf(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return text.replaceAll('\0', '').toWellFormed().slice(0, 2000)
}
