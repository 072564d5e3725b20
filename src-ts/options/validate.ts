// Checks of arguments, with one form of message for all of them. Nothing is sent to the server before they pass.
import { ArgumentRangeError, ArgumentTypeError, type PglistenError } from '../errors.js'

/**
 * The longest name of a channel, in bytes: NAMEDATALEN of `src/include/pg_config_manual.h`, without the terminating
 * NUL.
 */
export const MAX_CHANNEL_BYTES = 63

/**
 * The longest payload, in bytes: NOTIFY_PAYLOAD_MAX_LENGTH of `src/backend/commands/async.c`, without the terminating
 * NUL.
 */
export const MAX_PAYLOAD_BYTES = 7999

/** The bytes that a payload takes besides its text, where one statement sends several. */
const ELEMENT_BYTES = 4

/**
 * The most bytes of the payloads of one statement. PostgreSQL takes no message above 1 GiB, and ends the session of who sends
 * one (`PQ_LARGE_MESSAGE_LIMIT`); the rest of the message is short.
 */
const MAX_TOGETHER_BYTES = 0x3fff_ffff - 256

/** The longest delay that a timer of Node allows, in milliseconds: nearly 25 days. */
export const MAX_DELAY_MS = 2 ** 31 - 1

/** Options of which every one has a value. */
export type Complete<Options> = { [Name in keyof Options]-?: Exclude<Options[Name], undefined> }

/** What may be a whole address with its password, or the text of a key. */
const MAY_BE_SECRET = /[@=]|:\/\/|-----BEGIN/

/** Describes a value for an error message: short, on one line, with its type. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case 'undefined':
      return '`undefined`'
    case 'string':
    case 'number':
    case 'boolean':
    case 'bigint': {
      const text = String(value)
      if (MAY_BE_SECRET.test(text)) return `a ${typeof value} (not shown: it may hold a password)`
      const short = text.length > 40 ? `${text.slice(0, 40)}…` : text
      return `\`${short.replaceAll('\0', '\\0').replaceAll('\n', '\\n')}\` (${typeof value})`
    }
    case 'object':
      return value === null ? '`null`' : describeObject(value)
    default:
      return `a ${typeof value}`
  }
}

function describeObject(value: object): string {
  if (isArray(value)) return 'an array'
  let name: unknown
  try {
    name = value.constructor?.name
  } catch {
    // A getter or a proxy of the user's: that it throws says nothing about the wrong argument.
  }
  return typeof name === 'string' && name !== 'Object' ? `an instance of ${name}` : 'an object'
}

/** Unlike `Array.isArray()`, it does not throw for a proxy that was revoked. */
function isArray(value: object): boolean {
  try {
    return Array.isArray(value)
  } catch {
    return false
  }
}

/** Makes the message for a wrong argument. */
export function expected(name: string, what: string, value: unknown): string {
  return `Expected \`${name}\` to be ${what}, got ${describe(value)}`
}

/** Makes the errors that a failed check throws: for a wrong type, and for a wrong value of the right type. */
export interface CheckErrors {
  type(message: string): PglistenError
  range(message: string): PglistenError
}

const argumentErrors: CheckErrors = {
  type: (message) => new ArgumentTypeError(message),
  range: (message) => new ArgumentRangeError(message),
}

/** Checks that a value is a string. */
export function checkString(
  name: string,
  value: unknown,
  errors: CheckErrors = argumentErrors,
): asserts value is string {
  if (typeof value !== 'string') throw errors.type(expected(name, 'a string', value))
}

/** Checks that a value is a boolean. */
export function checkBoolean(
  name: string,
  value: unknown,
  errors: CheckErrors = argumentErrors,
): asserts value is boolean {
  if (typeof value !== 'boolean') throw errors.type(expected(name, 'a boolean', value))
}

/** The inclusive bounds of a number, and whether it must be an integer or may be `Infinity`. */
export interface NumberBounds {
  min: number
  max?: number
  integer?: boolean
  infinity?: boolean
  /** What else is accepted, for the error. */
  or?: string
}

/** The bounds of a number of bytes for buffers: a payload of the largest size must have room. */
export const BUFFER_BYTES: NumberBounds = { min: 16_384, integer: true }

/** Checks that a value is a number within bounds. */
export function checkNumber(
  name: string,
  value: unknown,
  { min, max = Number.MAX_SAFE_INTEGER, integer = false, infinity = false, or }: NumberBounds,
  errors: CheckErrors = argumentErrors,
): asserts value is number {
  const limit = max === Number.MAX_SAFE_INTEGER ? `>= ${min}` : `between ${min} and ${max}`
  const others = `${infinity ? ' or Infinity' : ''}${or === undefined ? '' : ` or ${or}`}`
  const what = `${integer ? 'an integer' : 'a number'} ${limit}${others}`
  if (typeof value !== 'number') throw errors.type(expected(name, what, value))
  if (infinity && value === Infinity) return
  if (!(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
    throw errors.range(expected(name, what, value))
  }
}

/** Checks that a value is one of some strings. */
export function checkOneOf<Value extends string>(
  name: string,
  value: unknown,
  accepted: readonly Value[],
  errors: CheckErrors = argumentErrors,
): asserts value is Value {
  if (!accepted.includes(value as Value)) {
    throw errors.type(
      expected(name, `one of ${accepted.map((one) => `\`${one}\``).join(', ')}`, value),
    )
  }
}

/** The known name that an unknown one resembles: written in another way, or with an `s` too few or too many. */
export function alike(name: string, known: readonly string[]): string | undefined {
  const plain = (one: string) => one.replaceAll(/[_-]/g, '').toLowerCase()
  const singular = (one: string) => plain(one).replace(/s$/, '')
  const found =
    known.find((one) => plain(one) === plain(name)) ??
    known.find((one) => singular(one) === singular(name))
  return found === undefined ? undefined : `\`${found}\``
}

/** Checks that a value is an object, and that it has only known options. `meant` may know what an unknown one stands for. */
export function checkOptions(
  name: string,
  value: unknown,
  known: readonly string[],
  errors: CheckErrors = argumentErrors,
  meant = alike,
): asserts value is object {
  checkObject(name, value, 'an object of options', errors)
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      const instead = meant(key, known)
      const rest = instead
        ? `: did you mean ${instead}?`
        : `; expected ${known.map((one) => `\`${one}\``).join(', ')}`
      throw errors.type(`Unknown option \`${key}\` in \`${name}\`${rest}`)
    }
  }
}

/** Checks that a value is an object whose properties can be read: a signal or a map has none of its own, and would be ignored. */
export function checkObject(
  name: string,
  value: unknown,
  what = 'an object of options',
  errors: CheckErrors = argumentErrors,
): asserts value is object {
  if (
    typeof value !== 'object' ||
    value === null ||
    Array.isArray(value) ||
    (Object.keys(value).length === 0 && !isLiteral(value))
  ) {
    throw errors.type(expected(name, what, value))
  }
}

/** Whether an object is a literal, of whatever context, or has no prototype. */
function isLiteral(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Checks that a value is a function. */
export function checkFunction(
  name: string,
  value: unknown,
  errors: CheckErrors = argumentErrors,
): void {
  if (typeof value !== 'function') throw errors.type(expected(name, 'a function', value))
}

/** Checks that a value is an AbortSignal. */
export function checkSignal(
  name: string,
  value: unknown,
  errors: CheckErrors = argumentErrors,
): asserts value is AbortSignal {
  if (!(value instanceof AbortSignal)) throw errors.type(expected(name, 'an AbortSignal', value))
}

/**
 * Checks the name of a channel: 1 to 63 bytes of UTF-8 without NUL. PostgreSQL would truncate a longer name with only a
 * notice, and listen to another channel.
 */
export function checkChannel(
  value: unknown,
  name = 'channel',
  errors: CheckErrors = argumentErrors,
): asserts value is string {
  const what = `the name of a channel: a string of 1 to ${MAX_CHANNEL_BYTES} bytes without NUL`
  if (typeof value !== 'string') throw errors.type(expected(name, what, value))
  checkText(name, value, what, MAX_CHANNEL_BYTES, errors)
  if (value === '') throw errors.range(`Expected \`${name}\` to be ${what}, got an empty string`)
}

/** Checks a payload: at most 7999 bytes of UTF-8 without NUL. */
export function checkPayload(value: unknown, name = 'payload'): asserts value is string {
  const what = `a string of at most ${MAX_PAYLOAD_BYTES} bytes without NUL`
  if (typeof value !== 'string') throw new ArgumentTypeError(expected(name, what, value))
  checkText(name, value, what, MAX_PAYLOAD_BYTES)
}

/** Checks that payloads fit into one statement. */
export function checkTogether(payloads: readonly string[]): void {
  // So few always do.
  if (payloads.length <= MAX_TOGETHER_BYTES / (MAX_PAYLOAD_BYTES + ELEMENT_BYTES)) return
  let bytes = 0
  for (const payload of payloads) bytes += Buffer.byteLength(payload) + ELEMENT_BYTES
  if (bytes <= MAX_TOGETHER_BYTES) return
  const most = `at most ${MAX_TOGETHER_BYTES} bytes together, ${ELEMENT_BYTES} for each included`
  throw new ArgumentRangeError(
    `Expected \`payloads\` to have ${most}, got ${bytes} bytes: one statement sends them all`,
  )
}

/** Checks that a text has no NUL, is well-formed and has no more bytes than `maxBytes`. `what` says all of that. */
export function checkText(
  name: string,
  value: string,
  what: string,
  maxBytes: number,
  errors: CheckErrors = argumentErrors,
): void {
  if (value.includes('\0'))
    throw errors.range(`Expected \`${name}\` to be ${what}, got one with a NUL`)
  if (!value.isWellFormed()) {
    throw errors.range(`Expected \`${name}\` to be ${what}, got one with half of a surrogate pair`)
  }
  const bytes = Buffer.byteLength(value)
  if (bytes > maxBytes) throw errors.range(`Expected \`${name}\` to be ${what}, got ${bytes} bytes`)
}
