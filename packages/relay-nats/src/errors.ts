// The errors of the relay: each has a stable code, and none shows a password or a payload.
import { inspect } from 'node:util'

/** The base of every error of this package. */
export class RelayError extends Error {
  /** The stable identifier of the class. */
  readonly code: string = 'ERR_PGLISTEN_RELAY'

  override get name(): string {
    return this.constructor.name
  }
}

/** An option, a variable of the environment or an entry of the configuration file is wrong. Nothing was started. */
export class RelayOptionError extends RelayError {
  override readonly code = 'ERR_PGLISTEN_RELAY_OPTION'
}

/** @internal The text of whatever was thrown. */
export const textOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error)

/** @internal The text of an error about a wrong value. */
export function expected(name: string, what: string, value: unknown): string {
  const got =
    typeof value === 'string' && value.length > 100
      ? `a string of ${value.length} characters`
      : inspect(value, { depth: 0 })
  return `Expected \`${name}\` to be ${what}, got ${got} (${typeof value})`
}
