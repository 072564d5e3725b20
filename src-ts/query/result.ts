// The result of a statement: its rows, its columns and its row count.
import { brand } from '../brand.js'
import type { NativeQueryOutput } from '#native'
import { toRows } from './rows.js'

/** A column of a result. */
export interface QueryColumn {
  /** The name, as `AS name` in the statement or the server gives it. */
  readonly name: string
  /** The name of the PostgreSQL type, such as `int4` or `text[]`. */
  readonly type: string
  /** The object id of the PostgreSQL type. */
  readonly oid: number
}

let fill: (result: QueryResult<unknown>, output: NativeQueryOutput) => void

/**
 * The rows that a statement returned: an array of plain objects, one property for each column.
 *
 * | PostgreSQL | JavaScript |
 * |---|---|
 * | `bool` | boolean |
 * | `int2`, `int4`, `float4`, `float8` | number |
 * | `int8` | bigint, always |
 * | `numeric` | string, exact |
 * | `text`, `varchar`, `bpchar`, `name`, `"char"`, `citext`, `uuid`, enums | string |
 * | `bytea` | `Buffer` |
 * | `json`, `jsonb` | the value that `JSON.parse` returns |
 * | `date`, `timestamp`, `timestamptz` | `Date`, in milliseconds (microseconds are cut off); the first two are read as UTC |
 * | arrays of these | array, nested for each dimension |
 * | null, `void` | `null` |
 *
 * A column of any other type is refused before the statement is executed, with the name of the type: cast it to text.
 * A value that a `Date` cannot hold, such as `infinity`, is an error too.
 *
 * Methods that make a new array (`map`, `filter`, `slice`, …) make a plain one.
 */
export class QueryResult<Row = Record<string, unknown>> extends Array<Row> {
  #columns: readonly QueryColumn[] = []
  #rowCount = 0

  static {
    fill = (result, output) => {
      result.#columns = Array.from(output.columns, ({ name, typeName, oid }) => ({
        name,
        type: typeName,
        oid,
      }))
      result.#rowCount = output.rowCount
      const rows = toRows(output)
      result.length = rows.length
      for (let index = 0; index < rows.length; index += 1) result[index] = rows[index]
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
    return this.#columns
  }

  /** Returns the rows as a plain array. */
  result(): Row[] {
    return Array.from(this)
  }
}

brand(QueryResult, 'QueryResult')

/** @internal Converts the output of a statement to its public form. */
export function toQueryResult<Row>(output: NativeQueryOutput): QueryResult<Row> {
  const result = new QueryResult<Row>()
  fill(result, output)
  return result
}
