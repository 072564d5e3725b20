// A partition of a subscription on the server: the statements by which it is worked.
import type { ResolvedSubscriptionOptions } from '../options/durable.js'
import type { Connection } from '../query/connection.js'
import type { Companion } from '../query/transaction/flight.js'
import { toRows } from '../query/rows.js'
import type { Transaction } from '../query/transaction.js'
import type { NativeQueryOutput } from '#native'
import { DEFAULT_TYPES } from '../options/types.js'
import { COLUMNS, type Row, type Taken, type Way } from './event.js'
import { intervalOf } from './interval.js'
import { PLAIN, readCommitted, withConnection, type DurableOwner } from './owner.js'

/** A flag is for so many safety nets, and for so long at least, in milliseconds: by then its worker has set it again, or is gone. */
const FLAG_NETS = 3
const MIN_FLAG_MS = 60_000

/** How events are read. */
const AS_ARRAYS = {
  types: DEFAULT_TYPES,
  asArrays: true,
  map: undefined,
  columns: undefined,
} as const

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

  /** The statement that takes the next events, at most so many. */
  taking(most: number): Companion {
    const { maxHandlerMs, synchronousCommit } = this.#options
    return [
      `SELECT ${COLUMNS} FROM pglisten.take($1, $2, $3, $4, $5)`,
      [this.#name, this.#number, most, maxHandlerMs, synchronousCommit],
    ]
  }

  /** What {@link Partition.taking} has taken; `undefined` when there was nothing. */
  static taken(output: NativeQueryOutput): Taken | undefined {
    const rows = toRows<Row>(output, AS_ARRAYS)
    // The last row has no event: it says how the position moves.
    const last = rows.pop()
    if (!last) return undefined
    const way = JSON.parse(last[3]) as Way
    if (way.target != null) way.after = `${rows.at(-1)![0]}`
    return { way, rows }
  }

  /** The statement that moves the position. */
  moving(way: Way): Companion {
    return [
      'SELECT pglisten.advance($1, $2, $3::pg_catalog.text::pg_catalog.jsonb)',
      [this.#name, this.#number, JSON.stringify(way)],
    ]
  }

  /** Whether a transaction that has ended was committed. A server that was restored, or promoted, may not know it. */
  static async isCommitted(tx: Transaction, xact: string): Promise<boolean> {
    const status = await tx.fetchVal<string | null>(
      `SELECT CASE WHEN x OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) THEN pg_catalog.pg_xact_status(x) END
       FROM (SELECT $1::pg_catalog.text::pg_catalog.xid8 AS x) AS given`,
      [xact],
      PLAIN,
    )
    return status === 'committed'
  }

  /** Sets an event apart, in the transaction that has taken it alone. */
  async giveUp(tx: Transaction, event: bigint, reason: unknown): Promise<void> {
    await tx.execute(
      'SELECT pglisten.give_up($1, $2, $3, $4)',
      [this.#name, this.#number, event, textOf(reason)],
      PLAIN,
    )
  }

  /**
   * Counts a failure of an event. Returns how many there were; 0 when the event is done, and less than 0 when it was given up after so many.
   * Rejects while another session has the partition.
   */
  async countFailure(event: bigint, reason: unknown, signal: AbortSignal): Promise<number> {
    return this.#attempts(event, textOf(reason), signal)
  }

  /** Looks how many failures of an event there were, as {@link Partition.countFailure} tells it. */
  async failures(event: bigint, signal: AbortSignal): Promise<number> {
    return this.#attempts(event, null, signal)
  }

  async #attempts(event: bigint, error: string | null, signal: AbortSignal): Promise<number> {
    const counting = (connection: Connection) =>
      readCommitted<{ attempts: number }>(
        connection,
        [
          'SELECT pglisten.count_attempt($1, $2, $3, $4, $5) AS attempts',
          [this.#name, this.#number, event, error, this.#options.maxHandlerMs],
        ],
        { timeoutMs: this.#options.maxHandlerMs, signal },
      )
    const [row] = await withConnection(this.#owner, counting, { signal })
    return row!.attempts
  }

  /** Looks whether there is something to take. */
  async hasMore(connection: Connection, signal: AbortSignal): Promise<boolean> {
    return connection.fetchVal<boolean>(
      'SELECT pglisten.has_more($1, $2)',
      [this.#name, this.#number],
      { ...this.#bounded, signal },
    )
  }

  /** Looks whether there is something to take, which transaction is the first one that is still open, and whether publishers ring for a worker. */
  async look(connection: Connection, worker: string, signal: AbortSignal): Promise<Look> {
    return connection.fetchRow<Look>(
      // The snapshot of the statement is older than those of what the function reads.
      `SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()) AS "openFrom", pglisten.has_more($1, $2) AS "hasMore",
         pglisten.is_rung_for($1, $2, $3::pg_catalog.text::pg_catalog.uuid) AS "isFlagged"`,
      [this.#name, this.#number, worker],
      { ...this.#bounded, signal },
    )
  }

  /**
   * Has publishers ring for a worker. Returns the fence: whoever takes a transaction id after it sees the flag, and whoever has one may have
   * missed it. No snapshot tells which ids are taken: its xmax is that of the last transaction that has ended.
   */
  async doze(connection: Connection, worker: string, signal: AbortSignal): Promise<bigint> {
    const bounds = { ...this.#bounded, signal }
    const duration = intervalOf(Math.max(FLAG_NETS * this.#options.safetyNetMs, MIN_FLAG_MS))
    // Both are sent before the first is answered, and the second is a transaction that begins when the first has ended.
    const [, fence] = await Promise.all([
      connection.execute(
        'SELECT pglisten.doze($1, $2, $3::pg_catalog.text::pg_catalog.uuid, $4::pg_catalog.text::interval)',
        [this.#name, this.#number, worker, duration],
        bounds,
      ),
      connection.fetchVal<bigint>('SELECT pg_catalog.pg_current_xact_id()', [], bounds),
    ])
    return fence
  }

  /** Has publishers no longer ring for a worker. */
  async rouse(worker: string, signal: AbortSignal): Promise<void> {
    const rousing = (connection: Connection) =>
      connection.execute(
        'SELECT pglisten.rouse($1, $2, $3::pg_catalog.text::pg_catalog.uuid)',
        [this.#name, this.#number, worker],
        { ...this.#bounded, signal },
      )
    await withConnection(this.#owner, rousing, { signal })
  }
}

/** An error in few words, for the table of events that have failed. */
function textOf(error: unknown): string {
  let text: string
  try {
    text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    text = 'an error that has no text'
  }
  // Cut first, which may divide a character.
  return text.replaceAll('\0', '').slice(0, 2000).toWellFormed()
}
