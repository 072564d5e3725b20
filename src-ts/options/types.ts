// The options that say how values are read and written.
import { checkFunction, checkObject, checkOneOf, checkOptions } from './validate.js'
import { temporalDecoders, type TemporalNamespace } from './temporal.js'

/**
 * A parameter of a statement. The server declares the type of each `$n`; a domain is treated as its base type. A value that has no
 * clear meaning for its type is refused before the statement is executed.
 *
 * | PostgreSQL | JavaScript |
 * |---|---|
 * | any type | string: the text that PostgreSQL reads for the type, which checks it; `null`; never `undefined` |
 * | `bool` | boolean |
 * | `int2`, `int4`, `int8`, `oid`, `xid8`, … | integer that is exact, bigint |
 * | `float4`, `float8` | number |
 * | `numeric`; `text`, `varchar`, … | number, bigint; these and boolean |
 * | `money` | integer that is exact, bigint; a fraction as a string, as the server's `lc_monetary` has it |
 * | `bytea` | `Buffer`, `Uint8Array`, `ArrayBuffer`, `DataView` |
 * | `json`, `jsonb` | any value that `JSON.stringify` takes, but bytes; `Map` as an object, `Set` and typed arrays as arrays; a **string is taken as JSON text** as it is |
 * | `date`, `timestamp`, `timestamptz` | `Date`, of which the first two hold the UTC day and time; objects of `Temporal`; `Infinity` and `-Infinity` |
 * | `time` | `Temporal.PlainTime` |
 * | `interval` | `Interval`, `Temporal.Duration`, an object such as `{ hours: 1 }`; `Infinity` and `-Infinity` |
 * | ranges; multiranges | `Range`, or an object with `lower` and `upper`; array of these |
 * | composites | object with a property for each field, of which a missing one is null; array of all fields |
 * | `hstore` | object or `Map` of strings and nulls |
 * | geometric types, `vector` | as they are read |
 * | arrays of these | array, nested for each dimension, with nulls; `Set`, typed arrays, `BoundedArray` |
 * | arrays of `json`, `jsonb` | the same, of one dimension: an array within it is JSON; of several as a `BoundedArray` |
 *
 * A `URL` is its text. An object with a method `toPostgres` is what that returns. The parts of an object or an array are what they
 * would be by themselves.
 */
export type QueryParameter = null | boolean | number | bigint | string | object

/** Makes a value of the user's of one that was read. It is not called for null. */
// oxlint-disable-next-line typescript/no-explicit-any -- the type follows from the PostgreSQL type, which is text here.
export type Decoder = (value: any) => unknown

/** Makes a parameter of a value of the user's. It is not called for null. */
// oxlint-disable-next-line typescript/no-explicit-any -- it is the user's to say what it takes.
export type Encoder = (value: any) => QueryParameter

/**
 * How values are read and written: for all connections of a pool by its option `types`, for one statement by the option of the same
 * name, which counts in place of the pool's, option by option.
 */
export interface TypeOptions {
  /**
   * The form of `date`, `timestamp` and `timestamptz`.
   *
   * - `date`: a `Date`. It holds milliseconds, so microseconds are cut off, towards the past. A `date` and a `timestamp` are taken as
   *   UTC. A moment beyond the year 275760, where a `Date` ends, is read as text.
   * - `string`: the exact text that PostgreSQL writes with `DateStyle` ISO: `2026-11-29 12:34:56.123456+00`, always in UTC.
   * @default 'date'
   */
  dates?: 'date' | 'string' | undefined
  /**
   * The namespace `Temporal`, of the runtime or of a polyfill. With it dates and times are read, exactly, as `Temporal.PlainDate`
   * (`date`), `Temporal.PlainDateTime` (`timestamp`), `Temporal.Instant` (`timestamptz`) and `Temporal.PlainTime` (`time`). What these
   * cannot hold, such as `24:00:00` or the year 300000, is read as text. It overrides `dates`
   * beside it; the `dates` of a statement take the `temporal` of its pool back.
   * @default none
   */
  temporal?: TemporalNamespace | undefined
  /**
   * The form of an infinite date, timestamp or interval.
   *
   * - `number`: `Infinity` or `-Infinity`, whatever the form of finite ones is.
   * - `string`: `'infinity'` or `'-infinity'`.
   * - `error`: the call rejects with `ConnectionExecuteError`, although the statement was executed.
   * @default 'number'
   */
  infinity?: 'number' | 'string' | 'error' | undefined
  /**
   * Whether arrays with other lower bounds than 1 are read as `BoundedArray` (`keep`) or as plain arrays (`drop`). An array of `json` or
   * `jsonb` with several dimensions is always a `BoundedArray`.
   * @default 'drop'
   */
  arrayBounds?: 'keep' | 'drop' | undefined
  /**
   * The functions that read and write `json` and `jsonb`. One that knows big numbers keeps them exact, which `JSON.parse` does not.
   * `stringify` gets objects, also those within an array, and those within an object that is given for a composite; arrays, and
   * numbers and texts in them, it does not get.
   * @default `JSON.parse` and `JSON.stringify`
   */
  json?:
    | {
        /** Makes a value of JSON text. @default `JSON.parse` */
        parse?: ((text: string) => unknown) | undefined
        /** Makes JSON text of an object, or `undefined` where it has none. Another return is refused. @default `JSON.stringify` */
        stringify?: ((value: unknown) => string | undefined) | undefined
      }
    | undefined
  /**
   * Functions by the name of a PostgreSQL type, as `columns` of a result has it, such as `int8` or `int4[]`: each makes the value of
   * what would be read otherwise, also within arrays, ranges and composites. A domain counts as its base type.
   *
   * ```js
   * types: { decoders: { int8: Number, geometry: (hex) => wkx.Geometry.parse(Buffer.from(hex, 'hex')) } }
   * ```
   * @default none
   */
  decoders?: Readonly<Record<string, Decoder>> | undefined
  /**
   * Functions by the name of a PostgreSQL type, which for a domain is its own: each makes the parameter of a value that is given for
   * that type, also of the elements of an array, a `Set`, a typed array or a `BoundedArray`.
   *
   * They are called once the server has told the types. What they get is as it was at the moment of the call: a copy of an array, a literal,
   * a `Map`, a `Set`, bytes or a `Date`. An instance of a class of the user's is given itself.
   * @default none
   */
  encoders?: Readonly<Record<string, Encoder>> | undefined
}

const NAMES = [
  'dates',
  'temporal',
  'infinity',
  'arrayBounds',
  'json',
  'decoders',
  'encoders',
] as const satisfies (keyof TypeOptions)[]

/** The bits of a native call that tell how dates are read, and that a statement has no name. Mirrored in `src-rs/binding/values.rs`. */
export const enum Manner {
  Milliseconds = 0,
  Text = 1,
  Iso = 2,
  Unnamed = 4,
}

/** How values are read and written, checked and complete. */
export interface ResolvedTypes {
  readonly dates: Manner
  readonly infinity: 'number' | 'string' | 'error'
  readonly keepsBounds: boolean
  readonly parseJson: (text: string) => unknown
  readonly stringifyJson: (value: object) => string | undefined
  /** Whether that is the user's. */
  readonly isOwnStringify: boolean
  readonly decoders: ReadonlyMap<string, Decoder>
  readonly encoders: ReadonlyMap<string, Encoder>
}

/** What was made of options, so that options that are given again and again are checked once. */
const resolved = new WeakMap<TypeOptions, WeakMap<ResolvedTypes, ResolvedTypes>>()

/** The options of which types were made. */
const givenOf = new WeakMap<ResolvedTypes, TypeOptions>()

/** @internal The types of the package's own statements, whatever those of the pool are. */
export const PLAIN_TYPES: TypeOptions = {
  dates: 'date',
  infinity: 'number',
  arrayBounds: 'drop',
  json: {},
  encoders: {},
  decoders: {},
}

/** The types without any option. */
export const DEFAULT_TYPES: ResolvedTypes = resolveTypes({})

/** Returns the types of a call: its options in place of those of its pool. */
export function typesWithin(options: TypeOptions | undefined, base: ResolvedTypes): ResolvedTypes {
  if (options === undefined) return base
  checkObject('types', options)
  let made = resolved.get(options)
  if (!made) resolved.set(options, (made = new WeakMap()))
  let types = made.get(base)
  if (!types) {
    const given = withoutUndefined(options)
    const { temporal, ...inherited } = givenOf.get(base) ?? {}
    // Beside it `dates` would say nothing.
    const isKept = given.dates === undefined && temporal !== undefined
    types = resolveTypes({ ...inherited, ...(isKept && { temporal }), ...given })
    made.set(base, types)
  }
  return types
}

/** Checks the options. */
export function resolveTypes(options: TypeOptions): ResolvedTypes {
  checkOptions('types', options, NAMES)
  const { dates = 'date', infinity = 'number', arrayBounds = 'drop', json = {}, temporal } = options
  checkOneOf('types.dates', dates, ['date', 'string'])
  checkOneOf('types.infinity', infinity, ['number', 'string', 'error'])
  checkOneOf('types.arrayBounds', arrayBounds, ['keep', 'drop'])
  checkOptions('types.json', json, ['parse', 'stringify'])
  const { parse = JSON.parse as (text: string) => unknown, stringify = JSON.stringify } = json
  checkFunction('types.json.parse', parse)
  checkFunction('types.json.stringify', stringify)
  const decoders = functions('types.decoders', options.decoders)
  const types: ResolvedTypes = {
    dates: temporal ? Manner.Iso : dates === 'string' ? Manner.Text : Manner.Milliseconds,
    infinity,
    keepsBounds: arrayBounds === 'keep',
    parseJson: (text) => parse(text),
    stringifyJson: (value) => stringify(value),
    isOwnStringify: json.stringify !== undefined,
    decoders: temporal ? temporalDecoders(temporal, decoders) : decoders,
    encoders: functions('types.encoders', options.encoders),
  }
  givenOf.set(types, options)
  return types
}

function functions<Kind extends Decoder>(
  name: string,
  given: Readonly<Record<string, Kind>> = {},
): Map<string, Kind> {
  checkObject(name, given, 'an object of functions')
  for (const [type, each] of Object.entries(given)) checkFunction(`${name}.${type}`, each)
  return new Map(Object.entries(given))
}

function withoutUndefined(options: TypeOptions): TypeOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
