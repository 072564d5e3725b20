// Dates and times as objects of Temporal, both ways. Node.js before 26 needs a polyfill for it.

import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import {
  ArgumentRangeError,
  ConnectionExecuteError,
  Interval,
  Range,
  type Connection,
  type TypeOptions,
} from 'pglisten'
import { Temporal } from 'temporal-polyfill'
import { Temporal as WithCalendars } from 'temporal-polyfill/full'
import { connect, openPool } from '../../support/connect.js'

const { Duration, Instant, PlainDate, PlainDateTime, PlainTime, ZonedDateTime } = Temporal
const TEMPORAL = { types: { temporal: Temporal } } as const
const RUNS = 200

/** A connection whose server writes moments in UTC. */
async function connectInUtc(t: ExecutionContext): Promise<Connection> {
  const connection = await connect(t)
  await connection.execute("SET TIME ZONE 'UTC'")
  return connection
}

/** Reads an expression, checks what was read, and gives it back: the server finds it to be the same. */
async function bothWays(
  t: ExecutionContext,
  connection: Connection,
  expression: string,
  expected: { toString(): string },
) {
  const read = await connection.fetchVal<{ toString(): string }>(
    `SELECT ${expression}`,
    [],
    TEMPORAL,
  )
  t.is(Object.prototype.toString.call(read), Object.prototype.toString.call(expected), expression)
  t.is(read.toString(), expected.toString())
  const type = expression.slice(expression.lastIndexOf('::') + 2)
  t.true(await connection.fetchVal(`SELECT $1::${type} = ${expression}`, [read]), expression)
}

test('each type has its class, to the microsecond', async (t) => {
  const connection = await connectInUtc(t)
  for (const [expression, expected] of [
    ["'2026-11-29'::date", PlainDate.from('2026-11-29')],
    ["'2026-11-29 12:34:56.123456'::timestamp", PlainDateTime.from('2026-11-29T12:34:56.123456')],
    [
      "'2026-11-29 12:34:56.000001+05:30'::timestamptz",
      Instant.from('2026-11-29T07:04:56.000001Z'),
    ],
    ["'23:59:59.999999'::time", PlainTime.from('23:59:59.999999')],
  ] as const)
    await bothWays(t, connection, expression, expected)
})

test('years before Christ and from 10000 on', async (t) => {
  const connection = await connectInUtc(t)
  for (const [expression, expected] of [
    ["'0044-03-15 BC'::date", PlainDate.from('-000043-03-15')],
    // The year 0 of ISO 8601.
    ["'0001-12-31 BC'::date", PlainDate.from('0000-12-31')],
    ["'4714-11-24 BC'::date", PlainDate.from('-004713-11-24')],
    ["'10000-01-01'::date", PlainDate.from('+010000-01-01')],
    ["'0001-01-01 00:00:00.5 BC'::timestamp", PlainDateTime.from('0000-01-01T00:00:00.5')],
    ["'0044-03-15 01:02:03+00 BC'::timestamptz", Instant.from('-000043-03-15T01:02:03Z')],
    ["'275760-09-13 00:00:00+00'::timestamptz", Instant.from('+275760-09-13T00:00Z')],
  ] as const)
    await bothWays(t, connection, expression, expected)
})

test('what no class can hold is the text that PostgreSQL reads', async (t) => {
  const connection = await connectInUtc(t)
  for (const [expression, expected] of [
    ["'24:00'::time", '24:00:00'],
    ["'24:00:00+02'::timetz", '24:00:00+02'],
    ["'275760-09-14'::date", '275760-09-14'],
    ["'5874897-12-31'::date", '5874897-12-31'],
    ["'294276-12-31 23:59:59.999999'::timestamp", '294276-12-31 23:59:59.999999'],
    ["'294276-12-31 23:59:59.999999+00'::timestamptz", '294276-12-31 23:59:59.999999+00'],
  ] as const)
    await bothWays(t, connection, expression, expected)
})

test('infinity is what the option says, whatever the form of finite moments is', async (t) => {
  const connection = await connectInUtc(t)
  for (const type of ['date', 'timestamp', 'timestamptz']) {
    await bothWays(t, connection, `'infinity'::${type}`, Infinity)
    await bothWays(t, connection, `'-infinity'::${type}`, -Infinity)
    const text = await connection.fetchVal(`SELECT '-infinity'::${type}`, [], {
      types: { temporal: Temporal, infinity: 'string' },
    })
    t.is(text, '-infinity')
    await t.throwsAsync(
      connection.fetchVal(`SELECT 'infinity'::${type}`, [], {
        types: { temporal: Temporal, infinity: 'error' },
      }),
      { instanceOf: ConnectionExecuteError, message: /types\.infinity/ },
    )
  }
})

test('within arrays, ranges and composites', async (t) => {
  const connection = await connectInUtc(t)
  const dates = [PlainDate.from('2026-11-29'), null, PlainDate.from('-000043-03-15')]
  t.deepEqual(
    (await connection.fetchVal<unknown[]>('SELECT $1::date[]', [dates], TEMPORAL)).map(String),
    ['2026-11-29', 'null', '-000043-03-15'],
  )
  const range = new Range({ lower: Instant.from('2026-11-29T12:34:56.000001Z') })
  const read = await connection.fetchVal<Range<Temporal.Instant>>(
    'SELECT $1::tstzrange',
    [range],
    TEMPORAL,
  )
  t.true(read.lower!.equals(range.lower!))
  t.is(read.upper, null)
  t.is(
    await connection.fetchVal('SELECT $1::tstzrange::text', [read]),
    '["2026-11-29 12:34:56.000001+00",)',
  )
})

test('any moment that PostgreSQL has is read and given back', async (t) => {
  const connection = await connectInUtc(t)
  // Microseconds from 2000: 4714-11-24 BC to the last one of 294276.
  const microseconds = fc.bigInt({
    min: -211_813_488_000_000_000n,
    max: 9_223_371_331_199_999_999n,
  })
  const property = fc.asyncProperty(microseconds, async (moment) => {
    const text = await connection.fetchVal<string>(
      `SELECT ('2000-01-01 00:00+00'::timestamptz + $1::interval)::text`,
      [new Interval({ microseconds: moment })],
    )
    for (const type of ['date', 'timestamp', 'timestamptz']) {
      const read = await connection.fetchVal<{ toString(): string }>(
        `SELECT $1::text::${type}`,
        [text],
        TEMPORAL,
      )
      t.true(
        await connection.fetchVal(`SELECT $1::${type} = $2::text::${type}`, [read, text]),
        `${text} as ${type} was read as ${read.toString()}`,
      )
    }
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('a ZonedDateTime is its moment, which `timestamp` and `date` have in UTC', async (t) => {
  const connection = await connectInUtc(t)
  const zoned = ZonedDateTime.from('2026-11-29T02:34:56.123456+05:30[Asia/Kolkata]')
  const as = (type: string) => connection.fetchVal(`SELECT $1::${type}::text`, [zoned])
  t.is(await as('timestamptz'), '2026-11-28 21:04:56.123456+00')
  t.is(await as('timestamp'), '2026-11-28 21:04:56.123456')
  t.is(await as('date'), '2026-11-28')
})

test('a PlainDateTime for `timestamptz` is one in the time zone of the session', async (t) => {
  const connection = await connectInUtc(t)
  await connection.execute("SET TIME ZONE 'Asia/Kolkata'")
  const plain = PlainDateTime.from('2026-11-29T02:34:56')
  const read = await connection.fetchVal<{ toString(): string }>(
    'SELECT $1::timestamptz',
    [plain],
    TEMPORAL,
  )
  t.is(read.toString(), '2026-11-28T21:04:56Z')
})

test('the calendar of a date is left out: the day is the same', async (t) => {
  const connection = await connectInUtc(t)
  const hebrew = WithCalendars.PlainDate.from('2026-11-29').withCalendar('hebrew')
  t.is(await connection.fetchVal('SELECT $1::date::text', [hebrew]), '2026-11-29')
})

test('what PostgreSQL would round is refused before anything is sent', async (t) => {
  const connection = await connectInUtc(t)
  for (const [type, value] of [
    ['timestamp', PlainDateTime.from('2026-11-29T12:34:56.1234567')],
    ['timestamptz', Instant.from('2026-11-29T12:34:56.000000001Z')],
    ['timestamptz', ZonedDateTime.from('2026-11-29T12:34:56.000000001+00:00[UTC]')],
    ['time', PlainTime.from('12:34:56.123456789')],
    ['interval', Duration.from({ nanoseconds: 1 })],
  ] as const) {
    await t.throwsAsync(connection.fetchVal(`SELECT $1::${type}`, [value]), {
      instanceOf: ArgumentRangeError,
      message: /^Expected `params\[0\]` to be of whole microseconds, which PostgreSQL has, got `/,
    })
  }
})

test('a Duration is read as an Interval, whose parts have signs of their own', async (t) => {
  const connection = await connectInUtc(t)
  for (const style of ['postgres', 'sql_standard', 'iso_8601', 'postgres_verbose']) {
    await connection.execute(`SET IntervalStyle = ${style}`)
    const through = (duration: Temporal.Duration) =>
      connection.fetchVal('SELECT $1::interval', [duration])
    t.deepEqual(
      await through(Duration.from('-P1Y2M3W4DT5H6M7.000008S')),
      new Interval({ months: -14, days: -25, microseconds: -18_367_000_008n }),
    )
    t.deepEqual(
      await through(Duration.from({ days: 1, milliseconds: 2, nanoseconds: 3000 })),
      new Interval({ days: 1, microseconds: 2003 }),
    )
    const mixed = new Interval({ months: 14, days: -3, microseconds: 5 })
    t.deepEqual(
      await connection.fetchVal(
        "SELECT '1 year 2 mons -3 days 0.000005 s'::interval",
        [],
        TEMPORAL,
      ),
      mixed,
    )
    t.deepEqual(await connection.fetchVal('SELECT $1::interval', [mixed], TEMPORAL), mixed)
  }
})

test('any Duration that PostgreSQL has is given exactly', async (t) => {
  const connection = await connectInUtc(t)
  const whole = (max: number) => fc.integer({ min: 0, max })
  const units = fc.record({
    years: whole(100_000_000),
    months: whole(500_000_000),
    weeks: whole(100_000_000),
    days: whole(1_000_000_000),
    hours: whole(1_000_000_000),
    minutes: whole(1_000_000_000),
    seconds: whole(1_000_000_000_000),
    milliseconds: whole(1_000_000_000_000),
    microseconds: whole(Number.MAX_SAFE_INTEGER),
  })
  const property = fc.asyncProperty(units, fc.boolean(), async (given, isNegative) => {
    let duration: Temporal.Duration
    try {
      duration = Duration.from(given)
    } catch {
      // Temporal has no more than 2^53 seconds.
      return
    }
    const { years, months, weeks, days, hours, minutes, seconds, milliseconds, microseconds } =
      given
    const sign = isNegative ? -1 : 1
    const expected = new Interval({
      months: sign * (years * 12 + months),
      days: sign * (weeks * 7 + days),
      microseconds:
        BigInt(sign) *
        (BigInt((hours * 60 + minutes) * 60 + seconds) * 1_000_000n +
          BigInt(milliseconds) * 1000n +
          BigInt(microseconds)),
    })
    const sent = isNegative ? duration.negated() : duration
    t.deepEqual(await connection.fetchVal('SELECT $1::interval', [sent]), expected)
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('other objects of Temporal are no dates', async (t) => {
  const connection = await connectInUtc(t)
  for (const value of [
    Temporal.PlainYearMonth.from('2026-11'),
    Temporal.PlainMonthDay.from('11-29'),
  ]) {
    await t.throwsAsync(connection.fetchVal('SELECT $1::date', [value]), {
      instanceOf: ConnectionExecuteError,
      message: 'Expected parameter $1 (date) to be a Date or a string, got an object',
    })
  }
})

test('the dates of a statement take the Temporal of its pool back', async (t) => {
  const pool = await openPool(t, TEMPORAL)
  await using connection = await pool.connection()
  const read = (types: TypeOptions) =>
    connection.fetchVal("SELECT '2026-01-02'::date", [], { types }) as Promise<object>
  t.is(await read({ dates: 'string' }), '2026-01-02' as never)
  t.deepEqual(await read({ dates: 'date' }), new Date('2026-01-02'))
  t.true((await read({ infinity: 'string' })) instanceof PlainDate)
  t.true((await read({ dates: 'string', temporal: Temporal })) instanceof PlainDate)
})
