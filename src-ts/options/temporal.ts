// Dates and times as Temporal has them (https://tc39.es/proposal-temporal/docs/), which the runtime or a polyfill provides.

import { signed, timeText } from './interval-text.js'

/** Makes a value of one that was read. */
// oxlint-disable-next-line typescript/no-explicit-any -- the type follows from the PostgreSQL type, which is text here.
type Decoder = (value: any) => unknown

/** A class of `Temporal` that reads text. */
export interface TemporalClass {
  /** Makes an instance of a text in ISO 8601. */
  from(text: string): unknown
}

/** The part of the namespace `Temporal` that is used. No declaration of the package names the global one, which may not be there. */
export interface TemporalNamespace {
  /** Of the runtime or a polyfill. */
  readonly Instant: TemporalClass
  /** Of the runtime or a polyfill. */
  readonly PlainDate: TemporalClass
  /** Of the runtime or a polyfill. */
  readonly PlainDateTime: TemporalClass
  /** Of the runtime or a polyfill. */
  readonly PlainTime: TemporalClass
}

/** Adds decoders that make objects of `Temporal` of texts. The user's own come before them. */
export function temporalDecoders(
  temporal: TemporalNamespace,
  own: ReadonlyMap<string, Decoder>,
): Map<string, Decoder> {
  const classes: [string, TemporalClass][] = [
    ['date', temporal.PlainDate],
    ['timestamp', temporal.PlainDateTime],
    ['timestamptz', temporal.Instant],
    ['time', temporal.PlainTime],
  ]
  const decoders = new Map<string, Decoder>()
  for (const [type, made] of classes) decoders.set(type, (value) => from(made, value))
  for (const [type, decoder] of own) {
    const before = decoders.get(type)
    decoders.set(type, before ? (value) => decoder(before(value)) : decoder)
  }
  return decoders
}

/** What the class cannot hold is text that PostgreSQL reads, and what is infinite is no text. */
function from(made: TemporalClass, value: unknown): unknown {
  // A day may end at 24:00, which `PlainTime` takes for an error or for 00:00.
  if (typeof value !== 'string' || value.startsWith('24:00:00')) return value
  try {
    return made.from(value)
  } catch {
    // Only the far future: `Temporal` begins long before PostgreSQL's calendar does.
    return value.replace(/^\+/, '').replace('T', ' ').replace(/Z$/, '+00')
  }
}

const KINDS = [
  'Temporal.Instant',
  'Temporal.PlainDate',
  'Temporal.PlainDateTime',
  'Temporal.PlainTime',
  'Temporal.ZonedDateTime',
  'Temporal.Duration',
] as const

type Kind = (typeof KINDS)[number]

/** The kind of an object of `Temporal`, of whatever implementation; `undefined` for anything else. */
export function temporalKind(value: object): Kind | undefined {
  const tag: unknown = (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]
  return KINDS.find((kind) => kind === tag)
}

/** The text of an object of `Temporal` that PostgreSQL reads; `undefined` when it would be rounded. */
export function temporalText(value: { toString(): string }, kind: Kind): string | undefined {
  if (kind === 'Temporal.Duration') return durationText(value as unknown as Record<string, number>)
  const text =
    kind === 'Temporal.ZonedDateTime'
      ? (value as unknown as { toInstant(): { toString(): string } }).toInstant().toString()
      : value.toString()
  // PostgreSQL has microseconds, and no calendars.
  if (/\.\d{7}/.test(text)) return undefined
  return withEra(text.replace(/\[.*$/, ''))
}

/** PostgreSQL reads no sign before a year, but an era behind the moment; it has no year 0, but 1 BC. */
function withEra(text: string): string {
  const [, signed, rest] = /^([+-]\d{6}|0000)(-.*)$/.exec(text) ?? []
  if (signed === undefined) return text
  const year = Number(signed)
  return year > 0 ? `${year}${rest}` : `${String(1 - year).padStart(4, '0')}${rest} BC`
}

/** The units of time, each of which has so many of the next. */
const TIME_UNITS = [
  ['hours', 60n],
  ['minutes', 60n],
  ['seconds', 1000n],
  ['milliseconds', 1000n],
  ['microseconds', 1000n],
] as const

function durationText(duration: Record<string, number>): string | undefined {
  const part = (unit: string) => BigInt(duration[unit] ?? 0)
  const time = TIME_UNITS.reduce((sum, [unit, many]) => (sum + part(unit)) * many, 0n)
  const nanoseconds = time + part('nanoseconds')
  if (nanoseconds % 1000n !== 0n) return undefined
  const days = ['years', 'months', 'weeks', 'days'].map((unit) => `${signed(part(unit))} ${unit}`)
  return `${days.join(' ')} ${timeText(nanoseconds / 1000n)}`
}
