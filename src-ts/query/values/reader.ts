// Makes values of a tape. A shape says what Rust has written: mirrored in `src-rs/core/query/values/codec.rs` and `tape.rs`.
import { ConnectionExecuteError } from '../../errors.js'
import { BoundedArray } from './bounded-array.js'
import type { Circle, Line, Path, Point } from './geometry.js'
import { Interval } from './interval.js'
import { Range } from './range.js'
import type { Tape } from './tape.js'
import type { ResolvedTypes } from '../../options/types.js'

/** Reads the next value of a tape. */
export type Reader = (tape: Tape) => unknown

/** The name of a simple shape, or an array of the name of one and of what it is made of. */
type Shape =
  | string
  | readonly ['array' | 'range' | 'multirange', Shape, string]
  | readonly ['composite', ...Field[]]
/** The name of a field, its shape, and the name of its type. */
type Field = readonly [name: string, shape: Shape, type: string]

/** So many readers are kept; a program has far fewer types. */
const MOST_READERS = 1000

/** The flag of a null. Mirrored in `src-rs/core/query/values/tape.rs`. */
const NULL = 0
/** The flag of a value in another form. Mirrored in `src-rs/core/query/values/tape.rs`. */
const OTHER = 2

/** So many bytes are copied faster one by one than by a call. */
const FEW_BYTES = 64

/** Flags of a range (https://www.postgresql.org/docs/current/rangetypes.html), as the server sends them. */
const enum RangeFlag {
  Empty = 0x01,
  LowerInclusive = 0x02,
  UpperInclusive = 0x04,
  LowerInfinite = 0x08,
  UpperInfinite = 0x10,
}

/** The readers that were made, by the type's name and shape. */
const readersOf = new WeakMap<ResolvedTypes, Map<string, Reader>>()

/** Returns what reads the values of a column. */
export function readerOf(shape: string, type: string, types: ResolvedTypes): Reader {
  let readers = readersOf.get(types)
  if (!readers) readersOf.set(types, (readers = new Map()))
  const key = `${type} ${shape}`
  let reader = readers.get(key)
  if (!reader) {
    reader = made(JSON.parse(shape) as Shape, type, types)
    if (readers.size >= MOST_READERS) readers.clear()
    readers.set(key, reader)
  }
  return reader
}

function made(shape: Shape, type: string, types: ResolvedTypes): Reader {
  const plain = typeof shape === 'string' ? simple(shape, types) : nested(shape, types)
  const decoder = types.decoders.get(type)
  if (!decoder) return plain
  return (tape) => {
    const value = plain(tape)
    return value === null ? null : decoder(value)
  }
}

function flagOf(tape: Tape): number {
  return tape.flags.charCodeAt(tape.flag++)
}

function numberOf(tape: Tape): number {
  return tape.numbers[tape.number++]!
}

function textOf(tape: Tape): string {
  return tape.texts[tape.text++]!
}

// Not one reader with the shape as data: the engine compiles each of these into a few instructions.

function readBool(tape: Tape): unknown {
  const flag = flagOf(tape)
  return flag === NULL ? null : flag !== OTHER
}

function readNumber(tape: Tape): unknown {
  return flagOf(tape) === NULL ? null : numberOf(tape)
}

function readText(tape: Tape): unknown {
  return flagOf(tape) === NULL ? null : textOf(tape)
}

function readBigint(tape: Tape): unknown {
  return flagOf(tape) === NULL ? null : tape.integers[tape.integer++]
}

function readUnsigned(tape: Tape): unknown {
  return flagOf(tape) === NULL ? null : BigInt.asUintN(64, tape.integers[tape.integer++]!)
}

function readBytes(tape: Tape): unknown {
  if (flagOf(tape) === NULL) return null
  const start = tape.byte
  const length = numberOf(tape)
  tape.byte += length
  // A copy: who keeps one value keeps nothing else.
  const value = Buffer.allocUnsafe(length)
  if (length > FEW_BYTES) value.set(tape.bytes.subarray(start, tape.byte))
  else for (let index = 0; index < length; index += 1) value[index] = tape.bytes[start + index]!
  return value
}

function readNull(tape: Tape): unknown {
  tape.flag += 1
  return null
}

function simple(shape: string, types: ResolvedTypes): Reader {
  switch (shape) {
    case 'bool':
      return readBool
    case 'number':
      return readNumber
    case 'bigint':
      return readBigint
    case 'unsigned':
      return readUnsigned
    case 'text':
      return readText
    case 'bytes':
      return readBytes
    case 'null':
      return readNull
    case 'json':
      return (tape) => (flagOf(tape) === NULL ? null : types.parseJson(textOf(tape)))
    case 'date':
      return dateReader(infinityReader(types))
    case 'moment':
      return momentReader(infinityReader(types))
    case 'interval':
      return intervalReader(infinityReader(types))
    case 'hstore':
      return present(hstore)
    case 'vector':
      return present((tape) => Array.from({ length: numberOf(tape) }, () => numberOf(tape)))
    default:
      return geometry(shape)
  }
}

/** A reader of values that only null has another form of. */
function present(read: Reader): Reader {
  return (tape) => (flagOf(tape) === NULL ? null : read(tape))
}

type InfinityReader = (value: number) => unknown

function infinityReader({ infinity }: ResolvedTypes): InfinityReader {
  if (infinity === 'number') return (value) => value
  const text = (value: number) => (value > 0 ? 'infinity' : '-infinity')
  if (infinity === 'string') return text
  return (value) => {
    throw new ConnectionExecuteError(
      `Expected a finite date or interval, as the option \`types.infinity\` asks for, got \`${text(value)}\``,
    )
  }
}

function dateReader(infinite: InfinityReader): Reader {
  return (tape) => {
    const flag = flagOf(tape)
    if (flag === NULL) return null
    // A moment that no Date can hold.
    if (flag === OTHER) return textOf(tape)
    const ms = numberOf(tape)
    return Number.isFinite(ms) ? new Date(ms) : infinite(ms)
  }
}

function momentReader(infinite: InfinityReader): Reader {
  return (tape) => {
    if (flagOf(tape) === NULL) return null
    const text = textOf(tape)
    if (text === 'infinity') return infinite(Infinity)
    return text === '-infinity' ? infinite(-Infinity) : text
  }
}

function intervalReader(infinite: InfinityReader): Reader {
  return (tape) => {
    const flag = flagOf(tape)
    if (flag === NULL) return null
    if (flag === OTHER) return infinite(numberOf(tape))
    const months = numberOf(tape)
    const days = numberOf(tape)
    return new Interval({ months, days, microseconds: tape.integers[tape.integer++]! })
  }
}

function hstore(tape: Tape): Record<string, string | null> {
  const record: Record<string, string | null> = {}
  const count = numberOf(tape)
  for (let index = 0; index < count; index += 1) {
    const key = textOf(tape)
    setOwn(record, key, readText(tape))
  }
  return record
}

function point(tape: Tape): Point {
  return { x: numberOf(tape), y: numberOf(tape) }
}

function points(tape: Tape): Point[] {
  return Array.from({ length: numberOf(tape) }, () => point(tape))
}

function geometry(shape: string): Reader {
  switch (shape) {
    case 'point':
      return present(point)
    case 'lseg':
    case 'box':
      return present((tape) => [point(tape), point(tape)])
    case 'line':
      return present((tape): Line => ({ a: numberOf(tape), b: numberOf(tape), c: numberOf(tape) }))
    case 'path':
      return (tape): Path | null => {
        const flag = flagOf(tape)
        return flag === NULL ? null : { points: points(tape), closed: flag !== OTHER }
      }
    case 'polygon':
      return present(points)
    case 'circle':
      return present((tape): Circle => ({ ...point(tape), radius: numberOf(tape) }))
    default:
      throw new ConnectionExecuteError(
        `the addon gives values of the unknown shape \`${shape}\`: is it of the same version as the package?`,
      )
  }
}

function nested(shape: Exclude<Shape, string>, types: ResolvedTypes): Reader {
  if (shape[0] === 'composite') return compositeReader(shape.slice(1) as Field[], types)
  const [kind, inner, type] = shape
  const read = made(inner, type, types)
  if (kind === 'array') return arrayReader(read, types.keepsBounds, inner === 'json')
  if (kind === 'range') return rangeReader(read)
  return present((tape) => Array.from({ length: numberOf(tape) }, () => read(tape)))
}

function arrayReader(read: Reader, keepsBounds: boolean, isOfJson: boolean): Reader {
  const level = (tape: Tape, lengths: readonly number[], depth: number): unknown[] => {
    const array: unknown[] = []
    const length = lengths[depth]!
    for (let index = 0; index < length; index += 1) {
      array.push(depth + 1 < lengths.length ? level(tape, lengths, depth + 1) : read(tape))
    }
    return array
  }
  return (tape) => {
    if (flagOf(tape) === NULL) return null
    const dimensions = numberOf(tape)
    if (dimensions === 0) return []
    const lengths: number[] = []
    const bounds: number[] = []
    for (let index = 0; index < dimensions; index += 1) {
      lengths.push(numberOf(tape))
      bounds.push(numberOf(tape))
    }
    const array = level(tape, lengths, 0)
    const hasBounds = keepsBounds && bounds.some((bound) => bound !== 1)
    // An array within it could be JSON itself.
    const isUnclear = isOfJson && dimensions > 1
    return hasBounds || isUnclear ? new BoundedArray(array, bounds) : array
  }
}

function rangeReader(read: Reader): Reader {
  return present((tape) => {
    const flags = numberOf(tape)
    if (flags & RangeFlag.Empty) return Range.empty()
    const lower = flags & RangeFlag.LowerInfinite ? null : read(tape)
    const upper = flags & RangeFlag.UpperInfinite ? null : read(tape)
    return new Range({
      lower,
      upper,
      lowerInclusive: (flags & RangeFlag.LowerInclusive) !== 0,
      upperInclusive: (flags & RangeFlag.UpperInclusive) !== 0,
    })
  })
}

function compositeReader(fields: readonly Field[], types: ResolvedTypes): Reader {
  const names = fields.map(([name]) => name)
  const readers = fields.map(([, shape, type]) => made(shape, type, types))
  return present((tape) => {
    const composite: Record<string, unknown> = {}
    for (let at = 0; at < readers.length; at += 1) setOwn(composite, names[at]!, readers[at]!(tape))
    return composite
  })
}

/** Sets a property of its own, also one of the name `__proto__`, where an assignment would set the prototype. */
export function setOwn(object: object, name: string, value: unknown): void {
  if (name === '__proto__') {
    Object.defineProperty(object, name, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    })
  } else {
    ;(object as Record<string, unknown>)[name] = value
  }
}
