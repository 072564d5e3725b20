// Checks the parameters of statements and converts them for Rust, which knows the PostgreSQL type that each one must
// fit.
import { types } from 'node:util'
import { ArgumentRangeError, ArgumentTypeError } from '../../errors.js'
import { refuseOptions } from '../bounds.js'
import { describe, expected } from '../../options/validate.js'
import { isAsked, type ParameterLists } from './lists.js'
import { copyOf, MAX_DEPTH, TakenParameter } from './taken.js'
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

/**
 * @internal Takes parameters as they are at the moment of the call, to be encoded by their types later. What cannot be copied is converted at
 * once, for types without an encoder.
 */
export function takeParameters(
  params: readonly unknown[],
  types: ResolvedTypes,
  place: () => string,
  names?: readonly string[],
): unknown[] {
  let converter: Converter | undefined
  const taken: unknown[] = []
  for (let index = 0; index < params.length; index += 1) {
    const value = params[index]
    if (typeof value !== 'object' || value === null) {
      taken.push(value)
      continue
    }
    const { copy, isWhole } = copyOf(value)
    if (isWhole) taken.push(copy)
    else {
      const present = (converter ??= new Converter(types, place(), names))
      taken.push(new TakenParameter(copy, () => present.convert(copy, index)))
    }
  }
  return taken
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
    const value = param instanceof TakenParameter ? param.value : param
    const encoder = encoders.get(type)
    if (encoder) return value === null ? null : encoder(value)
    const ofElement = type.endsWith('[]') ? encoders.get(type.slice(0, -2)) : undefined
    if (!ofElement) return param
    const encoded = encodeArray(value, ofElement, type === 'json[]' || type === 'jsonb[]')
    return encoded === value ? param : encoded
  })
}

/**
 * Encodes the elements of an array, of whatever kind that is. What is no array stays as it is. An array within an array of JSON is an
 * element, unless lower bounds tell of more dimensions.
 */
function encodeArray(given: unknown, encoder: Encoder, isOfJson: boolean): unknown {
  const dimensions = isOfJson ? 1 : Infinity
  let value = given
  for (let depth = 0; depth < MAX_DEPTH && isObject(value) && isAsked(value); depth += 1)
    value = value.toPostgres()
  if (Array.isArray(value)) return encodeElements(value, encoder, dimensions)
  if (types.isSet(value)) return encodeElements([...value], encoder, dimensions)
  if (types.isTypedArray(value) && !types.isUint8Array(value))
    return encodeElements(Array.from<unknown>(value), encoder, dimensions)
  if (value instanceof BoundedArray) {
    const { values, lowerBounds } = value
    const bounded = isOfJson ? lowerBounds.length : Infinity
    return new BoundedArray(encodeElements(values, encoder, bounded), lowerBounds)
  }
  return value
}

function encodeElements(
  array: readonly unknown[],
  encoder: Encoder,
  dimensions: number,
  depth = 1,
): unknown[] {
  return array.map((element) => {
    // What lies deeper is refused later.
    if (Array.isArray(element) && depth < dimensions)
      return depth <= MAX_DEPTH ? encodeElements(element, encoder, dimensions, depth + 1) : element
    return element === null ? null : encoder(element)
  })
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Converts the parameters of one list. What it gives shares nothing with them, as they may be others by the time at which it crosses to Rust. */
class Converter {
  readonly #types: ResolvedTypes
  readonly #name: string
  readonly #names: readonly string[] | undefined
  #index = 0
  /** Whether what is converted is a part of an object, where JSON has its own forms of what is no parameter. */
  #isWithin = false

  constructor(types: ResolvedTypes, name: string, names: readonly string[] | undefined) {
    this.#types = types
    this.#name = name
    this.#names = names
  }

  convert(value: unknown, index: number): unknown {
    if (value instanceof TakenParameter) return value.native
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
        if (value.isWellFormed()) return value
        if (this.#isWithin) return { json: JSON.stringify(value) }
        throw halfSurrogate(this.#place(at))
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
    if (at.length > MAX_DEPTH) return this.#deep(value)
    if (isAsked(value)) return this.#any(value.toPostgres(), [...at, 'toPostgres()'])
    if (Array.isArray(value)) return this.#isWithin ? this.#part(value, at) : this.#array(value, at)
    if (types.isDate(value)) {
      if (Number.isNaN(value.getTime())) {
        throw new ArgumentTypeError(
          `Expected \`${this.#place(at)}\` to be a valid Date, got an invalid one`,
        )
      }
      return new Date(value)
    }
    if (ArrayBuffer.isView(value)) return this.#view(value, at)
    if (types.isAnyArrayBuffer(value)) return new Uint8Array(this.#attached(value, at))
    if (types.isSet(value)) return this.#array([...value], at)
    if (types.isMap(value)) return this.#map(value, at)
    // `JSON.stringify` would silently convert these to `{}`. A function of the user's may know expressions.
    if (types.isPromise(value) || (types.isRegExp(value) && !this.#types.isOwnStringify)) {
      throw new ArgumentTypeError(expected(this.#place(at), 'a value that JSON can hold', value))
    }
    if (this.#isWithin && types.isBoxedPrimitive(value)) return this.#any(value.valueOf(), at)
    if (value instanceof Range) return this.#fields(value, undefined, at)
    if (value instanceof BoundedArray) {
      return { bounds: [...value.lowerBounds], values: this.#array(value.values, at) }
    }
    const literal = this.#literal(value, at)
    if (literal !== undefined) {
      return { literal, json: this.#json(value).json ?? JSON.stringify(literal) }
    }
    return this.#plain(value, at)
  }

  /** What lies too deep for every type but JSON. */
  #deep(value: object): unknown {
    const isText =
      this.#types.isOwnStringify || (ownFormOf(value) !== Form.Own && formOf(value) !== Form.Own)
    if (this.#isWithin && isText) {
      const { json } = this.#json(value)
      if (json !== undefined) return { json }
    }
    throw new ArgumentTypeError(
      `Expected \`${this.#place([])}\` to be of at most ${MAX_DEPTH} levels, got a deeper one`,
    )
  }

  /** An array within an object. Rust reads text faster than value after value. */
  #part(array: readonly unknown[], at: (number | string)[]): unknown {
    if (this.#types.isOwnStringify || formOf(array) !== Form.Json) return this.#array(array, at)
    const { json, error } = this.#json(array)
    if (json === undefined) throw this.#notJson(error, at)
    return { json }
  }

  #array(array: readonly unknown[], at: (number | string)[]): unknown[] {
    const native: unknown[] = []
    for (let index = 0; index < array.length; index += 1) {
      const value = array[index]
      at.push(index)
      native.push((this.#isWithin && isNothing(value) ? null : this.#any(value, at)) ?? null)
      at.pop()
    }
    return native
  }

  /** Bytes, or the numbers of any other typed array. */
  #view(view: ArrayBufferView, at: (number | string)[]): unknown {
    if (types.isTypedArray(view)) {
      if (view.length === 0) this.#attached(view.buffer, at)
      if (types.isUint8Array(view)) return new Uint8Array(view)
      return this.#array(Array.from(view as unknown as ArrayLike<number | bigint>), at)
    }
    this.#attached(view.buffer, at)
    return new Uint8Array(new Uint8Array(view.buffer, view.byteOffset, view.byteLength))
  }

  /** Bytes that are there: a buffer that was transferred elsewhere would be empty. */
  #attached(buffer: ArrayBufferLike, at: (number | string)[]): Uint8Array {
    try {
      return new Uint8Array(buffer)
    } catch (error) {
      throw new ArgumentTypeError(
        `Expected \`${this.#place(at)}\` to have bytes, got some that were transferred elsewhere`,
        { cause: error },
      )
    }
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
    // JSON has every digit of it.
    if (text !== undefined || this.#isWithin) return text
    throw new ArgumentRangeError(
      `Expected \`${this.#place(at)}\` to be of whole microseconds, which PostgreSQL has, got \`${(value as { toString(): string }).toString()}\``,
    )
  }

  /** An object of the user's. `undefined` is what JSON leaves out. */
  #plain(value: object, at: (number | string)[]): unknown {
    const form = saysItsJson(value) ? Form.Json : formOf(value)
    if (form === Form.Json) {
      const { json, error } = this.#json(value)
      if (json !== undefined) return { json }
      if (error !== undefined) throw this.#notJson(error, at)
      if (this.#isWithin) return undefined
      throw new ArgumentTypeError(expected(this.#place(at), 'a value that JSON can hold', value))
    }
    const isOutermost = !this.#isWithin
    // What is within another object is a part of its text, unless a function of the user's has a say in it.
    const hasText =
      this.#types.isOwnStringify ||
      (form === Form.Exact && (isOutermost || 'toJSON' in BigInt.prototype))
    const { json, error }: JsonText = hasText ? this.#json(value) : {}
    // It has too many levels, or too much text.
    if (error instanceof RangeError) throw this.#notJson(error, at)
    this.#isWithin = true
    const fields = this.#fields(value, json, at)
    this.#isWithin = !isOutermost
    return fields
  }

  #json(value: object): JsonText {
    let json: unknown
    try {
      json = this.#types.stringifyJson(value)
    } catch (error) {
      return { error }
    }
    if (json === undefined || typeof json === 'string') return { json }
    throw new ArgumentTypeError(
      `Expected \`types.json.stringify\` to return a string or \`undefined\`, got ${describe(json)}`,
    )
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
      if (isNothing(field)) continue
      at.push(key)
      const native = this.#any(field, at)
      at.pop()
      if (native === undefined) continue
      keys.push(key)
      values.push(native)
    }
    return json === undefined ? { keys, values } : { keys, values, json }
  }
}

/** The JSON text of an object, or why it has none. */
interface JsonText {
  readonly json?: string | undefined
  readonly error?: unknown
}

/** Whether a value is nothing to JSON. */
function isNothing(value: unknown): boolean {
  return value === undefined || typeof value === 'function' || typeof value === 'symbol'
}

/** What JSON text tells of an object. */
const enum Form {
  /** All of it. */
  Json,
  /** All of it to `json`; to other types its parts are more. */
  Exact,
  /** Something else, or nothing: `JSON.stringify` makes `{}` of a map. */
  Own,
}

/** What JSON text tells of the parts of an object, and of their parts. It does not call itself: there can be any number of levels. */
function formOf(whole: object): Form {
  let form = Form.Json
  const left = [whole]
  // One may have itself among its parts.
  const seen = new Set<unknown>(left)
  for (let value = left.pop(); value; value = left.pop()) {
    for (const part of partsOf(value)) {
      if (typeof part !== 'object' || part === null) {
        if (!isExactInJson(part)) form = Form.Exact
      } else if (!seen.has(part)) {
        seen.add(part)
        const own = ownFormOf(part)
        if (own === Form.Own) return own
        if (own === Form.Exact) form = own
        else left.push(part)
      }
    }
    if (value instanceof Range) form = Form.Exact
  }
  return form
}

function partsOf(value: object): readonly unknown[] {
  return Array.isArray(value) ? value : Object.values(value)
}

/** What JSON text tells of a part of an object, if it has no parts itself. */
function ownFormOf(part: object): Form {
  if (isAsked(part)) return Form.Own
  const prototype: unknown = Object.getPrototypeOf(part)
  const isPlain = prototype === Object.prototype || prototype === Array.prototype
  if (!isPlain && isUnknownToJson(part)) return Form.Own
  // Of a text that stands for an object JSON does not tell that it is none.
  return saysItsJson(part) ? Form.Exact : Form.Json
}

function saysItsJson(value: object): boolean {
  return 'toJSON' in value && typeof value.toJSON === 'function'
}

function isExactInJson(value: unknown): boolean {
  switch (typeof value) {
    case 'bigint':
      return false
    case 'number':
      // The digits that JSON has of an integer beyond 2^53 are not always the integer itself: 2^63 is 9223372036854776000 there.
      if (Number.isInteger(value)) return Number.isSafeInteger(value) && !Object.is(value, -0)
      return Number.isFinite(value)
    default:
      return true
  }
}

/** Whether JSON knows neither a value nor its parts. */
function isUnknownToJson(value: object): boolean {
  return (
    ArrayBuffer.isView(value) ||
    types.isAnyArrayBuffer(value) ||
    types.isMap(value) ||
    types.isSet(value) ||
    types.isPromise(value) ||
    types.isRegExp(value) ||
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
