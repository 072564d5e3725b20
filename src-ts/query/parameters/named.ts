// Parameters by name: each `$(name)p` of a statement becomes the `$1` that the server knows, and a mapping of values becomes a
// list.
import { types as kinds } from 'node:util'
import { numberNamesOf } from '#native'
import { ArgumentRangeError, ArgumentTypeError, ConnectionExecuteError } from '../../errors.js'
import { checkString, describe, expected } from '../../options/validate.js'
import { looksLikeOptions, refuseOptions } from '../bounds.js'
import type { QueryParameter, ResolvedTypes } from '../../options/types.js'
import { ParameterLists } from './lists.js'
import {
  addParameters,
  encodeParameters,
  takeParameters,
  toNativeParameters,
} from './parameters.js'
import { RecentlyUsed } from '../recently-used.js'

/**
 * The parameters of a statement with names: one value for each name, `{ id: 7 }` for `WHERE id = $(id)p`. A name has letters of
 * any script, digits and underscores, and can be used more than once. In strings, quoted identifiers and comments `$(id)p` is
 * text like any other. Only the mapping's own properties count.
 *
 * Strings are read as with `standard_conforming_strings = on`, which is PostgreSQL's default, and its only mode from 19 on: where a session
 * has switched it off, and a string without `E` has a backslash before a quote, `$(id)p` in it may be taken for a parameter.
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

/** @internal */
export function checkSql(sql: unknown, name = 'sql'): asserts sql is string {
  checkString(name, sql)
  if (sql.includes('\0')) {
    throw new ArgumentRangeError(
      `Expected \`${name}\` to be a string without NUL, got one with a NUL`,
    )
  }
  if (!sql.isWellFormed()) {
    throw new ArgumentRangeError(
      `Expected \`${name}\` to be well-formed text, got a string with half of a surrogate pair`,
    )
  }
}

/** @internal Checks a statement, and gives the names in it numbers. */
export function numbered(sql: unknown, name = 'sql'): NumberedStatement {
  checkSql(sql, name)
  // Nearly every statement without names ends here.
  if (!sql.includes('$(')) return { text: sql, names: NO_NAMES }
  const known = kept.get(sql)
  if (known) return known
  const { text, names, isMixed } = numberNamesOf(sql)
  if (isMixed) {
    throw new ArgumentRangeError(
      `Expected \`${name}\` to have parameters either with names, such as \`$(name)p\`, or with numbers, such as \`$1\`, got both`,
    )
  }
  const statement = { text, names }
  if (sql.length <= MAX_KEPT_LENGTH) kept.set(sql, statement)
  return statement
}

/** @internal Checks the parameters of a statement, and converts them to the list that crosses to Rust. */
export function toNativeValues(
  statement: NumberedStatement,
  params: unknown,
  types: ResolvedTypes,
): unknown[] {
  const values = valuesOf(statement, params, 'params')
  return toNativeParameters(values, types, 'params', namesOf(statement))
}

/** @internal Checks the parameters of a statement, and takes them as they are now, to be encoded once their types are known. */
export function takeValues(
  statement: NumberedStatement,
  params: unknown,
  types: ResolvedTypes,
  place: () => string = () => 'params',
): unknown[] {
  return takeParameters(valuesOf(statement, params, place()), types, place, namesOf(statement))
}

/** @internal Encodes parameters by their types, and converts them to the list that crosses to Rust. */
export function toEncodedValues(
  statement: NumberedStatement,
  values: readonly unknown[],
  parameterTypes: readonly string[],
  types: ResolvedTypes,
): unknown[] {
  const encoded = encodeParameters(values, parameterTypes, types)
  return toNativeParameters(encoded, types, 'params', namesOf(statement))
}

function namesOf({ names }: NumberedStatement): readonly string[] | undefined {
  return names.length > 0 ? names : undefined
}

/** The parameters as a list, not converted yet. */
function valuesOf(
  { names }: NumberedStatement,
  params: unknown,
  place: string,
): readonly unknown[] {
  if (params === undefined && names.length === 0) return []
  if (names.length > 0) return inOrder(names, params, place)
  if (isMapping(params) && !looksLikeOptions(params)) {
    throw new ArgumentTypeError(
      `${expected(place, 'an array', params)}: the statement has no names, such as \`$(name)p\``,
    )
  }
  refuseOptions(params, place)
  if (!Array.isArray(params)) throw new ArgumentTypeError(expected(place, 'an array', params))
  return params
}

/** @internal Checks and converts the parameters of each run of a statement. */
export function toParameterLists(
  statement: NumberedStatement,
  paramSets: unknown,
  types: ResolvedTypes,
): ParameterLists {
  const lists = new ParameterLists()
  forEachSet(statement, paramSets, (params, place) =>
    addValues(lists, statement, params, types, place),
  )
  return lists
}

/** @internal Checks the parameters of each run of a statement, and takes them as they are now, to be encoded once their types are known. */
export function takeParameterSets(
  statement: NumberedStatement,
  paramSets: unknown,
  types: ResolvedTypes,
): unknown[][] {
  const sets: unknown[][] = []
  forEachSet(statement, paramSets, (params, place) =>
    sets.push(takeValues(statement, params, types, place)),
  )
  return sets
}

/** @internal Encodes the parameters of each run, which were taken, by their types, and converts them. */
export function toEncodedLists(
  statement: NumberedStatement,
  sets: readonly (readonly unknown[])[],
  parameterTypes: readonly string[],
  types: ResolvedTypes,
): ParameterLists {
  const lists = new ParameterLists()
  let index = 0
  const place = () => `paramSets[${index}]`
  for (const values of sets) {
    addEncodedValues(lists, statement, values, parameterTypes, types, place)
    index += 1
  }
  return lists
}

function forEachSet(
  { names }: NumberedStatement,
  paramSets: unknown,
  take: (params: unknown, place: () => string) => void,
): void {
  refuseOptions(paramSets, 'paramSets')
  if (!isIterable(paramSets)) {
    const what = names.length > 0 ? 'objects' : 'arrays'
    throw new ArgumentTypeError(expected('paramSets', `an iterable of ${what}`, paramSets))
  }
  let index = 0
  const place = () => `paramSets[${index}]`
  for (const params of paramSets) {
    take(params, place)
    index += 1
  }
}

/** @internal Checks and converts the parameters of a statement, and adds them to others as a list. */
export function addValues(
  lists: ParameterLists,
  statement: NumberedStatement,
  params: unknown,
  types: ResolvedTypes,
  place: () => string,
): void {
  const names = namesOf(statement)
  const values: readonly unknown[] =
    !names && Array.isArray(params) ? params : valuesOf(statement, params, place())
  addParameters(lists, values, types, place, names)
}

/** @internal Encodes the parameters of a statement, which were taken, by their types, and adds them to others as a list. */
export function addEncodedValues(
  lists: ParameterLists,
  statement: NumberedStatement,
  values: readonly unknown[],
  parameterTypes: readonly string[],
  types: ResolvedTypes,
  place: () => string,
): void {
  const encoded = encodeParameters(values, parameterTypes, types)
  addParameters(lists, encoded, types, place, namesOf(statement))
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
    throw byName(names, error)
  })
}

/** @internal An error that tells of a parameter by its name. `names` are those of the statement that has failed. */
export function byName(names: readonly string[], error: unknown): unknown {
  if (names.length === 0 || !(error instanceof ConnectionExecuteError)) return error
  const message = error.message.replace(/\b(parameter) \$(\d+)/i, (whole, word, number) => {
    const name = names[Number(number) - 1]
    return name === undefined ? whole : `${word} $(${name})p`
  })
  const named = new ConnectionExecuteError(message)
  if (error.statementIndex !== undefined) named.statementIndex = error.statementIndex
  return named
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
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !kinds.isMap(value)
}

/** Whether a value can be iterated. A string can too, but not as a list of parameters. */
function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}
