// Makes rows of the tape in which a result crosses from Rust.
import type { NativeColumn, NativeQueryOutput } from '#native'
import { Tape } from './values/tape.js'
import { readerOf, setOwn, type Reader } from './values/reader.js'
import type { Decoder, ResolvedTypes } from '../options/types.js'

/** @internal How rows are made. */
export interface Shaping {
  readonly types: ResolvedTypes
  /** Whether a row is an array of its values, and not an object. */
  readonly asArrays: boolean
  /** Makes the final row of each. */
  readonly map: ((row: never) => unknown) | undefined
  /** Make the values of columns, by their names. */
  readonly columns: Readonly<Record<string, Decoder>> | undefined
}

/** What reads the rows of a statement, as the last result of it was read. */
interface Reading {
  readonly types: ResolvedTypes
  readonly asArrays: boolean
  /** Makes a row. */
  row: Reader | undefined
  /** Makes the value of the first column. */
  value: Reader | undefined
}

/** The columns of a statement are one array for all of its results. */
const readings = new WeakMap<readonly NativeColumn[], Reading>()

function readingOf(columns: readonly NativeColumn[], { types, asArrays }: Shaping): Reading {
  const known = readings.get(columns)
  if (known && known.types === types && known.asArrays === asArrays) return known
  const reading = { types, asArrays, row: undefined, value: undefined }
  readings.set(columns, reading)
  return reading
}

/**
 * @internal Makes one row after the other, in the order of the result. Of two columns with one name the last one counts in an
 * object.
 */
export function toRows<Row>(output: NativeQueryOutput, shaping: Shaping): Row[] {
  const rows: Row[] = []
  addRows(rows, output, shaping)
  return rows
}

/** @internal Makes rows, and adds them to others. */
export function addRows(rows: unknown[], output: NativeQueryOutput, shaping: Shaping): void {
  if (!output.returnsRows) return
  const tape = new Tape(output)
  const next = rowReader(output.columns, shaping)
  const { map } = shaping
  for (let index = 0; index < output.rowCount; index += 1) {
    const row = next(tape)
    rows.push(map ? map(row as never) : row)
  }
}

/** @internal Makes the value of the first column of the first row. */
export function toValue(output: NativeQueryOutput, shaping: Shaping): unknown {
  const { columns } = output
  const tape = new Tape(output)
  // Decoders of single columns may be others at each call.
  if (shaping.columns) return columnReader(columns[0]!, shaping)(tape)
  const reading = readingOf(columns, shaping)
  return (reading.value ??= columnReader(columns[0]!, shaping))(tape)
}

function rowReader(columns: readonly NativeColumn[], shaping: Shaping): Reader {
  if (shaping.columns) return newRowReader(columns, shaping)
  const reading = readingOf(columns, shaping)
  return (reading.row ??= newRowReader(columns, shaping))
}

function newRowReader(columns: readonly NativeColumn[], shaping: Shaping): Reader {
  const readers = Array.from(columns, (column) => columnReader(column, shaping))
  if (shaping.asArrays) {
    return (tape) => {
      const row: unknown[] = []
      for (let at = 0; at < readers.length; at += 1) row.push(readers[at]!(tape))
      return row
    }
  }
  const names = Array.from(columns, ({ name }) => name)
  if (names.includes('__proto__')) {
    return (tape) => {
      const row = {}
      for (let at = 0; at < readers.length; at += 1) setOwn(row, names[at]!, readers[at]!(tape))
      return row
    }
  }
  const blank = blankOf(names)
  return (tape) => {
    const row = { ...blank }
    for (let at = 0; at < readers.length; at += 1) row[names[at]!] = readers[at]!(tape)
    return row
  }
}

/**
 * A row whose values are to come. A copy of an object with all properties is made faster than an object to which they are added one by
 * one. Parsed, the object has room for all of them within itself; one that was filled in a loop may have become a dictionary.
 */
function blankOf(names: readonly string[]): Record<string, unknown> {
  const blank = Object.fromEntries(names.map((name) => [name, null]))
  return JSON.parse(JSON.stringify(blank)) as Record<string, unknown>
}

function columnReader(
  { name, shape, typeName }: NativeColumn,
  { types, columns }: Shaping,
): Reader {
  const read = readerOf(shape, typeName, types)
  const decoder = columns && Object.hasOwn(columns, name) ? columns[name] : undefined
  if (!decoder) return read
  return (tape) => {
    const value = read(tape)
    return value === null ? null : decoder(value)
  }
}
