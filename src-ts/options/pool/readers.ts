// Readers of a pool's options: each checks a value, and returns it as it crosses to Rust.
import { ConnectionPoolConfigurationError } from '../../errors.js'
import type { ConnectionPoolOptions } from '../pool.js'
import { resolveTypes, type ResolvedTypes, type TypeOptions } from '../types.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkNumber,
  checkOneOf,
  checkString,
  describe,
  expected,
  type CheckErrors,
  type NumberBounds,
} from '../validate.js'

/** @internal Checks the value of one option and returns it as it crosses to Rust. `name` is the place that an error names. */
export type Read<Value> = (value: unknown, option: OptionName, name?: string) => Value

/** @internal The name of an option. */
export type OptionName = keyof ConnectionPoolOptions

/** @internal The bounds of a number of seconds, of which the milliseconds fit a timer. */
export const SECONDS: NumberBounds = { min: 0.001, max: MAX_DELAY_MS / 1000 }

/** @internal Makes the errors that a failed check of a pool's option throws. */
export function configurationErrors(option: string): CheckErrors {
  const error = (message: string) => new ConnectionPoolConfigurationError(message, { option })
  return { type: error, range: error }
}

/** @internal Reads a text that is not empty. */
export const text: Read<string> = (value, option, name = option) => {
  checkString(name, value, configurationErrors(option))
  if (value === '' || value.includes('\0')) {
    throw new ConnectionPoolConfigurationError(
      expected(name, 'a string that is not empty and has no NUL', value),
      { option },
    )
  }
  return value
}

/** Reads a text that no error message shows. */
const secret =
  (what: string, mayBeEmpty: boolean): Read<string> =>
  (value, option) => {
    if (typeof value === 'string' && !value.includes('\0') && (mayBeEmpty || value !== '')) {
      return value
    }
    const got =
      typeof value === 'string'
        ? 'one that is not (not shown)'
        : `a value of type ${typeof value} (not shown)`
    throw new ConnectionPoolConfigurationError(
      `Expected \`${option}\` to be a string ${what}, got ${got}`,
      { option },
    )
  }

const passwordText = secret('without NUL, or a function', true)

/** @internal Reads a password. A function crosses to Rust apart, and the empty text in its place keeps other sources out. */
export const password: Read<string> = (value, option) =>
  typeof value === 'function' ? '' : passwordText(value, option)

/** @internal Reads certificates or a key; Rust looks into them. */
export const pem = secret('in PEM that is not empty and has no NUL', false)

/** @internal Reads a boolean. */
export const flag: Read<boolean> = (value, option) => {
  checkBoolean(option, value, configurationErrors(option))
  return value
}

/** @internal Reads a number within bounds. */
export const number =
  (bounds: NumberBounds): Read<number> =>
  (value, option, name = option) => {
    checkNumber(name, value, bounds, configurationErrors(option))
    return value
  }

/** @internal Reads a number of seconds, which crosses in milliseconds. */
export const seconds: Read<number> = (value, option) => number(SECONDS)(value, option) * 1000

/** @internal Reads one of some names. */
export const oneOf =
  <Value extends string>(...accepted: readonly Value[]): Read<Value> =>
  (value, option) => {
    checkOneOf(option, value, accepted, configurationErrors(option))
    return value
  }

/** @internal Reads a single value, which crosses as a list. */
export const only =
  <Value>(read: Read<Value>): Read<Value[]> =>
  (value, option) => [read(value, option)]

/** @internal Reads a list that is not empty. */
export const list =
  <Value>(read: Read<Value>): Read<Value[]> =>
  (values, option) => {
    if (!Array.isArray(values) || values.length === 0) {
      // A text in the place of a list may be a whole address.
      const got = typeof values === 'string' ? 'a string (not shown)' : describe(values)
      throw new ConnectionPoolConfigurationError(
        `Expected \`${option}\` to be an array that is not empty, got ${got}`,
        { option },
      )
    }
    return values.map((value, index) => read(value, option, `${option}[${index}]`))
  }

/** @internal Reads how values are read and written. */
export const typeOptions: Read<ResolvedTypes> = (value, option) => {
  try {
    return resolveTypes(value as TypeOptions)
  } catch (error) {
    throw new ConnectionPoolConfigurationError((error as Error).message, { option, cause: error })
  }
}

/** @internal Reads a DSN, which may have a password in it. */
export const dsnText = secret('that is not empty and has no NUL', false)
