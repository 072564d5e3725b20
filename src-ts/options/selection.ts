// The options that select what reaches a consumer: their documentation and their checks.
import { ArgumentRangeError, ArgumentTypeError } from '../errors.js'
import { checkOptions, checkPayload, checkString, expected } from './validate.js'

/**
 * Which notifications are merged while they wait in a consumer's buffer.
 *
 * - `payload`: those with the same channel and the same payload. The first one stays as it is.
 * - `channel`: those with the same channel. The newest payload, with its process id, takes the place of the first one.
 *
 * The merged notification is delivered at the place of the first one, and `stats().coalesced` counts the others. Nothing is
 * merged across a {@link Gap}, across the fence of a {@link Listener.sync}, or into a notification that JavaScript has already
 * taken out of the buffer. A consumer that keeps up therefore gets every notification.
 *
 * PostgreSQL has a folding of its own: equal notifications of one transaction arrive once. Coalescing merges those of
 * different transactions, and those of different payloads with `channel`.
 */
export type CoalesceMode = 'payload' | 'channel'

const COALESCE_MODES: ReadonlySet<unknown> = new Set(['payload', 'channel'])

/** A condition on the value to which a path leads in a JSON payload. */
export interface JsonCondition {
  /**
   * The names that lead to the value: of members of objects and, as decimal numbers, of elements of arrays. `[]` leads to
   * the whole payload. Of members with the same name the last one counts, as with `JSON.parse`.
   */
  path: readonly string[]
  /**
   * The value that has to be there. Numbers are compared as JavaScript numbers, so `1`, `1.0` and `1e0` are equal; strings
   * by the text for which their escapes stand.
   */
  equals: string | number | boolean | null
}

/**
 * A condition on notifications. All parts that are given have to be met. Other notifications are neither parsed nor
 * delivered, and take no room in the buffer: `stats().received` counts them, and so does `stats().filtered`. Gaps and fences
 * always pass.
 */
export interface NotificationFilter {
  /**
   * Patterns, of which the channel's name has to match one, as a whole and with its exact case. `*` stands for any number of
   * characters, `?` for one, `[a-z_]` for one of a class of characters and ranges, `[^a-z_]` for one that is not of it (`!`
   * is a character like others there), and `\` takes the meaning from the next character. The patterns select among the channels to which the listener is subscribed, and subscribe to
   * none.
   * @default every channel
   */
  channels?: readonly string[] | undefined
  /** The text with which the payload has to begin, in the spelling of its sender. @default any payload */
  prefix?: string | undefined
  /**
   * The value that a JSON payload has to hold. A payload without a value at that path does not meet the condition. One that
   * `JSON.parse` would refuse does, so that a mistake of a sender does not go unnoticed.
   * @default any payload
   */
  json?: JsonCondition | undefined
}

/** @internal The options that select what reaches a consumer. */
export interface SelectionOptions {
  /** Which notifications are merged while they wait; `false` for none. */
  coalesce?: CoalesceMode | false | undefined
  /** The notifications that are wanted; `false` for all. */
  filter?: NotificationFilter | false | undefined
}

/** @internal A filter, checked and complete. */
export interface ResolvedFilter {
  channels: string[] | null
  prefix: string | null
  json: { path: string[]; equals: string | number | boolean | null } | null
}

/** @internal The options that select what reaches a consumer, checked. `undefined`: not given. */
export interface ResolvedSelection {
  coalesce: CoalesceMode | false | undefined
  filter: ResolvedFilter | false | undefined
}

/** @internal Checks the options that select what reaches a consumer. */
export function resolveSelection({ coalesce, filter }: SelectionOptions): ResolvedSelection {
  if (coalesce !== undefined && coalesce !== false && !COALESCE_MODES.has(coalesce))
    throw new ArgumentTypeError(
      expected('coalesce', 'one of `payload`, `channel`, or `false`', coalesce),
    )
  const isGiven = filter !== undefined && filter !== false
  return { coalesce, filter: isGiven ? resolveFilter(filter) : filter }
}

function resolveFilter(filter: NotificationFilter): ResolvedFilter | false {
  checkOptions('filter', filter, ['channels', 'prefix', 'json'])
  const { channels, prefix, json } = filter
  if (channels === undefined && prefix === undefined && json === undefined) return false
  if (prefix !== undefined) checkPayload(prefix, 'filter.prefix')
  return {
    channels: channels === undefined ? null : resolvePatterns(channels),
    prefix: prefix ?? null,
    json: json === undefined ? null : resolveJson(json),
  }
}

/** A pattern whose classes are closed and hold something, and in which a character follows each backslash. */
const PATTERN = /^(?:\\.|[^[\\]|\[(?!\^?\])\^?(?:\\.|[^\]\\])+\])+$/su

function resolvePatterns(patterns: readonly string[]): string[] {
  const what = 'an array of at least one pattern for names of channels'
  if (!Array.isArray(patterns))
    throw new ArgumentTypeError(expected('filter.channels', what, patterns))
  if (patterns.length === 0)
    throw new ArgumentRangeError(`Expected \`filter.channels\` to be ${what}, got an empty array`)
  return patterns.map((pattern: unknown, index) => {
    const name = `filter.channels[${index}]`
    checkWellFormed(name, pattern)
    if (!PATTERN.test(pattern))
      throw new ArgumentRangeError(
        expected(
          name,
          'a pattern in which each `[` is followed by characters and a `]`, and each `\\` by a character',
          pattern,
        ),
      )
    return pattern
  })
}

function resolveJson(json: JsonCondition): NonNullable<ResolvedFilter['json']> {
  checkOptions('filter.json', json, ['path', 'equals'])
  const { path, equals } = json
  if (!Array.isArray(path))
    throw new ArgumentTypeError(expected('filter.json.path', 'an array of names', path))
  path.forEach((name, index) => checkWellFormed(`filter.json.path[${index}]`, name))
  const what = 'a string, a finite number, a boolean or null'
  if (typeof equals === 'string') checkWellFormed('filter.json.equals', equals)
  else if (typeof equals === 'number') {
    if (!Number.isFinite(equals))
      throw new ArgumentRangeError(expected('filter.json.equals', what, equals))
  } else if (typeof equals !== 'boolean' && equals !== null)
    throw new ArgumentTypeError(expected('filter.json.equals', what, equals))
  return { path: [...path], equals }
}

function checkWellFormed(name: string, value: unknown): asserts value is string {
  checkString(name, value)
  if (!value.isWellFormed())
    throw new ArgumentRangeError(
      `Expected \`${name}\` to be a string, got one with half of a surrogate pair`,
    )
}
