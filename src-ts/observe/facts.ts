// What may be told of an error or a gap to whoever has not asked for more: nothing that holds a text of others.
import type { ErrorFacts, GapMessage, ListenerIdentity } from './channels.js'

/** The fields of a gap that are told. */
export type GapFacts = Readonly<Omit<GapMessage, keyof ListenerIdentity>>

/** An identifier: others than such may be texts of the user's. */
const IDENTIFIER = /^[\w.-]{1,64}$/

/** The facts of whatever was thrown. */
export function errorFacts(error: unknown): ErrorFacts {
  const name = identifier(error, 'name')
  return {
    name: name ?? 'Error',
    code: identifier(error, 'code'),
    sqlState: identifier(error, 'sqlState'),
  }
}

function identifier(error: unknown, field: string): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  try {
    const value = (error as Record<string, unknown>)[field]
    return typeof value === 'string' && IDENTIFIER.test(value) ? value : undefined
  } catch {
    // A getter of the user's.
    return undefined
  }
}
