// Generated from index.ts by `npm run build:ts`: edit the sources instead.

import { Readable } from 'node:stream';
import { EventEmitter } from 'node:events';

/** The options of a call that can be given up. */
interface CallOptions {
    /**
     * Gives the call up when it is aborted: it rejects with the signal's reason. A statement that is running is cancelled
     * on the server.
     * @default no signal
     */
    signal?: AbortSignal | undefined;
    /**
     * The longest time that the call may take, in milliseconds, from 0 to 2147483647, the wait for its turn included. Then
     * it rejects with {@link ConnectionTimeoutError}, and a statement that is running is cancelled on the server. The
     * rejection comes once the server has confirmed that the statement ended. One that does not is waited for until it has been silent
     * for 2 s, at most 10 s, and one that does not answer a rollback for 5 s: its connection is closed then. A call of the pool that waits for a
     * connection as long rejects with {@link ConnectionPoolExecuteError}. Once the whole result has come, its rows are made.
     * @default no limit
     */
    timeoutMs?: number | undefined;
}

/**
 * Whether a transaction block is open: none (`idle`), one (`active`), or one in which a statement has failed, so that it can
 * only be rolled back (`failed`).
 */
type TransactionStatus = 'idle' | 'active' | 'failed';
/** The facts of a {@link Connection}, as both sides know them without asking. */
interface ConnectionInfo {
    /** The name of the database. */
    readonly database: string;
    /** The name of the user that was given when the connection was opened. `SET ROLE` does not change it. */
    readonly user: string;
    /** The host that answered, of several: its name, its address, or the folder of its Unix-domain socket. */
    readonly host: string;
    /** The port. */
    readonly port: number;
    /**
     * The process id of the backend that answered when the connection was opened. Behind a pooler in transaction mode another
     * one may answer the next statement.
     */
    readonly processId: number;
    /** The version of the server as it reports it, such as `18.4`. Empty when it reports none. */
    readonly serverVersion: string;
    /**
     * What the server has reported of itself and of the session, such as `TimeZone` or `server_encoding`: the
     * [parameters](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC) that it reports by itself, with
     * the values of its last report. At most 64, each cut at 1 KiB. The object is frozen and has no prototype.
     */
    readonly parameters: Readonly<Record<string, string>>;
}

/** A class of `Temporal` that reads text. */
interface TemporalClass {
    /** Makes an instance of a text in ISO 8601. */
    from(text: string): unknown;
}
/** The part of the namespace `Temporal` that is used. No declaration of the package names the global one, which may not be there. */
interface TemporalNamespace {
    /** Of the runtime or a polyfill. */
    readonly Instant: TemporalClass;
    /** Of the runtime or a polyfill. */
    readonly PlainDate: TemporalClass;
    /** Of the runtime or a polyfill. */
    readonly PlainDateTime: TemporalClass;
    /** Of the runtime or a polyfill. */
    readonly PlainTime: TemporalClass;
}

/**
 * A parameter of a statement. The server declares the type of each `$n`; a domain is treated as its base type. A value that has no
 * clear meaning for its type is refused before the statement is executed.
 *
 * | PostgreSQL | JavaScript |
 * |---|---|
 * | any type | string: the text that PostgreSQL reads for the type, which checks it; `null`; never `undefined` |
 * | `bool` | boolean |
 * | `int2`, `int4`, `int8`, `oid`, `xid8`, … | integer that is exact, bigint |
 * | `float4`, `float8` | number |
 * | `numeric`; `text`, `varchar`, … | number, bigint; these and boolean |
 * | `money` | integer that is exact, bigint; a fraction as a string, as the server's `lc_monetary` has it |
 * | `bytea` | `Buffer`, `Uint8Array`, `ArrayBuffer`, `DataView` |
 * | `json`, `jsonb` | any value that `JSON.stringify` takes, but bytes; `Map` as an object, `Set` and typed arrays as arrays; a **string is taken as JSON text** as it is |
 * | `date`, `timestamp`, `timestamptz` | `Date`, of which the first two hold the UTC day and time; objects of `Temporal`; `Infinity` and `-Infinity` |
 * | `time` | `Temporal.PlainTime` |
 * | `interval` | `Interval`, `Temporal.Duration`, an object such as `{ hours: 1 }`; `Infinity` and `-Infinity` |
 * | ranges; multiranges | `Range`, or an object with `lower` and `upper`; array of these |
 * | composites | object with a property for each field, of which a missing one is null; array of all fields |
 * | `hstore` | object or `Map` of strings and nulls |
 * | geometric types, `vector` | as they are read |
 * | arrays of these | array, nested for each dimension, with nulls; `Set`, typed arrays, `BoundedArray` |
 * | arrays of `json`, `jsonb` | the same, of one dimension: an array within it is JSON; of several as a `BoundedArray` |
 *
 * A `URL` is its text. An object with a method `toPostgres` is what that returns. The parts of an object or an array are what they
 * would be by themselves.
 */
type QueryParameter = null | boolean | number | bigint | string | object;
/** Makes a value of the user's of one that was read. It is not called for null. */
type Decoder = (value: any) => unknown;
/** Makes a parameter of a value of the user's. It is not called for null. */
type Encoder = (value: any) => QueryParameter;
/**
 * How values are read and written: for all connections of a pool by its option `types`, for one statement by the option of the same
 * name, which counts in place of the pool's, option by option.
 */
interface TypeOptions {
    /**
     * The form of `date`, `timestamp` and `timestamptz`.
     *
     * - `date`: a `Date`. It holds milliseconds, so microseconds are cut off, towards the past. A `date` and a `timestamp` are taken as
     *   UTC. A moment beyond the year 275760, where a `Date` ends, is read as text.
     * - `string`: the exact text that PostgreSQL writes with `DateStyle` ISO: `2026-11-29 12:34:56.123456+00`, always in UTC.
     * @default 'date'
     */
    dates?: 'date' | 'string' | undefined;
    /**
     * The namespace `Temporal`, of the runtime or of a polyfill. With it dates and times are read, exactly, as `Temporal.PlainDate`
     * (`date`), `Temporal.PlainDateTime` (`timestamp`), `Temporal.Instant` (`timestamptz`) and `Temporal.PlainTime` (`time`). What these
     * cannot hold, such as `24:00:00` or the year 300000, is read as text. It overrides `dates`
     * beside it; the `dates` of a statement take the `temporal` of its pool back.
     * @default none
     */
    temporal?: TemporalNamespace | undefined;
    /**
     * The form of an infinite date, timestamp or interval.
     *
     * - `number`: `Infinity` or `-Infinity`, whatever the form of finite ones is.
     * - `string`: `'infinity'` or `'-infinity'`.
     * - `error`: the call rejects with `ConnectionExecuteError`, although the statement was executed.
     * @default 'number'
     */
    infinity?: 'number' | 'string' | 'error' | undefined;
    /**
     * Whether arrays with other lower bounds than 1 are read as `BoundedArray` (`keep`) or as plain arrays (`drop`). An array of `json` or
     * `jsonb` with several dimensions is always a `BoundedArray`.
     * @default 'drop'
     */
    arrayBounds?: 'keep' | 'drop' | undefined;
    /**
     * The functions that read and write `json` and `jsonb`. One that knows big numbers keeps them exact, which `JSON.parse` does not.
     * `stringify` gets objects, also those within an array, and those within an object that is given for a composite; arrays, and
     * numbers and texts in them, it does not get.
     * @default `JSON.parse` and `JSON.stringify`
     */
    json?: {
        /** Makes a value of JSON text. @default `JSON.parse` */
        parse?: ((text: string) => unknown) | undefined;
        /** Makes JSON text of an object, or `undefined` where it has none. Another return is refused. @default `JSON.stringify` */
        stringify?: ((value: unknown) => string | undefined) | undefined;
    } | undefined;
    /**
     * Functions by the name of a PostgreSQL type, as `columns` of a result has it, such as `int8` or `int4[]`: each makes the value of
     * what would be read otherwise, also within arrays, ranges and composites. A domain counts as its base type.
     *
     * ```js
     * types: { decoders: { int8: Number, geometry: (hex) => wkx.Geometry.parse(Buffer.from(hex, 'hex')) } }
     * ```
     * @default none
     */
    decoders?: Readonly<Record<string, Decoder>> | undefined;
    /**
     * Functions by the name of a PostgreSQL type, which for a domain is its own: each makes the parameter of a value that is given for
     * that type, also of the elements of an array, a `Set`, a typed array or a `BoundedArray`.
     *
     * They are called once the server has told the types. What they get is as it was at the moment of the call: a copy of an array, a literal,
     * a `Map`, a `Set`, bytes or a `Date`. An instance of a class of the user's is given itself.
     * @default none
     */
    encoders?: Readonly<Record<string, Encoder>> | undefined;
}

/** A record: a value for each column, or `null`. */
type CopyRecord = readonly QueryParameter[];
/** The records of {@link Queryable.copyRecordsToTable}. They are taken as fast as the server takes them. */
type CopyRecords = Iterable<CopyRecord> | AsyncIterable<CopyRecord>;
/** The options of {@link Queryable.copyRecordsToTable}. */
interface CopyRecordsOptions extends CallOptions {
    /** The schema of the table. @default the first of the session's `search_path` that has the table */
    schema?: string | undefined;
    /** The columns that a record has, in their order; the others get their defaults. @default all but generated ones */
    columns?: readonly string[] | undefined;
    /** How values are written. @default as the pool says */
    types?: TypeOptions | undefined;
}

/** The options of a statement that returns nothing that is read. */
interface StatementOptions extends CallOptions {
    /**
     * Whether the server keeps the statement prepared on the connection, for later uses. Without that it is sent without a name, in one
     * round trip, so that it works behind a pooler that gives each statement to another session of the server; at the first use of a
     * text on a connection, and whenever a cursor is opened, one more round trip asks for the types of its parameters and columns. `FETCH`
     * and `EXECUTE` are never kept, and asked about each time: their columns are those of what has the name at that moment.
     * @default true
     */
    prepared?: boolean | undefined;
    /**
     * How values are read and written, in place of the pool's option of that name.
     * @default those of the pool
     */
    types?: TypeOptions | undefined;
}
/** The options of a statement whose rows are read. */
interface QueryOptions extends StatementOptions {
    /**
     * The form of a row: an object with a property for each column, of which of two with one name the last one counts; or an array of
     * the values in the order of the columns.
     * @default 'object'
     */
    rowMode?: 'object' | 'array' | undefined;
    /**
     * Makes the final row of each row.
     * @default none
     */
    map?: ((row: any) => unknown) | undefined;
    /**
     * Functions by the name of a column: each makes the value of what would be read otherwise. Not called for null.
     * @default none
     */
    columns?: Readonly<Record<string, Decoder>> | undefined;
}
/** Rows as arrays. */
interface ArrayMode extends QueryOptions {
    /** Arrays, in the order of the columns. */
    rowMode: 'array';
    /** None: with it the row is what it returns. */
    map?: undefined;
}
/** Rows as a function makes them. */
interface MapMode<Row, Mapped> extends QueryOptions {
    /** Makes the final row of each row. */
    map: (row: Row) => Mapped;
}

/**
 * The options of a cursor. Its bounds are those of each fetch, beside those of the transaction that it lives in; the first fetch begins a
 * transaction, if the cursor has one of its own.
 */
interface CursorOptions extends QueryOptions {
    /**
     * How many rows an iteration fetches at once, from 1 to 2147483647. They are in memory together.
     * @default 1000
     */
    batchSize?: number | undefined;
}
/**
 * The rows of a statement, fetched in batches, so that a result of any size takes the memory of one batch. {@link Queryable.cursor}
 * makes one; the statement is run at the first fetch.
 *
 * A cursor of a {@link Transaction} lives in it and ends with it. A cursor of a {@link Connection} has a transaction of its own, unless
 * one is open: it is committed when the cursor is closed, rolled back when a fetch has failed, and meanwhile the connection runs
 * nothing else. An iteration closes the cursor at its end, however it ends.
 */
declare class Cursor<Row = Record<string, unknown>> implements AsyncIterable<Row>, AsyncDisposable {
    #private;
    /** Whether the cursor was closed. */
    get isClosed(): boolean;
    /**
     * Fetches the next rows. Resolves with fewer rows, or none, at the end.
     *
     * Rejects as {@link Queryable.execute} does, and with {@link ConnectionExecuteError} when the cursor was closed, or while a `COPY` is open
     * on the connection or in the transaction. Once the cursor was rolled back with its transaction it rejects with
     * {@link TransactionClosedError}, or with the error of the bound that ended the transaction.
     *
     * @param count - The most rows that are fetched. @default the size of batches
     */
    fetch(count?: number): Promise<Row[]>;
    /** Yields the rows in batches, each an array that is not empty. */
    batches(): AsyncGenerator<Row[], void, undefined>;
    /** Yields the rows. */
    [Symbol.asyncIterator](): AsyncGenerator<Row, void, undefined>;
    /**
     * Closes the cursor; while a `COPY` is open, once that has ended, without waiting for it. A second call has no effect. A connection of the
     * pool whose server does not answer within 5 s is closed. Then the call rejects with {@link ConnectionClosedError} if the cursor has a
     * transaction of its own that was to be committed.
     */
    close(): Promise<void>;
    /** Closes the cursor, as {@link Cursor.close} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/**
 * The parameters of a statement with names: one value for each name, `{ id: 7 }` for `WHERE id = $(id)p`. A name has letters of
 * any script, digits and underscores, and can be used more than once. In strings, quoted identifiers and comments `$(id)p` is
 * text like any other. Only the mapping's own properties count.
 *
 * Strings are read as with `standard_conforming_strings = on`, which is PostgreSQL's default, and its only mode from 19 on: where a session
 * has switched it off, and a string without `E` has a backslash before a quote, `$(id)p` in it may be taken for a parameter.
 */
interface NamedQueryParameters {
    readonly [name: string]: QueryParameter;
}
/** The parameters of a statement: a list for `$1`, `$2`, …, or a mapping for names. No statement has both. */
type QueryParameters = readonly QueryParameter[] | NamedQueryParameters;

/** A statement of a pipeline: its text, or its text and its parameters. */
type PipelineStatement = string | readonly [sql: string, params?: QueryParameters];

/** A column of a result. */
interface QueryColumn {
    /** The name, as `AS name` in the statement or the server gives it. */
    readonly name: string;
    /** The name of the PostgreSQL type, such as `int4` or `text[]`. */
    readonly type: string;
    /** The object id of the PostgreSQL type. */
    readonly oid: number;
}
/**
 * The rows that a statement returned: an array of plain objects, one property for each column.
 *
 * | PostgreSQL | JavaScript |
 * |---|---|
 * | `bool` | boolean |
 * | `int2`, `int4`, `float4`, `float8`, `oid`, `xid`, `cid` | number |
 * | `int8`, `xid8` | bigint, always |
 * | `numeric` | string, exact |
 * | `text`, `varchar`, `bpchar`, `name`, `"char"`, `citext`, `xml`, `uuid`, enums | string |
 * | `bytea` | `Buffer` |
 * | `json`, `jsonb` | the value that `JSON.parse` returns |
 * | `date`, `timestamp`, `timestamptz` | `Date`, in milliseconds (microseconds are cut off); the first two are read as UTC |
 * | `time`, `timetz` | string, exact |
 * | `interval` | {@link Interval} |
 * | `inet`, `cidr`, `macaddr`, `macaddr8`, `bit`, `varbit`, `pg_lsn`, `tid` | string |
 * | `point`; `lseg`, `box`, `polygon` | {@link Point}; array of points |
 * | `line`, `path`, `circle` | {@link Line}, {@link Path}, {@link Circle} |
 * | ranges; multiranges | {@link Range}; array of ranges |
 * | composites | object with a property for each field |
 * | `hstore` | object of strings and nulls |
 * | pgvector's `vector` | array of numbers |
 * | arrays of any type | array, nested for each dimension |
 * | null, `void` | `null` |
 * | any other type, and composites and ranges that hold one | the text that PostgreSQL writes |
 *
 * Infinite dates and intervals are `Infinity` and `-Infinity`. A domain is read as its base type. {@link TypeOptions} has other forms.
 *
 * Methods that make a new array (`map`, `filter`, `slice`, …) make a plain one.
 */
declare class QueryResult<Row = Record<string, unknown>> extends Array<Row> {
    #private;
    /** The number of returned rows; for a statement that returns none, of inserted, updated or deleted rows. */
    get rowCount(): number;
    /** The columns, in their order. Empty for a statement that cannot return rows. */
    get columns(): readonly QueryColumn[];
    /** Returns the rows as a plain array. */
    result(): Row[];
}

/** The type of a parameter of a statement. */
interface ParameterType {
    /** The name of the PostgreSQL type, such as `int4` or `text[]`. */
    readonly type: string;
    /** The object id of the PostgreSQL type. */
    readonly oid: number;
}
/** A column of a prepared statement. */
interface PreparedColumn extends QueryColumn {
    /** The object id of the column's table; `null` for an expression. */
    readonly tableOid: number | null;
    /** The number of the column in its table, from 1 on; `null` for an expression. */
    readonly columnNumber: number | null;
}
/**
 * A statement that {@link Queryable.prepare} has prepared. It is run on the connection or transaction that has prepared it, as often
 * as need be.
 *
 * The connection keeps the statement prepared. When the database has changed meanwhile, or something has deallocated it, it is
 * prepared again, except within a transaction, which the server's refusal fails.
 */
declare class PreparedStatement<Row extends object = Record<string, unknown>> implements AsyncDisposable {
    #private;
    /** The text of the statement. */
    get sql(): string;
    /** The types of the parameters, as they were when the statement was prepared. */
    get parameters(): readonly ParameterType[];
    /** The columns, as they were when the statement was prepared. Empty for a statement that cannot return rows. */
    get columns(): readonly PreparedColumn[];
    /** Runs the statement, as {@link Queryable.execute} does. */
    execute<ArrayRow extends unknown[] = unknown[]>(params: QueryParameters | undefined, options: ArrayMode): Promise<QueryResult<ArrayRow>>;
    /** Runs the statement. A function makes its rows. */
    execute<Mapped>(params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<QueryResult<Mapped>>;
    /** Runs the statement. Its rows are objects. */
    execute(params?: QueryParameters, options?: QueryOptions): Promise<QueryResult<Row>>;
    /** Runs the statement, as {@link Queryable.fetchRow} does. */
    fetchRow<ArrayRow extends unknown[] = unknown[]>(params: QueryParameters | undefined, options: ArrayMode): Promise<ArrayRow>;
    /** Runs the statement, which returns one row. A function makes that row. */
    fetchRow<Mapped>(params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<Mapped>;
    /** Runs the statement, which returns one row, an object. */
    fetchRow(params?: QueryParameters, options?: QueryOptions): Promise<Row>;
    /** Runs the statement, as {@link Queryable.fetchRowOrNull} does. */
    fetchRowOrNull<ArrayRow extends unknown[] = unknown[]>(params: QueryParameters | undefined, options: ArrayMode): Promise<ArrayRow | null>;
    /** Runs the statement, which returns one row or none. A function makes that row. */
    fetchRowOrNull<Mapped>(params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<Mapped | null>;
    /** Runs the statement, which returns one row, an object, or none. */
    fetchRowOrNull(params?: QueryParameters, options?: QueryOptions): Promise<Row | null>;
    /** Runs the statement, as {@link Queryable.fetchVal} does. */
    fetchVal<Value = unknown>(params?: QueryParameters, options?: QueryOptions): Promise<Value>;
    /** Makes a cursor for the rows of the statement, as {@link Queryable.cursor} does. */
    cursor<ArrayRow extends unknown[] = unknown[]>(params: QueryParameters | undefined, options: ArrayMode & CursorOptions): Cursor<ArrayRow>;
    /** Makes a cursor for rows of the statement that a function makes. */
    cursor<Mapped>(params: QueryParameters | undefined, options: MapMode<Row, Mapped> & CursorOptions): Cursor<Mapped>;
    /** Makes a cursor for rows of the statement that are objects. */
    cursor(params?: QueryParameters, options?: CursorOptions): Cursor<Row>;
    /**
     * Has the server forget the statement. Later calls of its other methods reject. Resolves also behind the end of the transaction or the
     * connection that has prepared it; while a `COPY` is open there, without waiting for it. A second call has no effect.
     */
    close(): Promise<void>;
    /** Closes the statement, as {@link PreparedStatement.close} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/** The options of {@link Queryable.binaryCopyToTable}. */
interface BinaryCopyOptions extends CallOptions {
    /** The schema of the table. @default the first of the session's `search_path` that has the table */
    schema?: string | undefined;
    /** The columns that the data has, in their order; the others get their defaults. @default all of the table's */
    columns?: readonly string[] | undefined;
}

/** A stream of the web platform: what {@link CopySource} needs of a `ReadableStream`, of whatever library declares it. */
interface CopyReadable {
    /** Locks the stream, and returns what reads it. */
    getReader(): {
        /** Reads the next chunk. */
        read(): Promise<{
            /** Whether the stream has ended. */
            done: boolean;
            /** The chunk, unless it has. */
            value?: unknown;
        }>;
        /** Ends the stream early. */
        cancel(reason?: unknown): Promise<void>;
    };
}
/**
 * The data of {@link Queryable.copyFrom}: bytes, or text that is sent as UTF-8; all of it at once, or anything that gives it
 * bit by bit: an array, a generator, a Node.js `Readable`, a web `ReadableStream`. Where one chunk ends and the next begins
 * means nothing, so lines and rows may lie across.
 */
type CopySource = string | Uint8Array | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array> | CopyReadable;
/** The data of {@link Queryable.binaryCopyToTable}: like a {@link CopySource}, of bytes alone. */
type BinaryCopySource = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array> | CopyReadable;

/**
 * The data of a `COPY TO STDOUT`, to be read once, in one of these ways:
 *
 * ```ts
 * for await (const chunk of connection.copyTo('COPY t TO STDOUT')) hash.update(chunk)
 * await pipeline(connection.copyTo('COPY t TO STDOUT').readable(), createWriteStream('t.tsv'))
 * const gzipped = connection.copyTo('COPY t TO STDOUT').stream.pipeThrough(new CompressionStream('gzip'))
 * ```
 *
 * The `COPY` begins when the first chunk is asked for. Chunks have up to 256 KiB, and end anywhere: a row may lie across two.
 * From then on until its end the connection, or the transaction, runs nothing else. A reader that stops reading holds the
 * server up, with some MiB on the way.
 *
 * An early end of the reading (`break`, `destroy()`, `cancel()`, {@link CopyStream.close}) cancels the `COPY` on the server.
 * The connection can be used again then; a transaction goes on too, without what an `INSERT … RETURNING` in the `COPY` did. Outside of a
 * transaction that stays if the server had sent everything by then. So it is with the collection as garbage of a stream that nobody reads
 * any more.
 *
 * Reading rejects with {@link ConnectionExecuteError} when the statement is no `COPY TO STDOUT`, and as
 * {@link Queryable.execute} does.
 */
declare class CopyStream implements AsyncIterable<Buffer>, AsyncDisposable {
    #private;
    private constructor();
    /** The number of rows, once all of them were read; `undefined` before, and after an early end. */
    get rowCount(): number | undefined;
    /**
     * Iterates over the chunks. The iteration's `return()` does not wait for the chunk that was asked for.
     *
     * @throws {@link ConnectionExecuteError} when the data is read already, or was.
     */
    [Symbol.asyncIterator](): AsyncIterator<Buffer, undefined>;
    /**
     * Returns a Node.js stream of the data. Its `destroy()` cancels the `COPY`.
     *
     * @throws {@link ConnectionExecuteError} when the data is read already, or was.
     */
    readable(): Readable;
    /**
     * The data as a stream of the web platform, always the same one. Its `cancel()` cancels the `COPY`.
     *
     * @throws {@link ConnectionExecuteError} at the first time, when the data is read already, or was.
     */
    get stream(): ReadableStream<Uint8Array>;
    /**
     * Ends the reading. Resolves when the `COPY` was cancelled on the server, or had ended. The connection can be used at once:
     * what is called next waits for that. A second call has no effect, nor has one after the end.
     */
    close(): Promise<void>;
    /** Ends the reading, as {@link CopyStream.close} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/** The options of {@link ConnectionPool.publish}: those of the event, and bounds of the call. */
interface PublishOptions extends CallOptions {
    /**
     * What the event is about. A subscription with several partitions keeps the order of the events of one key.
     * @default none: the order of the channel is kept
     */
    key?: string | undefined;
    /**
     * Whether a subscriber that sleeps is woken. A transaction that is to be prepared (`PREPARE TRANSACTION`) must not; its events are found
     * within {@link SubscriptionOptions.safetyNetMs}.
     * @default true
     */
    bell?: boolean | undefined;
}
/**
 * The options of {@link ConnectionPool.subscription}.
 *
 * @typeParam Names - The names of the channels.
 */
interface SubscriptionOptions<Names extends string = string> {
    /** The channels whose events it gets: from 1 on. */
    channels: readonly Names[];
    /**
     * Where a new subscription begins: with what is committed from now on, or with the oldest event that is kept. It has no effect
     * on one that exists.
     * @default 'now'
     */
    from?: 'now' | 'beginning' | undefined;
    /**
     * The most events of one transaction: an integer from 1 to 100000. There are fewer where their payloads and keys
     * have more than some 16 MiB.
     * @default 100
     */
    batchSize?: number | undefined;
    /**
     * The longest time that one transaction may take, all of its events included, in milliseconds: an integer from 100 to 2147483647. The
     * server ends one that takes longer, so this is also the time after which another process takes over from one that is frozen or cut
     * off; one that does not read while the server sends it events is so ended over TCP, by a server that runs on Linux. Before
     * PostgreSQL 17 half of it bounds each statement, and each pause between two. A handler gets the events that are left when a
     * quarter of it is over in the next transaction; a batch of a loop has no such early end.
     * @default 60000
     */
    maxHandlerMs?: number | undefined;
    /**
     * How often a process looks whether it can take over while another one works, in milliseconds: an integer from 1 to 2147483647.
     * @default 1000
     */
    standbyPollMs?: number | undefined;
    /**
     * How often a process that sleeps looks for events for which no bell was rung, in milliseconds: an integer from 100 to 2147483647. At the
     * same pace it says that it reads, with {@link SubscriptionOptions.onUnread} `'drop'` at least each 30 s, and removes what all have done.
     * @default 30000
     */
    safetyNetMs?: number | undefined;
    /**
     * `synchronous_commit` of the transactions. With `off` a commit waits for no disk: a crash of the server may undo the last ones
     * together with their positions, so that what was done in the database is done once all the same, and anything else again.
     * @default that of the session
     */
    synchronousCommit?: 'on' | 'off' | 'local' | 'remote_write' | 'remote_apply' | undefined;
    /**
     * How many parts of the events are worked beside each other, each on a connection of its own and in an order of its own: an integer from
     * 1 to 1000, and no more than the pool may have connections. The events of one key, or without one those of a channel, are in one part. It cannot be changed later.
     * @default 1
     */
    partitions?: number | undefined;
    /**
     * How often an event is tried before {@link SubscriptionOptions.onFailure} counts: an integer from 1 to 2147483647. An attempt that
     * shares its transaction with other events is counted, and is never the last one, since another event may be to blame. Between two
     * attempts the worker waits, at first {@link SubscriptionOptions.retryDelayMs} and then twice as long each time, up to 30 s; after a failure
     * that is not counted, such as a deadlock, as after a first one.
     * @default 5
     */
    maxAttempts?: number | undefined;
    /**
     * The wait after a first failure, in milliseconds, from 0 to 2147483647. One of more than 30 s is not doubled. @default 100
     */
    retryDelayMs?: number | undefined;
    /**
     * After how long without a reader {@link SubscriptionOptions.onUnread} counts, in milliseconds: an integer from 60000 on and
     * at least four times {@link SubscriptionOptions.safetyNetMs}, or `false` for never. A subscription that nobody reads keeps every event that is published. It is read while a process
     * runs it, also one whose loop or handler is busy for long, when its position moves, and when an attempt fails. Kept in the database, by
     * the run that began last.
     * @default 86400000, or four times `safetyNetMs` where that is more
     */
    maxUnreadAgeMs?: number | false | undefined;
    /**
     * What happens to the subscription when nobody has read it for so long. `warn`: whoever runs any subscription of the database gets an event
     * `warning`, once in each {@link SubscriptionOptions.maxUnreadAgeMs}. `drop`: it is dropped too, so that its events can be removed; a process
     * that runs it later begins as a new one. Whoever drops it has found it unread for two minutes by then, or for
     * {@link SubscriptionOptions.maxUnreadAgeMs} where that is less, and has reached the server without a break: after an outage, or when the
     * server's clock was set, others can say first that they read it.
     * @default 'warn'
     */
    onUnread?: 'warn' | 'drop' | undefined;
    /**
     * What happens to an event that has failed so often: the subscription stops, or the event is kept apart and the next ones go on.
     * @default 'stop'
     */
    onFailure?: 'stop' | 'skip' | undefined;
}
/** The options of {@link Subscription.run} and {@link Subscription.batches}. */
interface RunOptions {
    /** Ends it: the event or batch that is being worked is finished, and what is done is committed. */
    signal?: AbortSignal | undefined;
}
/** The options of {@link Durable.install}: its own, and bounds of the call. */
interface InstallOptions extends CallOptions {
    /** Roles that may publish. */
    publishers?: readonly string[] | undefined;
    /** Roles that may subscribe, and publish. */
    subscribers?: readonly string[] | undefined;
    /**
     * How long events are kept that every subscription has done, in milliseconds: an integer from 0 on, or `false` for as long as nobody
     * calls {@link Durable.trim}. Whoever runs a subscription removes older ones. A later `install()` changes it.
     * @default as it is; 86400000 at first
     */
    retentionMs?: number | false | undefined;
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
declare abstract class Queryable {
    /**
     * Runs one statement. The statement is prepared at its first use on a connection, and kept for later uses.
     *
     * @param sql - One statement, with `$1`, `$2`, … for the parameters, or with names: `$(id)p`.
     * @param params - One value for each parameter: a list, or a mapping for a statement with names. @default none
     * @param options - Bounds of the call, and the form of the rows. @default objects
     */
    execute<Row extends unknown[] = unknown[]>(sql: string, params: QueryParameters | undefined, options: ArrayMode): Promise<QueryResult<Row>>;
    /** Runs one statement whose rows a function makes. */
    execute<Mapped, Row = Record<string, unknown>>(sql: string, params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<QueryResult<Mapped>>;
    /** Runs one statement whose rows are objects. */
    execute<Row extends object = Record<string, unknown>>(sql: string, params?: QueryParameters, options?: QueryOptions): Promise<QueryResult<Row>>;
    /** Runs one statement, as {@link Queryable.execute} does. */
    fetch<Row extends unknown[] = unknown[]>(sql: string, params: QueryParameters | undefined, options: ArrayMode): Promise<QueryResult<Row>>;
    /** Runs one statement whose rows a function makes. */
    fetch<Mapped, Row = Record<string, unknown>>(sql: string, params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<QueryResult<Mapped>>;
    /** Runs one statement whose rows are objects. */
    fetch<Row extends object = Record<string, unknown>>(sql: string, params?: QueryParameters, options?: QueryOptions): Promise<QueryResult<Row>>;
    /**
     * Runs a statement that returns exactly one row, and resolves with that row. With another number of rows it rejects
     * with {@link ConnectionExecuteError}, although the statement was executed.
     */
    fetchRow<Row extends unknown[] = unknown[]>(sql: string, params: QueryParameters | undefined, options: ArrayMode): Promise<Row>;
    /** Runs a statement that returns exactly one row. A function makes that row. */
    fetchRow<Mapped, Row = Record<string, unknown>>(sql: string, params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<Mapped>;
    /** Runs a statement that returns exactly one row, an object. */
    fetchRow<Row = Record<string, unknown>>(sql: string, params?: QueryParameters, options?: QueryOptions): Promise<Row>;
    /**
     * Runs a statement that returns one row or none, and resolves with that row or with `null`. With more rows it rejects
     * with {@link ConnectionExecuteError}, although the statement was executed.
     */
    fetchRowOrNull<Row extends unknown[] = unknown[]>(sql: string, params: QueryParameters | undefined, options: ArrayMode): Promise<Row | null>;
    /** Runs a statement that returns one row or none. A function makes that row. */
    fetchRowOrNull<Mapped, Row = Record<string, unknown>>(sql: string, params: QueryParameters | undefined, options: MapMode<Row, Mapped>): Promise<Mapped | null>;
    /** Runs a statement that returns one row, an object, or none. */
    fetchRowOrNull<Row = Record<string, unknown>>(sql: string, params?: QueryParameters, options?: QueryOptions): Promise<Row | null>;
    /**
     * Runs a statement that returns exactly one row, and resolves with the row's first column. With another number of
     * rows it rejects with {@link ConnectionExecuteError}, although the statement was executed.
     */
    fetchVal<Value = unknown>(sql: string, params?: QueryParameters, options?: QueryOptions): Promise<Value>;
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
    executeMany(sql: string, paramSets: Iterable<readonly QueryParameter[]> | Iterable<NamedQueryParameters>, options?: StatementOptions): Promise<number>;
    /**
     * Publishes an event for durable subscriptions: it is there for them when the transaction is committed. Returns its id.
     * Rejects with {@link DatabaseError} (`3F000`) where {@link Durable.install} has not been called.
     *
     * @param channel - The channel: 1 to 63 bytes.
     * @param payload - Text without NUL: with the key, up to 256 MiB.
     * @param options - The event's key and bell, and bounds of the call. @default none
     */
    publish(channel: string, payload: string, options?: PublishOptions): Promise<bigint>;
    /**
     * Runs several statements without parameters, separated by semicolons. They are one transaction, unless they contain
     * `BEGIN` and `COMMIT`. Returned rows are dropped.
     *
     * @param sql - The statements.
     * @param params - Nothing: these statements have no parameters. It keeps the options in the third place.
     * @param options - Bounds of the call. @default none
     */
    executeBatch(sql: string, params?: readonly [], options?: CallOptions): Promise<void>;
    /**
     * Runs several statements, all sent at once: one round trip for all of them. The server skips those behind one that fails; outside
     * of a transaction nothing takes effect then, but for what a statement among them has committed. The error tells with `statementIndex`
     * which one it was, counted from 0; that of the commit of all of them has none.
     *
     * @param statements - Each a text, or an array of a text and its parameters.
     * @param options - Bounds of the call, and the form of the rows. @default objects
     * @returns A result for each statement, in their order.
     */
    pipeline<Statements extends readonly PipelineStatement[]>(statements: readonly [...Statements], options: ArrayMode): Promise<{
        -readonly [Index in keyof Statements]: QueryResult<unknown[]>;
    }>;
    /** Runs several statements, all sent at once. A function makes their rows. */
    pipeline<Statements extends readonly PipelineStatement[], Mapped, Row = Record<string, unknown>>(statements: readonly [...Statements], options: MapMode<Row, Mapped>): Promise<{
        -readonly [Index in keyof Statements]: QueryResult<Mapped>;
    }>;
    /** Runs several statements, all sent at once. Their rows are objects. */
    pipeline<Statements extends readonly PipelineStatement[]>(statements: readonly [...Statements], options?: QueryOptions): Promise<{
        -readonly [Index in keyof Statements]: QueryResult;
    }>;
    /**
     * Makes a cursor for the rows of a statement, which is run at the cursor's first fetch.
     *
     * @param sql - One statement that returns rows, with `$1`, `$2`, … for the parameters, or with names: `$(id)p`.
     * @param params - One value for each parameter: a list, or a mapping for a statement with names. @default none
     * @param options - The size of batches, the bounds of each fetch, and the form of the rows. @default 1000 objects
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong.
     */
    cursor<Row extends unknown[] = unknown[]>(sql: string, params: QueryParameters | undefined, options: ArrayMode & CursorOptions): Cursor<Row>;
    /** Makes a cursor for rows that a function makes. */
    cursor<Mapped, Row = Record<string, unknown>>(sql: string, params: QueryParameters | undefined, options: MapMode<Row, Mapped> & CursorOptions): Cursor<Mapped>;
    /** Makes a cursor for rows that are objects. */
    cursor<Row extends object = Record<string, unknown>>(sql: string, params?: QueryParameters, options?: CursorOptions): Cursor<Row>;
    /**
     * Prepares a statement, which tells of its parameters and columns and finds its errors before it is run.
     *
     * @param sql - One statement, with `$1`, `$2`, … for the parameters.
     * @param options - Bounds of the call. @default none
     */
    prepare<Row extends object = Record<string, unknown>>(sql: string, options?: CallOptions): Promise<PreparedStatement<Row>>;
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
    copyFrom(sql: string, source: CopySource, options?: CallOptions): Promise<number>;
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
    copyRecordsToTable(table: string, records: CopyRecords, options?: CopyRecordsOptions): Promise<number>;
    /**
     * Returns the data of a `COPY … TO STDOUT` as a stream, in whatever format the statement says. The `COPY` begins when the
     * first chunk is asked for; from then on the bounds count.
     *
     * @param sql - The statement.
     * @param options - Bounds of the whole reading. @default none
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong.
     */
    copyTo(sql: string, options?: CallOptions): CopyStream;
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
    binaryCopyToTable(table: string, source: BinaryCopySource, options?: BinaryCopyOptions): Promise<number>;
}

/**
 * What a transaction sees of others, by the [names of the SQL
 * standard](https://www.postgresql.org/docs/current/transaction-iso.html). PostgreSQL treats `readUncommitted` as
 * `readCommitted`.
 */
type IsolationLevel = 'readUncommitted' | 'readCommitted' | 'repeatableRead' | 'serializable';
/** The options of a transaction. */
interface TransactionOptions extends CallOptions {
    /** What it sees of other transactions. @default the session's `default_transaction_isolation` */
    isolationLevel?: IsolationLevel | undefined;
    /** Whether it may only read. @default the session's `default_transaction_read_only` */
    readOnly?: boolean | undefined;
    /**
     * Whether it may wait at its begin for a moment from which on it cannot fail by serialization. Only of use when it is
     * `serializable` and `readOnly`. @default the session's `default_transaction_deferrable`
     */
    deferrable?: boolean | undefined;
}

/** The function that {@link Connection.transaction} and {@link Transaction.transaction} run within a transaction. */
type TransactionWork<Result> = (tx: Transaction) => Promise<Result> | Result;
/**
 * Runs statements within a transaction, which {@link Connection.transaction} makes for its `work` and
 * {@link Connection.begin} for its caller. {@link Transaction.transaction} nests another one in it. Once it has ended, every
 * method rejects with {@link TransactionClosedError}, or with the error of the bound that ended it.
 */
declare class Transaction extends Queryable implements AsyncDisposable {
    #private;
    private constructor();
    /** Whether the transaction has ended. */
    get isEnded(): boolean;
    /**
     * Commits the transaction; a nested one becomes part of the outer one. It is not bounded: what became of a commit that is
     * given up would not be known.
     *
     * Rejects with {@link TransactionCommitError} when the server rolled it back because a statement had failed, with
     * {@link TransactionClosedError} when it has ended, also by a statement, with {@link ConnectionExecuteError} while a nested
     * transaction is open in it, and with {@link DatabaseError} when the server refuses, as for a deferred constraint.
     * Unless something is open in it, the transaction has ended then.
     */
    commit(): Promise<void>;
    /**
     * Rolls the transaction back; of a nested one, only what was done in it. Ends what is open in it. Rejects with
     * {@link TransactionClosedError} when it has ended. A transaction of a connection that is lost is rolled back by that.
     */
    rollback(): Promise<void>;
    /** Rolls the transaction back, unless it has ended. */
    [Symbol.asyncDispose](): Promise<void>;
    /**
     * Runs `work` in a nested transaction: a savepoint of this one. When `work` resolves, what it did is part of this
     * transaction; when it rejects, that alone is undone, this transaction goes on, and the call rejects with its error.
     * Meanwhile this transaction itself runs no statement. Nesting may be as deep as one likes.
     *
     * When a bound of `options` is reached, the statement that runs is cancelled, and what `work` did is undone. Rejects as
     * {@link Connection.transaction} does: with {@link TransactionBeginError} while another nested transaction is open in this
     * one, with {@link TransactionCommitError} when `work` resolved although a statement in it had failed.
     *
     * @param options - Bounds of the nested transaction. @default those of this one
     */
    transaction<Result>(work: TransactionWork<Result>, options?: CallOptions): Promise<Result>;
    /** Runs `work` in a nested transaction, as {@link Transaction.transaction} does. */
    savepoint<Result>(work: TransactionWork<Result>, options?: CallOptions): Promise<Result>;
    /**
     * Makes a savepoint, to which {@link Transaction.rollbackToSavepoint} goes back. A second one with the same name hides the
     * first until it is released.
     *
     * @param name - Its name: 1 to 63 bytes without NUL, case-sensitive. `pglisten:` begins the names that nested transactions have.
     * @param options - Bounds of the call. @default none
     */
    createSavepoint(name: string, options?: CallOptions): Promise<void>;
    /**
     * Undoes what was done since a savepoint, which stays. A transaction in which a statement has failed goes on by it. Rejects
     * with {@link DatabaseError} when there is no savepoint of that name.
     *
     * @param name - The name of the savepoint.
     * @param options - Bounds of the call. @default none
     */
    rollbackToSavepoint(name: string, options?: CallOptions): Promise<void>;
    /**
     * Forgets a savepoint and those made since, and keeps what was done. Rejects with {@link DatabaseError} when there is no
     * savepoint of that name.
     *
     * @param name - The name of the savepoint.
     * @param options - Bounds of the call. @default none
     */
    releaseSavepoint(name: string, options?: CallOptions): Promise<void>;
}

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
declare class Connection extends Queryable implements AsyncDisposable {
    #private;
    private constructor();
    /** Whether the connection was closed: by {@link Connection.close}, or by the end of its callback or loop. */
    get isClosed(): boolean;
    /**
     * Whether a transaction block is open, as the server told with its last answer. `idle` also while nothing is leased. A
     * statement that is running counts once it was answered.
     */
    get transactionStatus(): TransactionStatus;
    /** Whether a transaction block is open, as {@link Connection.transactionStatus} tells: `active` or `failed`. */
    get inTransaction(): boolean;
    /**
     * The facts of the connection: the server, the backend and what they report. Each read gives a new frozen object with
     * what is so at that moment.
     *
     * @throws {@link ConnectionClosedError} when the connection was closed or its session has ended, and
     * {@link ConnectionExecuteError} when nothing is leased yet: a connection of a callback, of a message or of a listener is
     * leased by its first statement.
     */
    get info(): ConnectionInfo;
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
    transaction<Result>(work: TransactionWork<Result>, options?: TransactionOptions): Promise<Result>;
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
    begin(options?: TransactionOptions): Promise<Transaction>;
    /**
     * Ends the lease of the connection, once the statements that were called before have ended. A transaction that was
     * left open is rolled back. A second call has no effect.
     */
    close(): Promise<void>;
    /** Closes the connection, as {@link Connection.close} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Sends notifications to a channel, those of a moment in one transaction: for code that notifies more often than anybody
 * needs to hear. {@link ConnectionPool.notifier} makes one.
 *
 * A transaction is under way at a time, so payloads arrive in the order in which they were given. Of equal payloads that wait
 * together one is sent, at the place of the first: PostgreSQL delivers equal payloads of one transaction once.
 *
 * Payloads that wait keep the process alive until they are sent; an idle notifier holds nothing.
 *
 * @typeParam Payload - The type of the payloads: text, or the input of the channel's schema.
 */
declare class Notifier<Payload = string> implements AsyncDisposable {
    #private;
    /**
     * Gives a payload to be sent. The promise resolves once it is committed. It may be ignored: its rejection is also reported
     * to `onError`, or as a warning of the process, and does not end the process.
     *
     * Rejects as {@link ConnectionPool.notify} does, at once when the payload cannot be sent, and with
     * {@link ConnectionPoolExecuteError} when the notifier or the pool is closed, or too many payloads wait. After another
     * rejection the payload may have been sent all the same, as with each statement whose answer did not come.
     *
     * @param args - The payload. @default the empty text
     */
    notify(...args: string extends Payload ? [payload?: Payload] : [payload: Payload]): Promise<void>;
    /**
     * Sends the payloads that wait without further delay. Resolves once all that were given before are committed, and rejects with
     * the first error when some were not. As with {@link Notifier.notify}, the promise may be ignored.
     */
    flush(): Promise<void>;
    /**
     * Sends the payloads that wait, as {@link Notifier.flush} does, and takes no more. A second call returns the promise of the
     * first. To be called before the pool is closed, which gives up what waits.
     */
    close(): Promise<void>;
    /** Closes the notifier, as {@link Notifier.close} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/** A backend that may hold the server's queue of notifications back. */
interface QueueSuspect {
    /** The process id of the backend. */
    processId: number;
    /** When the backend began, in seconds since 1970, as the server writes it: with the process id it names one backend for all time. */
    backendStart: string;
    /** Its state, as in `pg_stat_activity`, such as `idle in transaction`. */
    state: string;
    /** How long its transaction has been open, in milliseconds. */
    transactionAgeMs: number;
    /** Its `application_name`. */
    applicationName: string;
    /** The name of its database. */
    database: string;
    /** Whether it belongs to this pool: one of its connections, or the session of one of its listeners. */
    isOwn: boolean;
    /**
     * Whether it is certain that it listens: its client does not read the notifications that it sends. Of others the server does
     * not tell whether they listen.
     */
    isCertain: boolean;
}
/** What a `warning` event of the kind `queue` tells. */
interface QueueReport {
    /** How much of the queue is in use, from 0 to 1. When it is full, each NOTIFY fails. */
    usage: number;
    /**
     * The backends with the oldest open transactions, at most five: those first that certainly listen, then those of this pool's
     * listeners, then the oldest. Empty when the role may not see other roles' transactions (`pg_read_all_stats`).
     */
    suspects: QueueSuspect[];
}

/**
 * The schema of a channel's payloads: an object of any library that implements [Standard
 * Schema](https://standardschema.dev), such as zod, valibot or arktype. It has to validate synchronously.
 *
 * @typeParam Input - The type that {@link ConnectionPool.notify} takes.
 * @typeParam Output - The type that callbacks and iterators get.
 */
interface ChannelSchema<Input = unknown, Output = Input> {
    /** What Standard Schema asks of a schema. */
    readonly '~standard': {
        /** The version of Standard Schema. */
        readonly version: 1;
        /** The name of the library. */
        readonly vendor: string;
        /** Judges a value. */
        readonly validate: (value: unknown) => ChannelSchemaResult<Output> | PromiseLike<ChannelSchemaResult<Output>>;
        /** Only for the compiler. */
        readonly types?: {
            /** What a sender gives. */
            readonly input: Input;
            /** What a receiver gets. */
            readonly output: Output;
        } | undefined;
    };
}
/** What the `validate` of a schema returns: the value, or what is wrong with it. */
type ChannelSchemaResult<Output> = {
    /** What the schema makes of the value. */
    readonly value: Output;
    /** Nothing. */
    readonly issues?: undefined;
} | {
    /** What is wrong with the value. */
    readonly issues: readonly ChannelSchemaIssue[];
};
/** One thing that is wrong with a payload. */
interface ChannelSchemaIssue {
    /** What is wrong, in words. */
    readonly message: string;
    /** Where it is wrong: the keys from the payload down. */
    readonly path?: readonly (PropertyKey | ChannelSchemaKey)[] | undefined;
}
/** A key of a path, as some libraries give it. */
interface ChannelSchemaKey {
    /** The key. */
    readonly key: PropertyKey;
}
/** The schemas of a pool's channels, by channel. */
type ChannelSchemas = Readonly<Record<string, ChannelSchema<any, any>>>;
/** The type parameter of a pool without schemas. */
type NoSchemas = Record<never, never>;
/** The type of a payload as it is sent to a channel with a schema. */
type ChannelInput<Schema> = Schema extends ChannelSchema<infer Input, any> ? Input : never;
/** The type of a payload as callbacks and iterators get it from a channel with a schema. */
type ChannelOutput<Schema> = Schema extends ChannelSchema<any, infer Output> ? Output : never;
/** The type of each channel's payload, as a pool's listeners deliver it: text on every channel without schemas. */
type PayloadsOf<Schemas> = [keyof Schemas] extends [never] ? Record<string, string> : {
    [Name in keyof Schemas & string]: ChannelOutput<Schemas[Name]>;
};
/** The channels to which text is sent: every one of a pool without schemas. */
type TextChannel<Schemas> = [keyof Schemas] extends [never] ? string : never;

/**
 * An event of a durable subscription.
 *
 * @typeParam Payload - The type of the payload: text, or what the pool's schema of the channel makes of it.
 * @typeParam Channel - The name of the channel.
 */
interface DurableEvent<Payload = string, Channel extends string = string> {
    /** The number of the event. It may be given again after a crash or a failover in which an asynchronous commit was lost. */
    readonly id: bigint;
    /**
     * Names the event for ever, also after such a crash: what is done outside of the database is to be keyed by it. It is
     * `<id>-<transaction>-<microseconds since 1970>`.
     */
    readonly uid: string;
    /** The channel. */
    readonly channel: Channel;
    /** The payload. */
    readonly payload: Payload;
    /** What the event is about; `null` without a key. */
    readonly key: string | null;
    /** When it was published, by the server's clock. */
    readonly publishedAt: Date;
    /** The number of this attempt, from 1 on. */
    readonly attempt: number;
}
/**
 * The events of a pool's channels: of several channels one of each, told apart by `channel`.
 *
 * @typeParam Schemas - The types of the pool's schemas.
 * @typeParam Names - The names of the channels.
 */
type DurableEventOf<Schemas, Names extends keyof Schemas & string> = {
    [Name in Names]: DurableEvent<ChannelOutput<Schemas[Name]>, Name>;
}[Names];

/** The result of {@link Durable.status}. */
interface DurableStatus {
    /** The version of the schema in the database; 0 where there is none. */
    version: number;
    /** The version that this package installs. */
    latestVersion: number;
    /** Whether positions mean something here; `false` after a dump was restored, until {@link Durable.adopt}. */
    isHome: boolean;
    /** How long events are kept that every subscription has done, in milliseconds; `false` until {@link Durable.trim} is called. */
    retentionMs: number | false;
    /** The names of the subscriptions that nobody has read for longer than their {@link SubscriptionOptions.maxUnreadAgeMs}. */
    unread: string[];
}
/** A subscription, as {@link Durable.subscriptions} tells of it. */
interface SubscriptionInfo {
    /** Its name. */
    name: string;
    /** Its channels. */
    channels: string[];
    /** Its partitions. */
    partitions: number;
    /** When it was made. */
    created: Date;
    /** When its position last moved. That of an idle one does too, as long as it runs. */
    moved: Date;
    /** How many events were given up. */
    failed: number;
    /** The first event that was tried in vain and is not done: where the subscription tries again, or has stopped. `null` where there is none. */
    failing: FailingEvent | null;
    /** For how long nobody has read it, in milliseconds. Of one that runs it is at most some seconds more than its `safetyNetMs`, also while its loop is busy. */
    unreadMs: number;
    /** Its {@link SubscriptionOptions.maxUnreadAgeMs}. */
    maxUnreadAgeMs: number | false;
    /** Its {@link SubscriptionOptions.onUnread}. */
    onUnread: 'warn' | 'drop';
}
/** An event that was tried in vain, and may be tried again. */
interface FailingEvent {
    /** Its id. */
    id: bigint;
    /** How often it was tried. */
    attempts: number;
    /** The error of the last attempt, in words. */
    error: string;
}
/** An event that was given up. */
interface FailedEvent extends DurableEvent {
    /** When it was given up. */
    readonly failedAt: Date;
    /** The error of the last attempt, in words. */
    readonly error: string;
    /** Whether it is going to be tried again. */
    readonly isDue: boolean;
}
/** The durable subscriptions of a database. {@link ConnectionPool.durable} is one. */
declare class Durable {
    #private;
    /**
     * Installs what durable subscriptions need, the schema `pglisten`, or brings it to the present version; does nothing where it is.
     * All in one transaction. The role needs the right to make a schema (`CREATE` on the database), no other. Nobody else may publish
     * or subscribe but whom the options name.
     *
     * Rejects with {@link DurableError} when there is another schema of that name, one of another owner (also where the role is a superuser
     * or a member of that one), or one of a newer version; with {@link DatabaseError} when the role has no right to make a schema (`42501`),
     * and when a role of the options does not exist (`42704`).
     */
    install(options?: InstallOptions): Promise<void>;
    /**
     * Removes all of it: events, subscriptions and positions. In one transaction.
     *
     * @param options - Bounds of the call. @default none
     */
    uninstall(options?: CallOptions): Promise<void>;
    /**
     * Tells which version is installed.
     *
     * @param options - Bounds of the call. @default none
     */
    status(options?: CallOptions): Promise<DurableStatus>;
    /**
     * Removes events that every subscription has done and that are older than `keepMs`, in batches. Returns how many. Running subscriptions
     * do so themselves, for what is older than {@link InstallOptions.retentionMs}. Without any subscription every event counts as done.
     *
     * Warns of subscriptions that nobody reads, which keep every event: a warning of the process, with the code `PGLISTEN_DURABLE`, and
     * one of the pool's logger. Those that are to be dropped, by {@link SubscriptionOptions.onUnread}, are dropped by a later call, when nobody
     * has read them for two minutes after the warning. Only the owner of the schema may trim.
     *
     * Rejects with {@link DatabaseError} (`PGL01`) after a dump was restored, until {@link Durable.adopt}.
     *
     * @param keepMs - How long events are kept, in milliseconds: an integer from 0 on. @default 0
     * @param options - Bounds of the call. What was removed before one is reached stays removed. @default none
     */
    trim(keepMs?: number, options?: CallOptions): Promise<number>;
    /**
     * Makes the positions of a restored dump mean here what they meant there: nothing is missing and nothing comes twice. Does nothing
     * where they do. A subscription that runs does it itself.
     *
     * @param options - Bounds of the call. @default none
     */
    adopt(options?: CallOptions): Promise<void>;
    /**
     * Returns the subscriptions, by name.
     *
     * @param options - Bounds of the call. @default none
     */
    subscriptions(options?: CallOptions): Promise<SubscriptionInfo[]>;
    /**
     * Removes a subscription, and what is kept of it. Returns whether there was one. A run of it ends with an error: where another one of that
     * name is made at once, that may be at its next event, which it does not handle.
     *
     * @param name - The subscription.
     * @param options - Bounds of the call. @default none
     */
    drop(name: string, options?: CallOptions): Promise<boolean>;
    /**
     * Returns the events that a subscription has given up, in order.
     *
     * @param name - The subscription.
     * @param options - Bounds of the call. @default none
     */
    failed(name: string, options?: CallOptions): Promise<FailedEvent[]>;
    /**
     * Has events that were given up tried again, before others. Returns how many. One that fails again is given up again, without more
     * attempts than `maxAttempts` allows in all: it stays among those of {@link Durable.failed}, also where the event itself was removed
     * meanwhile, and stops no subscription.
     *
     * @param name - The subscription.
     * @param ids - Their ids. @default all
     * @param options - Bounds of the call. @default none
     */
    retry(name: string, ids?: readonly bigint[], options?: CallOptions): Promise<number>;
}

/** The options of the constructors of all errors of this package. */
interface PglistenErrorOptions {
    /** The error that led to this one. */
    cause?: unknown;
}
/**
 * The base of every error of this package.
 *
 * `code` is stable and meant for programs; the message is meant for people and may change. Neither the message nor a
 * property holds a password or a whole DSN, and no enumerable property a payload, or a value or parameter of a statement.
 */
declare class PglistenError extends Error {
    /** The stable identifier of the class, such as `ERR_PGLISTEN_LISTENER_START`. */
    readonly code: string;
    /** Which statement of `pipeline()` failed, or which list of parameters of `executeMany()`, counted from 0. Other errors do not have the property. */
    statementIndex?: number;
    /**
     * The package makes its errors itself; the class is exported for `instanceof`.
     *
     * @param message - The message for people.
     */
    constructor(message: string, options?: PglistenErrorOptions);
}
/** An argument has the wrong type. Nothing was sent to the server. */
declare class ArgumentTypeError extends PglistenError {
    readonly code = "ERR_PGLISTEN_ARGUMENT_TYPE";
}
/** An argument has the right type, but a value that is not allowed. Nothing was sent to the server. */
declare class ArgumentRangeError extends PglistenError {
    readonly code = "ERR_PGLISTEN_ARGUMENT_RANGE";
}
/** The base of the errors of a {@link ConnectionPool}. */
declare class ConnectionPoolError extends PglistenError {
    readonly code: string;
}
/**
 * An option of the pool, its DSN or an environment variable is wrong. When a connection is made, the error can also
 * mean that a file that one of them names cannot be used, or that the server asks for a password and there is none.
 */
declare class ConnectionPoolConfigurationError extends ConnectionPoolError {
    readonly code = "ERR_PGLISTEN_POOL_CONFIGURATION";
    /** The name of the wrong option. */
    readonly option: string | undefined;
    /**
     * The package makes its errors itself; the class is exported for `instanceof`.
     *
     * @param message - The message for people.
     * @param options - The cause, and the name of the wrong option.
     */
    constructor(message: string, options?: PglistenErrorOptions & {
        option?: string | undefined;
    });
}
/** The pool cannot lease a connection: it is closed, or no connection became free. */
declare class ConnectionPoolExecuteError extends ConnectionPoolError {
    readonly code = "ERR_PGLISTEN_POOL_EXECUTE";
}
/** The base of the errors of a {@link Connection}, apart from {@link DatabaseError}. */
declare class ConnectionError extends PglistenError {
    readonly code: string;
}
/**
 * No server could be reached: name resolution or the network failed, the time was over, no server has the role asked
 * for, or the operating system has no thread or file descriptor left.
 */
declare class ConnectionFailedError extends ConnectionError {
    readonly code = "ERR_PGLISTEN_CONNECTION_FAILED";
}
/**
 * The encryption that was asked for is not possible: the server has no TLS, its certificate is not accepted, or it does
 * not accept the client's certificate. The message says which. A listener that is reconnecting reports it as an `error`
 * event.
 */
declare class ConnectionTlsError extends ConnectionError {
    readonly code = "ERR_PGLISTEN_CONNECTION_TLS";
}
/** The connection was lost or closed, or its lease has ended. */
declare class ConnectionClosedError extends ConnectionError {
    readonly code = "ERR_PGLISTEN_CONNECTION_CLOSED";
}
/** A statement does not fit its call: a parameter, a type that is not supported, or the number of rows. */
declare class ConnectionExecuteError extends ConnectionError {
    readonly code = "ERR_PGLISTEN_CONNECTION_EXECUTE";
}
/**
 * A call took longer than its `timeoutMs`. A statement of it was cancelled and had no effect, unless the message says that
 * this is not known. What a `COMMIT` among several statements, or within a procedure, had committed before is not undone.
 */
declare class ConnectionTimeoutError extends ConnectionError {
    readonly code = "ERR_PGLISTEN_CONNECTION_TIMEOUT";
}
/** The base of the errors of a {@link Transaction}, apart from {@link DatabaseError}. */
declare class TransactionError extends PglistenError {
    readonly code: string;
}
/** A transaction cannot begin, because another one is open on the same connection. */
declare class TransactionBeginError extends TransactionError {
    readonly code = "ERR_PGLISTEN_TRANSACTION_BEGIN";
}
/**
 * The transaction was rolled back instead of committed, because one of its statements had failed, or because something was
 * still open in it.
 */
declare class TransactionCommitError extends TransactionError {
    readonly code = "ERR_PGLISTEN_TRANSACTION_COMMIT";
}
/** The transaction has ended, so no statement can run in it. */
declare class TransactionClosedError extends TransactionError {
    readonly code = "ERR_PGLISTEN_TRANSACTION_CLOSED";
}
/** The base of the errors of a {@link Listener}. */
declare class ListenerError extends PglistenError {
    readonly code: string;
}
/** The call needs a started listener, or the listener is started already. */
declare class ListenerStartError extends ListenerError {
    readonly code = "ERR_PGLISTEN_LISTENER_START";
}
/** The listener was shut down, or gave up, while a call waited for it. */
declare class ListenerClosedError extends ListenerError {
    readonly code = "ERR_PGLISTEN_LISTENER_CLOSED";
}
/** The options of the constructor of {@link ListenerCallbackError}. */
interface ListenerCallbackErrorOptions extends PglistenErrorOptions {
    /** The value of {@link ListenerCallbackError.channel}. */
    channel?: string | undefined;
    /** The value of {@link ListenerCallbackError.payload}. */
    payload?: unknown;
    /** The value of {@link ListenerCallbackError.processId}. */
    processId?: number | undefined;
}
/**
 * A callback or `parse` failed, and `cause` is the error that it threw or rejected with; or `parse` returned a promise;
 * or a callback is not a function.
 */
declare class ListenerCallbackError extends ListenerError {
    readonly code = "ERR_PGLISTEN_LISTENER_CALLBACK";
    /** The channel of the notification; `undefined` if the failure was not about one. */
    readonly channel: string | undefined;
    /** The payload as the callback got it, or the text as sent when `parse` failed. Not enumerable, so that no log shows it unasked. */
    readonly payload: unknown;
    /** The process id of the notifying backend; `undefined` if the failure was not about a notification. */
    readonly processId: number | undefined;
    /**
     * The package makes its errors itself; the class is exported for `instanceof`.
     *
     * @param message - The message for people.
     * @param options - The cause, and the notification that it was about.
     */
    constructor(message: string, options?: ListenerCallbackErrorOptions);
}
/** A wait on a listener took longer than its `timeoutMs`. Nothing is lost by it, and the listener goes on. */
declare class ListenerTimeoutError extends ListenerError {
    readonly code = "ERR_PGLISTEN_LISTENER_TIMEOUT";
}
/** A consumer's buffer was full, and the option `buffer.overflow` is `error`: the listener has closed. */
declare class ListenerOverflowError extends ListenerError {
    readonly code = "ERR_PGLISTEN_LISTENER_OVERFLOW";
}
/** Notifications may be missing. Thrown by an iterator with the option `gaps: 'throw'`. */
declare class ListenerGapError<GapType = unknown> extends ListenerError {
    readonly code = "ERR_PGLISTEN_LISTENER_GAP";
    /** The gap. */
    readonly gap: GapType;
    /**
     * The package makes its errors itself; the class is exported for `instanceof`.
     *
     * @param message - The message for people.
     * @param gap - The gap.
     */
    constructor(message: string, gap: GapType);
}
/** Durable subscriptions cannot be used here: what they need is not installed, or of another owner, or the role may not use it. */
declare class DurableError extends PglistenError {
    readonly code: string;
}
/** A subscription has stopped at an event whose handler failed too often. Its `cause` is the error of the handler. */
declare class SubscriptionStoppedError extends DurableError {
    readonly code = "ERR_PGLISTEN_SUBSCRIPTION_STOPPED";
    /** The id of the event. */
    readonly eventId: bigint | undefined;
    /**
     * The package makes its errors itself; the class is exported for `instanceof`.
     *
     * @param message - The message for people.
     */
    constructor(message: string, options?: PglistenErrorOptions & {
        eventId?: bigint;
    });
}
/**
 * The server answered with an error. The properties are the fields of its
 * [`ErrorResponse`](https://www.postgresql.org/docs/current/protocol-error-fields.html); a field that it did not send
 * is `undefined`.
 */
declare class DatabaseError extends PglistenError {
    readonly code = "ERR_PGLISTEN_DATABASE";
    /** The SQLSTATE: five characters, such as `23505`. */
    readonly sqlState: string;
    /** The severity, never localized: `ERROR`, `FATAL` or `PANIC`. */
    readonly severity: string;
    /** Details of the error, such as `Key (id)=(1) already exists.` They may quote values, so this is not enumerable: no log shows it unasked. */
    readonly detail: string | undefined;
    /** A hint how to avoid the error. */
    readonly hint: string | undefined;
    /** The position in the statement, in characters from 1. */
    readonly position: number | undefined;
    /** The context in the server, such as the call stack of a PL/pgSQL function. It may quote parameters and SQL, so it is not enumerable either. */
    readonly context: string | undefined;
    /** The name of the schema that the error is about. */
    readonly schema: string | undefined;
    /** The name of the table that the error is about. */
    readonly table: string | undefined;
    /** The name of the column that the error is about. */
    readonly column: string | undefined;
    /** The name of the data type that the error is about. */
    readonly dataType: string | undefined;
    /** The name of the constraint that was violated. */
    readonly constraint: string | undefined;
    /**
     * The package makes its errors itself; the class is exported for `instanceof`.
     *
     * @param server - The fields of the server's message.
     */
    constructor(server: ServerMessage, options?: PglistenErrorOptions);
}
/** The fields of an error or a notice that the server sent. */
interface ServerMessage {
    /** The severity, never localized: `ERROR`, `FATAL`, `PANIC`, `WARNING`, `NOTICE`, `DEBUG`, `INFO` or `LOG`. */
    severity: string;
    /** The SQLSTATE: five characters. */
    sqlState: string;
    /** The message, in the language of the server's `lc_messages`. */
    message: string;
    /** Details. */
    detail?: string | undefined;
    /** A hint how to avoid the error. */
    hint?: string | undefined;
    /** The position in the statement, in characters from 1. */
    position?: number | undefined;
    /** The context in the server, such as the call stack of a PL/pgSQL function. */
    context?: string | undefined;
    /** The name of the schema that the error is about. */
    schema?: string | undefined;
    /** The name of the table that the error is about. */
    table?: string | undefined;
    /** The name of the column that the error is about. */
    column?: string | undefined;
    /** The name of the data type that the error is about. */
    dataType?: string | undefined;
    /** The name of the constraint that was violated. */
    constraint?: string | undefined;
}

/** A batch, as a loop gets it. One transaction holds the work and the position. */
interface SubscriptionBatch<Event = DurableEvent> {
    /** The events, at least one, in order. */
    readonly events: readonly Event[];
    /** The transaction: what is done on it is committed by {@link SubscriptionBatch.ack} together with the position. */
    readonly tx: Transaction;
    /**
     * Commits. The events are done then.
     *
     * Rejects when that fails, such as for a deferred constraint, a statement that failed before, or a transaction that the loop has ended
     * itself or that took longer than {@link SubscriptionOptions.maxHandlerMs}: nothing is done then, the failure is counted, and the
     * events come again. When the connection is lost meanwhile, the next batch tells whether it was committed. Rejects with
     * {@link DurableError} when the batch was acknowledged or refused before.
     */
    readonly ack: () => Promise<void>;
    /**
     * Rolls back. The events are tried again after a while, one by one; the failure is counted at the first one. Rejects with
     * {@link DurableError} when the batch was acknowledged or refused before. Its argument is the reason, for the event `failure` and
     * the table of what was given up.
     */
    readonly nack: (error?: unknown) => Promise<void>;
}

/**
 * The batches of a subscription, one after the other: {@link Subscription.batches} makes it. It begins to run at the first `next()`, and
 * ends when its loop ends: a `break`, and an error in the loop, refuse the batch that was not acknowledged.
 *
 * @typeParam Event - The type of the events.
 */
declare class SubscriptionStream<Event = DurableEvent> implements AsyncIterableIterator<SubscriptionBatch<Event>> {
    #private;
    /** Returns the stream itself. */
    [Symbol.asyncIterator](): this;
    /**
     * Returns the next batch; waits for one. Ends without one when the signal is aborted.
     *
     * Rejects as {@link Subscription.run} does. Rejects with {@link DurableError} while another `next()` waits, and when the batch before
     * was neither acknowledged nor refused: then that batch is rolled back without being counted as an attempt, and the stream has ended.
     */
    next(): Promise<IteratorResult<SubscriptionBatch<Event>, undefined>>;
    /**
     * Ends the stream: refuses the batch that is open, which is what a `break` in the loop, and an error in it, come to. Resolves once its
     * transaction is rolled back, the attempt is counted, and nothing runs any more.
     */
    return(): Promise<IteratorResult<SubscriptionBatch<Event>, undefined>>;
    /** Ends the stream, as {@link SubscriptionStream.return} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/** A subscription that nobody has read for longer than its {@link SubscriptionOptions.maxUnreadAgeMs}. */
interface UnreadSubscription {
    /** Its name. */
    name: string;
    /** For how long nobody has read it, in milliseconds. */
    ageMs: number;
    /** How many events it has not done, and keeps: counted up to 100,000. */
    events: number;
    /** When the oldest of them was published; `undefined` without any. */
    oldest: Date | undefined;
    /** Whether it was dropped, as its {@link SubscriptionOptions.onUnread} says. */
    isDropped: boolean;
}

/** What goes wrong that a {@link Subscription} gets over. */
interface SubscriptionWarning {
    /** What it is, in words. */
    message: string;
    /** The cause; `undefined` when no error is. */
    error: unknown;
    /** The subscription that nobody reads, if the warning is about one: any of the database. */
    unread?: UnreadSubscription | undefined;
}
/** An attempt at an event that has failed. */
interface SubscriptionFailure {
    /** The event; its `attempt` tells which attempt it was. */
    event: DurableEvent<unknown>;
    /** What the handler threw. */
    error: unknown;
}
/** The events of a {@link Subscription}. */
interface SubscriptionEvents {
    /** Something went wrong that the subscription gets over. */
    warning: [warning: SubscriptionWarning];
    /** An attempt at an event has failed. */
    failure: [failure: SubscriptionFailure];
    /** An event was given up and kept apart, as `onFailure: 'skip'` says. */
    givenUp: [failure: SubscriptionFailure];
}
/** The counts of a {@link Subscription}. */
interface SubscriptionStats {
    /** Whether it runs here. */
    isRunning: boolean;
    /** The partitions that this process works. */
    working: number;
    /** The events that were done here. */
    done: number;
    /** The attempts that have failed here. */
    failures: number;
    /** The events that were given up here. */
    givenUp: number;
    /** What is not done yet, in all processes together. */
    lag: {
        /** The events that are committed and not done. */
        events: number;
        /** How long ago the oldest of them was published, in milliseconds; `undefined` without any. */
        ageMs: number | undefined;
    };
}
/**
 * A durable subscription: every event of its channels, once, in order, also those that were published while nobody was there.
 * {@link ConnectionPool.subscription} makes one.
 *
 * What the handler does on its transaction is done exactly once: it is committed together with the position, or not at all. What it
 * does elsewhere may be repeated after a failure; {@link DurableEvent.uid} tells then that it is the same event.
 *
 * Several processes may run a subscription of one name: one of them works each partition, and the others stand by.
 *
 * It is worked by a function ({@link Subscription.run}), or by a loop: `for await (const batch of subscription)`
 * ({@link Subscription.batches}).
 *
 * @typeParam Event - The type of the events.
 */
declare class Subscription<Event extends DurableEvent<unknown> = DurableEvent> extends EventEmitter<SubscriptionEvents> implements AsyncIterable<SubscriptionBatch<Event>, undefined> {
    #private;
    /** The name by which the server knows it. */
    get name(): string;
    /**
     * Works the events, until `signal` is aborted: then the promise resolves, once the event that is being handled is finished and
     * what is done is committed. A subscription that does not exist is made.
     *
     * `handler` is called for one event after the other; the events of a batch share a transaction. When it throws, the transaction
     * is rolled back and its events are tried again, one by one. It must not end the transaction itself. A handler
     * that still runs when {@link SubscriptionOptions.maxHandlerMs} is over has failed: its transaction is gone, and its event may be tried
     * again while it runs.
     *
     * Rejects with {@link DurableError} when durable subscriptions are not installed, the role may not use them, the server is a
     * standby, the pool may have fewer connections than there are partitions, the subscription exists with other channels or
     * partitions, the subscription is dropped while it runs, or this object runs already; with {@link SubscriptionStoppedError} when an event has failed too often; with
     * {@link ConnectionPoolExecuteError} when the pool is closed; as {@link Listener.startup} does when there is no server at first.
     * One that is away later is waited for.
     */
    run(handler: (tx: Transaction, event: Event) => unknown, options?: RunOptions): Promise<void>;
    /**
     * Returns a stream of batches, for a loop that acknowledges each: `for await (const batch of subscription.batches())`. Each batch has
     * up to {@link SubscriptionOptions.batchSize} events and the transaction in which they are worked; `batch.ack()` commits the work and
     * the position in one.
     *
     * A `break`, an error in the loop, and `batch.nack()` roll back. Then the batch has failed: that is counted at its first event, and its
     * events come again one by one after a while, as after a handler that throws; {@link SubscriptionOptions.maxAttempts} and
     * {@link SubscriptionOptions.onFailure} hold for each. Of several partitions the loop gets one batch at a time, in turn.
     *
     * The stream holds a connection of the pool from the moment a batch is fetched until it is over, for at most
     * {@link SubscriptionOptions.maxHandlerMs}. It runs from its first `next()` on, and keeps the process alive until it ends.
     *
     * @param options - `signal` ends the stream: the batch at hand may still be acknowledged, and the loop ends then.
     */
    batches(options?: RunOptions): SubscriptionStream<Event>;
    /** Returns a stream of batches, as {@link Subscription.batches} does. */
    [Symbol.asyncIterator](): SubscriptionStream<Event>;
    /**
     * Returns the counts. The lag is asked of the server, which looks at every event that is not done.
     *
     * @param options - Bounds of the call. @default none
     */
    stats(options?: CallOptions): Promise<SubscriptionStats>;
}

/**
 * The reason why notifications are missing.
 *
 * - `disconnect`: the server session ended, and another one took its place.
 * - `overflow`: the consumer's buffer was full, or it was the largest while the buffers of the pool were full together
 *   (`maxBufferedBytes`).
 * - `decode`: the server sent a notification that could not be read.
 */
type GapReason = 'disconnect' | 'overflow' | 'decode';
/**
 * A break in a consumer's stream of notifications, at its place in the stream. Notifications that were committed before
 * `lostAt` came before the gap, those that were committed after `resumedAt` come after it, and those in between may be
 * missing.
 */
declare class Gap {
    /** The reason why notifications are missing. */
    readonly reason: GapReason;
    /**
     * A moment, by this machine's clock, before which no notification is missing: the start of the last round trip in which
     * the server answered that it listens to every channel. Only that confirms all earlier notifications. Without a call of
     * `sync()` it is the last heartbeat, up to `heartbeat.intervalMs` before the break, or longer when the break was
     * noticed late.
     */
    readonly lostAt: Date;
    /**
     * The moment at which the stream went on: the LISTENs were committed again, or the last dropped notification was
     * read. A consumer that had no room then, under `overflow: 'pause'`, may have a later one than the others.
     */
    readonly resumedAt: Date;
    /** The time from `lostAt` to `resumedAt`, in milliseconds. */
    readonly downtimeMs: number;
    /**
     * The number of missing notifications: exact for `overflow`; `null` for the other reasons, for which it is unknown.
     */
    readonly dropped: number | null;
    /** The SQLSTATE with which the server ended the session, such as `57P01`; `null` when it sent none. */
    readonly sqlState: string | null;
    /** A description of the reason in words. */
    readonly message: string;
    /** The number of attempts that it took to connect again; 0 for `overflow`. */
    readonly attempts: number;
    /** Whether the server was restarted, or is another one; `null` when that is not known, and for `overflow`. */
    readonly serverRestarted: boolean | null;
    /** The process id of the lost session's backend; `null` for `overflow`. */
    readonly oldProcessId: number | null;
    /** The process id of the new session's backend; `null` for `overflow`. */
    readonly newProcessId: number | null;
    /**
     * The number of gaps that this one stands for: 1, or more when the consumer has not read for so long that it would have
     * more than 1024 gaps. Then the two oldest become one: with the first `lostAt`, the last `resumedAt`, the sums of
     * `dropped` (`null` if one of them is) and `attempts`, and `sqlState` and `message` of the last. Its `reason` is
     * `disconnect` if theirs differ. The notifications between the two follow it.
     */
    readonly merged: number;
}

/** The listener that a diagnostics message is about. */
interface ListenerIdentity {
    /** The number of the listener: unique within its thread, counted from 1. */
    listenerId: number;
    /** Its option `name`. */
    listener: string | undefined;
}
/** The moments in the life of a listening session, as one of its listeners sees it. See {@link SessionMessage}. */
type SessionMoment = 'connecting' | 'connected' | 'lost' | 'reconnecting' | 'moved' | 'closed';
/**
 * A message of the channel `pglisten:session`: the life of a listening session. Each listener that shares the session tells
 * of it.
 */
interface SessionMessage extends ListenerIdentity {
    /**
     * - `connecting`: `startup()` connects.
     * - `connected`: a session is up, and its LISTENs are committed.
     * - `lost`: the session has ended without a `shutdown()`.
     * - `reconnecting`: an attempt to connect again begins in `delayMs`.
     * - `moved`: the listener has a session of its own now, because {@link Listener.connection} was used.
     * - `closed`: the listener was shut down, has given up, or could not start.
     */
    event: SessionMoment;
    /** The process id of the session's backend; of `lost`, the one that it had. */
    processId: number | undefined;
    /** Of `reconnecting`: the number of the attempt, from 1. */
    attempt: number | undefined;
    /** Of `reconnecting`: the time until the attempt begins, in milliseconds. */
    delayMs: number | undefined;
    /** The `code` of the error that led to it. */
    code: string | undefined;
    /** The SQLSTATE, if a server sent that error. */
    sqlState: string | undefined;
}
/** A message of the channel `pglisten:gap`: notifications may be missing. The fields that {@link Gap} has too mean the same. */
interface GapMessage extends ListenerIdentity {
    /** The reason. */
    reason: 'disconnect' | 'overflow' | 'decode';
    /** The moment before which no notification is missing. */
    lostAt: Date;
    /** The moment at which the stream went on. */
    resumedAt: Date;
    /** The time between the two, in milliseconds. */
    downtimeMs: number;
    /** The number of missing notifications; `null` when it is unknown. */
    dropped: number | null;
    /** The SQLSTATE with which the server ended the session; `null` when it sent none. */
    sqlState: string | null;
    /** The number of attempts that it took to connect again. */
    attempts: number;
    /** Whether the server was restarted, or is another one; `null` when that is not known. */
    serverRestarted: boolean | null;
    /** The process id of the lost session's backend. */
    oldProcessId: number | null;
    /** The process id of the new session's backend. */
    newProcessId: number | null;
    /** The number of gaps that this one stands for. */
    merged: number;
}
/**
 * A message of the channel `pglisten:warning`: there was a `warning` event. The text is not in it, because that of a server's
 * notice may hold anything.
 */
interface WarningMessage extends ListenerIdentity {
    /** What the warning is about. */
    kind: WarningKind;
    /** The channel that the warning is about, if it is about one. */
    channel: string | undefined;
    /** The `code` of the error that the warning is about, if it is about one. */
    code: string | undefined;
    /** The SQLSTATE of that error, or of the server's notice. */
    sqlState: string | undefined;
    /** Of `queue`: how much of the server's queue of notifications is in use, from 0 to 1. */
    usage: number | undefined;
    /** Of `queue`: the process id of the backend that is the likeliest to hold the queue back, if there is one. */
    processId: number | undefined;
}
/**
 * What a `warning` event is about.
 *
 * - `notice`: a notice or warning that the server sent.
 * - `attempt`: an attempt to connect has failed.
 * - `session`: the listening session, such as LISTENs that the server has lost.
 * - `slowCallback`: a callback that is pending for longer than `slowCallbackMs`.
 * - `queue`: the server's queue of notifications, of which much is in use.
 * - `rollback`: a transaction that was left open, and was rolled back.
 * - `pool`: a call that waits long for a connection of the pool.
 * - `usage`: a use of the library that is most likely a mistake.
 */
type WarningKind = 'notice' | 'attempt' | 'session' | 'slowCallback' | 'queue' | 'rollback' | 'pool' | 'usage';
/**
 * A message of the channel `pglisten:pool`: a pool was made. Whoever keeps the pool should do so with a `WeakRef`: nothing
 * else hinders its collection.
 */
interface PoolMessage {
    /** The {@link ConnectionPool}. */
    pool: object;
}
/** A message of the channel `pglisten:queue`: the watch of a pool has looked at the server's queue of notifications. */
interface QueueMessage extends PoolMessage {
    /** How much of the queue is in use, from 0 to 1. */
    usage: number;
}
/** A message of the channel `pglisten:listener`: a listener was made. It is kept as the pool of a {@link PoolMessage}. */
interface ListenerMessage extends ListenerIdentity {
    /** The {@link Listener}. */
    instance: object;
}
/**
 * A message of the channel `pglisten:settled`: the promise of a callback, or of a gap callback, has settled. At most 100
 * messages are published in each 100 ms, so that they cost little in a flood; to hear of every callback, also of those that
 * return no promise, there is the tracing channel `pglisten:callback`.
 */
interface SettledMessage extends ListenerIdentity {
    /** The channel of the notification; `undefined` for a gap callback. */
    channel: string | undefined;
    /** The time from the call to the end of the promise, in milliseconds. */
    durationMs: number;
    /** The facts of the error with which the promise was rejected; `undefined` if it was not. */
    error: ErrorFacts | undefined;
}
/** An error in a context, unless more was asked for. */
interface ErrorFacts {
    /** The name of its class. */
    name: string;
    /** Its `code`, if that is a word in capitals, such as `ENOENT`. */
    code: string | undefined;
    /** The SQLSTATE, if a server sent it. */
    sqlState: string | undefined;
}
/** What every context of a tracing channel has. */
interface TracingContext {
    /**
     * Once the call has failed: the facts of the error, or with {@link DiagnosticsOptions} what was thrown itself. `undefined`
     * before that, and for a call that has succeeded.
     */
    error: unknown;
    /** From `end` on: whether the call has returned a promise, so that `asyncStart` and `asyncEnd` follow. */
    returnedPromise?: boolean;
}
/**
 * The context of the tracing channel `pglisten:callback`: one call of a callback for a notification, or of a gap callback. A
 * store that is bound to `start` is there within the callback.
 */
interface CallbackContext extends ListenerIdentity, TracingContext {
    /** The channel of the notification; `undefined` for a gap callback. */
    channel: string | undefined;
    /** The process id of the notifying backend; `undefined` for a gap callback. */
    processId: number | undefined;
    /** The payload as the callback gets it, if {@link DiagnosticsOptions.payloads} is on. */
    payload: unknown;
}
/** The moments in the life of a durable subscription in this process. See {@link SubscriptionMessage}. */
type SubscriptionMoment = 'started' | 'working' | 'standingBy' | 'takeover' | 'asleep' | 'awake' | 'done' | 'failure' | 'givenUp' | 'adopted' | 'unread' | 'warning' | 'ended';
/** A message of the channel `pglisten:subscription`: the life of a durable subscription in this process. */
interface SubscriptionMessage {
    /** The name of the subscription; of `unread`, the name of the one that nobody reads. */
    subscription: string;
    /**
     * - `started`: a run begins to work.
     * - `working`: it has a partition.
     * - `standingBy`: another process has the partition.
     * - `takeover`: it has a partition for which it has stood by.
     * - `asleep`: nothing is there, and publishers ring.
     * - `awake`: there may be something.
     * - `done`: `count` events are committed.
     * - `failure`: an attempt has failed.
     * - `givenUp`: an event was set apart.
     * - `adopted`: the positions of a restored dump were adopted.
     * - `unread`: a subscription of the database, which nobody reads, is warned of; with `isDropped`, it was dropped.
     * - `warning`: there was another `warning` event.
     * - `ended`: the run has ended; with `code`, by an error.
     */
    event: SubscriptionMoment;
    /** The partition, from 0 on; `undefined` for what is about the whole subscription. */
    partition: number | undefined;
    /** Of `done` the events that are done, of `unread` those that are kept. */
    count: number | undefined;
    /** Of `failure` and `givenUp`: the channel of the event. */
    channel: string | undefined;
    /** Of `failure` and `givenUp`: the {@link DurableEvent.uid} of the event. */
    uid: string | undefined;
    /** Of `failure` and `givenUp`: the number of the attempt. */
    attempt: number | undefined;
    /** Of `unread`: whether the subscription was dropped. */
    isDropped: boolean | undefined;
    /** The `code` of the error that led to it. */
    code: string | undefined;
    /** The SQLSTATE, if a server sent that error. */
    sqlState: string | undefined;
}
/**
 * The context of the tracing channel `pglisten:handler`: one call of the handler of a durable subscription. A store that is bound to `start`
 * is there within the handler. A loop over batches is not called, so it has none.
 */
interface HandlerContext extends TracingContext {
    /** The name of the subscription. */
    subscription: string;
    /** The partition, from 0 on. */
    partition: number;
    /** The channel of the event. */
    channel: string;
    /** The {@link DurableEvent.uid} of the event. */
    uid: string;
    /** The number of the attempt, from 1 on. */
    attempt: number;
    /** The payload as the handler gets it, if {@link DiagnosticsOptions.payloads} is on. */
    payload: unknown;
}
/** The methods that a {@link StatementContext} names. `fetch` and the like are `execute`. */
type StatementMethod = 'execute' | 'executeMany' | 'executeBatch' | 'pipeline' | 'cursor' | 'prepare' | 'copyFrom' | 'copyTo' | 'begin' | 'commit' | 'rollback';
/** The context of the tracing channel `pglisten:statement`: one call that runs statements. */
interface StatementContext extends TracingContext {
    /** The method that was called. */
    method: StatementMethod;
    /** The first word of the statement in capitals, such as `SELECT`, if it is a word of SQL. */
    command: string | undefined;
    /** The process id of the backend, once it is known: it is not before a connection is leased. */
    processId: number | undefined;
    /** The SQL, without its parameters, if {@link DiagnosticsOptions.statements} is on. */
    text: string | undefined;
}
/** The context of the tracing channel `pglisten:notify`: one call that sends notifications, the wait for a connection included. */
interface NotifyContext extends TracingContext {
    /** The channel. */
    channel: string;
    /** How many notifications are sent. */
    count: number;
    /** The payloads as they are sent, if {@link DiagnosticsOptions.payloads} is on. */
    payloads: readonly string[] | undefined;
}

/** A condition that a user should know of, and that does not stop the listener. */
interface ListenerWarning {
    /** What the warning is about, for programs. */
    kind: WarningKind;
    /** A description in words. */
    message: string;
    /** The notice or warning that the server sent to the listening session, if the warning is about one. */
    notice?: ServerMessage;
    /** The error of an attempt that has failed, if the warning is about one: to connect, at first or again, or to give a channel up. */
    error?: PglistenError;
    /** The channel of the callback or message, if the warning is about one. */
    channel?: string;
    /** The server's queue of notifications, if the warning is about it. */
    queue?: QueueReport;
}
/** The events of a {@link Listener}, and the arguments that their handlers get. */
interface ListenerEvents {
    /** A session is up and its LISTENs are committed. Emitted during `startup()`, and at each reconnection. */
    connected: [
        info: {
            /** The process id of the session's backend: `pg_stat_activity.pid`. */
            processId: number;
        }
    ];
    /** The session ended without a `shutdown()`. */
    disconnected: [
        info: {
            /** The reason, as far as it is known. */
            error: PglistenError;
            /** The process id that the session's backend had. */
            processId: number;
        }
    ];
    /**
     * An attempt to connect again is about to begin. Emitted when its delay is known, and again if the delay changes. While
     * `startup({ retry: true })` tries, it is emitted from the second attempt on.
     */
    reconnecting: [
        info: {
            /** The number of the attempt since the session was lost, from 1. */
            attempt: number;
            /** The time until the attempt begins, in milliseconds; 0 when it begins because the one before has got no answer. */
            delayMs: number;
            /** Why it is necessary: the end of the session, or the failure of the attempt before. Its `code` is for programs. */
            error: PglistenError;
        }
    ];
    /** A new session took the place of a lost one. Emitted after `connected`. */
    reconnected: [
        info: {
            /** The gap that each consumer gets, at its place among the notifications. */
            gap: Gap;
        }
    ];
    /** Notifications may be missing. Emitted once for each lost session, and once for each overflow of a consumer. */
    gap: [gap: Gap];
    /**
     * A callback or `parse` failed ({@link ListenerCallbackError}), or the listener cannot reconnect until somebody acts,
     * such as when its password is refused. Without a handler the error becomes a warning of the process, at most one
     * each second; it never ends the process.
     */
    error: [error: PglistenError];
    /** Something happened that a user should know of, and the listener goes on. */
    warning: [warning: ListenerWarning];
    /** The listener has ended: without an argument by `shutdown()`, with the reason when it gave up. */
    closed: [error?: PglistenError];
}
/**
 * An emitter that has no table of handlers before the first of them: the constructor of `EventEmitter` makes one for each
 * instance, and most of thousands of listeners have no handlers. Its methods make what they do not find.
 */
declare const LazyEmitter: typeof EventEmitter;
/**
 * The methods of every emitter that take the name of an event and its handler. The types of `EventEmitter` take any name,
 * and refuse the handler; these refuse a name that is no event's.
 */
interface ListenerEmitter {
    /** Adds a handler, as the method of every emitter does. */
    on<Event extends keyof ListenerEvents>(event: Event, handler: (...args: ListenerEvents[Event]) => void): this;
    /** Adds a handler, as `on()` does. */
    addListener<Event extends keyof ListenerEvents>(event: Event, handler: (...args: ListenerEvents[Event]) => void): this;
    /** Adds a handler before the others. */
    prependListener<Event extends keyof ListenerEvents>(event: Event, handler: (...args: ListenerEvents[Event]) => void): this;
    /** Removes a handler. */
    off<Event extends keyof ListenerEvents>(event: Event, handler: (...args: ListenerEvents[Event]) => void): this;
    /** Removes a handler, as `off()` does. */
    removeListener<Event extends keyof ListenerEvents>(event: Event, handler: (...args: ListenerEvents[Event]) => void): this;
}
/** Emits the events of a listener. */
declare class ListenerEmitter extends LazyEmitter<ListenerEvents> {
    #private;
}

/**
 * Which notifications are merged while they wait in a consumer's buffer.
 *
 * - `payload`: those with the same channel and the same payload. The first one stays as it is.
 * - `channel`: those with the same channel. The newest payload, with its process id, takes the place of the first one.
 *
 * The merged notification is delivered at the place of the first one, and `stats().coalesced` counts the others. Nothing is
 * merged across a {@link Gap}, across the fence of a {@link Listener.sync}, or into a notification that JavaScript has already
 * taken out of the buffer. A consumer that keeps up therefore gets every notification.
 *
 * PostgreSQL has a folding of its own: equal notifications of one transaction arrive once. Coalescing merges those of
 * different transactions, and those of different payloads with `channel`.
 */
type CoalesceMode = 'payload' | 'channel';
/** A condition on the value to which a path leads in a JSON payload. */
interface JsonCondition {
    /**
     * The names that lead to the value: of members of objects and, as decimal numbers, of elements of arrays. `[]` leads to
     * the whole payload. Of members with the same name the last one counts, as with `JSON.parse`.
     */
    path: readonly string[];
    /**
     * The value that has to be there. Numbers are compared as JavaScript numbers, so `1`, `1.0` and `1e0` are equal; strings
     * by the text for which their escapes stand.
     */
    equals: string | number | boolean | null;
}
/**
 * A condition on notifications. All parts that are given have to be met. Other notifications are neither parsed nor
 * delivered, and take no room in the buffer: `stats().received` counts them, and so does `stats().filtered`. Gaps and fences
 * always pass.
 */
interface NotificationFilter {
    /**
     * Patterns, of which the channel's name has to match one, as a whole and with its exact case. `*` stands for any number of
     * characters, `?` for one, `[a-z_]` for one of a class of characters and ranges, `[^a-z_]` for one that is not of it (`!`
     * is a character like others there), and `\` takes the meaning from the next character. The patterns select among the channels to which the listener is subscribed, and subscribe to
     * none.
     * @default every channel
     */
    channels?: readonly string[] | undefined;
    /** The text with which the payload has to begin, in the spelling of its sender. @default any payload */
    prefix?: string | undefined;
    /**
     * The value that a JSON payload has to hold. A payload without a value at that path does not meet the condition. One that
     * `JSON.parse` would refuse does, so that a mistake of a sender does not go unnoticed.
     * @default any payload
     */
    json?: JsonCondition | undefined;
}

/**
 * The behaviour of an iterator at a {@link Gap}. The listener's `gap` event reports the gap with each of them.
 *
 * - `skip`: the iterator does not yield the gap.
 * - `throw`: the iteration ends with a {@link ListenerGapError}.
 * - `include`: the iterator yields the gap, at its place among the messages.
 */
type GapMode = 'skip' | 'throw' | 'include';
/** The options of {@link Listener.messages}. */
interface MessagesOptions<Gaps extends GapMode = GapMode> {
    /**
     * The names of the channels whose notifications are yielded. The option does not subscribe: a channel that the
     * listener is not subscribed to yields nothing.
     * @default all channels of the listener
     */
    channels?: readonly string[] | undefined;
    /** Ends the iteration when it is aborted: the next `next()` rejects with its reason. @default no signal */
    signal?: AbortSignal | undefined;
    /** What the iterator does at a gap. @default `skip` */
    gaps?: Gaps | undefined;
    /**
     * Which notifications are merged while they wait for this iterator, as {@link CoalesceMode} says; `false` for none.
     * What the listener's `coalesce` has merged between `startup()` and the first consumer stays merged.
     * @default the listener's `coalesce`
     */
    coalesce?: CoalesceMode | false | undefined;
    /**
     * Which notifications this iterator gets, in place of the listener's `filter`; `false` for all. Of what has arrived between
     * `startup()` and the first consumer, the listener's `filter` has left out the rest already.
     * @default the listener's `filter`
     */
    filter?: NotificationFilter | false | undefined;
    /**
     * Ends the iteration after so many messages: an integer from 1, or `Infinity`. Gaps do not count.
     * @default Infinity
     */
    limit?: number | undefined;
}
/**
 * The shape of a batch.
 *
 * - `messages`: an array of {@link ListenerNotificationMsg}.
 * - `columns`: {@link NotificationColumns}, the cheapest to make: an array for each part of the notifications.
 */
type BatchShape = 'messages' | 'columns';
/** The options of {@link Listener.batches}. */
interface BatchesOptions<Gaps extends GapMode = GapMode, Shape extends BatchShape = BatchShape> extends Omit<MessagesOptions<Gaps>, 'limit'> {
    /** The shape of each batch. @default `messages` */
    shape?: Shape | undefined;
    /**
     * The most items of a batch: an integer from 1, or `Infinity`. A batch that does not wait (`maxWaitMs` is 0) is
     * complete with 256 KiB of payloads too.
     * @default 1024
     */
    maxSize?: number | undefined;
    /**
     * The longest time that a batch waits to fill up after its first message, in milliseconds, from 0 to 2147483647. With
     * 0 a batch has the messages that are buffered at the time.
     * @default 0
     */
    maxWaitMs?: number | undefined;
}

/**
 * Notifications in columns, in their order: the notification `i` has the payload `payloads[i]`, came over the channel
 * `channels[i]`, and was sent by the backend `processIds[i]`. Yielded by {@link Listener.batches} with the option
 * `shape: 'columns'`.
 *
 * @typeParam Payload - The type that `parse` returns; `string` without `parse`.
 * @typeParam Channel - The names that the channels may have.
 */
interface NotificationColumns<Payload = string, Channel extends string = string> {
    /** The payloads: the values that `parse` returned, or the texts as sent. */
    payloads: Payload[];
    /** The names of the channels, exactly as in the subscriptions. */
    channels: Channel[];
    /** The process ids of the notifying backends. */
    processIds: Int32Array;
    /** How many notifications there are: from 1 to `maxSize`. */
    length: number;
}

/**
 * A notification, as an iterator yields it.
 *
 * @typeParam Payload - The type that `parse` returns; `string` without `parse`.
 * @typeParam Channel - The names that the channel may have.
 */
declare class ListenerNotificationMsg<Payload = string, Channel extends string = string> {
    #private;
    /** The process id of the notifying backend: the notifier's `pg_backend_pid()`. */
    readonly processId: number;
    /** The name of the channel, exactly as in the subscription. */
    readonly channel: Channel;
    /** The payload: the value that `parse` returned, or the text as sent. */
    readonly payload: Payload;
    /**
     * A connection of the pool, leased at its first use. The lease ends when the loop asks for its next item, or ends;
     * from then on the methods of the connection reject with {@link ConnectionClosedError}.
     */
    get connection(): Connection;
}

/**
 * Called for each notification of a channel.
 *
 * @param connection - A connection of the pool, leased at its first use; the lease ends when the callback settles.
 * @param payload - The value that `parse` returned, or the text as sent.
 * @param channel - The name of the channel, exactly as in the subscription.
 * @param processId - The process id of the notifying backend.
 * @returns Anything. While a returned promise is pending, the next notification waits, unless `concurrency` allows
 * more.
 */
type ListenerCallback<Payload = string, Channel extends string = string> = (connection: Connection, payload: Payload, channel: Channel, processId: number) => unknown;

/**
 * What happens when a consumer's buffer has no room for a notification.
 *
 * - `dropOldest`: the oldest buffered notification is dropped. A {@link Gap} with the exact count stands at its place.
 * - `dropNewest`: the new notification is dropped. A {@link Gap} with the exact count stands at its place.
 * - `pause`: the session, which is the listener's own, is not read, so that no consumer gets notifications, until the
 *   buffer has room. After `maxPauseMs` the listener reconnects, with a gap. A buffer that is full then takes more than its
 *   bounds allow, over any number of sessions: at most 1 MiB, or 2 MiB where payloads are tiny and a place in the buffer
 *   is most of what each counts. Beyond that the gap reaches as far as what was not taken.
 * - `error`: the listener closes with a {@link ListenerOverflowError}.
 */
type OverflowPolicy = 'dropOldest' | 'dropNewest' | 'pause' | 'error';
/**
 * Whose server session a listener uses.
 *
 * - `auto`: that of all listeners of the process with the same settings, in any thread and of any pool, until the first
 *   method of {@link Listener.connection} is called. Then the listener moves to a session of its own, without a gap.
 * - `shared`: the same, for good. The methods of {@link Listener.connection} reject.
 * - `own`: a session of its own from the start.
 *
 * The settings are all that reach the server or the check of it: addresses, user, password, database, `options`, TLS,
 * `applicationName`, time-outs, and the listener's `heartbeat` and `reconnect`. A function as `password` belongs to its
 * pool: listeners of other pools do not share its sessions.
 */
type SessionChoice = 'auto' | 'shared' | 'own';
/** The bounds of a consumer's buffer, and what happens when it is full. */
interface BufferOptions {
    /** The most notifications in the buffer: an integer from 1 to 2147483648. @default 262144 */
    maxMessages?: number | undefined;
    /**
     * The most bytes in the buffer: an integer from 16384. Each notification counts its payload plus 64 bytes. The buffers of all
     * listeners of a pool together have the bound `maxBufferedBytes` of `ConnectionPoolOptions`.
     * @default 67108864 (64 MiB)
     */
    maxBytes?: number | undefined;
    /** What happens to a notification for which the buffer has no room. @default `dropOldest` */
    overflow?: OverflowPolicy | undefined;
    /**
     * The longest pause with `overflow: 'pause'`, in milliseconds, from 1 to 2147483647. While a session is not read, the
     * server cannot clean up its queue of notifications.
     * @default 10000
     */
    maxPauseMs?: number | undefined;
}
/**
 * How a listener replaces a lost session. The first attempt after a stable session begins at once; only when more than 8
 * stable sessions of the process are lost within 100 ms, those beyond 8 are spread over 100 ms. After a refusal or an
 * error the next attempt waits, with exponential back-off, in which each delay is random up to its bound (full jitter). An
 * attempt that gets no answer is no reason to wait: the next one begins 1 s after it began, up to three are under way at the
 * same time, and the first that succeeds is used.
 */
interface ReconnectOptions {
    /**
     * The bound of the first delay, in milliseconds, from 1 to `maxDelayMs`; it doubles with each attempt that is refused.
     * @default 100
     */
    initialDelayMs?: number | undefined;
    /** The bound of every delay, in milliseconds, from 1 to 2147483647. @default 30000 */
    maxDelayMs?: number | undefined;
    /**
     * The most attempts in a row, after which the listener closes: an integer from 1 to 2147483648, or `Infinity`. An
     * attempt that gets no answer counts too; the last ones have their time (`connectTimeoutSec`) before the listener closes.
     * @default Infinity
     */
    maxAttempts?: number | undefined;
    /**
     * The time after which a session counts as stable, in milliseconds, from 1 to 2147483647. When a stable session is lost,
     * the first attempt begins at once, and the delays after it begin with `initialDelayMs` again. The loss of a session that
     * was not stable is followed by the next delay of the back-off.
     * @default 10000
     */
    stableAfterMs?: number | undefined;
}
/**
 * How a listener notices that the server or the network has silently gone: by regular round trips. Each of them also asks
 * whether the server still listens to every channel. `UNLISTEN` or `DISCARD ALL` on {@link Listener.connection} ends that
 * although the session lives, and so may a pooler. Then there is a `warning` event, and the listener reconnects, with a gap.
 */
interface HeartbeatOptions {
    /** The time between two round trips, in milliseconds, from 1 to 2147483647. @default 10000 */
    intervalMs?: number | undefined;
    /** The longest time that the answer may take, in milliseconds, from 1 to 2147483647. @default 5000 */
    timeoutMs?: number | undefined;
    /**
     * The time between two probes of the delivery, in milliseconds, from 1 to 2147483647, or `false` for none. A probe is a
     * notification to a channel of the listener's own, which has to come back within `timeoutMs`. A session is probed when it
     * has connected, and then at this interval. A pooler or a proxy that takes LISTEN and passes no notification on is noticed
     * so: at first it is an error of {@link Listener.startup}, later there is a `warning` event, and the listener reconnects,
     * with a gap.
     * @default 300000
     */
    probeIntervalMs?: number | false | undefined;
}
/**
 * The name of a channel, as `parse` gets it. At run time it is a string. The second half of the type lets `JSON.parse` be
 * the `parse` of a listener: the second parameter of `JSON.parse` is a function, and it ignores any other value.
 */
type ParseChannel = string & ((this: any, key: string, value: any) => any);
/** The options of {@link ConnectionPool.listener}. */
interface ListenerOptions<Payload = unknown> {
    /** The names of channels to subscribe to from the start, as {@link Listener.addChannel} does. @default none */
    channels?: readonly string[] | undefined;
    /**
     * The most notifications whose callbacks run at the same time: an integer from 1, or `Infinity`. With `ordered`, up
     * to 1024 notifications wait outside the buffer for an earlier one of their channel while other channels go on; when
     * there are that many, other channels wait too.
     * @default 1
     */
    concurrency?: number | undefined;
    /**
     * Whether the notifications of one channel are delivered one at a time although `concurrency` is above 1.
     * @default true
     */
    ordered?: boolean | undefined;
    /** The bounds of each consumer's buffer. @default the defaults of {@link BufferOptions} */
    buffer?: BufferOptions | undefined;
    /**
     * How to replace a lost session. With `false` the listener closes when its session ends.
     * @default the defaults of {@link ReconnectOptions}
     */
    reconnect?: ReconnectOptions | false | undefined;
    /**
     * How to notice a server that has silently gone. With `false` there are no heartbeats.
     * @default the defaults of {@link HeartbeatOptions}
     */
    heartbeat?: HeartbeatOptions | false | undefined;
    /**
     * Converts the text of a payload to the value that callbacks and iterators get. It runs once for each consumer. It has
     * to be synchronous: an `async` function is refused here. When it throws, or returns a promise all the same, the
     * notification is not delivered to that consumer, and an `error` event has a {@link ListenerCallbackError}.
     * @default the text itself
     */
    parse?: ((payload: string, channel: ParseChannel) => Payload extends PromiseLike<unknown> ? never : Payload) | undefined;
    /**
     * Whether to leave out notifications that this pool's own connections and listeners sent. They are recognized by the
     * process id of the backend. Because a server may reuse the id, it counts as foreign from 10 s after the connection's
     * end on.
     * @default false
     */
    ignoreOwn?: boolean | undefined;
    /**
     * How long a notification may wait for others while many come, in whole milliseconds from 0 to 10, so that they are read
     * together: one wake of the process costs several times as much as a notification. With 1, above 10,000 a second, it may be
     * 2 ms. Nothing waits below some 3,000 notifications a second, nor with 0. Of listeners that share a session the least holds. The event loop has to be that of
     * Node.js on Linux or macOS; elsewhere nothing waits.
     * @default 1
     */
    maxDelayMs?: number | undefined;
    /**
     * Which notifications are merged while they wait for the callbacks: a consumer that falls behind gets the newest state
     * instead of every step on the way to it. It is the default of the listener's iterators too, which merge for themselves. It
     * is decided when a notification is read, after `ignoreOwn` and `filter` and before `parse`. {@link CoalesceMode} has the
     * rules.
     * @default false (none)
     */
    coalesce?: CoalesceMode | false | undefined;
    /**
     * Which notifications the callbacks get, and by default the listener's iterators. What does not pass is neither parsed nor
     * delivered. It is decided when a notification is read, after `ignoreOwn`, in Rust and once for all consumers with an
     * equal filter.
     * @default false (every notification)
     */
    filter?: NotificationFilter | false | undefined;
    /**
     * Shuts the listener down when it is aborted. From then on `startup()` rejects with its reason.
     * @default no signal
     */
    signal?: AbortSignal | undefined;
    /**
     * Whose server session the listener uses. Each listening session is a backend of the server, and before PostgreSQL 19
     * every NOTIFY wakes all backends of its database that listen. With `buffer.overflow: 'pause'` it is `own`, and `shared`
     * is an error: who pauses keeps everybody from reading.
     * @default 'auto'
     */
    session?: SessionChoice | undefined;
    /**
     * Where the listening session connects, as a DSN: for a pool behind a transaction pooler, which cannot serve LISTEN. It
     * takes the place of the pool's `listenDsn`. The pool's other options apply, but for `host` and `port`. The connections
     * of callbacks are the pool's.
     * @default the pool's `listenDsn`, or where the pool connects
     */
    dsn?: string | undefined;
    /**
     * The name of the listener in messages about it, and on the server: 1 to 63 characters. The listening session tells the
     * names of the listeners that it serves in `pg_stat_activity`, where `?` stands for each character but letters and digits of ASCII, the
     * space and `._-:/@#+`: in a comment of its statements, and as `application_name` if none is set, with the names at the start of the session.
     * @default no name
     */
    name?: string | undefined;
    /**
     * The time after which a callback whose promise is pending counts as slow, in milliseconds, from 1 to 2147483647, or
     * `false`. There is one `warning` event for each slow callback. Gap callbacks count too.
     * @default false (no warning)
     */
    slowCallbackMs?: number | false | undefined;
}

/** The bounds of a wait on a listener. */
interface WaitOptions {
    /** Ends the wait when it is aborted: the promise rejects with its reason. @default no signal */
    signal?: AbortSignal | undefined;
    /**
     * The longest time of the wait, in milliseconds, from 0 to 2147483647. Then the promise rejects with
     * {@link ListenerTimeoutError}.
     * @default no limit
     */
    timeoutMs?: number | undefined;
}

/** The type of each channel's payload, by channel. A listener without this type argument has text on every channel. */
type ListenerPayloads = object;
/**
 * The state of a listener.
 *
 * - `idle`: no `startup()` has succeeded yet.
 * - `connecting`: `startup()` is connecting for the first time.
 * - `connected`: the session is up.
 * - `reconnecting`: the session is lost, and the listener is trying to replace it.
 * - `closed`: `shutdown()` has ended, or the listener gave up. `startup()` is allowed again.
 */
type ListenerState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';
/**
 * A callback for gaps. It runs in order with the notification callbacks; notifications after the gap wait until it
 * settles.
 *
 * @param connection - A connection of the pool, leased at its first use; the lease ends when the callback settles.
 * @param gap - The gap.
 */
type GapCallback = (connection: Connection, gap: Gap) => unknown;
/** A message of one of the channels of `Payloads`, with the payload type of that channel. */
type MessageOf<Payloads extends ListenerPayloads> = {
    [Name in keyof Payloads & string]: ListenerNotificationMsg<Payloads[Name], Name>;
}[keyof Payloads & string];
/** The items of an iterator: messages, and with the option `gaps: 'include'` also gaps. */
type ItemOf<Payloads extends ListenerPayloads, Gaps extends GapMode> = 'include' extends Gaps ? MessageOf<Payloads> | Gap : MessageOf<Payloads>;
/** A batch of {@link Listener.batches}, in its shape. In columns a payload may be one of any channel of the listener. */
type BatchOf<Payloads extends ListenerPayloads, Gaps extends GapMode, Shape extends BatchShape> = {
    /** Messages, and with `gaps: 'include'` gaps among them. */
    messages: ItemOf<Payloads, Gaps>[];
    /** Columns, or with `gaps: 'include'` a gap by itself. */
    columns: NotificationColumns<Payloads[keyof Payloads & string], keyof Payloads & string> | ('include' extends Gaps ? Gap : never);
}[Shape];
/**
 * The iterator that {@link Listener.messages} and {@link Listener.batches} return. A `break`, or `await using`,
 * releases it.
 */
interface MessageStream<Item> extends AsyncIterableIterator<Item>, AsyncDisposable {
    /**
     * Returns the next item; waits if there is none yet. It may be called again before the last call has settled.
     *
     * The options bound this one wait, and not the iteration: an item that comes later is there for the next call. When the
     * time is over, the call rejects with {@link ListenerTimeoutError}, and when the signal is aborted, with its reason.
     */
    next(options?: WaitOptions): Promise<IteratorResult<Item, undefined>>;
    /** Returns the stream itself: it can be iterated over once. */
    [Symbol.asyncIterator](): MessageStream<Item>;
    /** Ends the iteration, as `break` does, and drops the notifications that are buffered for it. */
    return(): Promise<IteratorResult<Item, undefined>>;
}
/** Options of {@link Listener.subscribe}. */
interface SubscribeOptions<Gaps extends GapMode = GapMode> extends Omit<MessagesOptions<Gaps>, 'channels'> {
    /**
     * The longest time until the LISTENs are committed, in milliseconds, from 0 to 2147483647. Then the promise rejects with
     * {@link ListenerTimeoutError}. It does not bound the iteration.
     * @default no limit
     */
    timeoutMs?: number | undefined;
}
/** Options of {@link Listener.once} for a channel. */
interface OnceOptions extends WaitOptions {
    /**
     * What happens at a {@link Gap}: with `skip` the wait goes on, with `throw` the promise rejects with
     * {@link ListenerGapError}.
     * @default `skip`
     */
    gaps?: 'skip' | 'throw' | undefined;
}
/**
 * Removes the registration of a callback that {@link Listener.addCallback} made. A second call does nothing. Resolves and
 * rejects as {@link Listener.removeCallback} does.
 */
type RemoveCallback = () => Promise<void>;
/** The callbacks of {@link ConnectionPool.listen}, by channel. */
type Callbacks<Payloads extends ListenerPayloads> = {
    readonly [Name in keyof Payloads & string]?: ListenerCallback<Payloads[Name], Name> | undefined;
};
/** The options of {@link ConnectionPool.listen}: those of the listener, and of its startup. */
interface ListenOptions<Payload = unknown> extends ListenerOptions<Payload>, Pick<StartupOptions, 'retry' | 'timeoutMs'> {
}
/** Options with or without `parse`. */
interface ParseOption {
    /** Converts a payload. */
    parse?: unknown;
}
/** Options without `parse`. */
interface NoParse {
    /** Not there. */
    parse?: undefined;
}
/** `Options`, with a `parse` for sure. */
type WithParse<Options extends ParseOption> = Options & Required<Pick<Options, 'parse'>>;
/** `Options`, with `parse` or without, as the payloads need it. */
type ParseArguments<Options extends ParseOption, Payloads, Schemas> = PayloadsOf<Schemas> extends Payloads ? [keyof Schemas] extends [never] ? [
    options?: Options & NoParse
] : [options?: Options] : Payloads extends Record<keyof Payloads, string> ? [options?: Options] : [options: WithParse<Options>];
/** The arguments of {@link ConnectionPool.listener}. */
type ListenerArguments<Payloads extends ListenerPayloads, Schemas> = ParseArguments<ListenerOptions<Payloads[keyof Payloads]>, Payloads, Schemas>;
/** The arguments of {@link ConnectionPool.listen} after the callbacks. */
type ListenArguments<Payloads extends ListenerPayloads, Schemas> = ParseArguments<ListenOptions<Payloads[keyof Payloads]>, Payloads, Schemas>;
/** Options of {@link Listener.startup}. */
interface StartupOptions {
    /**
     * Whether to go on trying when the server cannot be reached or refuses, as the listener does when it reconnects: with the
     * delays and the `maxAttempts` of {@link ReconnectOptions}, and with a `warning` or `error` event for each attempt that
     * failed. A wrong configuration rejects all the same. For a process that starts before its database.
     * @default false
     */
    retry?: boolean | undefined;
    /**
     * Ends the startup when it is aborted: the promise rejects with its reason, and nothing is left running. It has no effect
     * once the listener is started.
     * @default no signal
     */
    signal?: AbortSignal | undefined;
    /**
     * The longest time that the whole startup may take, in milliseconds, from 0 to 2147483647. Then the promise rejects with
     * {@link ListenerTimeoutError}, and nothing is left running. Each attempt to connect has its own bound,
     * `connectTimeoutSec`.
     * @default no limit
     */
    timeoutMs?: number | undefined;
}
/** Options of {@link Listener.shutdown}. */
interface ShutdownOptions {
    /** Whether to deliver the buffered notifications before the listener ends. @default false */
    drain?: boolean | undefined;
    /**
     * The longest time that the whole shutdown may take, in milliseconds: from 0 to 2147483647. With `drain` the last quarter of it, at most
     * 500 ms, is kept for the end of the session: what was not delivered by then is dropped.
     * @default 5000
     */
    timeoutMs?: number | undefined;
}
/** Options of {@link Listener.sync}. */
type SyncOptions = WaitOptions;
/**
 * The result of {@link Listener.stats}: totals since the listener was made, over all its runs, and the present state of
 * its buffers.
 */
interface ListenerStats {
    /** Notifications read from the server, for subscribed channels; also those that no filter lets pass. */
    received: number;
    /** Notifications handed to consumers. A notification counts once for each consumer that gets it. */
    delivered: number;
    /** Notifications dropped because a consumer's buffer was full. A notification counts once for each such consumer. */
    dropped: number;
    /** Notifications merged into an equal one that waited, counted for each consumer. */
    coalesced: number;
    /** Notifications that a `filter` kept from a consumer, counted for each consumer. */
    filtered: number;
    /** Notifications that wait for consumers now. */
    buffered: number;
    /** The bytes that count against `buffer.maxBytes` now, for all consumers together. */
    bufferedBytes: number;
    /** Failures of callbacks and of `parse`. */
    callbackErrors: number;
    /** Callbacks and gap callbacks whose promises are pending now, also those that a shutdown did not wait for. */
    callbacksInFlight: number;
    /** How long the oldest of them has been pending, in milliseconds; `undefined` when there is none. */
    oldestCallbackAgeMs: number | undefined;
    /** `gap` events. */
    gaps: number;
    /** Lost sessions that were replaced. */
    reconnects: number;
    /** How long the oldest waiting notification has been waiting, in milliseconds; `undefined` when none waits. */
    oldestBufferedAgeMs: number | undefined;
    /** The round-trip time of the session's last heartbeat, in milliseconds; `undefined` before the first. */
    lastRoundTripMs: number | undefined;
    /** The server session that the listener uses; `undefined` while there is none. */
    session: SessionStats | undefined;
}
/** The result of {@link Listener.health}: how a listener is at this moment. */
interface ListenerHealth {
    /** The option `name` of the listener. */
    name: string | undefined;
    /** The state of the listener. It is `connected` from a session's LISTENs to the moment at which its loss is noticed. */
    state: ListenerState;
    /**
     * How long ago the server answered a request of the listening session, in milliseconds: a heartbeat, a LISTEN, a fence. While a
     * session is lost it grows. `undefined` before the first session, and when the listener is not started.
     */
    lastAnswerAgeMs: number | undefined;
    /** How long ago anything was read from the server on the listening session, in milliseconds; `undefined` as above. */
    lastHeardAgeMs: number | undefined;
    /** Callbacks and gap callbacks whose promises are pending. */
    callbacksInFlight: number;
    /** How long the oldest of them has been pending, in milliseconds; `undefined` when there is none. */
    oldestCallbackAgeMs: number | undefined;
    /** Notifications that wait for consumers. */
    buffered: number;
    /** How long the oldest of them has been waiting, in milliseconds; `undefined` when none waits. */
    oldestBufferedAgeMs: number | undefined;
    /** The server session that the listener uses; `undefined` while there is none. */
    session: SessionStats | undefined;
}
/** A server session, with everything that it serves in this process. */
interface SessionStats {
    /** The process id of its backend. */
    processId: number;
    /** How many listeners use it. */
    listeners: number;
    /** How many channels it listens to for them. A channel of several listeners counts once. */
    channels: number;
}

/**
 * Listens to channels of PostgreSQL. {@link ConnectionPool.listener} makes one; its server session is outside the pool.
 *
 * Each notification is delivered to a consumer at most once. Where notifications may be missing, a {@link Gap} stands
 * at their place among the others, so that none is lost silently.
 *
 * @typeParam Payloads - The type of each channel's payload, as `parse` returns it.
 */
declare class Listener<Payloads extends ListenerPayloads = Record<string, string>> extends ListenerEmitter implements AsyncDisposable {
    #private;
    /** Whether the listener is up: from the end of `startup()` until `shutdown()` is called or the listener gives up. */
    get isStarted(): boolean;
    /** The state of the listener; {@link ListenerState} describes each. */
    get state(): ListenerState;
    /** The names of the channels to which the listener is subscribed, or will be at `startup()`. */
    get channels(): string[];
    /**
     * The connection of the listening session itself. Statements on it affect the session: while a transaction is open on
     * it, the server delivers no notifications. Its methods reject with {@link ConnectionClosedError} while the session
     * is lost.
     *
     * With `session: 'auto'` the first method that is called moves the listener from the session that it shares to one of
     * its own, and waits for that: nothing is lost, doubled or out of order. With `session: 'shared'` the methods reject with
     * {@link ListenerStartError}.
     *
     * @throws {@link ListenerStartError} when the listener is not started.
     */
    get connection(): Connection;
    /**
     * Connects and subscribes to every channel of {@link Listener.channels}. Resolves once the LISTENs are committed:
     * each NOTIFY that is committed later is delivered or covered by a gap. Allowed again after `shutdown()`.
     *
     * With the option `retry` it goes on trying, and the state is `connecting` until it succeeds, `signal` is aborted or
     * `shutdown()` is called.
     *
     * Rejects as {@link ConnectionPool.connection} does when the first connection fails, and leaves nothing running; with
     * {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong; with {@link ListenerStartError} when
     * the listener is started already, with {@link ListenerClosedError} when it is shut down meanwhile, with
     * {@link ListenerTimeoutError} when it took longer than `timeoutMs`, and with the reason of `signal` when that is
     * aborted: the option of this call, or of the listener.
     */
    startup(options?: StartupOptions): Promise<void>;
    /**
     * Ends the session and every iterator. Resolves once the server has closed the session, or after `timeoutMs`. It
     * interrupts connecting and reconnecting.
     *
     * A running callback goes on, and `shutdown()` waits for it only with `drain`. Do not await a draining shutdown in a
     * callback: it would wait for itself until `timeoutMs` is over.
     *
     * Callbacks and channels stay registered, so `startup()` and `listen()` work again. Calling `shutdown()` twice, or
     * before `startup()`, does no harm. Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an
     * option is wrong.
     */
    shutdown(options?: ShutdownOptions): Promise<void>;
    /** Shuts the listener down, as {@link Listener.shutdown} does without options. */
    [Symbol.asyncDispose](): Promise<void>;
    /**
     * Registers a callback for a channel. Before `startup()` the promise resolves at once; later, it resolves once the
     * LISTEN is committed, which a listener that is reconnecting does in its next session. A callback that is registered
     * twice is called twice. Allowed inside a callback.
     *
     * Deliveries that come together share one asynchronous scope: what a callback sets with `AsyncLocalStorage.enterWith()` is there
     * for the next ones too, and what it sets with `AsyncLocalStorage.run()` is not.
     *
     * Rejects with {@link ListenerCallbackError} when `callback` is not a function, with {@link ArgumentTypeError} or
     * {@link ArgumentRangeError} when `channel` is not the name of a channel, with {@link DatabaseError} when the server
     * refuses the LISTEN, with {@link ConnectionExecuteError} while a transaction is open on {@link Listener.connection}, with
     * {@link ListenerClosedError} when the listener is shut down or gives up meanwhile, with {@link ListenerOverflowError} when it
     * does because a buffer is full, with {@link ListenerTimeoutError} when the wait for it took longer than `timeoutMs`, and with
     * the reason of `signal`. A rejection leaves nothing registered.
     *
     * @returns A function that removes this registration, and no other of the same callback.
     */
    addCallback<Name extends keyof Payloads & string>(channel: Name, callback: ListenerCallback<Payloads[Name], Name>, options?: WaitOptions): Promise<RemoveCallback>;
    /**
     * Removes the oldest registration of a callback. A channel without callbacks that `addChannel()` did not add is
     * unsubscribed; the promise resolves once the UNLISTEN is committed. Does nothing when the callback is not
     * registered.
     *
     * Rejects with {@link ListenerCallbackError} when `callback` is not a function, with {@link ArgumentTypeError} or
     * {@link ArgumentRangeError} when `channel` is not the name of a channel, with {@link DatabaseError} when the server
     * refuses the UNLISTEN, and with {@link ConnectionExecuteError} while a transaction is open on {@link Listener.connection}.
     * In these last two cases the callback is removed all the same, and the UNLISTEN is tried again behind the next heartbeat,
     * `sync()` or change of the channels.
     */
    removeCallback<Name extends keyof Payloads & string>(channel: Name, callback: ListenerCallback<Payloads[Name], Name>): Promise<void>;
    /**
     * Removes every callback of a channel. From the call on none of them is started, not even for notifications that are
     * buffered. A channel that `addChannel()` did not add is unsubscribed. Resolves and rejects as
     * {@link Listener.removeCallback} does.
     */
    clearChannelCallbacks(channel: keyof Payloads & string): Promise<void>;
    /**
     * Removes every callback and every channel, also those that `addChannel()` added, and ends the streams of
     * `subscribe()`. From the call on their notifications are not delivered any more, not even those that are buffered.
     * Resolves and rejects as {@link Listener.removeCallback} does.
     */
    clearAllChannels(): Promise<void>;
    /**
     * Subscribes to a channel without a callback, for iterators. Resolves and rejects as {@link Listener.addCallback}
     * does.
     */
    addChannel(channel: keyof Payloads & string, options?: WaitOptions): Promise<void>;
    /**
     * Takes `addChannel()` back. A channel that still has callbacks stays subscribed. From the call on no notification of
     * a channel that is unsubscribed is delivered any more, not even one that is buffered or waits in a batch. Resolves and
     * rejects as {@link Listener.removeCallback} does.
     */
    removeChannel(channel: keyof Payloads & string): Promise<void>;
    /**
     * Subscribes to channels and iterates over their notifications, in one: the channels stay subscribed for as long as the
     * stream lasts, and are released at its end, unless somebody else wants them. Resolves once the LISTENs are committed.
     * Each notification that is committed later is yielded, or covered by a gap.
     *
     * The stream is the one of {@link Listener.messages}; it ends with a `break`, a `return()` (also while a `next()` waits),
     * its `signal`, `clearAllChannels()`, or the listener.
     *
     * Rejects as {@link Listener.addCallback} does, and with {@link ListenerStartError} when the listener is not started. A
     * rejection leaves nothing subscribed.
     */
    subscribe<Name extends keyof Payloads & string, const Gaps extends GapMode = 'skip'>(channels: Name | readonly Name[], options?: SubscribeOptions<Gaps>): Promise<MessageStream<ItemOf<Pick<Payloads, Name>, Gaps>>>;
    /**
     * Waits for the next notification of a channel, to which it subscribes meanwhile, and resolves with the message. It passes
     * over what the listener's `filter` leaves out. The lease of the message's connection has ended by then. With a function
     * in the place of the options it is the `once()` of every emitter, for one of the {@link ListenerEvents}.
     *
     * Rejects as {@link Listener.subscribe} does, and with {@link ListenerClosedError} when the listener ends meanwhile.
     */
    once<Name extends keyof Payloads & string>(channel: Name, options?: OnceOptions): Promise<MessageOf<Pick<Payloads, Name>>>;
    once<Event extends keyof ListenerEvents>(event: Event, handler: (...args: ListenerEvents[Event]) => void): this;
    /**
     * Registers a callback for gaps, in which to read again the data that the missing notifications were about. It runs
     * at the gap's place among the notification callbacks, and later notifications wait until it settles.
     *
     * @throws {@link ListenerCallbackError} when `callback` is not a function.
     */
    addGapCallback(callback: GapCallback): void;
    /**
     * Removes the oldest registration of a gap callback. Does nothing when the callback is not registered.
     *
     * @throws {@link ListenerCallbackError} when `callback` is not a function.
     */
    removeGapCallback(callback: GapCallback): void;
    /**
     * Starts calling callbacks. Returns before the first one is called; a second call does nothing.
     *
     * @throws {@link ListenerStartError} when the listener is not started.
     */
    listen(): void;
    /**
     * Stops calling callbacks; a running callback goes on. Notifications stay in the buffer, within its bounds, and the
     * next `listen()` delivers them. Does nothing when the listener is not listening.
     */
    abortListen(): void;
    /** Iterates over the notifications of every subscribed channel, as {@link Listener.messages} does without options. */
    [Symbol.asyncIterator](): MessageStream<MessageOf<Payloads>>;
    /**
     * Iterates over notifications. Each iterator is a consumer of its own, with its own buffer: other iterators and the
     * callbacks get the same notifications. An iterator gets the notifications that arrive from this call on, not from
     * its first `next()` on; the first consumer after `startup()` also gets those that have arrived since `startup()`. The
     * streams of `subscribe()` and `once()` do not count as that consumer: for channels to which the listener is subscribed
     * besides, a buffer is kept within its bounds until there is a callback or an iterator. That buffer holds all channels: a gap of
     * its overflow also counts notifications of channels that the first consumer does not take.
     *
     * `shutdown()` ends the iteration normally. A listener that gives up ends it with {@link ListenerClosedError} or
     * {@link ListenerOverflowError}.
     *
     * @throws {@link ListenerStartError} when the listener is not started, {@link ArgumentTypeError} or
     * {@link ArgumentRangeError} when an option is wrong.
     */
    messages<const Gaps extends GapMode = 'skip'>(options?: MessagesOptions<Gaps>): MessageStream<ItemOf<Payloads, Gaps>>;
    /**
     * Iterates as {@link Listener.messages} does, over batches that are never empty: arrays of messages, or with `shape:
     * 'columns'` the fastest way to consume, {@link NotificationColumns}. Columns never span a gap: with `gaps: 'include'` it
     * is yielded by itself, between those from before and from after it.
     */
    batches<const Gaps extends GapMode = 'skip', const Shape extends BatchShape = 'messages'>(options?: BatchesOptions<Gaps, Shape>): MessageStream<BatchOf<Payloads, Gaps, Shape>>;
    /**
     * Sends a fence through the server and resolves once every present consumer has passed it. Then each notification
     * that was committed before the call has been delivered: its callbacks have settled, and iterators have yielded it.
     *
     * A consumer that takes nothing (after `abortListen()`, or in a loop that is busy) delays the promise, and so does a
     * lost session; the options bound the wait. Do not await it in a callback: it would wait for itself. Callbacks are not
     * waited for before `listen()`: a `warning` event says so.
     *
     * The server is asked first whether it still listens to every channel. If it does not, the listener reconnects, and the
     * fence comes back behind the {@link Gap}.
     *
     * Rejects with {@link ListenerStartError} when the listener is not started, with {@link ListenerClosedError} when it
     * is shut down or gives up meanwhile, with {@link ListenerOverflowError} when it does because a buffer is full, with
     * {@link ConnectionExecuteError} while a transaction is open on {@link Listener.connection}, with {@link DatabaseError} when the
     * server refuses a NOTIFY, with {@link ListenerTimeoutError} after `timeoutMs`, and with the reason of `signal` when that is
     * aborted.
     */
    sync(options?: SyncOptions): Promise<void>;
    /** Returns the counters of this listener: totals over all its runs, and the present state of its buffers. */
    stats(): ListenerStats;
    /**
     * Returns whether the listener is well, as of now and without asking the server: for the readiness of a process, and for
     * whoever watches it.
     */
    health(): ListenerHealth;
    /** Lets a started listener keep the process alive. This is the default; `ref()` takes `unref()` back. */
    ref(): this;
    /** Lets the process end while the listener is started. */
    unref(): this;
}

/** The options of {@link ConnectionPool.notifier}. */
interface NotifierOptions {
    /**
     * How long the first payload waits for others, in milliseconds, from 0 to 2147483647. Payloads that follow do not make the
     * wait longer. With 0 those of one turn of the event loop are sent together.
     * @default 10
     */
    delayMs?: number | undefined;
    /**
     * The most payloads that wait, and that one transaction sends: an integer from 1. When so many wait, or 1 MiB of them, they
     * are sent at once. While others are still under way, the next one is refused.
     * @default 10000
     */
    maxPayloads?: number | undefined;
    /**
     * The longest time that one transaction may take, the wait for a connection included, in milliseconds, from 0 to
     * 2147483647. Then its payloads are given up.
     * @default 30000
     */
    timeoutMs?: number | undefined;
    /**
     * Called when payloads were not sent, once for all that failed together, with the texts that would have been sent; it need
     * not await anything that {@link Notifier.notify} returned. An error that it throws is an uncaught exception.
     * @default a warning of the process, at the first failure after a success
     */
    onError?: ((error: unknown, payloads: string[]) => void) | undefined;
}

/**
 * A logger. Each method is called as `(fields, message)`, with an object first: [pino](https://getpino.io) takes it so, and
 * `console` prints both. A level without a method is not logged. What a method throws, and a promise that it returns and that
 * rejects, are ignored.
 *
 * The fields are those of the messages of `node:diagnostics_channel`, such as {@link SessionMessage}; the message says the
 * same in words. Neither holds a password, nor, without {@link DiagnosticsOptions.payloads}, a payload, a parameter or the text of
 * what a callback or a handler threw.
 *
 * - `debug`: a listener connects, or is about to connect again; a durable subscription falls asleep, wakes up, or stands by.
 * - `info`: a listener is connected, has moved to a session of its own, or was shut down; a durable subscription starts, gets a partition,
 *   or ends.
 * - `warn`: a session is lost, notifications may be missing, there is a `warning` event, or a `startup()` has failed; an attempt at an event has failed, or a restored
 *   dump was adopted.
 * - `error`: there is an `error` event, or a listener has given up; an event was given up, or a durable subscription has stopped.
 */
interface Logger {
    /** Logs what is of use when something is looked into. */
    debug?(fields: object, message: string): unknown;
    /** Logs what is as it should be. */
    info?(fields: object, message: string): unknown;
    /** Logs what somebody should know. */
    warn?(fields: object, message: string): unknown;
    /** Logs what somebody should act upon. */
    error?(fields: object, message: string): unknown;
}
/**
 * What the messages of `node:diagnostics_channel`, and the {@link Logger}, may tell of the user's data. By default those messages
 * hold no payload, no parameter, no SQL and no text of an error.
 */
interface DiagnosticsOptions {
    /**
     * Whether the contexts of `pglisten:callback`, `pglisten:handler` and `pglisten:notify` have the payloads, and the errors as they were thrown:
     * for a tracer that finds its parent, such as `traceparent`, in a payload. The logger then gets them too: `err` and `payload` with
     * an `error` event, and `err` with whatever fails in a durable subscription.
     * @default false
     */
    payloads?: boolean | undefined;
    /**
     * Whether the contexts of `pglisten:statement` have the SQL, without its parameters, and the errors of the server as they
     * are.
     * @default false
     */
    statements?: boolean | undefined;
}

/**
 * How the server's queue of notifications is watched. A backend that listens and stays in a transaction, or whose client does not
 * read, keeps the queue of all databases from being emptied. When the queue is full, each transaction that notifies fails.
 */
interface QueueWatchOptions {
    /**
     * The time between two looks, in milliseconds, from 1 to 2147483647. A look is a short statement on a connection of the pool;
     * there is none while no listener of the pool is started.
     * @default 60000
     */
    intervalMs?: number | undefined;
    /** How much of the queue has to be in use for a `warning` event, from more than 0 to 1. @default 0.25 */
    threshold?: number | undefined;
}

/**
 * The role that a server must have, with [libpq's
 * meaning](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS). A listener
 * needs a primary, because a standby refuses LISTEN.
 *
 * - `any`: every server.
 * - `read-write`, `read-only`: a server whose sessions may write by default, or may not.
 * - `primary`, `standby`: a primary, or a standby.
 * - `prefer-standby`: a standby if one of the hosts is one, or else every server.
 */
type TargetSessionAttrs = 'any' | 'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby';
/**
 * The order in which several hosts are tried: as they are listed (`disable`), or shuffled for each connection
 * (`random`).
 */
type LoadBalanceHosts = 'disable' | 'random';
/**
 * The treatment of a pooled connection before it is leased again.
 *
 * - `fast`: a connection that is known to be closed is dropped.
 * - `verified`: as `fast`, and a round trip shows that the connection works.
 * - `clean`: as `verified`, and the session is reset: its settings, LISTENs, temporary tables and advisory locks.
 */
type ConnRecyclingMethod = 'fast' | 'verified' | 'clean';
/**
 * The encryption that is asked for, with [libpq's meaning](https://www.postgresql.org/docs/current/libpq-ssl.html):
 *
 * | mode          | connection                                            | certificate of the server                             |
 * | ------------- | ----------------------------------------------------- | ----------------------------------------------------- |
 * | `disable`     | plain                                                 | –                                                     |
 * | `allow`       | plain; encrypted if the server refuses that           | as `require`                                          |
 * | `prefer`      | encrypted; plain if the server refuses or has no TLS  | as `require`                                          |
 * | `require`     | encrypted                                             | as `verify-ca` if `caFile` or `ca` is there, else any |
 * | `verify-ca`   | encrypted                                             | issued by an authority in `caFile` or `ca`            |
 * | `verify-full` | encrypted                                             | as `verify-ca`, and issued for the host               |
 *
 * Only `verify-full` protects from an attacker between client and server. A Unix-domain socket is never encrypted.
 */
type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';
/**
 * How TLS begins: after the server was asked for it (`postgres`), or at once (`direct`), which needs PostgreSQL 17 or
 * later.
 */
type SslNegotiation = 'postgres' | 'direct';
/**
 * Whether SCRAM authentication is bound to the encrypted connection (channel binding). The binding proves that the
 * server at the other end of the encryption is the one that knows the password.
 *
 * - `disable`: it is not.
 * - `prefer`: it is, if the server offers it.
 * - `require`: it is. A server that does not offer it is refused, and so is every other authentication.
 */
type ChannelBinding = 'disable' | 'prefer' | 'require';
/** Returns the password of a new connection: the type of a `password` that changes. */
type PasswordFunction = () => string | Promise<string>;
/**
 * The options of a {@link ConnectionPool}: how to connect, and how many connections to keep. Each setting comes from
 * the first of these sources that has it: the option, the `dsn`, libpq's environment variable, the default. A wrong
 * option is a {@link ConnectionPoolConfigurationError}.
 */
interface ConnectionPoolOptions<Schemas extends ChannelSchemas = NoSchemas> {
    /**
     * A URL (`postgres://user:password@host:5432/database`) or key/value pairs (`host=localhost user=postgres`), read by
     * [libpq's rules](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). A parameter that is
     * not supported is refused by its name.
     * @default none
     */
    dsn?: string | undefined;
    /**
     * Where the sessions of listeners connect, as a DSN: for a pool behind a transaction pooler, which cannot serve LISTEN.
     * The pool's other options apply to them, but for `dsn`, `host` and `port`. Everything else goes where the pool goes, the
     * connections of callbacks too.
     * @default where the pool connects
     */
    listenDsn?: string | undefined;
    /**
     * The schemas of channels: objects of any library that implements [Standard Schema](https://standardschema.dev), such as
     * zod, valibot or arktype. {@link ConnectionPool.notify} takes what fits the schema of its channel, and sends its JSON;
     * callbacks and iterators get what the schema makes of the JSON. A notification that does not fit is not delivered, and an
     * `error` event tells of it. Channels without a schema carry text; to TypeScript they are no channels of this pool, so that a
     * misspelt name is an error, except those in the type argument of a listener: `pool.listener<{ other: string }>()`.
     * @default none
     */
    schemas?: Schemas | undefined;
    /**
     * How the values of statements are read and written.
     * @default as `QueryResult` and {@link QueryParameter} say
     */
    types?: TypeOptions | undefined;
    /** The name of the user to connect as. @default `PGUSER`, or the user who runs the process */
    username?: string | undefined;
    /**
     * The password of the user, or a function that returns it, such as one that asks for a token.
     *
     * The function is called once for each new connection, when a server was reached, and whether or not that server wants a
     * password; `connectTimeoutSec` bounds its answer too. It may be called again while an earlier call is pending. When it
     * throws, rejects, gives something else than a string, or does not answer in time, the attempt to connect fails with a
     * {@link ConnectionFailedError} that says which of these it was, and nothing of what was thrown or given. The first
     * password in a row that the server refuses is followed by another attempt as after any failure: it may just have changed.
     * @default `PGPASSWORD`, or the entry for the host in a password file (`PGPASSFILE`, or `~/.pgpass`)
     */
    password?: string | PasswordFunction | undefined;
    /** The server's host, without a port: a name, an address, or the folder of a Unix-domain socket (not on Windows). @default `PGHOST`, or `localhost` */
    host?: string | undefined;
    /**
     * Several hosts, which are tried one after the other; the next one also beside a host that has not answered after a quarter of
     * `connectTimeoutSec`. Excludes `host`.
     * @default none
     */
    hosts?: readonly string[] | undefined;
    /** The server's port, from 1 to 65535. @default `PGPORT`, or 5432 */
    port?: number | undefined;
    /** One port for all hosts, or one port for each host. Excludes `port`. @default none */
    ports?: readonly number[] | undefined;
    /** The name of the database. @default `PGDATABASE`, or the name of the user */
    dbName?: string | undefined;
    /**
     * The server's command-line options for each session, such as `-c statement_timeout=5s`.
     * @default `PGOPTIONS`, or none
     */
    options?: string | undefined;
    /** The name under which each session appears in `pg_stat_activity`. @default `PGAPPNAME`, or `pglisten` */
    applicationName?: string | undefined;
    /**
     * The role that a server must have; a host with another role is passed over.
     * @default `PGTARGETSESSIONATTRS`, or `any`
     */
    targetSessionAttrs?: TargetSessionAttrs | undefined;
    /**
     * The time between two looks at another host, in seconds from 0.001 (each is up to a tenth longer or shorter), or `false`
     * for none. It applies with several hosts and `targetSessionAttrs` `primary` or `read-write`, while a listener is
     * connected. A primary that its cluster has left behind goes on answering; promotion gives the new one a higher timeline.
     * When a look finds it, listeners move there with a gap, and so do the connections of the pool. One short connection is
     * made to one other host each time. New connections, also those of `connect()`, avoid a primary that a listener of this
     * process has found left behind; with `false` they do not.
     * @default 30
     */
    primaryCheckSec?: number | false | undefined;
    /** The order in which several hosts are tried. @default `PGLOADBALANCEHOSTS`, or `disable` */
    loadBalanceHosts?: LoadBalanceHosts | undefined;
    /**
     * The longest time for an attempt to connect to one host, in seconds from 0.001; fractions are allowed. It covers
     * name resolution, encryption and start-up.
     * @default `PGCONNECT_TIMEOUT`, or 10
     */
    connectTimeoutSec?: number | undefined;
    /**
     * The longest time that sent data may stay unacknowledged, in seconds from 0.001; Linux only. Then the connection is
     * lost.
     * @default 30
     */
    tcpUserTimeoutSec?: number | undefined;
    /** Whether TCP keepalive is on. @default true */
    keepalives?: boolean | undefined;
    /**
     * The idle time before the first keepalive probe, in seconds from 0.001. Systems take whole seconds: it is rounded up, and no more
     * than 32767 are used, the most that Linux takes.
     * @default 60
     */
    keepalivesIdleSec?: number | undefined;
    /**
     * The time between keepalive probes, in seconds from 0.001; rounded and bounded like the idle time.
     * @default the operating system's; 1 on Windows
     */
    keepalivesIntervalSec?: number | undefined;
    /**
     * The number of unanswered keepalive probes after which the connection is lost: from 1 to 1000, of which no more than 127 are used,
     * the most that Linux takes. Windows before 10 (1703) has no such setting.
     * @default the operating system's
     */
    keepalivesRetries?: number | undefined;
    /**
     * The most connections of the pool: an integer from 1 to 262143. The session of a listener does not count.
     * @default 10
     */
    maxDbPoolSize?: number | undefined;
    /**
     * The longest wait for a connection of the pool, in seconds, from 0.001 to 2147483.647: for a free place and, if need be,
     * for a new connection. `timeoutMs` of a call takes its place.
     * @default 30
     */
    acquireTimeoutSec?: number | undefined;
    /**
     * The longest time for which a connection of the pool may be idle, in seconds, from 0.001 to 2147483.647. Then it is closed,
     * also while nobody asks for a connection; the connection that was used last is given out first. It does not keep the
     * process alive.
     * @default no limit
     */
    idleTimeoutSec?: number | undefined;
    /**
     * The longest life of a connection of the pool, in seconds, from 0.001 to 2147483.647, less a random part of up to a tenth,
     * so that connections do not all end together. An idle connection is closed then, a leased one when its lease ends. The
     * session of a listener is not bounded.
     * @default no limit
     */
    maxLifetimeSec?: number | undefined;
    /**
     * The most bytes in the buffers of all consumers of the pool's listeners together: an integer from 16384, counted as
     * `buffer.maxBytes` of a listener counts them. Beyond it the largest buffer overflows first, by its own policy: one that drops its
     * oldest gives way at once, with a `Gap` in the place of what was dropped; one of another policy overflows with its next
     * notification. A buffer that has no more than an equal part of the bound does not overflow for it, so a consumer that keeps up
     * loses nothing to those that do not.
     * @default 536870912 (512 MiB)
     */
    maxBufferedBytes?: number | undefined;
    /** The treatment of a connection before it is leased again. @default `fast` */
    connRecyclingMethod?: ConnRecyclingMethod | undefined;
    /** The encryption that is asked for. @default `PGSSLMODE`, or `verify-full` when `caFile` is `system`, or `prefer` */
    sslMode?: SslMode | undefined;
    /**
     * The path of a file with the certificates of trusted authorities, in PEM. `system` stands for the authorities that
     * the operating system trusts, and needs `sslMode: 'verify-full'`. The file is read for each new connection, which
     * fails with a {@link ConnectionPoolConfigurationError} when the file cannot be used.
     * @default `PGSSLROOTCERT`, or `~/.postgresql/root.crt` if it is there
     */
    caFile?: string | undefined;
    /**
     * The certificates of trusted authorities themselves, as text in PEM, one after the other. Excludes `caFile`; the `dsn`
     * and the environment may name a file, which is then not used. A text without a certificate is a
     * {@link ConnectionPoolConfigurationError}, which does not show it.
     * @default none
     */
    ca?: string | undefined;
    /**
     * The path of a file with the client's certificate, in PEM, followed by the certificates of its issuers. The file is
     * read for each new connection, which fails with a {@link ConnectionPoolConfigurationError} when the file cannot be
     * used.
     * @default `PGSSLCERT`, or `~/.postgresql/postgresql.crt` if it is there
     */
    certFile?: string | undefined;
    /**
     * The client's certificate itself, as text in PEM, followed by the certificates of its issuers. Its key is in `key` or
     * `keyFile`. Excludes `certFile`; the `dsn` and the environment may name a file, which is then not used. A text without
     * a certificate is a {@link ConnectionPoolConfigurationError}, which does not show it.
     * @default none
     */
    cert?: string | undefined;
    /**
     * The path of a file with the private key for `certFile`, in PEM or DER: RSA (2048 bits or more), P-256, P-384 or
     * Ed25519, not encrypted. Other users must not have access to the file: its mode is 0600, or 0640 if it belongs to
     * root. The file is read for each new connection, which fails with a {@link ConnectionPoolConfigurationError} when
     * the file cannot be used.
     * @default `PGSSLKEY`, or `~/.postgresql/postgresql.key`
     */
    keyFile?: string | undefined;
    /**
     * The private key for the client's certificate itself, as text in PEM, of a kind that `keyFile` may have. Excludes
     * `keyFile`; the `dsn` and the environment may name a file, which is then not used. A text without a key, or with
     * that of another certificate than `cert`, is a {@link ConnectionPoolConfigurationError}. It is shown nowhere.
     * @default none
     */
    key?: string | undefined;
    /**
     * How TLS begins. `direct` needs an `sslMode` of `require` or stricter.
     * @default `PGSSLNEGOTIATION`, or `postgres`
     */
    sslNegotiation?: SslNegotiation | undefined;
    /** Whether SCRAM authentication is bound to the encrypted connection. @default `PGCHANNELBINDING`, or `prefer` */
    channelBinding?: ChannelBinding | undefined;
    /**
     * Gets the life of the pool's listeners in words, with fields: `console`, a logger of pino, or whatever has the methods of
     * {@link Logger}.
     * @default none
     */
    logger?: Logger | undefined;
    /**
     * What the messages of `node:diagnostics_channel`, and `logger`, may tell of the user's data.
     * @default nothing
     */
    diagnostics?: DiagnosticsOptions | undefined;
    /**
     * How the server's queue of notifications is watched. At or above a threshold each started listener of the pool has a `warning`
     * event that names who is likely to hold the queue back.
     * @default false (it is not)
     */
    queueWatch?: QueueWatchOptions | false | undefined;
}

/** The options of {@link ConnectionPool.close}. */
interface PoolCloseOptions {
    /**
     * How long leased connections are waited for, in milliseconds, from 0 to 2147483647. @default 5000
     */
    timeoutMs?: number | undefined;
}

/** The result of {@link ConnectionPool.status}. */
interface ConnectionPoolStatus {
    /** The most connections that the pool may have. */
    maxSize: number;
    /** The connections that the pool has. */
    size: number;
    /** The connections that are not leased. */
    available: number;
    /** The calls that wait for a connection. */
    waiting: number;
}
/**
 * A pool of connections, which also makes listeners. A new pool opens no connection; it opens each one when it is
 * needed.
 *
 * @typeParam Schemas - The types of the option `schemas`.
 */
declare class ConnectionPool<Schemas extends ChannelSchemas = NoSchemas> implements AsyncDisposable {
    #private;
    /**
     * @param options - How to connect: options, or a DSN. Without it libpq's environment variables and the defaults
     * apply.
     * @throws {@link ConnectionPoolConfigurationError} when an option is wrong.
     */
    constructor(options?: ConnectionPoolOptions<Schemas> | string);
    /**
     * Makes a listener. The listener connects at its `startup()`, with a server session outside the pool.
     *
     * The type of the payloads is that of the pool's schemas; else the one that `parse` returns; else text. A type argument
     * gives each channel a type of its own: `pool.listener<{ orders: Order }>({ parse: JSON.parse })`.
     *
     * @typeParam Payloads - The type of each channel's payload, as `parse` returns it. With others than text `parse` is
     * required.
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong,
     * {@link ConnectionPoolConfigurationError} when its `dsn` is, {@link ConnectionPoolExecuteError} when the pool is closed.
     */
    listener<Payloads extends object = PayloadsOf<Schemas>>(...args: ListenerArguments<Payloads, Schemas>): Listener<Payloads>;
    /** Makes a listener whose payloads have the type that `parse` returns. */
    listener<Payload, _Inferred>(options: ListenerOptions<Payload>): Listener<Record<string, Payload>>;
    /** Makes a listener whose payloads have the given types. */
    listener<Payloads extends object>(options: WithParse<ListenerOptions<Payloads[keyof Payloads]>>): Listener<Payloads>;
    /**
     * Makes a listener, registers a callback for each channel, starts it and lets it listen: `listener()`, `addCallback()`,
     * `startup()` and `listen()` in one. The payloads have the types that `listener()` would give them.
     *
     * Rejects as each of these does, and leaves nothing running. With `retry`, the first attempt that fails is told of in a
     * warning of the process.
     *
     * @param callbacks - A callback for each channel.
     * @param args - The options of the listener, and of its startup. @default those of `listener()` and `startup()`
     */
    listen(callbacks: Callbacks<PayloadsOf<Schemas>>, ...args: ListenArguments<PayloadsOf<Schemas>, Schemas>): Promise<Listener<PayloadsOf<Schemas>>>;
    /** Starts a listener whose payloads have the type that `parse` returns. */
    listen<Payload, _Inferred>(callbacks: Callbacks<Record<string, Payload>>, options: ListenOptions<Payload>): Promise<Listener<Record<string, Payload>>>;
    /** Starts a listener whose payloads have the given types. */
    listen<Payloads extends object>(callbacks: Callbacks<Payloads>, ...args: ListenArguments<Payloads, Schemas>): Promise<Listener<Payloads>>;
    /**
     * Leases a connection of the pool, until it is closed. Opens one if none is free, and waits if the pool is full.
     *
     * Rejects with {@link ConnectionFailedError} when no server can be reached, with {@link ConnectionTlsError} when it
     * cannot be reached with the encryption asked for, with {@link ConnectionPoolConfigurationError} when a file of
     * certificates or keys cannot be used, with {@link DatabaseError} when the server refuses, with
     * {@link ConnectionPoolExecuteError} when the pool is closed, or no connection became free within `timeoutMs` or else
     * `acquireTimeoutSec`: the message says who holds how many. Rejects with {@link ConnectionTimeoutError} when that time
     * ends while it connects.
     *
     * @param options - Bounds of the wait. @default `acquireTimeoutSec`
     */
    connection(options?: CallOptions): Promise<Connection>;
    /** Leases a connection of the pool: psqlpy's name of {@link ConnectionPool.connection}. */
    acquire(options?: CallOptions): Promise<Connection>;
    /**
     * Sends a notification: calls `pg_notify(channel, payload)` on a connection of the pool, in one round trip. Resolves
     * once it is committed. Nothing is prepared for it, so a pooler in transaction mode is no obstacle.
     *
     * A channel with a schema takes a value that fits it, and its JSON is sent.
     *
     * Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong, and as
     * {@link ConnectionPool.connection} does.
     *
     * @param channel - The name of the channel: 1 to 63 bytes without NUL, case-sensitive.
     * @param payload - The payload: at most 7999 bytes without NUL. @default the empty text
     * @param options - Bounds of the call, the wait for a connection included. @default `acquireTimeoutSec` for that wait
     */
    notify<Name extends keyof Schemas & string>(channel: Name, payload: ChannelInput<Schemas[Name]>, options?: CallOptions): Promise<void>;
    /** Sends text to a channel of a pool without schemas. */
    notify(channel: TextChannel<Schemas>, payload?: string, options?: CallOptions): Promise<void>;
    /**
     * Sends several notifications to a channel in one statement: all of them, in their order, or none. Resolves once they are
     * committed. PostgreSQL delivers equal payloads of one transaction once. An empty list sends nothing. It takes one round
     * trip, as {@link ConnectionPool.notify} does.
     *
     * Takes payloads and rejects as {@link ConnectionPool.notify} does; every payload is checked before anything is sent.
     *
     * @param channel - The name of the channel.
     * @param payloads - The payloads.
     * @param options - Bounds of the call, the wait for a connection included. @default `acquireTimeoutSec` for that wait
     */
    notifyMany<Name extends keyof Schemas & string>(channel: Name, payloads: readonly ChannelInput<Schemas[Name]>[], options?: CallOptions): Promise<void>;
    /** Sends texts to a channel of a pool without schemas. */
    notifyMany(channel: TextChannel<Schemas>, payloads: readonly string[], options?: CallOptions): Promise<void>;
    /**
     * Makes a notifier, which gathers payloads of a channel for a moment and sends them as {@link ConnectionPool.notifyMany}
     * does: for code that notifies more often than anybody needs to hear. It takes payloads as {@link ConnectionPool.notify}
     * does.
     *
     * Closing the pool gives up the payloads that wait: close the notifier first.
     *
     * @param channel - The name of the channel.
     * @param options - How long payloads wait, and how many. @default those of {@link NotifierOptions}
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
     * {@link ConnectionPoolExecuteError} when the pool is closed.
     */
    notifier<Name extends keyof Schemas & string>(channel: Name, options?: NotifierOptions): Notifier<ChannelInput<Schemas[Name]>>;
    /** Makes a notifier of text for a channel of a pool without schemas. */
    notifier(channel: TextChannel<Schemas>, options?: NotifierOptions): Notifier;
    /**
     * Runs one statement on a connection of the pool, as {@link Queryable.execute} does. Parameters are a list, and the options are those of
     * every call: for parameters by name, `prepared`, `rowMode` and the like take a connection. So do the methods below.
     */
    execute<Row extends object = Record<string, unknown>>(sql: string, params?: readonly QueryParameter[], options?: CallOptions): Promise<QueryResult<Row>>;
    /** Runs one statement on a connection of the pool, as {@link Queryable.fetch} does. */
    fetch<Row extends object = Record<string, unknown>>(sql: string, params?: readonly QueryParameter[], options?: CallOptions): Promise<QueryResult<Row>>;
    /** Runs a statement that returns one row, as {@link Queryable.fetchRow} does, on a connection of the pool. */
    fetchRow<Row extends object = Record<string, unknown>>(sql: string, params?: readonly QueryParameter[], options?: CallOptions): Promise<Row>;
    /** Runs a statement that returns one row or none, as {@link Queryable.fetchRowOrNull} does, on a connection of the pool. */
    fetchRowOrNull<Row extends object = Record<string, unknown>>(sql: string, params?: readonly QueryParameter[], options?: CallOptions): Promise<Row | null>;
    /** Runs a statement that returns one value, as {@link Queryable.fetchVal} does, on a connection of the pool. */
    fetchVal<Value = unknown>(sql: string, params?: readonly QueryParameter[], options?: CallOptions): Promise<Value>;
    /** What durable subscriptions need in the database, and what is told of all of them. */
    get durable(): Durable;
    /**
     * Publishes an event for durable subscriptions, as {@link Queryable.publish} does, on a connection of the pool. Returns its id. On a
     * channel with a schema the payload is what the schema takes, and checked by it.
     *
     * Rejects with {@link DurableError} when durable subscriptions are not installed or the role may not publish, and as
     * {@link ConnectionPool.execute} does.
     *
     * @param channel - The channel: 1 to 63 bytes.
     * @param payload - The payload: text, or a value that fits the schema of the channel. With the key it may have up to 256 MiB.
     */
    publish<Name extends keyof Schemas & string>(channel: Name, payload: ChannelInput<Schemas[Name]>, options?: PublishOptions): Promise<bigint>;
    /** Publishes text to a channel of a pool without schemas. */
    publish(channel: TextChannel<Schemas>, payload: string, options?: PublishOptions): Promise<bigint>;
    /**
     * Makes a durable subscription: {@link Subscription.run} or a loop works its events. {@link Durable.install} has to have been called
     * once in the database. The payloads of a pool with schemas are what those make of them, and an event's `channel` tells which one.
     *
     * @param name - Its name: those of one name share the events, in all processes.
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
     * {@link ConnectionPoolExecuteError} when the pool is closed.
     */
    subscription<Name extends keyof Schemas & string>(name: string, options: SubscriptionOptions<Name>): Subscription<DurableEventOf<Schemas, Name>>;
    /** Makes a durable subscription to channels of a pool without schemas: the payloads are text. */
    subscription(name: string, options: SubscriptionOptions<TextChannel<Schemas>>): Subscription;
    /**
     * Ends a backend that holds the server's queue of notifications back, as a `warning` event of the kind `queue` has named it:
     * calls `pg_terminate_backend()`, if the backend is still the same. What it has not committed is rolled back.
     *
     * Rejects as {@link ConnectionPool.execute} does, such as with {@link DatabaseError} when the role may not
     * (`pg_signal_backend`).
     *
     * @param suspect - One of {@link QueueReport.suspects}.
     * @param options - Bounds of the call. @default `acquireTimeoutSec` for the wait for a connection
     * @returns Whether it was ended; `false` when it is gone already.
     */
    endQueueHolder(suspect: Pick<QueueSuspect, 'processId' | 'backendStart'>, options?: CallOptions): Promise<boolean>;
    /** Returns the numbers of connections and of calls that wait for one. */
    status(): ConnectionPoolStatus;
    /**
     * Changes the most connections that the pool may have. Connections beyond it are closed when their leases end.
     *
     * @param size - An integer from 1 to 262143.
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when it is not.
     */
    resize(size: number): void;
    /**
     * Shuts the pool's listeners down and closes every connection. Leased connections are closed when their leases end,
     * or after `timeoutMs`, when the server is asked to cancel their statements.
     *
     * Resolves once the server's sessions are gone; while connections are leased, at most 1 s after `timeoutMs`. A second
     * call waits for the first. Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong,
     * and closes nothing then.
     */
    close(options?: PoolCloseOptions): Promise<void>;
    /** Closes the pool, as {@link ConnectionPool.close} does. */
    [Symbol.asyncDispose](): Promise<void>;
}

/**
 * The options of {@link connect}: how to connect. Those of {@link ConnectionPoolOptions} that are about pools or their listeners are
 * left out.
 */
type ConnectOptions = Omit<ConnectionPoolOptions, 'maxDbPoolSize' | 'acquireTimeoutSec' | 'idleTimeoutSec' | 'maxLifetimeSec' | 'maxBufferedBytes' | 'connRecyclingMethod' | 'listenDsn' | 'schemas' | 'logger' | 'queueWatch'>;
/**
 * Opens a connection that belongs to no pool. {@link Connection.close} ends its session: when it resolves, the server's
 * backend is gone. So does the garbage collector, at some time, for a connection that nobody has closed.
 *
 * A connection that is lost stays so; a pool replaces it. Rejects as {@link ConnectionPool.connection} does, and with
 * {@link ConnectionPoolConfigurationError} when an option is wrong. Nothing is left open then.
 *
 * @param options - How to connect: options, or a DSN. Without it libpq's environment variables and the defaults apply.
 * @param callOptions - Bounds of the attempt. @default 30 s
 */
declare function connect(options?: ConnectOptions | string, callOptions?: CallOptions): Promise<Connection>;

/**
 * A PostgreSQL array with lower bounds, such as `[2:4]={1,2,3}`. It can be given as a parameter. It is read where the option `arrayBounds`
 * is `keep`, for an array that has other lower bounds than 1, and always for an array of `json` or `jsonb` that has several dimensions:
 * an array within an array of JSON could be JSON itself, which it is in a plain array.
 */
declare class BoundedArray<Element = unknown> {
    /** The index of the first element of each dimension, integers of 32 bits. */
    readonly lowerBounds: readonly number[];
    /** The elements, nested for each dimension. */
    readonly values: readonly Element[];
    /**
     * @param values - The elements, nested for each dimension.
     * @param lowerBounds - The index of the first element of each dimension.
     * @throws {@link ArgumentTypeError} when an argument is no such array.
     */
    constructor(values: readonly Element[], lowerBounds: readonly number[]);
}

/** A `point`. */
interface Point {
    /** The horizontal coordinate. */
    x: number;
    /** The vertical coordinate. */
    y: number;
}
/** A `line`: all points for which `a * x + b * y + c` is 0. */
interface Line {
    /** The factor of `x`. */
    a: number;
    /** The factor of `y`. */
    b: number;
    /** The constant. */
    c: number;
}
/** A `path`. */
interface Path {
    /** The points. */
    points: Point[];
    /** Whether the last point is connected with the first one. */
    closed: boolean;
}
/** A `circle`. */
interface Circle {
    /** The horizontal coordinate of the centre. */
    x: number;
    /** The vertical coordinate of the centre. */
    y: number;
    /** The radius. */
    radius: number;
}

/**
 * An `interval`: months, days and microseconds, each with a sign of its own, as PostgreSQL keeps them. A month has no fixed number of
 * days, nor a day one of hours, so none is folded into another: 25 hours stay 25 hours.
 *
 * An infinite interval, which PostgreSQL has since version 17, is read as `Infinity` or `-Infinity`.
 */
declare class Interval {
    /** Whole months, of which a year has 12. */
    readonly months: number;
    /** Whole days, of which a week has 7. */
    readonly days: number;
    /** Microseconds. */
    readonly microseconds: bigint;
    /**
     * @param parts - The parts. What is left out is 0.
     * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when `months` or `days` is not an integer of 32 bits, or
     * `microseconds` not one of 64 bits.
     */
    constructor(parts?: {
        months?: number;
        days?: number;
        microseconds?: bigint | number;
    });
    /**
     * Returns the text that PostgreSQL reads, whatever its `IntervalStyle` is: `+14 months -3 days +5 microseconds`. Microseconds beyond
     * 32 bits are told with hours and minutes before them.
     */
    toString(): string;
    /** Returns the text of {@link Interval.toString}, since JSON has no bigint. */
    toJSON(): string;
}

/** What a {@link Range} is made of. */
interface RangeParts<Bound> {
    /**
     * The lower bound; `null` for none.
     * @default null
     */
    lower?: Bound | null;
    /**
     * The upper bound; `null` for none.
     * @default null
     */
    upper?: Bound | null;
    /**
     * Whether the lower bound is part of the range.
     * @default true
     */
    lowerInclusive?: boolean;
    /**
     * Whether the upper bound is part of the range.
     * @default false
     */
    upperInclusive?: boolean;
    /**
     * Whether the range holds nothing. Then it has no bounds.
     * @default false
     */
    isEmpty?: boolean;
}
/**
 * A range, of any range type: `new Range({ lower: 1, upper: 5 })` is `[1,5)`. A bound that is infinite by its own value, such as a
 * timestamp of `infinity`, differs from a bound that is not there.
 *
 * PostgreSQL writes a range of integers or days as one that holds its lower bound and not its upper one: `[1,5]` is read as `[1,6)`.
 */
declare class Range<Bound = unknown> {
    /** The lower bound; `null` if there is none. */
    readonly lower: Bound | null;
    /** The upper bound; `null` if there is none. */
    readonly upper: Bound | null;
    /** Whether the lower bound is part of the range; `false` if there is none. */
    readonly lowerInclusive: boolean;
    /** Whether the upper bound is part of the range; `false` if there is none. */
    readonly upperInclusive: boolean;
    /** Whether the range holds nothing. */
    readonly isEmpty: boolean;
    /** @param parts - The parts. @default a range without bounds */
    constructor(parts?: RangeParts<Bound>);
    /** A range that holds nothing. */
    static empty<Bound = never>(): Range<Bound>;
    /** Returns the range as mathematicians write it, such as `[1,5)`, for people. */
    toString(): string;
}

export { ArgumentRangeError, ArgumentTypeError, BoundedArray, Connection, ConnectionClosedError, ConnectionError, ConnectionExecuteError, ConnectionFailedError, ConnectionPool, ConnectionPoolConfigurationError, ConnectionPoolError, ConnectionPoolExecuteError, ConnectionTimeoutError, ConnectionTlsError, CopyStream, Cursor, DatabaseError, Durable, DurableError, Gap, Interval, Listener, ListenerCallbackError, ListenerClosedError, ListenerError, ListenerGapError, ListenerNotificationMsg, ListenerOverflowError, ListenerStartError, ListenerTimeoutError, Notifier, PglistenError, PreparedStatement, QueryResult, Queryable, Range, Subscription, SubscriptionStoppedError, SubscriptionStream, Transaction, TransactionBeginError, TransactionClosedError, TransactionCommitError, TransactionError, connect };
export type { ArrayMode, BatchOf, BatchShape, BatchesOptions, BinaryCopyOptions, BinaryCopySource, BufferOptions, CallOptions, CallbackContext, Callbacks, ChannelBinding, ChannelInput, ChannelOutput, ChannelSchema, ChannelSchemaIssue, ChannelSchemaKey, ChannelSchemaResult, ChannelSchemas, Circle, CoalesceMode, ConnRecyclingMethod, ConnectOptions, ConnectionInfo, ConnectionPoolOptions, ConnectionPoolStatus, CopyReadable, CopyRecord, CopyRecords, CopyRecordsOptions, CopySource, CursorOptions, Decoder, DiagnosticsOptions, DurableEvent, DurableEventOf, DurableStatus, Encoder, ErrorFacts, FailedEvent, FailingEvent, GapCallback, GapMessage, GapMode, GapReason, HandlerContext, HeartbeatOptions, InstallOptions, IsolationLevel, ItemOf, JsonCondition, Line, ListenArguments, ListenOptions, ListenerArguments, ListenerCallback, ListenerCallbackErrorOptions, ListenerEvents, ListenerHealth, ListenerIdentity, ListenerMessage, ListenerOptions, ListenerPayloads, ListenerState, ListenerStats, ListenerWarning, LoadBalanceHosts, Logger, MapMode, MessageOf, MessageStream, MessagesOptions, NamedQueryParameters, NoParse, NoSchemas, NotificationColumns, NotificationFilter, NotifierOptions, NotifyContext, OnceOptions, OverflowPolicy, ParameterType, ParseArguments, ParseChannel, ParseOption, PasswordFunction, Path, PayloadsOf, PglistenErrorOptions, PipelineStatement, Point, PoolCloseOptions, PoolMessage, PreparedColumn, PublishOptions, QueryColumn, QueryOptions, QueryParameter, QueryParameters, QueueMessage, QueueReport, QueueSuspect, QueueWatchOptions, RangeParts, ReconnectOptions, RemoveCallback, RunOptions, ServerMessage, SessionChoice, SessionMessage, SessionMoment, SessionStats, SettledMessage, ShutdownOptions, SslMode, SslNegotiation, StartupOptions, StatementContext, StatementMethod, StatementOptions, SubscribeOptions, SubscriptionBatch, SubscriptionEvents, SubscriptionFailure, SubscriptionInfo, SubscriptionMessage, SubscriptionMoment, SubscriptionOptions, SubscriptionStats, SubscriptionWarning, SyncOptions, TargetSessionAttrs, TemporalClass, TemporalNamespace, TextChannel, TracingContext, TransactionOptions, TransactionStatus, TransactionWork, TypeOptions, UnreadSubscription, WaitOptions, WarningKind, WarningMessage, WithParse };
//# sourceMappingURL=index.d.ts.map
