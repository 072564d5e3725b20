// Checks the parameters of statements and converts them for Rust, which knows the PostgreSQL type that each one must
// fit.
import { types } from 'node:util'
import { ArgumentRangeError, ArgumentTypeError } from '../../errors.js'
import { refuseOptions } from '../bounds.js'
import { describe, expected } from '../../options/validate.js'
import type { ParameterLists } from './lists.js'
import { BoundedArray } from '../values/bounded-array.js'
import { Interval } from '../values/interval.js'
import { Range } from '../values/range.js'
import { setOwn } from '../values/reader.js'
import { temporalKind, temporalText } from '../../options/temporal.js'
import {
  DEFAULT_TYPES,
  type Encoder,
  type QueryParameter,
  type ResolvedTypes,
} from '../../options/types.js'

export type { QueryParameter }

const MAX_INT64 = 2n ** 63n - 1n
const MIN_INT64 = -(2n ** 63n)
/** The deepest nesting of arrays: more than any array of the server has, and far from a stack overflow. */
const MAX_DEPTH = 100

/**
 * @internal Checks parameters, and converts each to the form in which it crosses to Rust. `names` are those by which messages
 * tell of them, instead of by their places.
 */
export function toNativeParameters(
  params: unknown,
  types: ResolvedTypes = DEFAULT_TYPES,
  name = 'params',
  names?: readonly string[],
): unknown[] {
  refuseOptions(params, name)
  if (!Array.isArray(params)) throw new ArgumentTypeError(expected(name, 'an array', params))
  let converter: Converter | undefined
  const native: unknown[] = []
  // By index, because iteration methods would skip a hole, which reads as `undefined`.
  for (let index = 0; index < params.length; index += 1) {
    const value: unknown = params[index]
    if (isItself(value)) native.push(value)
    else native.push((converter ??= new Converter(types, name, names)).convert(value, index))
  }
  return native
}

/** @internal Checks parameters and converts them, as {@link toNativeParameters} does, and adds them to others as a list. */
export function addParameters(
  lists: ParameterLists,
  params: unknown,
  types: ResolvedTypes,
  place: () => string,
  names?: readonly string[],
): void {
  if (!Array.isArray(params)) {
    refuseOptions(params, place())
    throw new ArgumentTypeError(expected(place(), 'an array', params))
  }
  let converter: Converter | undefined
  for (let index = 0; index < params.length; index += 1) {
    const value: unknown = params[index]
    if (lists.addPlain(value)) continue
    lists.addNative((converter ??= new Converter(types, place(), names)).convert(value, index))
  }
  lists.end()
}

/** Whether a value crosses to Rust as it is. Others may too, once they were looked at more closely. */
function isItself(value: unknown): boolean {
  switch (typeof value) {
    case 'boolean':
    case 'number':
      return true
    case 'string':
      return value.isWellFormed()
    default:
      return value === null
  }
}

/** @internal Lets the encoders of types make the parameters for these types. */
export function encodeParameters(
  params: readonly unknown[],
  parameterTypes: readonly string[],
  { encoders }: ResolvedTypes,
): unknown[] {
  return params.map((param, index) => {
    const type = parameterTypes[index]
    if (type === undefined) return param
    const encoder = encoders.get(type)
    if (encoder) return param === null ? null : encoder(param)
    const ofElement = type.endsWith('[]') ? encoders.get(type.slice(0, -2)) : undefined
    return ofElement && Array.isArray(param) ? encodeElements(param, ofElement) : param
  })
}

function encodeElements(array: readonly unknown[], encoder: Encoder): unknown[] {
  return array.map((element) => {
    if (Array.isArray(element)) return encodeElements(element, encoder)
    return element === null ? null : encoder(element)
  })
}

/** Converts the parameters of one list. What it gives shares nothing with them, as they may be others by the time at which it crosses to Rust. */
class Converter {
  readonly #types: ResolvedTypes
  readonly #name: string
  readonly #names: readonly string[] | undefined
  #index = 0

  constructor(types: ResolvedTypes, name: string, names: readonly string[] | undefined) {
    this.#types = types
    this.#name = name
    this.#names = names
  }

  convert(value: unknown, index: number): unknown {
    this.#index = index
    return this.#any(value, [])
  }

  /** The place of a value, for errors. */
  #place(at: readonly (number | string)[]): string {
    const name = this.#names?.[this.#index]
    const first = name === undefined ? `[${this.#index}]` : `.${name}`
    const rest = at.map((key) => `[${typeof key === 'string' ? JSON.stringify(key) : key}]`)
    return `${this.#name}${first}${rest.join('')}`
  }

  #any(value: unknown, at: (number | string)[]): unknown {
    switch (typeof value) {
      case 'boolean':
      case 'number':
        return value
      case 'string':
        if (!value.isWellFormed()) throw halfSurrogate(this.#place(at))
        return value
      case 'bigint':
        return value >= MIN_INT64 && value <= MAX_INT64 ? value : { integer: String(value) }
      case 'object':
        return value === null ? null : this.#object(value, at)
      default:
        throw new ArgumentTypeError(
          expected(
            this.#place(at),
            'null, a boolean, a number, a bigint, a string or an object',
            value,
          ),
        )
    }
  }

  #object(value: object, at: (number | string)[]): unknown {
    if (at.length > MAX_DEPTH) {
      throw new ArgumentTypeError(
        `Expected \`${this.#place([])}\` to be of at most ${MAX_DEPTH} levels, got a deeper one`,
      )
    }
    if (Array.isArray(value)) return this.#array(value, at)
    if (types.isDate(value)) {
      if (Number.isNaN(value.getTime())) {
        throw new ArgumentTypeError(
          `Expected \`${this.#place(at)}\` to be a valid Date, got an invalid one`,
        )
      }
      return new Date(value)
    }
    if (ArrayBuffer.isView(value)) return this.#view(value, at)
    if (types.isAnyArrayBuffer(value)) return new Uint8Array(new Uint8Array(value))
    if (types.isSet(value)) return this.#array([...value], at)
    if (types.isMap(value)) return this.#map(value, at)
    // `JSON.stringify` would silently convert these to `{}`.
    if (types.isPromise(value) || types.isRegExp(value)) {
      throw new ArgumentTypeError(expected(this.#place(at), 'a value that JSON can hold', value))
    }
    if ('toPostgres' in value && typeof value.toPostgres === 'function') {
      return this.#any((value as { toPostgres(): unknown }).toPostgres(), [...at, 'toPostgres()'])
    }
    if (value instanceof Range) return this.#fields(value, undefined, at)
    if (value instanceof BoundedArray) {
      return { bounds: [...value.lowerBounds], values: this.#array(value.values, at) }
    }
    const literal = this.#literal(value, at)
    if (literal !== undefined) return { literal, json: JSON.stringify(literal) }
    return this.#plain(value, at)
  }

  #array(array: readonly unknown[], at: (number | string)[]): unknown[] {
    const native: unknown[] = []
    for (let index = 0; index < array.length; index += 1) {
      at.push(index)
      native.push(this.#any(array[index], at))
      at.pop()
    }
    return native
  }

  /** Bytes, or the numbers of any other typed array. */
  #view(view: ArrayBufferView, at: (number | string)[]): unknown {
    if (types.isTypedArray(view) && !types.isUint8Array(view)) {
      return this.#array(Array.from(view as unknown as ArrayLike<number | bigint>), at)
    }
    return new Uint8Array(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
  }

  #map(map: ReadonlyMap<unknown, unknown>, at: (number | string)[]): unknown {
    const object: Record<string, unknown> = {}
    for (const [key, value] of map) {
      if (typeof key !== 'string') {
        throw new ArgumentTypeError(expected(`a key of ${this.#place(at)}`, 'a string', key))
      }
      setOwn(object, key, value)
    }
    return this.#plain(object, at)
  }

  /** The text of an object that stands for one value. */
  #literal(value: object, at: (number | string)[]): string | undefined {
    if (value instanceof Interval) return value.toString()
    if (isUrl(value)) return value.href
    const kind = temporalKind(value)
    if (!kind) return undefined
    const text = temporalText(value, kind)
    if (text !== undefined) return text
    throw new ArgumentRangeError(
      `Expected \`${this.#place(at)}\` to be of whole microseconds, which PostgreSQL has, got \`${(value as { toString(): string }).toString()}\``,
    )
  }

  #plain(value: object, at: (number | string)[]): unknown {
    const { json, error } = this.#json(value)
    // A composite or the like can hold what JSON cannot, and then it needs the fields. So does JSON itself, of what has no JSON text
    // of its own: that of a map or of a set is `{}`, unless the user's `stringify` knows better.
    if (isBeyondJson(value)) {
      const isText = this.#types.isOwnStringify || !holdsCollection(value)
      return this.#fields(value, isText ? json : undefined, at)
    }
    if (error) throw this.#notJson(error, at)
    if (json === undefined) {
      throw new ArgumentTypeError(expected(this.#place(at), 'a value that JSON can hold', value))
    }
    return { json }
  }

  #json(value: object): { json?: string | undefined; error?: unknown } {
    try {
      return { json: this.#types.stringifyJson(value) }
    } catch (error) {
      return { error }
    }
  }

  #notJson(error: unknown, at: (number | string)[]): ArgumentTypeError {
    const why = error instanceof Error ? error.message.split('\n', 1)[0] : describe(error)
    return new ArgumentTypeError(
      `Expected \`${this.#place(at)}\` to be a value that JSON can hold: ${why}`,
      { cause: error },
    )
  }

  /** An object as its keys and values. */
  #fields(value: object, json: string | undefined, at: (number | string)[]): unknown {
    const keys: string[] = []
    const values: unknown[] = []
    for (const [key, field] of Object.entries(value)) {
      // As JSON leaves them out.
      if (field === undefined || typeof field === 'function' || typeof field === 'symbol') continue
      at.push(key)
      keys.push(key)
      values.push(this.#any(field, at))
      at.pop()
    }
    return json === undefined ? { keys, values } : { keys, values, json }
  }
}

/**
 * Whether JSON has no exact form of a value or of a part of it, although a parameter has. `seen` are the objects that were looked at,
 * as one may have itself among its parts.
 */
function isBeyondJson(value: unknown, seen?: Set<object>): boolean {
  if (typeof value === 'bigint') return true
  // The digits that JSON has of an integer beyond 2^53 are not always the integer itself: 2^63 is 9223372036854776000 there.
  if (typeof value === 'number') return !isExactInJson(value)
  if (typeof value !== 'object' || value === null || seen?.has(value)) return false
  if (types.isDate(value)) return !hasFourDigits(value)
  if (isContainer(value)) return true
  if ('toPostgres' in value && typeof value.toPostgres === 'function') return true
  // What it says of itself is JSON.
  if ('toJSON' in value && typeof value.toJSON === 'function') return false
  const known = (seen ?? new Set()).add(value)
  return Object.values(value).some((part) => isBeyondJson(part, known))
}

/** Whether a map or a set is within a value, and not within something that says itself what its JSON is. */
function holdsCollection(value: unknown, seen?: Set<object>): boolean {
  if (typeof value !== 'object' || value === null || seen?.has(value)) return false
  if ('toJSON' in value && typeof value.toJSON === 'function') return false
  if (types.isMap(value) || types.isSet(value)) return true
  if (ArrayBuffer.isView(value)) return false
  const known = (seen ?? new Set()).add(value)
  return Object.values(value).some((part) => holdsCollection(part, known))
}

function isExactInJson(value: number): boolean {
  if (Number.isInteger(value)) return Number.isSafeInteger(value) && !Object.is(value, -0)
  return Number.isFinite(value)
}

/** Whether the year of a `Date` is one of those that PostgreSQL reads in the text that JSON has of it. */
function hasFourDigits(date: Date): boolean {
  const year = date.getUTCFullYear()
  return year >= 1 && year <= 9999
}

/** Whether a value is one of the objects that hold others and are nothing to JSON. */
function isContainer(value: object): boolean {
  return (
    ArrayBuffer.isView(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    value instanceof Range ||
    value instanceof BoundedArray
  )
}

/** Whether a value is a `URL`, of whatever context. */
function isUrl(value: object): value is URL {
  return Object.prototype.toString.call(value) === '[object URL]'
}

function halfSurrogate(place: string): ArgumentRangeError {
  return new ArgumentRangeError(
    `Expected \`${place}\` to be well-formed text, got a string with half of a surrogate pair`,
  )
}
