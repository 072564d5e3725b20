// Checks the parameters of statements and converts them for Rust, which knows the PostgreSQL type that each one must
// fit.
import { types } from 'node:util'
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import { refuseOptions } from './bounds.js'
import { describe, expected } from '../options/validate.js'

/**
 * A parameter of a statement. The server declares the type of each `$n`. A value that does not fit the type is refused
 * before the statement is executed, with no silent conversion: an `int4` takes no string.
 *
 * | PostgreSQL | JavaScript |
 * |---|---|
 * | `bool` | boolean |
 * | `int2`, `int4` | integer, bigint |
 * | `int8` | bigint, safe integer |
 * | `float4`, `float8` | number |
 * | `numeric` | decimal string, number, bigint |
 * | `text`, `varchar`, `bpchar`, `name`, `"char"`, `citext`, enums | string |
 * | `bytea` | `Buffer`, `Uint8Array` |
 * | `json`, `jsonb` | any value that `JSON.stringify` takes, except that a **string is taken as JSON text** as it is |
 * | `uuid` | string |
 * | `date`, `timestamp`, `timestamptz` | `Date`; the first two hold its UTC day and time |
 * | arrays of these | array, nested for each dimension, with nulls |
 * | any of them | `null`; never `undefined` |
 *
 * A domain is treated as its base type. Pass a value of any other type as text, and cast it in the statement:
 * `$1::text::inet`.
 */
export type QueryParameter = null | boolean | number | bigint | string | object

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
  name = 'params',
  names?: readonly string[],
): unknown[] {
  refuseOptions(params, name)
  if (!Array.isArray(params)) throw new ArgumentTypeError(expected(name, 'an array', params))
  const native: unknown[] = []
  // By index, because iteration methods would skip a hole, which reads as `undefined`.
  for (let index = 0; index < params.length; index += 1) {
    native.push(toNative(params[index], name, names?.[index] ?? index, 0))
  }
  return native
}

function toNative(value: unknown, name: string, key: number | string, depth: number): unknown {
  switch (typeof value) {
    case 'boolean':
    case 'number':
      return value
    case 'string':
      if (!value.isWellFormed()) throw halfSurrogate(placeOf(name, key))
      return value
    case 'bigint':
      return value >= MIN_INT64 && value <= MAX_INT64 ? value : { integer: String(value) }
    case 'object':
      return value === null ? null : objectToNative(value, name, key, depth)
    default:
      throw new ArgumentTypeError(
        expected(
          placeOf(name, key),
          'null, a boolean, a number, a bigint, a string or an object',
          value,
        ),
      )
  }
}

function objectToNative(value: object, name: string, key: number | string, depth: number): unknown {
  const place = placeOf(name, key)
  if (Array.isArray(value)) {
    if (depth >= MAX_DEPTH) {
      throw new ArgumentTypeError(
        `Expected \`${place}\` to be an array of at most ${MAX_DEPTH} levels, got a deeper one`,
      )
    }
    const native: unknown[] = []
    for (let inner = 0; inner < value.length; inner += 1) {
      native.push(toNative(value[inner], place, inner, depth + 1))
    }
    return native
  }
  if (types.isDate(value)) {
    if (Number.isNaN(value.getTime())) {
      throw new ArgumentTypeError(`Expected \`${place}\` to be a valid Date, got an invalid one`)
    }
    return value
  }
  if (types.isUint8Array(value)) return value
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) {
    throw new ArgumentTypeError(expected(place, 'a Buffer or a Uint8Array if it is bytes', value))
  }
  // `JSON.stringify` would silently convert these to `{}`.
  if (types.isMap(value) || types.isSet(value) || types.isPromise(value) || types.isRegExp(value)) {
    throw new ArgumentTypeError(expected(place, 'a value that JSON can hold', value))
  }
  return { json: toJson(value, place) }
}

/** Where a value stands, for a message. */
function placeOf(name: string, key: number | string): string {
  return typeof key === 'string' ? `${name}.${key}` : `${name}[${key}]`
}

function toJson(value: object, place: string): string {
  let json: string | undefined
  try {
    json = JSON.stringify(value) as string | undefined
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n', 1)[0] : describe(error)
    throw new ArgumentTypeError(`Expected \`${place}\` to be a value that JSON can hold: ${why}`, {
      cause: error,
    })
  }
  if (json === undefined)
    throw new ArgumentTypeError(expected(place, 'a value that JSON can hold', value))
  return json
}

function halfSurrogate(place: string): ArgumentRangeError {
  return new ArgumentRangeError(
    `Expected \`${place}\` to be well-formed text, got a string with half of a surrogate pair`,
  )
}
