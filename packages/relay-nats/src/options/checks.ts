// Checks that every option goes through.
import { RelayOptionError, expected } from '../errors.js'

/** Throws the error about a wrong value. */
export function refuse(name: string, what: string, value: unknown): never {
  throw new RelayOptionError(expected(name, what, value))
}

export const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Refuses what is no object, and names that are not known. */
export function checkNames(name: string, value: unknown, known: readonly string[]): void {
  if (!isObject(value)) refuse(name, 'an object', value)
  for (const key of Object.keys(value)) {
    if (!known.includes(key))
      throw new RelayOptionError(`Expected \`${name}\` to have ${known.join(', ')}, got \`${key}\``)
  }
}

/** A text that is not empty, or `undefined`. */
export function checkText(name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined
  // The value may be a secret: only its type is told.
  if (typeof value !== 'string')
    throw new RelayOptionError(`Expected \`${name}\` to be a text, got ${typeof value}`)
  if (value === '' || !value.isWellFormed())
    throw new RelayOptionError(
      `Expected \`${name}\` to be a well-formed text, got ${value.length} characters`,
    )
  return value
}

/** An array of texts. */
export function checkTexts(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value) || !value.every((one): one is string => typeof one === 'string'))
    refuse(name, 'an array of texts', value)
  return value
}

export function checkInteger(name: string, value: unknown, least: number, most: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
    refuse(name, `an integer from ${least} to ${most}`, value)
  return value
}

export function checkSignal(signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal))
    refuse('signal', 'an AbortSignal', signal)
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') refuse(name, 'a boolean', value)
  return value
}
