// The result of a statement: its rows, its columns and its row count.
import { brand } from '../brand.js'
import type { NativeColumn, NativeQueryOutput } from '#native'
import { bridge } from '../native/bridge.js'
import { setImmediate } from '../native/timers.js'
import { addRows, type Shaping } from './rows.js'

/** A column of a result. */
export interface QueryColumn {
  /** The name, as `AS name` in the statement or the server gives it. */
  readonly name: string
  /** The name of the PostgreSQL type, such as `int4` or `text[]`. */
  readonly type: string
  /** The object id of the PostgreSQL type. */
  readonly oid: number
}

const NO_COLUMNS: readonly NativeColumn[] = []

/** How long rows are made before the event loop goes on, in milliseconds. A part more may come on top. */
const SLICE_MS = 5

let fill: <Row>(result: QueryResult<Row>, output: NativeQueryOutput, shaping: Shaping) => void

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
export class QueryResult<Row = Record<string, unknown>> extends Array<Row> {
  #nativeColumns: readonly NativeColumn[] = NO_COLUMNS
  /** Made when they are asked for. */
  #columns: readonly QueryColumn[] | undefined
  #rowCount = 0

  static {
    fill = (result, output, shaping) => {
      result.#nativeColumns = output.columns
      result.#rowCount += output.rowCount
      addRows(result, output, shaping)
    }
  }

  /** @internal Lets `map()` and the like make plain arrays. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array
  }

  /** The number of returned rows; for a statement that returns none, of inserted, updated or deleted rows. */
  get rowCount(): number {
    return this.#rowCount
  }

  /** The columns, in their order. Empty for a statement that cannot return rows. */
  get columns(): readonly QueryColumn[] {
    return (this.#columns ??= Array.from(this.#nativeColumns, ({ name, typeName, oid }) => ({
      name,
      type: typeName,
      oid,
    })))
  }

  /** Returns the rows as a plain array. */
  result(): Row[] {
    return Array.from(this)
  }
}

brand(QueryResult, 'QueryResult')

/** @internal Converts the output of a statement to its public form. */
export function toQueryResult<Row>(output: NativeQueryOutput, shaping: Shaping): QueryResult<Row> {
  const result = new QueryResult<Row>()
  fill(result, output, shaping)
  return result
}

/** @internal Counts the rows of the output of a statement that comes in parts. */
export async function countRows(output: NativeQueryOutput): Promise<number> {
  let { rest, rowCount } = output
  while (rest) {
    const waiting = rest
    const part = await bridge.call<NativeQueryOutput>((id) => waiting.next(id))
    rowCount += part.rowCount
    rest = part.rest
  }
  return rowCount
}

/** @internal Converts the output of a statement that comes in parts to its public form. */
export async function collectResult<Row>(
  output: NativeQueryOutput,
  shaping: Shaping,
): Promise<QueryResult<Row>> {
  const result = new QueryResult<Row>()
  let since = performance.now()
  for (let part = output; ;) {
    const { rest } = part
    // Asked for before this part is read, so that both threads have something to do.
    const next = rest && bridge.call<NativeQueryOutput>((id) => rest.next(id))
    // Reading this part may throw.
    next?.catch(() => {})
    fill(result, part, shaping)
    if (!next) return result
    part = await next
    // Where the server and Rust are faster, the next part is always here, and the event loop would have no turn until the last.
    if (performance.now() - since < SLICE_MS) continue
    await new Promise((resolve) => setImmediate(resolve))
    since = performance.now()
  }
}
