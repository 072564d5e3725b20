// The base of connections and transactions: running statements.
import { brand } from '../brand.js'
import type { NativeCursor, NativeDescription, NativeLease, NativeQueryOutput } from '#native'
import { ArgumentTypeError } from '../errors.js'
import { copyRecords, tableOf, type CopyRecords, type CopyRecordsOptions } from './copy/records.js'
import { Cursor, splitCursorOptions, type CursorOptions, type CursorScope } from './cursor.js'
import { resolveCallOptions, type CallBounds, type CallOptions } from './bounds.js'
import {
  checkSql,
  numbered,
  tellingNames,
  type NamedQueryParameters,
  type QueryParameters,
} from './parameters/named.js'
import {
  resolveQuery,
  resolveStatement,
  type ArrayMode,
  type MapMode,
  type QueryOptions,
  type StatementOptions,
} from './options.js'
import { toNativeParameters, type QueryParameter } from './parameters/parameters.js'
import { observed, type backendOf, type observationOf } from './observed.js'
import {
  byNameIn,
  sendingTogether,
  splitPipeline,
  textOf,
  type PipelineStatement,
} from './pipeline.js'
import {
  PreparedStatement,
  deallocate,
  type Present,
  type presentOf,
} from './prepared-statement.js'
import { binaryCopyStatement, copyFrom, type BinaryCopyOptions } from './copy/from.js'
import { SourceReader, type BinaryCopySource, type CopySource } from './copy/source.js'
import { CopyStream } from './copy/stream.js'
import type { occupant, Occupant } from './occupant.js'
import { collectResult, countRows, toQueryResult, type QueryResult } from './result.js'
import { toRows, toValue } from './rows.js'
import { boundsOf, call, runOn, type leaseOf } from './run.js'
import { checkOneRow, executingMany, opening, query, typesOf, wrongRows } from './statement.js'
import type { ResolvedObservation } from '../options/observation.js'
import { PLAIN_TYPES, type ResolvedTypes } from '../options/types.js'
import { checkPublication, resolvePublishOptions, type PublishOptions } from '../options/durable.js'

/** @internal The key of the method that runs work all or not at all. */
export const atomically: unique symbol = Symbol('atomically')

/** @internal The key of the method that says what a cursor is opened in. */
export const scopeOf: unique symbol = Symbol('scopeOf')

/**
 * Runs statements: one after the other, in the order of the calls, even when the calls are not awaited.
 *
 * Each method rejects with
 * - {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
 * - {@link ConnectionExecuteError} when the number of parameters is wrong, a parameter does not fit its type, or a type
 *   is not supported. Nothing was executed. It also tells of rows that cannot be given: another number of them than was asked for, an
 *   infinite value under `infinity: 'error'`, a text that no string can hold. The statement was executed then,
 * - {@link DatabaseError} when the server answers with an error,
 * - {@link ConnectionTimeoutError} when it took longer than its `timeoutMs`, and the reason of its `signal` when that is
 *   aborted: the statement was cancelled on the server. If it had succeeded before that, the call resolves all the same,
 * - {@link ConnectionClosedError} when the connection is closed or lost, {@link TransactionClosedError} when the
 *   transaction has ended.
 */
export abstract class Queryable {
  /** @internal */
  abstract [leaseOf](): NativeLease | Promise<NativeLease>

  /** @internal */
  abstract [presentOf](): Present

  /** @internal Who has the queryable to itself now. Declared only, since each callback gets a connection. */
  declare [occupant]: Occupant | undefined;

  /** @internal Narrows the bounds of a call to those of the queryable. */
  [boundsOf](options: CallOptions): CallBounds {
    return options
  }

  /** @internal Runs work in a transaction of its own, or in a part of the transaction that is open, within the bounds. */
  abstract [atomically]<Result>(
    work: (queryable: Queryable) => Promise<Result>,
    bounds: CallOptions,
  ): Promise<Result>

  /** @internal What a cursor is opened in. `open` opens it on a queryable that has a transaction. */
  abstract [scopeOf](
    open: (queryable: Queryable, bounds: CallOptions) => Promise<NativeCursor>,
  ): CursorScope

  /** @internal How values are read and written without options of the call. */
  abstract [typesOf](): ResolvedTypes

  /** @internal What may be told of the statements. */
  abstract [observationOf](): ResolvedObservation

  /** @internal The process id of the backend, once a connection is leased. */
  abstract [backendOf](): number | undefined

  /**
   * Runs one statement. The statement is prepared at its first use on a connection, and kept for later uses.
   *
   * @param sql - One statement, with `$1`, `$2`, … for the parameters, or with names: `$(id)p`.
   * @param params - One value for each parameter: a list, or a mapping for a statement with names. @default none
   * @param options - Bounds of the call, and the form of the rows. @default objects
   */
  async execute<Row extends unknown[] = unknown[]>(
    sql: string,
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<QueryResult<Row>>
  /** Runs one statement whose rows a function makes. */
  async execute<Mapped, Row = Record<string, unknown>>(
    sql: string,
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<QueryResult<Mapped>>
  /** Runs one statement whose rows are objects. */
  async execute<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<QueryResult<Row>>
  async execute(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<QueryResult<unknown>> {
    const { running, shaping } = query(this, sql, params, options, collectResult)
    const output = await running
    return Array.isArray(output) ? output : toQueryResult(output, shaping)
  }

  /** Runs one statement, as {@link Queryable.execute} does. */
  async fetch<Row extends unknown[] = unknown[]>(
    sql: string,
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<QueryResult<Row>>
  /** Runs one statement whose rows a function makes. */
  async fetch<Mapped, Row = Record<string, unknown>>(
    sql: string,
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<QueryResult<Mapped>>
  /** Runs one statement whose rows are objects. */
  async fetch<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<QueryResult<Row>>
  async fetch(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<QueryResult<unknown>> {
    const { running, shaping } = query(this, sql, params, options, collectResult)
    const output = await running
    return Array.isArray(output) ? output : toQueryResult(output, shaping)
  }

  /**
   * Runs a statement that returns exactly one row, and resolves with that row. With another number of rows it rejects
   * with {@link ConnectionExecuteError}, although the statement was executed.
   */
  async fetchRow<Row extends unknown[] = unknown[]>(
    sql: string,
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<Row>
  /** Runs a statement that returns exactly one row. A function makes that row. */
  async fetchRow<Mapped, Row = Record<string, unknown>>(
    sql: string,
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<Mapped>
  /** Runs a statement that returns exactly one row, an object. */
  async fetchRow<Row = Record<string, unknown>>(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<Row>
  async fetchRow(sql: string, params?: QueryParameters, options?: QueryOptions): Promise<unknown> {
    const { running, shaping } = query(this, sql, params, options, countRows)
    const output = await running
    checkOneRow(output)
    return toRows<unknown>(output, shaping)[0]
  }

  /**
   * Runs a statement that returns one row or none, and resolves with that row or with `null`. With more rows it rejects
   * with {@link ConnectionExecuteError}, although the statement was executed.
   */
  async fetchRowOrNull<Row extends unknown[] = unknown[]>(
    sql: string,
    params: QueryParameters | undefined,
    options: ArrayMode,
  ): Promise<Row | null>
  /** Runs a statement that returns one row or none. A function makes that row. */
  async fetchRowOrNull<Mapped, Row = Record<string, unknown>>(
    sql: string,
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped>,
  ): Promise<Mapped | null>
  /** Runs a statement that returns one row, an object, or none. */
  async fetchRowOrNull<Row = Record<string, unknown>>(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<Row | null>
  async fetchRowOrNull(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<unknown> {
    const { running, shaping } = query(this, sql, params, options, countRows)
    const output = await running
    if (typeof output === 'number' || !output.returnsRows || output.rowCount > 1)
      throw wrongRows('one row or none', output)
    return toRows<unknown>(output, shaping)[0] ?? null
  }

  /**
   * Runs a statement that returns exactly one row, and resolves with the row's first column. With another number of
   * rows it rejects with {@link ConnectionExecuteError}, although the statement was executed.
   */
  async fetchVal<Value = unknown>(
    sql: string,
    params?: QueryParameters,
    options?: QueryOptions,
  ): Promise<Value> {
    const { running, shaping } = query(this, sql, params, options, countRows)
    const output = await running
    checkOneRow(output)
    if (output.columns.length === 0) throw wrongRows('a column', output)
    return toValue(output, shaping) as Value
  }

  /**
   * Runs one statement once for each list or mapping of parameters. Either all runs take effect or none: they have a
   * transaction of their own or, within a transaction, a savepoint. Returned rows are dropped. An error of one run tells with
   * `statementIndex` which one it was, counted from 0.
   *
   * @param sql - One statement, with `$1`, `$2`, … for the parameters, or with names: `$(id)p`.
   * @param paramSets - The parameters of each run: lists, or mappings for a statement with names. Any iterable, which is
   *   read to its end before the first run.
   * @param options - Bounds of the call, and how values are written. @default none
   * @returns The number of rows that all runs affected together.
   */
  async executeMany(
    sql: string,
    paramSets: Iterable<readonly QueryParameter[]> | Iterable<NamedQueryParameters>,
    options?: StatementOptions,
  ): Promise<number> {
    const statement = numbered(sql)
    const { bounds, types, manner } = resolveStatement(options, this[typesOf]())
    const run = executingMany(statement, paramSets, types, manner)
    const running = observed(this, 'executeMany', sql, () => runOn(this, bounds, run))
    return tellingNames(statement, running)
  }

  /**
   * Publishes an event for durable subscriptions: it is there for them when the transaction is committed. Returns its id.
   * Rejects with {@link DatabaseError} (`3F000`) where {@link Durable.install} has not been called.
   *
   * @param channel - The channel: 1 to 63 bytes.
   * @param payload - Text without NUL: with the key, up to 256 MiB.
   * @param options - The event's key and bell, and bounds of the call. @default none
   */
  async publish(channel: string, payload: string, options?: PublishOptions): Promise<bigint> {
    checkPublication(channel, payload)
    const { key = null, bell = true, signal, timeoutMs } = resolvePublishOptions(options)
    const params = [channel, payload, key, bell]
    return BigInt(
      await this.fetchVal<string>(
        'SELECT pglisten.publish($1, $2, $3, $4)::pg_catalog.text',
        params,
        {
          types: PLAIN_TYPES,
          signal,
          timeoutMs,
        },
      ),
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
    const bounds = options === undefined ? {} : resolveCallOptions(options)
    await observed(this, 'executeBatch', sql, () =>
      call(this, bounds, (lease, id, within) => lease.executeBatch(id, sql, within)),
    )
  }

  /**
   * Runs several statements, all sent at once: one round trip for all of them. The server skips those behind one that fails; outside
   * of a transaction nothing takes effect then, but for what a statement among them has committed. The error tells with `statementIndex`
   * which one it was, counted from 0; that of the commit of all of them has none.
   *
   * @param statements - Each a text, or an array of a text and its parameters.
   * @param options - Bounds of the call, and the form of the rows. @default objects
   * @returns A result for each statement, in their order.
   */
  async pipeline<Statements extends readonly PipelineStatement[]>(
    statements: readonly [...Statements],
    options: ArrayMode,
  ): Promise<{ -readonly [Index in keyof Statements]: QueryResult<unknown[]> }>
  /** Runs several statements, all sent at once. A function makes their rows. */
  async pipeline<
    Statements extends readonly PipelineStatement[],
    Mapped,
    Row = Record<string, unknown>,
  >(
    statements: readonly [...Statements],
    options: MapMode<Row, Mapped>,
  ): Promise<{ -readonly [Index in keyof Statements]: QueryResult<Mapped> }>
  /** Runs several statements, all sent at once. Their rows are objects. */
  async pipeline<Statements extends readonly PipelineStatement[]>(
    statements: readonly [...Statements],
    options?: QueryOptions,
  ): Promise<{ -readonly [Index in keyof Statements]: QueryResult }>
  async pipeline(
    statements: readonly PipelineStatement[],
    options?: QueryOptions,
  ): Promise<QueryResult<unknown>[]> {
    const { bounds, manner, types, shaping } = resolveQuery(options, this[typesOf]())
    const split = splitPipeline(statements)
    const run = sendingTogether(split, types, manner)
    let outputs: NativeQueryOutput[]
    try {
      outputs = await observed(
        this,
        'pipeline',
        () => textOf(split),
        () => runOn(this, bounds, run),
      )
    } catch (error) {
      throw byNameIn(split, error)
    }
    return outputs.map((output) => toQueryResult(output, shaping))
  }

  /**
   * Makes a cursor for the rows of a statement, which is run at the cursor's first fetch.
   *
   * @param sql - One statement that returns rows, with `$1`, `$2`, … for the parameters, or with names: `$(id)p`.
   * @param params - One value for each parameter: a list, or a mapping for a statement with names. @default none
   * @param options - The size of batches, the bounds of each fetch, and the form of the rows. @default 1000 objects
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong.
   */
  cursor<Row extends unknown[] = unknown[]>(
    sql: string,
    params: QueryParameters | undefined,
    options: ArrayMode & CursorOptions,
  ): Cursor<Row>
  /** Makes a cursor for rows that a function makes. */
  cursor<Mapped, Row = Record<string, unknown>>(
    sql: string,
    params: QueryParameters | undefined,
    options: MapMode<Row, Mapped> & CursorOptions,
  ): Cursor<Mapped>
  /** Makes a cursor for rows that are objects. */
  cursor<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: QueryParameters,
    options?: CursorOptions,
  ): Cursor<Row>
  cursor(sql: string, params?: QueryParameters, options?: CursorOptions): Cursor<unknown> {
    const statement = numbered(sql)
    const { batchSize, options: given } = splitCursorOptions(options)
    const { shaping, bounds: ofFetch, manner, types } = resolveQuery(given, this[typesOf]())
    const run = opening(statement, params, types, manner)
    const open = (queryable: Queryable, bounds: CallOptions): Promise<NativeCursor> => {
      const opening = observed(queryable, 'cursor', sql, () => runOn(queryable, bounds, run))
      return tellingNames(statement, opening)
    }
    return new Cursor(this[scopeOf](open), shaping, ofFetch, batchSize)
  }

  /**
   * Prepares a statement, which tells of its parameters and columns and finds its errors before it is run.
   *
   * @param sql - One statement, with `$1`, `$2`, … for the parameters.
   * @param options - Bounds of the call. @default none
   */
  async prepare<Row extends object = Record<string, unknown>>(
    sql: string,
    options?: CallOptions,
  ): Promise<PreparedStatement<Row>> {
    const { text } = numbered(sql)
    const { bounds, manner } = resolveStatement(options, this[typesOf]())
    const description = await observed(this, 'prepare', sql, () =>
      call<NativeDescription>(this, bounds, (lease, id, within) =>
        lease.prepare(id, text, manner, within),
      ),
    )
    return new PreparedStatement<Row>(this, () => deallocate(this, text), sql, description)
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
      observed(this, 'copyFrom', sql, () => call(this, resolveCallOptions(options), begin)),
    )
  }

  /**
   * Copies records to a table, with `COPY`, which is the fastest way to store many. Values are written as parameters are, as the
   * types of the columns expect. The records are taken as fast as the server takes them, up to 256 of them, or 1 MiB, at once. Meanwhile the
   * connection, or the transaction, runs nothing else.
   *
   * Either all records are stored or none: it has a transaction of its own or, within a transaction, a savepoint. When the source
   * throws or rejects, the call rejects with that error. Rejects with {@link ConnectionExecuteError} when a record has another number
   * of values than there are columns, or a value does not fit its column, and as {@link Queryable.copyFrom} does.
   *
   * @param table - The name of the table, case-sensitive.
   * @param records - The records: arrays with a value for each column.
   * @param options - The schema and the columns, and bounds of the call. @default all columns of the table
   * @returns The number of records.
   */
  async copyRecordsToTable(
    table: string,
    records: CopyRecords,
    options?: CopyRecordsOptions,
  ): Promise<number> {
    const copied = tableOf(table, options)
    const { bounds } = copied
    const { types } = resolveStatement({ ...bounds, types: copied.types }, this[typesOf]())
    return this[atomically]((queryable) => copyRecords(queryable, copied, records, types), bounds)
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
    return CopyStream.of(this, sql, (begin) =>
      observed(this, 'copyTo', sql, () => call(this, bounds, begin)),
    )
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
      observed(this, 'copyFrom', sql, () => call(this, bounds, begin)),
    )
  }
}

brand(Queryable, 'Queryable')
