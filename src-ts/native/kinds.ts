// The kinds of things that cross from Rust as strings. The generated declarations name them all, so a `switch` over a kind is
// exhaustive: a case that is forgotten does not compile, as `unknownKind` takes only `never`.
import { PglistenError } from '../errors.js'

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
