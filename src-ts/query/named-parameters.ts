// Parameters by name: each `$(name)p` of a statement becomes the `$1` that the server knows, and a mapping of values becomes a
// list.
import { types } from 'node:util'
import { numberNamesOf } from '#native'
import { ArgumentRangeError, ArgumentTypeError, ConnectionExecuteError } from '../errors.js'
import { describe, expected } from '../options/validate.js'
import { looksLikeOptions, refuseOptions } from './bounds.js'
import { toNativeParameters, type QueryParameter } from './parameters.js'
import { RecentlyUsed } from './recently-used.js'

/**
 * The parameters of a statement with names: one value for each name, `{ id: 7 }` for `WHERE id = $(id)p`. A name has letters of
 * any script, digits and underscores, and can be used more than once. In strings, quoted identifiers and comments `$(id)p` is
 * text like any other. Only the mapping's own properties count.
 */
export interface NamedQueryParameters {
  readonly [name: string]: QueryParameter
}

/** The parameters of a statement: a list for `$1`, `$2`, …, or a mapping for names. No statement has both. */
export type QueryParameters = readonly QueryParameter[] | NamedQueryParameters

/** @internal A statement as the server takes it. */
export interface NumberedStatement {
  readonly text: string
  /** The name of `$1`, of `$2`, and so on. Empty when the parameters are numbered in the statement itself. */
  readonly names: readonly string[]
}

/** How many statements with names are kept, so that each is looked through once. */
const MAX_KEPT = 512
/** Longer texts are not kept, which bounds the memory. */
const MAX_KEPT_LENGTH = 16_384

/** Statements with names, by their text as it was given. */
const kept = new RecentlyUsed<NumberedStatement>(MAX_KEPT)
const NO_NAMES: readonly string[] = []

/** @internal Gives the names of a statement numbers. */
export function numbered(sql: string): NumberedStatement {
  // Nearly every statement without names ends here.
  if (!sql.includes('$(')) return { text: sql, names: NO_NAMES }
  const known = kept.get(sql)
  if (known) return known
  const { text, names, isMixed } = numberNamesOf(sql)
  if (isMixed) {
    throw new ArgumentRangeError(
      'Expected `sql` to have parameters either with names, such as `$(name)p`, or with numbers, such as `$1`, got both',
    )
  }
  const statement = { text, names }
  if (sql.length <= MAX_KEPT_LENGTH) kept.set(sql, statement)
  return statement
}

/** @internal Checks the parameters of a statement, and converts them to the list that crosses to Rust. */
export function toNativeValues(
  { names }: NumberedStatement,
  params: unknown,
  place = 'params',
): unknown[] {
  if (names.length > 0) return toNativeParameters(inOrder(names, params, place), place, names)
  if (isMapping(params) && !looksLikeOptions(params)) {
    throw new ArgumentTypeError(
      `${expected(place, 'an array', params)}: the statement has no names, such as \`$(name)p\``,
    )
  }
  return toNativeParameters(params, place)
}

/** @internal Checks and converts the parameters of each run of a statement. */
export function toNativeValueSets(statement: NumberedStatement, paramSets: unknown): unknown[][] {
  refuseOptions(paramSets, 'paramSets')
  if (!isIterable(paramSets)) {
    const what = statement.names.length > 0 ? 'objects' : 'arrays'
    throw new ArgumentTypeError(expected('paramSets', `an iterable of ${what}`, paramSets))
  }
  const sets: unknown[][] = []
  for (const params of paramSets) {
    sets.push(toNativeValues(statement, params, `paramSets[${sets.length}]`))
  }
  return sets
}

/**
 * @internal Lets an outcome tell of parameters by their names. Rust knows their numbers alone: `parameter $1` in the message of
 * an error becomes `parameter $(id)p`.
 */
export function tellingNames<Outcome>(
  { names }: NumberedStatement,
  outcome: Promise<Outcome>,
): Promise<Outcome> {
  if (names.length === 0) return outcome
  return outcome.catch((error: unknown) => {
    throw error instanceof ConnectionExecuteError ? byName(names, error) : error
  })
}

function byName(names: readonly string[], error: ConnectionExecuteError): ConnectionExecuteError {
  const message = error.message.replace(/\b(parameter) \$(\d+)/i, (whole, word, number) => {
    const name = names[Number(number) - 1]
    return name === undefined ? whole : `${word} $(${name})p`
  })
  return new ConnectionExecuteError(message)
}

/** The values of a mapping in the order of the names. Each name has a value, and each value a name. */
function inOrder(names: readonly string[], params: unknown, place: string): unknown[] {
  if (!isMapping(params)) {
    const wanted = names.map((name) => `\`${name}\``).join(', ')
    throw new ArgumentTypeError(
      expected(place, `an object with the names of the statement, ${wanted}`, params),
    )
  }
  const missing = names.find((name) => !Object.hasOwn(params, name))
  if (missing !== undefined) {
    // `{ signal }` may be a mapping as well, when the statement has that name.
    if (!names.some((name) => Object.hasOwn(params, name))) refuseOptions(params, place)
    throw new ConnectionExecuteError(
      `Expected \`${place}\` to have a value for \`$(${missing})p\`, got none`,
    )
  }
  const given = Object.keys(params)
  if (given.length > names.length) {
    const unused = given.find((name) => !names.includes(name))
    throw new ConnectionExecuteError(
      `Expected \`${place}\` to have only names of the statement, got ${describe(unused)}`,
    )
  }
  return names.map((name) => params[name])
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !types.isMap(value)
}

/** Whether a value can be iterated. A string can too, but not as a list of parameters. */
function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
