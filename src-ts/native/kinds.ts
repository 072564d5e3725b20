// The kinds of things that cross from Rust as strings, as unions of what Rust sends: `src-rs/binding` has the same
// names.
//
// The generated declarations may still call a kind a plain `string`. Each function here narrows one, so that a `switch`
// over
// its result is exhaustive: a case that is forgotten does not compile, as `unknownKind` takes only `never`.
import type { NativeError, NativeEvent, NativeGap } from '#native'
import { PglistenError } from '../errors.js'

/** The kinds of errors; `native-errors.ts` says which class stands for each. */
export type ErrorKind =
  | 'configuration'
  | 'connect'
  | 'tls'
  | 'closed'
  | 'database'
  | 'execute'
  | 'pool'
  | 'listenerClosed'
  | 'listenerOverflow'
  | 'internal'

/** The kinds of events of a listening session. */
export type EventKind =
  | 'connected'
  | 'disconnected'
  | 'attemptFailed'
  | 'reconnected'
  | 'notice'
  | 'warning'
  | 'closed'

/** The reasons of gaps. */
export type GapKind = 'disconnect' | 'overflow' | 'decode'

/** The ways in which a commit may end. */
export type CommitOutcome = 'committed' | 'rolledBack' | 'alreadyEnded'

export const errorKind = (error: NativeError): ErrorKind => error.kind as ErrorKind
export const eventKind = (event: NativeEvent): EventKind => event.kind as EventKind
export const gapKind = (gap: NativeGap): GapKind => gap.reason as GapKind

/**
 * Makes the error for a kind that only Rust knows: a mistake in this package, with the code `ERR_PGLISTEN_INTERNAL`.
 *
 * @param what - What has the kind, such as `error`.
 * @param kind - Of type `never` once all kinds are handled.
 * @param details - A text that came with it.
 */
export function unknownKind(what: string, kind: never, details?: string): PglistenError {
  const more = details === undefined ? '' : `: ${details}`
  return new PglistenError(`The addon sent an unknown kind of ${what}, \`${String(kind)}\`${more}`)
}
