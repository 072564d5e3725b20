// A statement that was prepared, with what it takes and gives.
import { brand } from '../brand.js'
import type { NativeDescription, NativeLease } from '#native'
import { bridge } from '../native/bridge.js'
import { warnOfDefect } from '../native/defect.js'
import { ConnectionClosedError, ConnectionExecuteError } from '../errors.js'
import type { Cursor, CursorOptions } from './cursor.js'
import type { ArrayMode, MapMode, QueryOptions } from './options.js'
import type { Occupant } from './occupant.js'
import type { QueryParameters } from './parameters/named.js'
import type { QueryColumn, QueryResult } from './result.js'

/** @internal The key of the method that returns what there is of a connection or a transaction, also when no statement may run now. */
export const presentOf: unique symbol = Symbol('presentOf')

/** @internal What there is of a connection or a transaction at a moment. */
export interface Present {
  /** The lease that is there. It may have ended. */
  readonly lease: NativeLease | undefined
  /** The `COPY` that is open there: what is sent meanwhile waits for the end of its data. */
  readonly copy: Occupant | undefined
}

/** What a prepared statement runs on. */
interface Runner {
  execute<Row extends object>(
    sql: string,
    params: QueryParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<QueryResult<Row>>
  fetchRow<Row>(
    sql: string,
    params: QueryParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<Row>
  fetchRowOrNull<Row>(
    sql: string,
    params: QueryParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<Row | null>
  fetchVal<Value>(
    sql: string,
    params: QueryParameters | undefined,
    options: QueryOptions | undefined,
  ): Promise<Value>
  cursor<Row extends object>(
    sql: string,
    params: QueryParameters | undefined,
    options: CursorOptions | undefined,
  ): Cursor<Row>
}

/** The type of a parameter of a statement. */
export interface ParameterType {
  /** The name of the PostgreSQL type, such as `int4` or `text[]`. */
  readonly type: string
  /** The object id of the PostgreSQL type. */
  readonly oid: number
}

/** A column of a prepared statement. */
export interface PreparedColumn extends QueryColumn {
  /** The object id of the column's table; `null` for an expression. */
  readonly tableOid: number | null
  /** The number of the column in its table, from 1 on; `null` for an expression. */
  readonly columnNumber: number | null
}

/**
 * A statement that {@link Queryable.prepare} has prepared. It is run on the connection or transaction that has prepared it, as often
 * as need be.
 *
 * The connection keeps the statement prepared. When the database has changed meanwhile, or something has deallocated it, it is
 * prepared again, except within a transaction, which the server's refusal fails.
 */
export class PreparedStatement<
  Row extends object = Record<string, unknown>,
> implements AsyncDisposable {
  readonly #runner: Runner
  readonly #forget: () => Promise<void>
  readonly #sql: string
  readonly #parameters: readonly ParameterType[]
  readonly #columns: readonly PreparedColumn[]
  #closed: Promise<void> | undefined

  /** @internal */
  constructor(
    runner: Runner,
    forget: () => Promise<void>,
    sql: string,
    description: NativeDescription,
  ) {
    this.#runner = runner
    this.#forget = forget
    this.#sql = sql
    this.#parameters = Array.from(description.parameters, ({ typeName, oid }) => ({
      type: typeName,
      oid,
    }))
    this.#columns = Array.from(description.columns, ({ name, typeName, oid }, index) => ({
      name,
      type: typeName,
      oid,
      tableOid: description.tableOids[index] || null,
      columnNumber: description.columnNumbers[index] || null,
    }))
  }

  /** The text of the statement. */
  get sql(): string {
    return this.#sql
  }

  /** The types of the parameters, as they were when the statement was prepared. */
  get parameters(): readonly ParameterType[] {
    return this.#parameters
  }

  /** The columns, as they were when the statement was prepared. Empty for a statement that cannot return rows. */
  get columns(): readonly PreparedColumn[] {
    return this.#columns
  }

  /** Runs the statement, as {@link Queryable.execute} does. */
  async execute<ArrayRow extends unknown[] = unknown[]>(
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<QueryResult<ArrayRow>>
  /** Runs the statement. A function makes its rows. */
  async execute<Mapped>(
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<QueryResult<Mapped>>
  /** Runs the statement. Its rows are objects. */
  async execute(params?: QueryParameters, options?: QueryOptions): Promise<QueryResult<Row>>
  async execute(params?: QueryParameters, options?: QueryOptions): Promise<QueryResult<unknown>> {
    return this.#open().execute<Row>(this.#sql, params, options)
  }

  /** Runs the statement, as {@link Queryable.fetchRow} does. */
  async fetchRow<ArrayRow extends unknown[] = unknown[]>(
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<ArrayRow>
  /** Runs the statement, which returns one row. A function makes that row. */
  async fetchRow<Mapped>(
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<Mapped>
  /** Runs the statement, which returns one row, an object. */
  async fetchRow(params?: QueryParameters, options?: QueryOptions): Promise<Row>
  async fetchRow(params?: QueryParameters, options?: QueryOptions): Promise<unknown> {
    return this.#open().fetchRow<unknown>(this.#sql, params, options)
  }

  /** Runs the statement, as {@link Queryable.fetchRowOrNull} does. */
  async fetchRowOrNull<ArrayRow extends unknown[] = unknown[]>(
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<ArrayRow | null>
  /** Runs the statement, which returns one row or none. A function makes that row. */
  async fetchRowOrNull<Mapped>(
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<Mapped | null>
  /** Runs the statement, which returns one row, an object, or none. */
  async fetchRowOrNull(params?: QueryParameters, options?: QueryOptions): Promise<Row | null>
  async fetchRowOrNull(params?: QueryParameters, options?: QueryOptions): Promise<unknown> {
    return this.#open().fetchRowOrNull<unknown>(this.#sql, params, options)
  }

  /** Runs the statement, as {@link Queryable.fetchVal} does. */
  async fetchVal<Value = unknown>(
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<Value> {
    return this.#open().fetchVal<Value>(this.#sql, params, options)
  }

  /** Makes a cursor for the rows of the statement, as {@link Queryable.cursor} does. */
  cursor<ArrayRow extends unknown[] = unknown[]>(
    params: QueryParameters | undefined,
    options: ArrayMode & CursorOptions,
  ): Cursor<ArrayRow>
  /** Makes a cursor for rows of the statement that a function makes. */
  cursor<Mapped>(
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped> & CursorOptions,
  ): Cursor<Mapped>
  /** Makes a cursor for rows of the statement that are objects. */
  cursor(params?: QueryParameters, options?: CursorOptions): Cursor<Row>
  cursor(params?: QueryParameters, options?: CursorOptions): Cursor<unknown> {
    return this.#open().cursor<Row>(this.#sql, params, options)
  }

  /**
   * Has the server forget the statement. Later calls of its other methods reject. Resolves also behind the end of the transaction or the
   * connection that has prepared it; while a `COPY` is open there, without waiting for it. A second call has no effect.
   */
  close(): Promise<void> {
    this.#closed ??= this.#forget()
    return this.#closed
  }

  /** Closes the statement, as {@link PreparedStatement.close} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #open(): Runner {
    if (this.#closed) throw new ConnectionExecuteError('the prepared statement was closed')
    return this.#runner
  }
}

brand(PreparedStatement, 'PreparedStatement')

/**
 * @internal Has the server forget a prepared statement, also while somebody has the connection or transaction to itself. Resolves while a `COPY` is open, which may
 * need whoever waits for this, and when there is nothing left to forget.
 */
export async function deallocate(place: { [presentOf](): Present }, text: string): Promise<void> {
  const { lease, copy } = place[presentOf]()
  if (!lease) return
  const forgotten = bridge
    .call<void>((id) => lease.deallocate(id, text))
    .catch((error: unknown) => {
      // The lease has ended, or the session.
      if (!(error instanceof ConnectionClosedError)) throw error
    })
  if (copy) forgotten.catch(warnOfDefect)
  else await forgotten
}
