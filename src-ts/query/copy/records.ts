// Records that are copied to a table.
import type { NativeRecordEncoder } from '#native'
import { ArgumentTypeError, ConnectionExecuteError } from '../../errors.js'
import { checkOptions, expected } from '../../options/validate.js'
import { PLAIN_TYPES, type ResolvedTypes, type TypeOptions } from '../../options/types.js'
import type { CallOptions } from '../bounds.js'
import { quoteName } from '../identifiers.js'
import { checkItem, endEarly } from './source.js'
import { addParameters, encodeParameters, type QueryParameter } from '../parameters/parameters.js'
import { ParameterLists } from '../parameters/lists.js'
import type { QueryParameters } from '../parameters/named.js'
import type { QueryOptions } from '../options.js'
import { call, type Runnable } from '../run.js'

/** A record: a value for each column, or `null`. */
export type CopyRecord = readonly QueryParameter[]

/** The records of {@link Queryable.copyRecordsToTable}. They are taken as fast as the server takes them. */
export type CopyRecords = Iterable<CopyRecord> | AsyncIterable<CopyRecord>

/** The options of {@link Queryable.copyRecordsToTable}. */
export interface CopyRecordsOptions extends CallOptions {
  /** The schema of the table. @default the first of the session's `search_path` that has the table */
  schema?: string | undefined
  /** The columns that a record has, in their order; the others get their defaults. @default all but generated ones */
  columns?: readonly string[] | undefined
  /** How values are written. @default as the pool says */
  types?: TypeOptions | undefined
}

type Records = Iterator<CopyRecord> | AsyncIterator<CopyRecord>

/** So many records are written together. */
const BATCH = 256
/** Records of so many bytes are written together, however few they are. */
const BATCH_BYTES = 2 ** 20

/**
 * The columns of a table that a `COPY` fills: those that are named or, without names, all but those that the server generates. The
 * server tells the columns of a statement by their base types, and those of parameters by their domains.
 */
const COPIED_COLUMNS = `
  SELECT pg_catalog.quote_ident(a.attname) AS name,
    CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN t.typname::pg_catalog.text END AS domain
  FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
  WHERE a.attrelid OPERATOR(pg_catalog.=) $1::pg_catalog.regclass AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
    AND CASE WHEN $2::pg_catalog.text[] IS NULL THEN a.attgenerated OPERATOR(pg_catalog.=) ''
      ELSE a.attname OPERATOR(pg_catalog.=) ANY ($2) END
  ORDER BY pg_catalog.array_position($2, a.attname::pg_catalog.text), a.attnum`

/** A column of {@link COPIED_COLUMNS}. */
interface CopiedColumn {
  /** Its name, as SQL. */
  readonly name: string
  /** The name of the domain that its type is, if it is one. */
  readonly domain: string | null
}

/** @internal A table that records are copied to, and how. */
export interface CopiedTable {
  /** Its name, as SQL. */
  name: string
  /** The columns that a record has, as SQL; `undefined` for all of {@link COPIED_COLUMNS}. */
  columns: string | undefined
  /** The names of these columns. */
  columnNames: readonly string[] | undefined
  bounds: CallOptions
  types: TypeOptions | undefined
}

/** @internal Checks the options of a copy to a table. */
export function tableOf(table: string, options: CopyRecordsOptions = {}): CopiedTable {
  checkOptions('options', options, ['schema', 'columns', 'signal', 'timeoutMs', 'types'])
  const { schema, columns, types, ...bounds } = options
  const prefix = schema === undefined ? '' : `${quoteName('schema', schema, 'a schema')}.`
  const name = prefix + quoteName('table', table, 'a table')
  if (columns === undefined)
    return { name, columns: undefined, columnNames: undefined, bounds, types }
  if (!Array.isArray(columns) || columns.length === 0)
    throw new ArgumentTypeError(expected('columns', 'an array that is not empty', columns))
  const columnNames: string[] = Array.from(columns)
  const quoted = columnNames.map((column, index) =>
    quoteName(`columns[${index}]`, column, 'a column'),
  )
  return { name, columns: quoted.join(', '), columnNames, bounds, types }
}

/** @internal A connection or a transaction. */
interface RecordsTarget extends Runnable {
  fetch<Row extends object>(
    sql: string,
    params: QueryParameters,
    options: QueryOptions,
  ): Promise<readonly Row[]>
  copyFrom(sql: string, source: AsyncIterable<Uint8Array>): Promise<number>
}

/** @internal Copies records to a table, all or none if that is done in a transaction. Returns how many they were. */
export async function copyRecords(
  target: RecordsTarget,
  { name, columns, columnNames }: CopiedTable,
  records: CopyRecords,
  types: ResolvedTypes,
): Promise<number> {
  const isEncoded = types.encoders.size > 0
  const plain = { prepared: false, types: PLAIN_TYPES }
  const look = () => target.fetch<CopiedColumn>(COPIED_COLUMNS, [name, columnNames ?? null], plain)
  const described = columns === undefined || isEncoded ? await look() : []
  // A table may have no column.
  const names = columns ?? described.map((column) => column.name).join(', ')
  const sql = `SELECT ${names} FROM ${name}`
  const copy = `COPY ${name}${names && ` (${names})`} FROM STDIN`
  const encoder = await call<NativeRecordEncoder>(target, {}, (lease, id, within) =>
    lease.recordEncoder(id, sql, within),
  )
  const columnTypes = isEncoded
    ? encoder.columnTypes().map((type, index) => described[index]?.domain ?? type)
    : undefined
  const writer = new RecordWriter(encoder, records, types, columnTypes)
  let stored = 0
  try {
    do {
      stored += await target.copyFrom(`${copy} (FORMAT ${writer.format})`, writer.data())
    } while (!writer.isDone)
  } finally {
    writer.stop()
  }
  return stored
}

/** Writes records in one of the formats of `COPY`. */
class RecordWriter {
  readonly #encoder: NativeRecordEncoder
  readonly #types: ResolvedTypes
  /** The names of the types of the columns, if values are encoded by them. */
  readonly #columnTypes: readonly string[] | undefined
  readonly #records: Records
  readonly #isAsync: boolean
  /** The records that are written next. */
  readonly #batch = new ParameterLists()
  /** How many records the batch has. */
  #length = 0
  /** Whether the batch has no binary form, and is still to be written. */
  #isPending = false
  #taken = 0
  readonly #place = (): string => `records[${this.#taken}]`
  #isExhausted = false

  constructor(
    encoder: NativeRecordEncoder,
    records: CopyRecords,
    types: ResolvedTypes,
    columnTypes: readonly string[] | undefined,
  ) {
    this.#encoder = encoder
    this.#types = types
    this.#columnTypes = columnTypes
    const { iterator, isAsync } = iteratorOf(records)
    this.#records = iterator
    this.#isAsync = isAsync
  }

  /** The format in which records are written now, as a `COPY` is told. */
  get format(): string {
    return this.#encoder.isBinary() ? 'binary' : 'text'
  }

  /** Whether all records were written. */
  get isDone(): boolean {
    return this.#isExhausted && !this.#isPending
  }

  /** Yields the data of one `COPY`: to the end of the records, or to where they need another format. */
  async *data(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (!this.#isPending) {
        const taking = this.#take()
        if (taking) await taking
      }
      this.#isPending = false
      if (this.#length > 0) {
        const written = this.#encode()
        if (!written) {
          this.#isPending = true
          const end = this.#encoder.finish()
          this.#encoder.switchToText()
          yield end
          return
        }
        yield written
      }
      if (this.#isExhausted) break
    }
    yield this.#encoder.finish()
  }

  /** Ends the source early. */
  stop(): void {
    if (this.#isExhausted) return
    this.#isExhausted = true
    endEarly(this.#records)
  }

  /** The data of the batch; `undefined` when it needs another format. */
  #encode(): Uint8Array | undefined {
    const { data, refusal } = this.#encoder.encode(this.#batch)
    if (refusal !== undefined) throw new ConnectionExecuteError(refusal)
    return data
  }

  /** Takes records, up to a batch or the end. Synchronous for as long as the source is. */
  #take(): Promise<void> | undefined {
    this.#batch.clear()
    this.#length = 0
    while (!this.#isFull && !this.#isExhausted) {
      const item: unknown = this.#records.next()
      // Of any realm, and of any kind that `await` waits for.
      if (this.#isAsync) return this.#takeLater(item)
      this.#takeItem(item)
    }
    return undefined
  }

  async #takeLater(first: unknown): Promise<void> {
    for (let item = await first; ; item = await this.#records.next()) {
      // It may have been stopped meanwhile.
      if (this.#isExhausted) return
      this.#takeItem(item)
      if (this.#isFull || this.#isExhausted) return
    }
  }

  get #isFull(): boolean {
    return this.#length >= BATCH || this.#batch.weight >= BATCH_BYTES
  }

  #takeItem(item: unknown): void {
    checkItem('next() of records', item)
    if (item.done) this.#isExhausted = true
    else this.#add(item.value)
  }

  #add(record: unknown): void {
    if (!Array.isArray(record))
      throw new ArgumentTypeError(expected(this.#place(), 'an array', record))
    const values = this.#columnTypes
      ? encodeParameters(record, this.#columnTypes, this.#types)
      : record
    addParameters(this.#batch, values, this.#types, this.#place)
    this.#taken += 1
    this.#length += 1
  }
}

function iteratorOf(records: unknown): { iterator: Records; isAsync: boolean } {
  if (typeof records === 'object' && records !== null) {
    if (Symbol.asyncIterator in records) {
      const iterable = records as AsyncIterable<CopyRecord>
      return { iterator: iterable[Symbol.asyncIterator](), isAsync: true }
    }
    if (Symbol.iterator in records) {
      const iterable = records as Iterable<CopyRecord>
      return { iterator: iterable[Symbol.iterator](), isAsync: false }
    }
  }
  throw new ArgumentTypeError(expected('records', 'an iterable of arrays', records))
}
