// A cursor: rows of a statement, fetched in batches.
import { brand } from '../brand.js'
import type { NativeCursor, NativeQueryOutput } from '#native'
import { bridge } from '../native/bridge.js'
import { ConnectionExecuteError } from '../errors.js'
import { checkNumber, checkObject } from '../options/validate.js'
import { bounded, countdown, type CallBounds, type CallOptions } from './bounds.js'
import type { Occupant } from './occupant.js'
import type { QueryOptions } from './options.js'
import { toRows, type Shaping } from './rows.js'

/**
 * The options of a cursor. Its bounds are those of each fetch, beside those of the transaction that it lives in; the first fetch begins a
 * transaction, if the cursor has one of its own.
 */
export interface CursorOptions extends QueryOptions {
  /**
   * How many rows an iteration fetches at once, from 1 to 2147483647. They are in memory together.
   * @default 1000
   */
  batchSize?: number | undefined
}

const MOST_ROWS = 2 ** 31 - 1
const DEFAULT_BATCH_SIZE = 1000

/** @internal What a cursor is opened in, and how that ends. */
export interface CursorScope {
  /** Opens the cursor. `left` tells what is left of the bounds of the first fetch. */
  open(left: () => CallOptions): Promise<NativeCursor>
  /** Narrows what is left of the bounds of a fetch to those of the transaction that the cursor lives in now. */
  bounds(left: CallOptions): CallBounds
  /** The `COPY` that is open there: what is sent meanwhile waits for the end of its data. */
  copy(): Occupant | undefined
  /** Whether the cursor has a transaction of its own, whose end closes the cursor too. */
  isOwn(): boolean
  /** Called once when the cursor is closed; `failed` tells whether a fetch has failed. */
  end(failed: boolean): Promise<void>
}

/** @internal Takes the size of batches off the options of a cursor. */
export function splitCursorOptions(given: CursorOptions = {}): {
  batchSize: number
  options: QueryOptions
} {
  checkObject('options', given)
  const { batchSize = DEFAULT_BATCH_SIZE, ...options } = given
  checkRows('batchSize', batchSize)
  return { batchSize, options }
}

function checkRows(name: string, value: unknown): void {
  checkNumber(name, value, { min: 1, max: MOST_ROWS, integer: true })
}

/**
 * The rows of a statement, fetched in batches, so that a result of any size takes the memory of one batch. {@link Queryable.cursor}
 * makes one; the statement is run at the first fetch.
 *
 * A cursor of a {@link Transaction} lives in it and ends with it. A cursor of a {@link Connection} has a transaction of its own, unless
 * one is open: it is committed when the cursor is closed, rolled back when a fetch has failed, and meanwhile the connection runs
 * nothing else. An iteration closes the cursor at its end, however it ends.
 */
export class Cursor<Row = Record<string, unknown>> implements AsyncIterable<Row>, AsyncDisposable {
  readonly #scope: CursorScope
  readonly #shaping: Shaping
  readonly #bounds: CallOptions
  readonly #batchSize: number
  #opened: Promise<NativeCursor> | undefined
  #closed: Promise<void> | undefined
  #isDone = false
  #hasFailed = false

  /** @internal */
  constructor(scope: CursorScope, shaping: Shaping, bounds: CallOptions, batchSize: number) {
    this.#scope = scope
    this.#shaping = shaping
    this.#bounds = bounds
    this.#batchSize = batchSize
  }

  /** Whether the cursor was closed. */
  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /**
   * Fetches the next rows. Resolves with fewer rows, or none, at the end.
   *
   * Rejects as {@link Queryable.execute} does, and with {@link ConnectionExecuteError} when the cursor was closed, or while a `COPY` is open
   * on the connection or in the transaction. Once the cursor was rolled back with its transaction it rejects with
   * {@link TransactionClosedError}, or with the error of the bound that ended the transaction.
   *
   * @param count - The most rows that are fetched. @default the size of batches
   */
  async fetch(count: number = this.#batchSize): Promise<Row[]> {
    checkRows('count', count)
    if (this.#closed) throw new ConnectionExecuteError('the cursor was closed')
    if (this.#isDone) return []
    const copy = this.#scope.copy()
    if (copy) throw new ConnectionExecuteError(copy.refusal)
    try {
      const left = countdown(this.#bounds)
      this.#opened ??= this.#scope.open(left)
      const cursor = await this.#opened
      const output = await bounded(this.#scope.bounds(left()), (within) =>
        bridge.call<NativeQueryOutput>((id) => cursor.fetch(id, count, within)),
      )
      this.#isDone = !output.isSuspended
      return toRows<Row>(output, this.#shaping)
    } catch (error) {
      this.#hasFailed = true
      throw error
    }
  }

  /** Yields the rows in batches, each an array that is not empty. */
  async *batches(): AsyncGenerator<Row[], void, undefined> {
    try {
      for (;;) {
        const rows = await this.fetch()
        if (rows.length > 0) yield rows
        if (this.#isDone) return
      }
    } finally {
      await this.close()
    }
  }

  /** Yields the rows. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined> {
    for await (const rows of this.batches()) yield* rows
  }

  /**
   * Closes the cursor; while a `COPY` is open, once that has ended, without waiting for it. A second call has no effect. A connection of the
   * pool whose server does not answer within 5 s is closed. Then the call rejects with {@link ConnectionClosedError} if the cursor has a
   * transaction of its own that was to be committed.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** Closes the cursor, as {@link Cursor.close} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    if (!this.#opened) return
    let cursor: NativeCursor
    try {
      cursor = await this.#opened
    } catch {
      await this.#scope.end(true)
      return
    }
    // The rollback of a transaction of the cursor's own is the only thing to wait for.
    if (!this.#hasFailed || !this.#scope.isOwn()) {
      // Within a transaction that has ended, or whose connection is lost, there is nothing left to close.
      const closing = bridge.call((id) => cursor.close(id)).catch(() => {})
      // The data of a COPY may come from whoever closes the cursor.
      if (!this.#scope.copy()) await closing
    }
    await this.#scope.end(this.#hasFailed)
  }
}

brand(Cursor, 'Cursor')
