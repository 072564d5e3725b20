// The rows of a statement, with what else the server said about them.
import type { NativeQueryOutput } from '#native'
import { toRows } from './rows.js'

/** A column of a result. */
export interface QueryColumn {
  /** As in the statement: `AS name`, or what the server calls it. */
  readonly name: string
  /** The name of the PostgreSQL type, such as `int4` or `text[]`. */
  readonly type: string
  /** The type's object id. */
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
 * | `json`, `jsonb` | what `JSON.parse` makes of it |
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
      result.#columns = output.columns.map(({ name, typeName, oid }) => ({
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

  /** @internal */
  static override get [Symbol.species](): ArrayConstructor {
    return Array
  }

  /** How many rows were returned or, by a statement that returns none, inserted, updated or deleted. */
  get rowCount(): number {
    return this.#rowCount
  }

  /** The columns, in their order. Empty for a statement that returns no rows. */
  get columns(): readonly QueryColumn[] {
    return this.#columns
  }

  /** The rows as a plain array. */
  result(): Row[] {
    return Array.from(this)
  }
}

/** @internal */
export function toQueryResult<Row>(output: NativeQueryOutput): QueryResult<Row> {
  const result = new QueryResult<Row>()
  fill(result, output)
  return result
}
