// Makes row objects from the flat array of values in which a result crosses from Rust.
import type { NativeColumn, NativeQueryOutput } from '#native'

/**
 * @internal Makes one object for each row, with its columns in their order. Of two columns with one name the last one
 * counts.
 */
export function toRows<Row>({ columns, values, rowCount }: NativeQueryOutput): Row[] {
  const rows: Row[] = []
  if (columns.length === 0) return rows
  let next = 0
  for (let index = 0; index < rowCount; index += 1) {
    const row: Record<string, unknown> = {}
    for (const column of columns) {
      const value = toValue(column, values[next])
      next += 1
      if (column.name === '__proto__') {
        // An assignment would set the prototype.
        Object.defineProperty(row, column.name, {
          value,
          enumerable: true,
          configurable: true,
          writable: true,
        })
      } else {
        row[column.name] = value
      }
    }
    rows.push(row as Row)
  }
  return rows
}

/** @internal Converts one value to its final form. Only JSON needs it, which crosses as text. */
export function toValue(column: NativeColumn, value: unknown): unknown {
  return column.isJson ? parse(value) : value
}

function parse(value: unknown): unknown {
  if (typeof value === 'string') return JSON.parse(value)
  return Array.isArray(value) ? value.map(parse) : value
}
