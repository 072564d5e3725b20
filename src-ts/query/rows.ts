// Makes row objects from the flat array of values in which a result crosses from Rust.
import type { NativeColumn, NativeQueryOutput } from '#native'

/**
 * @internal Makes one object for each row, with its columns in their order. Of two columns with one name the last one
 * counts.
 */
export function toRows<Row>({ columns, values, rowCount }: NativeQueryOutput): Row[] {
  const rows: Row[] = []
  if (columns.length === 0) return rows
  const conversions = Array.from(columns, conversionOf)
  let next = 0
  for (let index = 0; index < rowCount; index += 1) {
    const row: Record<string, unknown> = {}
    for (let at = 0; at < columns.length; at += 1) {
      const column = columns[at]!
      const convert = conversions[at]
      const value = convert ? convert(values[next]) : values[next]
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

/** @internal Converts one value to its final form. */
export function toValue(column: NativeColumn, value: unknown): unknown {
  const convert = conversionOf(column)
  return convert ? convert(value) : value
}

/** Converts a value as it crosses to its final form. */
type Conversion = (value: unknown) => unknown

/**
 * Finds how the values of a column are converted; `undefined` when they cross in their final form. Objects are made here,
 * because Rust would make them in the main context: code in another context of `vm`, such as a test of Jest, would not find
 * them to be instances of its `Date` and `Array`.
 */
function conversionOf({ form, isArray }: NativeColumn): Conversion | undefined {
  const convert = CONVERSIONS[form]
  return isArray ? (value) => toArray(value, convert) : convert
}

const CONVERSIONS: Record<NativeColumn['form'], Conversion | undefined> = {
  plain: undefined,
  json: (value) => (typeof value === 'string' ? JSON.parse(value) : value),
  date: (value) => (typeof value === 'number' ? new Date(value) : value),
}

/** Makes an array of this context, for each of its dimensions. */
function toArray(value: unknown, convert: Conversion | undefined): unknown {
  if (!Array.isArray(value)) return convert ? convert(value) : value
  const array: unknown[] = []
  for (let index = 0; index < value.length; index += 1) array.push(toArray(value[index], convert))
  return array
}
