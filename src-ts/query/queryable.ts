// The base of connections and transactions: running statements.
import { brand } from '../brand.js'
import type { NativeCallBounds, NativeLease, NativeQueryOutput } from '#native'
import { bridge } from '../native/bridge.js'
import { ArgumentRangeError, ArgumentTypeError, ConnectionExecuteError } from '../errors.js'
import { bounded, leasedWithin, resolveCallOptions, type CallOptions } from './bounds.js'
import { binaryCopyStatement, copyFrom, type BinaryCopyOptions } from './copy-from.js'
import { SourceReader, type BinaryCopySource, type CopySource } from './copy-source.js'
import { CopyStream } from './copy-stream.js'
import type { occupant, Occupant } from './occupant.js'
import { toNativeParameterSets, toNativeParameters, type QueryParameter } from './parameters.js'
import { toQueryResult, type QueryResult } from './result.js'
import { toValue } from './rows.js'
import { checkString } from '../options/validate.js'

/** @internal The key of the method that narrows the bounds of a call. */
export const boundsOf: unique symbol = Symbol('boundsOf')

/** @internal The key of the method that returns the lease for a statement. It throws when no statement may run now. */
export const leaseOf: unique symbol = Symbol('leaseOf')

/**
 * Runs statements: one after the other, in the order of the calls, even when the calls are not awaited.
 *
 * Each method rejects with
 * - {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
 * - {@link ConnectionExecuteError} when the number of parameters is wrong, a parameter does not fit its type, or a type
 *   is not supported. Nothing was executed,
 * - {@link DatabaseError} when the server answers with an error,
 * - {@link ConnectionTimeoutError} when it took longer than its `timeoutMs`, and the reason of its `signal` when that is
 *   aborted: the statement was cancelled on the server. If it had succeeded before that, the call resolves all the same,
 * - {@link ConnectionClosedError} when the connection is closed or lost, {@link TransactionClosedError} when the
 *   transaction has ended.
 */
export abstract class Queryable {
  /** @internal */
  abstract [leaseOf](): NativeLease | Promise<NativeLease>

  /** @internal Who has the queryable to itself now. Declared only, since each callback gets a connection. */
  declare [occupant]: Occupant | undefined;

  /** @internal Narrows the bounds of a call to those of the queryable. */
  [boundsOf](options: CallOptions): CallOptions {
    return options
  }

  /**
   * Runs one statement. The statement is prepared at its first use on a connection, and kept for later uses.
   *
   * @param sql - One statement, with `$1`, `$2`, … for the parameters.
   * @param params - One value for each parameter of the statement. @default none
   * @param options - Bounds of the call. @default none
   */
  async execute<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
    options?: CallOptions,
  ): Promise<QueryResult<Row>> {
    return toQueryResult(await query(this, sql, params, options))
  }

  /** Runs one statement, as {@link Queryable.execute} does. */
  async fetch<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
    options?: CallOptions,
  ): Promise<QueryResult<Row>> {
    return this.execute(sql, params, options)
  }

  /**
   * Runs a statement that returns exactly one row, and resolves with that row. With another number of rows it rejects
   * with {@link ConnectionExecuteError}, although the statement was executed.
   */
  async fetchRow<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
    options?: CallOptions,
  ): Promise<Row> {
    const output = await query(this, sql, params, options)
    checkOneRow(output)
    return toQueryResult<Row>(output)[0] as Row
  }

  /**
   * Runs a statement that returns one row or none, and resolves with that row or with `null`. With more rows it rejects
   * with {@link ConnectionExecuteError}, although the statement was executed.
   */
  async fetchRowOrNull<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
    options?: CallOptions,
  ): Promise<Row | null> {
    const output = await query(this, sql, params, options)
    if (output.columns.length === 0 || output.rowCount > 1)
      throw wrongRows('one row or none', output)
    return toQueryResult<Row>(output)[0] ?? null
  }

  /**
   * Runs a statement that returns exactly one row, and resolves with the row's first column. With another number of
   * rows it rejects with {@link ConnectionExecuteError}, although the statement was executed.
   */
  async fetchVal<Value = unknown>(
    sql: string,
    params: readonly QueryParameter[] = [],
    options?: CallOptions,
  ): Promise<Value> {
    const output = await query(this, sql, params, options)
    checkOneRow(output)
    return toValue(output.columns[0]!, output.values[0]) as Value
  }

  /**
   * Runs one statement once for each list of parameters. Either all runs take effect or none: they have a transaction
   * of their own or, within a transaction, a savepoint. Returned rows are dropped.
   *
   * @param sql - One statement, with `$1`, `$2`, … for the parameters.
   * @param paramSets - The lists of parameters.
   * @param options - Bounds of the call. @default none
   * @returns The number of rows that all runs affected together.
   */
  async executeMany(
    sql: string,
    paramSets: readonly (readonly QueryParameter[])[],
    options?: CallOptions,
  ): Promise<number> {
    checkSql(sql)
    const sets = toNativeParameterSets(paramSets)
    return call<number>(this, options, (lease, id, bounds) =>
      lease.executeMany(id, sql, sets, bounds),
    )
  }

  /**
   * Runs several statements without parameters, separated by semicolons. They are one transaction, unless they contain
   * `BEGIN` and `COMMIT`. Returned rows are dropped.
   *
   * @param sql - The statements.
   * @param params - Nothing: these statements have no parameters. It keeps the options in the third place.
   * @param options - Bounds of the call. @default none
   */
  async executeBatch(sql: string, params?: readonly [], options?: CallOptions): Promise<void> {
    checkSql(sql)
    if (params !== undefined && toNativeParameters(params).length > 0) {
      throw new ArgumentTypeError(
        'Expected `params` to be empty: `executeBatch` takes no parameters',
      )
    }
    await call(this, options, (lease, id, bounds) => lease.executeBatch(id, sql, bounds))
  }

  /**
   * Runs a `COPY … FROM STDIN` with the data of a source, in whatever format the statement says. Nothing is taken from the
   * source before the server asks for data, and no more than the server takes: some 100 KiB are on the way. Meanwhile the
   * connection, or the transaction, runs nothing else.
   *
   * Either all rows are stored or none. When the source throws or rejects, nothing is stored, and the call rejects with that
   * error; a source of which the server takes no more is ended, as `break` ends an iteration. Rejects with
   * {@link ConnectionExecuteError} when the statement is no `COPY FROM STDIN`, and on the connection of a listening session,
   * which has to go on listening. Within a transaction a failure fails the transaction, as that of any statement.
   *
   * @param sql - The statement.
   * @param source - The data.
   * @param options - Bounds of the call. @default none
   * @returns The number of rows.
   */
  async copyFrom(sql: string, source: CopySource, options?: CallOptions): Promise<number> {
    checkSql(sql)
    return copyFrom(this, sql, new SourceReader(source, true), (begin) =>
      call(this, options, begin),
    )
  }

  /**
   * Returns the data of a `COPY … TO STDOUT` as a stream, in whatever format the statement says. The `COPY` begins when the
   * first chunk is asked for; from then on the bounds count.
   *
   * @param sql - The statement.
   * @param options - Bounds of the whole reading. @default none
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong.
   */
  copyTo(sql: string, options?: CallOptions): CopyStream {
    checkSql(sql)
    const bounds = resolveCallOptions(options)
    return CopyStream.of(this, sql, (begin) => call(this, bounds, begin))
  }

  /**
   * Stores rows in a table that are in PostgreSQL's [binary
   * format](https://www.postgresql.org/docs/current/sql-copy.html), such as the file of a `COPY … TO STDOUT (FORMAT binary)`.
   * Does and rejects as {@link Queryable.copyFrom} does.
   *
   * @param table - The name of the table. Each name is of 1 to 63 bytes without NUL, case-sensitive, without a schema in it.
   * @param source - The data.
   * @param options - The schema and the columns, and bounds of the call. @default none
   * @returns The number of rows.
   */
  async binaryCopyToTable(
    table: string,
    source: BinaryCopySource,
    options?: BinaryCopyOptions,
  ): Promise<number> {
    const { sql, bounds } = binaryCopyStatement(table, options)
    return copyFrom(this, sql, new SourceReader(source, false), (begin) =>
      call(this, bounds, begin),
    )
  }
}

brand(Queryable, 'Queryable')

// Functions and not private methods, because private methods cost time for each object that is made, and each callback gets
// a connection.

/** @internal Sends notifications in one round trip: all of them, in their order, or none. */
export function notify(
  queryable: Queryable,
  channel: string,
  payloads: string[],
  options: CallOptions,
): Promise<void> {
  return call(queryable, options, (lease, id, bounds) =>
    lease.notify(id, channel, payloads, bounds),
  )
}

function query(
  queryable: Queryable,
  sql: string,
  params: readonly QueryParameter[],
  options: CallOptions | undefined,
): Promise<NativeQueryOutput> {
  checkSql(sql)
  const native = toNativeParameters(params)
  return call(queryable, options, (lease, id, bounds) => lease.execute(id, sql, native, bounds))
}

/**
 * Starts an operation on the lease, within the bounds of the call and of the queryable. It has its place in the order when
 * this returns, unless the lease is still to come.
 */
function call<Result>(
  queryable: Queryable,
  options: CallOptions | undefined,
  start: (lease: NativeLease, id: number, bounds: NativeCallBounds | undefined) => void,
): Promise<Result> {
  const given = queryable[boundsOf](options === undefined ? {} : resolveCallOptions(options))
  const lease = queryable[leaseOf]()
  return bounded(given, (bounds) =>
    lease instanceof Promise
      ? leasedWithin(given, lease).then((leased) =>
          bridge.call<Result>((id) => start(leased, id, bounds)),
        )
      : bridge.call<Result>((id) => start(lease, id, bounds)),
  )
}

function checkSql(sql: unknown): asserts sql is string {
  checkString('sql', sql)
  if (sql.includes('\0'))
    throw new ArgumentRangeError('Expected `sql` to be a string without NUL, got one with a NUL')
  if (!sql.isWellFormed()) {
    throw new ArgumentRangeError(
      'Expected `sql` to be well-formed text, got a string with half of a surrogate pair',
    )
  }
}

function checkOneRow(output: NativeQueryOutput): void {
  if (output.columns.length === 0 || output.rowCount !== 1)
    throw wrongRows('exactly one row', output)
}

function wrongRows(what: string, { columns, rowCount }: NativeQueryOutput): ConnectionExecuteError {
  const got = columns.length === 0 ? 'a statement without columns' : rowCount
  return new ConnectionExecuteError(`Expected the statement to return ${what}, got ${got}`)
}
