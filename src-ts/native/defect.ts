// Errors of what the addon throws, which is always a defect of this package, and what to do after one.
import { PglistenError } from '../errors.js'

/** How long to wait before what has failed is tried again, in milliseconds. */
export const RETRY_MS = 100

/** Makes the package's error of what the addon has thrown in `where`. */
export function defect(where: string, cause: unknown): PglistenError {
  const message = cause instanceof Error ? cause.message : String(cause)
  return new PglistenError(`${where} failed: ${message}`, { cause })
}

/** Tells of an error of {@link defect} where nobody can catch it. */
export function warnOfDefect(error: unknown): void {
  const { message, code } = error as PglistenError
  process.emitWarning(message, { type: 'PglistenWarning', code })
}
