// Values at random of the types that have parts: each is what the server makes of its parts, and is the same when it is given back.

import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import { BoundedArray, Interval, Range } from 'pglisten'
import type { QueryParameter } from 'pglisten'
import { uniqueName } from '../../../lab/unique-name.js'
import { connect } from '../../support/connect.js'
import { EXACT } from '../../support/given-back.js'

const RUNS = 200

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })

/** The largest of all parts is how newer servers keep an infinite interval, and the smallest of all the other one. */
const isInfinite = ({ months, days }: Interval) =>
  Math.abs(months + 0.5) > 2 ** 31 - 1 && Math.abs(days + 0.5) > 2 ** 31 - 1

test('any interval is kept with its three parts', async (t) => {
  const connection = await connect(t)
  const intervals = fc
    .record({ months: int32, days: int32, microseconds: int64 })
    .map((parts) => new Interval(parts))
    .filter((interval) => !isInfinite(interval))
  const property = fc.asyncProperty(intervals, async (interval) => {
    const { months, days, microseconds } = interval
    const row = await connection.fetchRow(
      `SELECT $1::interval AS read, ARRAY[$1::interval, NULL] AS list,
       interval_send($1::interval) = int8send($2) || int4send($3) || int4send($4) AS same`,
      [interval, microseconds, days, months],
    )
    t.deepEqual(row, { read: interval, list: [interval, null], same: true })
  })
  await fc.assert(property, { numRuns: RUNS })
})

/** Any range of a type: `from` makes bounds in ascending order. */
async function anyRange<Bound extends QueryParameter>(
  t: ExecutionContext,
  range: string,
  bound: string,
  bounds: fc.Arbitrary<[Bound | null, Bound | null]>,
) {
  const connection = await connect(t)
  const property = fc.asyncProperty(
    bounds,
    fc.boolean(),
    fc.boolean(),
    async ([lower, upper], lowerInclusive, upperInclusive) => {
      const given = new Range({ lower, upper, lowerInclusive, upperInclusive })
      const marks = `${lowerInclusive ? '[' : '('}${upperInclusive ? ']' : ')'}`
      const { same, read, text, list } = await connection.fetchRow(
        `SELECT $1::${range} = ${range}($2::${bound}, $3::${bound}, $4) AS same, $1::${range} AS read,
         $1::${range}::text AS text, ARRAY[$1::${range}, NULL, 'empty'] AS list`,
        [given, lower, upper, marks],
        EXACT,
      )
      t.true(same)
      t.deepEqual(list, [read, null, Range.empty()])
      t.is((read as Range).isEmpty, text === 'empty')
      const again = `SELECT $1::${range}::text = $2 AND $3::${range}[] = ARRAY[$2, NULL, 'empty']::${range}[]`
      t.true(await connection.fetchVal(again, [read as Range, text as string, list as object]))
    },
  )
  await fc.assert(property, { numRuns: RUNS })
}

/** Two values of which the first is not greater, each of which may be missing. */
const ascending = <Value>(value: fc.Arbitrary<Value>, compare: (a: Value, b: Value) => number) =>
  fc
    .tuple(value, value, fc.boolean(), fc.boolean(), fc.boolean())
    .map(([a, b, hasLower, hasUpper, isOne]): [Value | null, Value | null] => {
      const [lower, upper] = compare(a, b) <= 0 ? [a, b] : [b, a]
      return [hasLower ? lower : null, hasUpper ? (isOne ? lower : upper) : null]
    })

const byValue = (a: number | bigint | string, b: number | bigint | string) =>
  a < b ? -1 : Number(a > b)

test('any int4range', (t) => {
  const bounds = ascending(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 2 }), byValue)
  return anyRange(t, 'int4range', 'int4', bounds)
})
test('any int8range', (t) => {
  const bounds = ascending(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 2n }), byValue)
  return anyRange(t, 'int8range', 'int8', bounds)
})
test('any numrange', (t) => {
  const hundredths = fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n })
  const decimals = ascending(hundredths, byValue).map((both) =>
    both.map((value) => (value === null ? null : `${value}e-2`)),
  )
  return anyRange(t, 'numrange', 'numeric', decimals as fc.Arbitrary<[string, string]>)
})
test('any tstzrange, also without an end, with an infinite one, and beyond the years of a Date', (t) => {
  const moment = fc.oneof(
    fc.date({ min: new Date('-004000-01-01'), noInvalidDate: true }),
    fc.constantFrom(Infinity, -Infinity),
  )
  return anyRange(
    t,
    'tstzrange',
    'timestamptz',
    ascending(moment, (a, b) => Number(a) - Number(b) || 0),
  )
})

test('any multirange', async (t) => {
  const connection = await connect(t)
  const range = ascending(fc.integer({ min: -1000, max: 1000 }), byValue).map(
    ([lower, upper]) => new Range({ lower, upper }),
  )
  const property = fc.asyncProperty(fc.array(range, { maxLength: 5 }), async (ranges) => {
    const { same, read, text } = await connection.fetchRow(
      `SELECT $1::int4multirange = (SELECT coalesce(range_agg(r), '{}') FROM unnest($2::int4range[]) AS r) AS same,
       $1::int4multirange AS read, $1::int4multirange::text AS text`,
      [ranges, ranges],
    )
    t.true(same)
    t.is(await connection.fetchVal('SELECT $1::int4multirange::text', [read as object]), text)
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('any array with any lower bounds', async (t) => {
  const connection = await connect(t)
  const dimension = fc.record({
    lower: fc.oneof(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 10 }), fc.constant(-(2 ** 31))),
    length: fc.integer({ min: 1, max: 4 }),
  })
  const element = fc.option(fc.constantFrom('', 'a', 'NULL', '"', '\\', '{},', ' b '))
  const dimensions = fc.array(dimension, { minLength: 1, maxLength: 3 })
  const property = fc.asyncProperty(
    dimensions,
    fc.infiniteStream(element),
    async (all, elements) => {
      const nested = (level: number): unknown[] =>
        Array.from({ length: all[level]!.length }, () =>
          level + 1 < all.length ? nested(level + 1) : elements.next().value,
        )
      const values = nested(0)
      const lowerBounds = all.map(({ lower }) => lower)
      const flat = values.flat(2) as (string | null)[]
      const { sizes, read, inOrder, text } = await connection.fetchRow(
        `SELECT array_dims($1::text[]) AS sizes, $1::text[] AS read, $1::text[]::text AS text,
       (SELECT array_agg(e) FROM unnest($1::text[]) AS e) IS NOT DISTINCT FROM $2::text[] AS "inOrder"`,
        [new BoundedArray(values, lowerBounds), flat],
        EXACT,
      )
      t.is(sizes, all.map(({ lower, length }) => `[${lower}:${lower + length - 1}]`).join(''))
      t.true(inOrder)
      const isUsual = lowerBounds.every((lower) => lower === 1)
      t.deepEqual(read, isUsual ? values : new BoundedArray(values, lowerBounds))
      t.is(await connection.fetchVal('SELECT $1::text[]::text', [read as object]), text)
    },
  )
  await fc.assert(property, { numRuns: RUNS })
})

/** Texts of a type that are read as the server writes them, and mean the same when they are given back. */
async function anyText(t: ExecutionContext, type: string, texts: fc.Arbitrary<string>) {
  const connection = await connect(t)
  const property = fc.asyncProperty(texts, async (text) => {
    // The second parameter is read by the server's own parser, and written by its own printer.
    const { same, read, written, list } = await connection.fetchRow(
      `SELECT $1::${type} = $2::text::${type} AS same, $1::${type} AS read,
       format('%s', $2::text::${type}) AS written, ARRAY[$1::${type}, NULL] AS list`,
      [text, text],
    )
    t.true(same)
    t.is(read, written)
    t.deepEqual(list, [read, null])
    const again = `SELECT format('%s', $1::${type}) = $2 AND $3::${type}[] = ARRAY[$2, NULL]::${type}[]`
    t.true(await connection.fetchVal(again, [read as string, written as string, list as object]))
  })
  await fc.assert(property, { numRuns: RUNS })
}

const withPrefix = (address: fc.Arbitrary<string>, bits: number) =>
  fc
    .tuple(address, fc.option(fc.integer({ min: 0, max: bits })))
    .map(([host, prefix]) => (prefix === null ? host : `${host}/${prefix}`))

test('any inet', (t) =>
  anyText(t, 'inet', fc.oneof(withPrefix(fc.ipV4(), 32), withPrefix(fc.ipV6(), 128))))
test('any cidr', (t) => {
  const octets = fc.tuple(...Array.from({ length: 4 }, () => fc.nat({ max: 255 })))
  const networks = fc.tuple(octets, fc.integer({ min: 0, max: 32 })).map(([parts, prefix]) => {
    const number = parts.reduce((all, part) => all * 256 + part, 0)
    const network = Math.floor(number / 2 ** (32 - prefix)) * 2 ** (32 - prefix)
    const shown = [24, 16, 8, 0].map((shift) => Math.floor(network / 2 ** shift) % 256)
    return `${shown.join('.')}/${prefix}`
  })
  return anyText(t, 'cidr', networks)
})
const bits = (minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom('0', '1'), minLength, maxLength })
test('any varbit', (t) => anyText(t, 'varbit', bits(0, 200)))
test('any bit(17)', (t) => anyText(t, 'bit(17)', bits(17, 17)))
test('any range of a type of the database, whatever its bounds have to quote', async (t) => {
  const connection = await connect(t)
  const name = uniqueName('texts')
  await connection.executeBatch(`CREATE TYPE ${name} AS RANGE (subtype = text, collation = "C")`)
  t.teardown(() => connection.executeBatch(`DROP TYPE ${name}`))
  const bound = fc.string({
    unit: fc.constantFrom('"', '\\', ',', '(', ')', '[', ']', ' ', 'a', "'"),
  })
  await anyRange(t, name, 'text', ascending(bound, byValue))
})
