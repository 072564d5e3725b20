// The options of a statement.
import {
  checkBoolean,
  checkFunction,
  checkObject,
  checkOneOf,
  checkOptions,
} from '../options/validate.js'
import { checkWait } from '../options/wait.js'
import type { CallOptions } from './bounds.js'
import type { Shaping } from './rows.js'
import {
  Manner,
  typesWithin,
  type Decoder,
  type ResolvedTypes,
  type TypeOptions,
} from '../options/types.js'

/** The options of a statement that returns nothing that is read. */
export interface StatementOptions extends CallOptions {
  /**
   * Whether the server keeps the statement prepared on the connection, for later uses. Without that it is sent without a name, in one
   * round trip, so that it works behind a pooler that gives each statement to another session of the server; at the first use of a
   * text on a connection, and whenever a cursor is opened, one more round trip asks for the types of its parameters and columns. `FETCH`
   * and `EXECUTE` are never kept, and asked about each time: their columns are those of what has the name at that moment.
   * @default true
   */
  prepared?: boolean | undefined
  /**
   * How values are read and written, in place of the pool's option of that name.
   * @default those of the pool
   */
  types?: TypeOptions | undefined
}

/** The options of a statement whose rows are read. */
export interface QueryOptions extends StatementOptions {
  /**
   * The form of a row: an object with a property for each column, of which of two with one name the last one counts; or an array of
   * the values in the order of the columns.
   * @default 'object'
   */
  rowMode?: 'object' | 'array' | undefined
  /**
   * Makes the final row of each row.
   * @default none
   */
  // oxlint-disable-next-line typescript/no-explicit-any -- the overloads of the methods say which row it gets.
  map?: ((row: any) => unknown) | undefined
  /**
   * Functions by the name of a column: each makes the value of what would be read otherwise. Not called for null.
   * @default none
   */
  columns?: Readonly<Record<string, Decoder>> | undefined
}

/** Rows as arrays. */
export interface ArrayMode extends QueryOptions {
  /** Arrays, in the order of the columns. */
  rowMode: 'array'
  /** None: with it the row is what it returns. */
  map?: undefined
}

/** Rows as a function makes them. */
export interface MapMode<Row, Mapped> extends QueryOptions {
  /** Makes the final row of each row. */
  map: (row: Row) => Mapped
}

/** @internal The names of the options of a statement. */
export const STATEMENT_OPTIONS = [
  'signal',
  'timeoutMs',
  'prepared',
  'types',
] as const satisfies (keyof StatementOptions)[]

const NAMES = [
  ...STATEMENT_OPTIONS,
  'rowMode',
  'map',
  'columns',
] as const satisfies (keyof QueryOptions)[]

/** @internal The options of a statement, checked. */
export interface ResolvedStatement {
  readonly bounds: CallOptions
  readonly types: ResolvedTypes
  /** How dates are read, and whether the statement has no name. */
  readonly manner: number
}

const NO_BOUNDS: CallOptions = {}

/** @internal Checks the options of a statement that returns nothing that is read. */
export function resolveStatement(
  options: QueryOptions | undefined,
  base: ResolvedTypes,
  names: readonly (keyof QueryOptions)[] = STATEMENT_OPTIONS,
): ResolvedStatement {
  if (options === undefined) return { bounds: NO_BOUNDS, types: base, manner: base.dates }
  checkOptions('options', options, names)
  const { signal, timeoutMs, prepared = true } = options
  checkWait(options)
  checkBoolean('prepared', prepared)
  const types = typesWithin(options.types, base)
  return {
    bounds: { signal, timeoutMs },
    types,
    manner: prepared ? types.dates : types.dates | Manner.Unnamed,
  }
}

/** What no options came to the last time. */
let plain: (ResolvedStatement & { shaping: Shaping }) | undefined

/** @internal Checks the options of a statement whose rows are read. */
export function resolveQuery(
  options: QueryOptions | undefined,
  base: ResolvedTypes,
): ResolvedStatement & { shaping: Shaping } {
  if (options === undefined) {
    // Most statements have none, and the same types as the one before.
    if (plain?.types !== base)
      plain = { ...resolveStatement(undefined, base), shaping: shapingOf({}, base) }
    return plain
  }
  const statement = resolveStatement(options, base, NAMES)
  return { ...statement, shaping: shapingOf(options, statement.types) }
}

function shapingOf(options: QueryOptions = {}, types: ResolvedTypes): Shaping {
  const { rowMode = 'object', map, columns } = options
  checkOneOf('rowMode', rowMode, ['object', 'array'])
  if (map !== undefined) checkFunction('map', map)
  if (columns !== undefined) {
    checkObject('columns', columns, 'an object of functions')
    for (const [name, decoder] of Object.entries(columns)) checkFunction(`columns.${name}`, decoder)
  }
  return { types, asArrays: rowMode === 'array', map, columns }
}
