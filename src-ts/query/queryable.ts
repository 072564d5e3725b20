// What a connection and a transaction have in common: statements.
import type { NativeLease, NativeQueryOutput } from '#native'
import { bridge } from '../native/bridge.js'
import { ArgumentRangeError, ConnectionExecuteError } from '../errors.js'
import { toNativeParameterSets, toNativeParameters, type QueryParameter } from './parameters.js'
import { toQueryResult, type QueryResult } from './result.js'
import { toValue } from './rows.js'
import { checkString } from '../options/validate.js'

/** @internal The lease to run a statement on. Throws when no statement may run now. */
export const leaseOf: unique symbol = Symbol('leaseOf')

/**
 * Runs statements. They run one after the other, in the order of the calls, also when the calls are not awaited.
 *
 * Each method rejects with
 * - {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
 * - {@link ConnectionExecuteError} when the statement cannot be run as asked: the number of parameters, a parameter
 *   that does not fit its type, a type that is not supported. Nothing was executed,
 * - {@link DatabaseError} when the server answers with an error,
 * - {@link ConnectionClosedError} when the connection is closed or lost, {@link TransactionClosedError} when the
 *   transaction has ended.
 */
export abstract class Queryable {
  /** @internal */
  abstract [leaseOf](): NativeLease | Promise<NativeLease>

  /**
   * Runs one statement. It is prepared at its first use on a connection and kept for the next.
   *
   * @param sql - One statement, with `$1`, `$2`, … for the parameters.
   * @param params - As many values as the statement has parameters.
   */
  async execute<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
  ): Promise<QueryResult<Row>> {
    return toQueryResult(await query(this, sql, params))
  }

  /** The same as {@link Queryable.execute}. */
  async fetch<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
  ): Promise<QueryResult<Row>> {
    return this.execute(sql, params)
  }

  /**
   * Runs a statement that returns exactly one row, and gives that row. Otherwise rejects with
   * {@link ConnectionExecuteError}; the statement has been executed then.
   */
  async fetchRow<Row extends object = Record<string, unknown>>(
    sql: string,
    params: readonly QueryParameter[] = [],
  ): Promise<Row> {
    const output = await query(this, sql, params)
    checkOneRow(output)
    return toQueryResult<Row>(output)[0] as Row
  }

  /**
   * Runs a statement that returns exactly one row, and gives its first column. Otherwise rejects with
   * {@link ConnectionExecuteError}; the statement has been executed then.
   */
  async fetchVal<Value = unknown>(
    sql: string,
    params: readonly QueryParameter[] = [],
  ): Promise<Value> {
    const output = await query(this, sql, params)
    checkOneRow(output)
    return toValue(output.columns[0]!, output.values[0]) as Value
  }

  /**
   * Runs one statement for each list of parameters, in one go. All of them take effect or none: in a transaction of
   * their own or, within a transaction, behind a savepoint. Rows that they return are dropped.
   *
   * @returns How many rows were affected in all.
   */
  async executeMany(
    sql: string,
    paramSets: readonly (readonly QueryParameter[])[],
  ): Promise<number> {
    checkSql(sql)
    const sets = toNativeParameterSets(paramSets)
    return call<number>(this, (lease, id) => lease.executeMany(id, sql, sets))
  }

  /**
   * Runs several statements, separated by semicolons and without parameters. Unless they say otherwise with `BEGIN`
   * and `COMMIT`, they are one transaction. Rows that they return are dropped.
   */
  async executeBatch(sql: string): Promise<void> {
    checkSql(sql)
    await call(this, (lease, id) => lease.executeBatch(id, sql))
  }
}

// Functions, not private methods, which every object of the class would have to be marked for: one is made for each call
// of a callback.

function query(
  queryable: Queryable,
  sql: string,
  params: readonly QueryParameter[],
): Promise<NativeQueryOutput> {
  checkSql(sql)
  const native = toNativeParameters(params)
  return call(queryable, (lease, id) => lease.execute(id, sql, native))
}

/** Takes its place in the order before it returns, unless a connection is still to come. */
function call<Result>(
  queryable: Queryable,
  start: (lease: NativeLease, id: number) => void,
): Promise<Result> {
  const lease = queryable[leaseOf]()
  return lease instanceof Promise
    ? lease.then((leased) => bridge.call<Result>((id) => start(leased, id)))
    : bridge.call<Result>((id) => start(lease, id))
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

function checkOneRow({ columns, rowCount }: NativeQueryOutput): void {
  if (columns.length > 0 && rowCount === 1) return
  const got = columns.length === 0 ? 'a statement without columns' : rowCount
  throw new ConnectionExecuteError(`Expected the statement to return exactly one row, got ${got}`)
}
