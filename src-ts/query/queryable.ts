// The base of connections and transactions: running statements.
import { brand } from '../brand.js'
import type {
  NativeCallBounds,
  NativeCursor,
  NativeDescription,
  NativeHeldPipeline,
  NativeHeldStatement,
  NativeLease,
  NativeQueryOutput,
  NativeRecordEncoder,
} from '#native'
import { bridge } from '../native/bridge.js'
import { warnOfDefect } from '../native/defect.js'
import { ArgumentTypeError, ConnectionClosedError, ConnectionExecuteError } from '../errors.js'
import {
  COPIED_COLUMNS,
  RecordWriter,
  tableOf,
  type CopiedColumn,
  type CopyRecords,
  type CopyRecordsOptions,
} from './copy/records.js'
import { Cursor, splitCursorOptions, type CursorOptions, type CursorScope } from './cursor.js'
import {
  bounded,
  resolveCallOptions,
  startedOn,
  type CallBounds,
  type CallOptions,
} from './bounds.js'
import {
  checkSql,
  numbered,
  type NumberedStatement,
  takeParameterSets,
  takeValues,
  tellingNames,
  toEncodedLists,
  toEncodedValues,
  toNativeValues,
  toParameterLists,
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
  splitPipeline,
  takePipelineValues,
  textOf,
  toEncodedPipelineLists,
  toPipelineLists,
  type PipelineStatement,
} from './pipeline.js'
import { PreparedStatement } from './prepared-statement.js'
import { binaryCopyStatement, copyFrom, type BinaryCopyOptions } from './copy/from.js'
import { SourceReader, type BinaryCopySource, type CopySource } from './copy/source.js'
import { CopyStream } from './copy/stream.js'
import type { occupant, Occupant } from './occupant.js'
import { collectResult, countRows, toQueryResult, type QueryResult } from './result.js'
import { toRows, toValue, type Shaping } from './rows.js'
import type { ResolvedObservation } from '../options/observation.js'
import { PLAIN_TYPES, type ResolvedTypes } from '../options/types.js'
import { checkPublication, resolvePublishOptions, type PublishOptions } from '../options/durable.js'

/** @internal The key of the method that returns how values are read and written. */
export const typesOf: unique symbol = Symbol('typesOf')

/** @internal The key of the method that narrows the bounds of a call. */
export const boundsOf: unique symbol = Symbol('boundsOf')

/** @internal The key of the method that runs work all or not at all. */
export const atomically: unique symbol = Symbol('atomically')

/** @internal The key of the method that says what a cursor is opened in. */
export const scopeOf: unique symbol = Symbol('scopeOf')

/** @internal The key of the method that returns the lease for a statement. It throws when no statement may run now. */
export const leaseOf: unique symbol = Symbol('leaseOf')

/** @internal The key of the method that returns what there is of a queryable, also when no statement may run now. */
export const presentOf: unique symbol = Symbol('presentOf')

/** @internal What there is of a queryable at a moment. */
export interface Present {
  /** The lease that is there. It may have ended. */
  readonly lease: NativeLease | undefined
  /** The `COPY` that is open there: what is sent meanwhile waits for the end of its data. */
  readonly copy: Occupant | undefined
}

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
    const { text } = statement
    const { bounds, types, manner } = resolveStatement(options, this[typesOf]())
    let run: Run<number>
    if (types.encoders.size > 0) {
      const sets = takeParameterSets(statement, paramSets, types)
      run = holding(text, manner, (held) => {
        const lists = toEncodedLists(statement, sets, held.parameterTypes(), types)
        return (id) => held.executeMany(id, lists)
      })
    } else {
      const lists = toParameterLists(statement, paramSets, types)
      run = (lease, within) =>
        bridge.call((id) => lease.executeMany(id, text, lists, manner, within))
    }
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
    const { texts, order } = split
    let run: Run<NativeQueryOutput[]>
    if (types.encoders.size > 0) {
      const taken = takePipelineValues(split, types)
      run = (lease, within) =>
        whenHeld(
          bridge.call<NativeHeldPipeline>((id) =>
            lease.holdPipeline(id, texts, order, manner, within),
          ),
          (held) => {
            const lists = toEncodedPipelineLists(split, taken, types, held.parameterTypes())
            return (id) => held.run(id, lists)
          },
        )
    } else {
      const lists = toPipelineLists(split, types)
      run = (lease, within) =>
        bridge.call((id) => lease.pipeline(id, texts, order, lists, manner, within))
    }
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
    const { text } = statement
    const { batchSize, options: given } = splitCursorOptions(options)
    const { shaping, bounds: ofFetch, manner, types } = resolveQuery(given, this[typesOf]())
    let run: Run<NativeCursor>
    if (types.encoders.size > 0) {
      run = encoding(statement, params, types, manner, (held, id, native) => held.open(id, native))
    } else {
      const native = toNativeValues(statement, params, types)
      run = (lease, within) => bridge.call((id) => lease.open(id, text, native, manner, within))
    }
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
    const { name, columns, columnNames, bounds, types: given } = tableOf(table, options)
    const { types } = resolveStatement({ ...bounds, types: given }, this[typesOf]())
    const isEncoded = types.encoders.size > 0
    return this[atomically](async (queryable) => {
      const plain = { prepared: false, types: PLAIN_TYPES }
      const look = () =>
        queryable.fetch<CopiedColumn>(COPIED_COLUMNS, [name, columnNames ?? null], plain)
      const described = columns === undefined || isEncoded ? await look() : []
      // A table may have no column.
      const names = columns ?? described.map((column) => column.name).join(', ')
      const sql = `SELECT ${names} FROM ${name}`
      const copy = `COPY ${name}${names && ` (${names})`} FROM STDIN`
      const encoder = await call<NativeRecordEncoder>(queryable, {}, (lease, id, within) =>
        lease.recordEncoder(id, sql, within),
      )
      const columnTypes = isEncoded
        ? encoder.columnTypes().map((type, index) => described[index]?.domain ?? type)
        : undefined
      const writer = new RecordWriter(encoder, records, types, columnTypes)
      let stored = 0
      try {
        do {
          stored += await queryable.copyFrom(`${copy} (FORMAT ${writer.format})`, writer.data())
        } while (!writer.isDone)
      } finally {
        writer.stop()
      }
      return stored
    }, bounds)
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

// Functions and not private methods, because private methods cost time for each object that is made, and each callback gets
// a connection.

/** @internal Sends notifications in one round trip: all of them, in their order, or none. */
export function notify(
  queryable: Queryable,
  channel: string,
  payloads: string[],
  options: CallOptions,
): Promise<void> {
  return call(queryable, resolveCallOptions(options), (lease, id, bounds) =>
    lease.notify(id, channel, payloads, bounds),
  )
}

/** Runs something on a lease, within bounds. It has its place in the order when this returns. */
type Run<Result> = (lease: NativeLease, within: NativeCallBounds | undefined) => Promise<Result>

/**
 * Starts a statement, which has its place in the order then. Throws when an argument is wrong. `collect` takes a result that comes in
 * parts: the call has ended, for its bounds and for whoever traces it, when the last part is there.
 */
function query<Whole>(
  queryable: Queryable,
  sql: string,
  params: QueryParameters | undefined,
  options: QueryOptions | undefined,
  collect: (first: NativeQueryOutput, shaping: Shaping) => Promise<Whole>,
): { running: Promise<NativeQueryOutput | Whole>; shaping: Shaping } {
  const statement = numbered(sql)
  const { text } = statement
  const { bounds, types, manner, shaping } = resolveQuery(options, queryable[typesOf]())
  let run: Run<NativeQueryOutput>
  if (types.encoders.size > 0) {
    run = encoding(statement, params, types, manner, (held, id, native) => held.execute(id, native))
  } else {
    const native = toNativeValues(statement, params, types)
    run = (lease, within) => bridge.call((id) => lease.execute(id, text, native, manner, within))
  }
  const running = observed(queryable, 'execute', sql, () =>
    runOn<NativeQueryOutput | Whole>(queryable, bounds, (lease, within) =>
      run(lease, within).then<NativeQueryOutput | Whole>((output) =>
        output.rest ? collect(output, shaping) : output,
      ),
    ),
  )
  return { running: tellingNames(statement, running), shaping }
}

/** Runs a statement whose parameters are encoded by their types, which Rust knows once it holds the statement. */
function encoding<Result>(
  statement: NumberedStatement,
  params: QueryParameters | undefined,
  types: ResolvedTypes,
  manner: number,
  start: (held: NativeHeldStatement, id: number, native: unknown[]) => void,
): Run<Result> {
  const values = takeValues(statement, params, types)
  return holding(statement.text, manner, (held) => {
    const native = toEncodedValues(statement, values, held.parameterTypes(), types)
    return (id) => start(held, id, native)
  })
}

/** Has Rust hold a statement at its place in the order until `start` has made its parameters, and starts it. */
function holding<Result>(
  text: string,
  manner: number,
  start: (held: NativeHeldStatement) => (id: number) => void,
): Run<Result> {
  return (lease, within) =>
    whenHeld(
      bridge.call<NativeHeldStatement>((id) => lease.hold(id, text, manner, within)),
      start,
    )
}

/** Starts what needs to know the types of its parameters: `start` makes them, while Rust holds its place in the order, and starts it. */
async function whenHeld<Held extends { giveUp(): void }, Result>(
  holding: Promise<Held>,
  start: (held: Held) => (id: number) => void,
): Promise<Result> {
  const held = await holding
  try {
    return await bridge.call<Result>(start(held))
  } catch (error) {
    // Nothing happens if it was started.
    held.giveUp()
    throw error
  }
}

/**
 * Runs something on the lease of a queryable, within the bounds of the call and of the queryable. Throws at once for a call that was
 * aborted before: it leases nothing.
 */
function runOn<Result>(
  queryable: Queryable,
  bounds: CallOptions,
  run: Run<Result>,
): Promise<Result> {
  const given = queryable[boundsOf](bounds)
  given.signal?.throwIfAborted()
  given.ofTransaction?.throwIfAborted()
  const lease = queryable[leaseOf]()
  return bounded(given, (within) =>
    lease instanceof Promise
      ? startedOn(given, lease, (leased) => run(leased, within))
      : run(lease, within),
  )
}

/**
 * @internal Starts an operation on the lease, within the bounds of the call and of the queryable. It has its place in the order when
 * this returns, unless the lease is still to come.
 */
export function call<Result>(
  queryable: Queryable,
  bounds: CallOptions,
  start: (lease: NativeLease, id: number, bounds: NativeCallBounds | undefined) => void,
): Promise<Result> {
  return runOn(queryable, bounds, (lease, within) =>
    bridge.call<Result>((id) => start(lease, id, within)),
  )
}

/**
 * Has the server forget a prepared statement, also while somebody has the queryable to itself. Resolves while a `COPY` is open, which may
 * need whoever waits for this, and when there is nothing left to forget.
 */
async function deallocate(queryable: Queryable, text: string): Promise<void> {
  const { lease, copy } = queryable[presentOf]()
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

function checkOneRow(output: NativeQueryOutput | number): asserts output is NativeQueryOutput {
  if (typeof output === 'number' || !output.returnsRows || output.rowCount !== 1)
    throw wrongRows('exactly one row', output)
}

/** The error of a statement that has returned something else; `got` is its output, or how many rows came, of many. */
function wrongRows(what: string, got: NativeQueryOutput | number): ConnectionExecuteError {
  let found: string | number
  if (typeof got === 'number') found = got
  else if (!got.returnsRows) found = 'a statement without columns'
  else if (got.rowCount === 1) found = 'a row without columns'
  else found = got.rowCount
  return new ConnectionExecuteError(`Expected the statement to return ${what}, got ${found}`)
}
