// What may be told of an error or a gap to whoever has not asked for more: nothing that holds a text of others.
import { PglistenError } from '../errors.js'
import type { ErrorFacts, GapMessage, ListenerIdentity } from './channels.js'

/** The fields of a gap that are told. */
export type GapFacts = Readonly<Omit<GapMessage, keyof ListenerIdentity>>

/** The name of a class. */
const NAME = /^\w{1,64}$/
/** A code as programs have it, such as `ENOENT`: other texts may be data of the user's. */
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/
/** An SQLSTATE. */
const SQL_STATE = /^[0-9A-Z]{5}$/

/** The facts of whatever was thrown. */
export function errorFacts(error: unknown): ErrorFacts {
  try {
    return {
      name: nameOf(error) ?? 'Error',
      code: field(error, 'code', CODE),
      sqlState: field(error, 'sqlState', SQL_STATE),
    }
  } catch {
    // A getter or a proxy of the user's.
    return { name: 'Error', code: undefined, sqlState: undefined }
  }
}

/** The name of the class: an error's own name may be any text. */
function nameOf(error: unknown): string | undefined {
  if (error instanceof PglistenError) return error.name
  if (typeof error !== 'object' || error === null) return undefined
  const prototype = Object.getPrototypeOf(error) as { constructor?: unknown } | null
  return field(prototype?.constructor, 'name', NAME)
}

function field(value: unknown, name: string, form: RegExp): string | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  const text = (value as Record<string, unknown>)[name]
  return typeof text === 'string' && form.test(text) ? text : undefined
}
