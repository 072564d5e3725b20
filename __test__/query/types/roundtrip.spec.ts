// Every supported type, both ways, and what is said of the others.

import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  BoundedArray,
  ConnectionExecuteError,
} from 'pglisten'
import type { Connection, QueryOptions, QueryParameter } from 'pglisten'
import { connect } from '../../support/connect.js'
import { literal } from '../../../lab/types/samples.js'
import { uniqueName } from '../../../lab/unique-name.js'

const RUNS = 200

/** What comes back when a value is sent as a parameter of a type. */
function roundTrip(connection: Connection, type: string, value: QueryParameter): Promise<unknown> {
  return connection.fetchVal(`SELECT $1::${type}`, [value])
}

const SAMPLES: Record<string, QueryParameter[]> = {
  bool: [true, false],
  int2: [-32768, 0, 32767],
  int4: [-2147483648, 0, 2147483647],
  int8: [-(2n ** 63n), -1n, 0n, 2n ** 53n + 1n, 2n ** 63n - 1n],
  float4: [0, 0.1, -1.5, 3.4028235e38, Infinity, -Infinity, NaN],
  float8: [0, 0.1, -1.5, Number.MAX_VALUE, Number.MIN_VALUE, Infinity, -Infinity, NaN],
  numeric: [
    '0',
    '0.000',
    '-1.50',
    '123456789012345678901234567890.123456789',
    'NaN',
    'Infinity',
    '-Infinity',
  ],
  text: ['', 'plain', 'ünïcödé 😀', 'quote \' and " and \\', 'line\nbreak'],
  varchar: ['', 'x'],
  'char(3)': ['abc'],
  name: ['some_name'],
  '"char"': ['', 'r'],
  bytea: [Buffer.from([]), Buffer.from([0, 1, 127, 128, 255])],
  json: [{ a: [1, null, 'x'] }],
  jsonb: [{ a: [1, null, 'x'], __proto__x: true }, [1, [2, [3]]], [], {}, 1, true, ['text']],
  uuid: ['01234567-89ab-cdef-0123-456789abcdef'],
  date: [
    new Date('2024-02-29T00:00:00Z'),
    new Date('1582-10-15T00:00:00Z'),
    new Date('0001-01-01T00:00:00Z'),
  ],
  timestamp: [new Date('2024-02-29T12:34:56.789Z'), new Date('1969-12-31T23:59:59.999Z')],
  timestamptz: [new Date('2024-02-29T12:34:56.789Z'), new Date(-1), new Date(8.64e15)],
}

for (const [type, values] of Object.entries(SAMPLES)) {
  test(`${type} comes back as it was sent, alone, in arrays and as null`, async (t) => {
    const connection = await connect(t)
    for (const value of [...values, null])
      t.deepEqual(await roundTrip(connection, type, value), value)
    // In an array, an array is a dimension and a string is JSON text.
    const elements = values.filter((value) => !Array.isArray(value))
    for (const array of [
      [],
      [null],
      [...elements, null],
      [elements, elements],
      [[[null]], [elements.slice(0, 1)]],
    ]) {
      t.deepEqual(await roundTrip(connection, `${type}[]`, array), array)
    }
  })
}

test('null in every type is null', async (t) => {
  const connection = await connect(t)
  for (const type of Object.keys(SAMPLES)) {
    t.is(await connection.fetchVal(`SELECT NULL::${type}`), null)
    t.is(await connection.fetchVal(`SELECT NULL::${type}[]`), null)
  }
})

async function holds<Value extends QueryParameter>(
  t: ExecutionContext,
  type: string,
  arbitrary: fc.Arbitrary<Value>,
  same: (received: unknown, sent: Value) => boolean = Object.is,
): Promise<void> {
  const connection = await connect(t)
  const property = fc.asyncProperty(arbitrary, async (value) =>
    same(await roundTrip(connection, type, value), value),
  )
  await fc.assert(property, { numRuns: RUNS })
  t.pass()
}

test('any int4', (t) => holds(t, 'int4', fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })))
test('any int8', (t) => holds(t, 'int8', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })))
test('any float8', (t) => holds(t, 'float8', fc.double()))
test('any float4', (t) =>
  holds(t, 'float4', fc.float(), (received, sent) =>
    Object.is(Math.fround(received as number), sent),
  ))
test('any bytes', (t) =>
  holds(
    t,
    'bytea',
    fc.uint8Array(),
    (received, sent) => Buffer.compare(received as Buffer, sent) === 0,
  ))
test('any text without NUL', (t) =>
  holds(
    t,
    'text',
    fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0')),
  ))
test('any uuid', (t) => holds(t, 'uuid', fc.uuid()))
test('any Date that the server knows', (t) =>
  holds(
    t,
    'timestamptz',
    fc.date({ min: new Date('-004000-01-01T00:00:00Z'), noInvalidDate: true }),
    (received, sent) => (received as Date).getTime() === sent.getTime(),
  ))

test('any JSON document', async (t) => {
  const connection = await connect(t)
  // jsonb knows neither NUL nor the sign of zero.
  const documents = fc
    .jsonValue({ noUnicodeString: false })
    .filter((value) => !/\\u0000|\\ud[89a-f]/i.test(JSON.stringify(value)))
  const property = fc.asyncProperty(documents, async (value) => {
    // A string would be taken as JSON text.
    const sent = typeof value === 'string' ? JSON.stringify(value) : (value as QueryParameter)
    const received = await roundTrip(connection, 'jsonb', sent)
    t.deepEqual(received, sent === null ? null : JSON.parse(JSON.stringify(value)))
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('any decimal number, to the last digit', async (t) => {
  const connection = await connect(t)
  const digits = (max: number) =>
    fc.string({
      unit: fc.constantFrom('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'),
      minLength: 1,
      maxLength: max,
    })
  const decimals = fc
    .tuple(
      fc.constantFrom('', '-', '+'),
      digits(60),
      fc.option(digits(60)),
      fc.option(fc.integer({ min: -40, max: 40 })),
    )
    .map(
      ([sign, integer, fraction, exponent]) =>
        `${sign}${integer}${fraction === null ? '' : `.${fraction}`}${exponent === null ? '' : `e${exponent}`}`,
    )
  const property = fc.asyncProperty(decimals, async (decimal) => {
    // The second parameter is read by the server's own parser, the second column written by its own printer.
    const row = await connection.fetchRow<{ same: boolean; value: string; text: string }>(
      'SELECT $1::numeric = $2::text::numeric AS same, $1::numeric AS value, $2::text::numeric::text AS text',
      [decimal, decimal],
    )
    t.true(row.same)
    t.is(row.value, row.text)
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('any rectangular array of three dimensions', async (t) => {
  const connection = await connect(t)
  const element = fc.option(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }))
  const arrays = fc
    .tuple(...[1, 2, 3].map(() => fc.integer({ min: 1, max: 4 })))
    .chain(([a = 1, b = 1, c = 1]) => {
      const of = <Value>(value: fc.Arbitrary<Value>, length: number) =>
        fc.array(value, { minLength: length, maxLength: length })
      return of(of(of(element, c), b), a)
    })
  const property = fc.asyncProperty(arrays, async (array) => {
    t.deepEqual(await roundTrip(connection, 'int4[]', array), array)
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('numbers and bigints are taken where they fit', async (t) => {
  const connection = await connect(t)
  t.is(await roundTrip(connection, 'int8', 5), 5n)
  t.is(await roundTrip(connection, 'int2', 5n), 5)
  t.is(await roundTrip(connection, 'numeric', 0.1), '0.1')
  t.is(await roundTrip(connection, 'text', -0), '0')
  t.is(await roundTrip(connection, 'text', -0.5), '-0.5')
  t.is(await roundTrip(connection, 'numeric', 1e21), '1000000000000000000000')
  t.is(await roundTrip(connection, 'numeric', 2n ** 200n), String(2n ** 200n))
  t.is(await roundTrip(connection, 'numeric', -(2n ** 63n)), String(-(2n ** 63n)))
  t.deepEqual(await roundTrip(connection, 'bytea', new Uint8Array([1, 2])), Buffer.from([1, 2]))
})

test('a string for json is taken as JSON text', async (t) => {
  const connection = await connect(t)
  t.deepEqual(await roundTrip(connection, 'jsonb', '{"a":1}'), { a: 1 })
  t.is(await roundTrip(connection, 'jsonb', '"text"'), 'text')
  await t.throwsAsync(roundTrip(connection, 'jsonb', 'no json'), {
    message: /invalid input syntax for type json/,
  })
  t.deepEqual(await roundTrip(connection, 'jsonb[]', ['[1,2]', { a: 1 }]), [[1, 2], { a: 1 }])
})

for (const json of ['json', 'jsonb']) {
  test(`an array of ${json} that was read is given back as it was, in a composite and in a record too`, async (t) => {
    const connection = await connect(t)
    const type = uniqueName('holder')
    await connection.executeBatch(`
      CREATE TYPE ${type} AS (list ${json}[]);
      CREATE TEMPORARY TABLE holders (list ${json}[], holder ${type})`)
    t.teardown(() => connection.executeBatch(`DROP TYPE ${type} CASCADE`))
    for (const text of [
      '{"[]","[]"}',
      '{"[1,2]","[3]"}',
      '{"[[\\"a\\"],[]]"}',
      '{{1,2}}',
      '{{"[1]","{\\"b\\":[2]}"},{"[]",NULL}}',
      '{{{1},{2}}}',
      '{1,NULL,"[4]"}',
      '{}',
    ]) {
      const list = await connection.fetchVal(`SELECT ${literal(text)}::${json}[]`)
      const holder = await connection.fetchVal(`SELECT ROW(${literal(text)}::${json}[])::${type}`)
      const given = [list, holder] as object[]
      const expected = await connection.fetchVal(`SELECT ${literal(text)}::jsonb[]::text`)
      const texts = 'list::jsonb[]::text AS list, (holder).list::jsonb[]::text AS held'
      const row = await connection.fetchRow(
        `SELECT ${texts} FROM (SELECT $1::${json}[] AS list, $2::${type} AS holder) AS given`,
        given,
      )
      t.deepEqual(row, { list: expected, held: expected })
      await connection.copyRecordsToTable('holders', [given])
      const stored = await connection.fetchRow(`SELECT ${texts} FROM holders`)
      t.deepEqual(stored, { list: expected, held: expected })
      await connection.execute('TRUNCATE holders')
    }
  })
}

test('an array within an array of JSON is JSON, unless lower bounds tell of its dimensions', async (t) => {
  const connection = await connect(t)
  const stored = (value: object, options?: QueryOptions) =>
    connection.fetchVal('SELECT $1::jsonb[]::text', [value], options)
  t.is(await stored([[1, 2], [3], { a: [] }]), '{"[1, 2]",[3],"{\\"a\\": []}"}')
  t.is(await stored(new BoundedArray([[1, [2]]], [1, 1])), '{{1,[2]}}')
  t.is(await stored(new BoundedArray([[1, 2], [3]], [0])), '[0:1]={"[1, 2]",[3]}')
  await t.throwsAsync(stored(new BoundedArray([1], [1, 1])), {
    message: /to be an array of 1 with a lower bound for each dimension, got one of 2/,
  })
  await t.throwsAsync(stored(new BoundedArray([[1], [2, 3]], [1, 1])), {
    message: /element \[1\] of parameter \$1 \(jsonb\[\]\) to be an array of 1/,
  })
  const encoders = { jsonb: (value: unknown) => JSON.stringify({ value }) }
  const options = { types: { encoders } }
  t.is(await stored([[1, 2]], options), '{"{\\"value\\": [1, 2]}"}')
  const pair = new BoundedArray([[1, [2]]], [1, 1])
  t.is(await stored(pair, options), '{{"{\\"value\\": 1}","{\\"value\\": [2]}"}}')
})

test('microseconds are cut off, towards the past', async (t) => {
  const connection = await connect(t)
  t.deepEqual(
    await connection.fetchVal("SELECT '2024-01-01 00:00:00.123999+00'::timestamptz"),
    new Date('2024-01-01T00:00:00.123Z'),
  )
  t.deepEqual(
    await connection.fetchVal("SELECT '1969-12-31 23:59:59.999999+00'::timestamptz"),
    new Date(-1),
  )
})

test('date and timestamp are the UTC day and time, whatever the time zone of the session', async (t) => {
  const connection = await connect(t)
  await connection.execute("SET TIME ZONE 'Pacific/Kiritimati'")
  const moment = new Date('2024-02-29T12:34:56.789Z')
  t.is(await connection.fetchVal('SELECT $1::timestamp::text', [moment]), '2024-02-29 12:34:56.789')
  t.is(await connection.fetchVal('SELECT $1::date::text', [moment]), '2024-02-29')
  t.deepEqual(
    await connection.fetchVal("SELECT '2024-02-29'::date"),
    new Date('2024-02-29T00:00:00Z'),
  )
  t.deepEqual(await roundTrip(connection, 'timestamptz', moment), moment)
})

test('enums, domains and their arrays', async (t) => {
  const connection = await connect(t)
  const [colour, age] = [uniqueName('colour'), uniqueName('age')]
  await connection.executeBatch(`
    CREATE TYPE ${colour} AS ENUM ('red', 'light blue');
    CREATE DOMAIN ${age} AS int4 CHECK (VALUE >= 0);`)
  t.teardown(() => connection.executeBatch(`DROP TYPE ${colour}; DROP DOMAIN ${age}`))
  t.is(await roundTrip(connection, colour, 'light blue'), 'light blue')
  t.deepEqual(await roundTrip(connection, `${colour}[]`, ['red', null]), ['red', null])
  t.is(await roundTrip(connection, age, 5), 5)
  t.deepEqual(await roundTrip(connection, `${age}[]`, [1, 2]), [1, 2])
  await t.throwsAsync(roundTrip(connection, colour, 'green'), {
    message: /invalid input value for enum/,
  })
  await t.throwsAsync(roundTrip(connection, age, -1), { message: /violates check constraint/ })
})

test('a function that returns nothing returns null', async (t) => {
  const connection = await connect(t)
  t.is(await connection.fetchVal("SELECT pg_notify('nobody', '')"), null)
})

const BYTES = 'a Buffer, a Uint8Array or a string of hexadecimal digits behind `\\x`'

const MISFITS: [string, QueryParameter, string][] = [
  ['int4', 1.5, 'an integer between -2147483648 and 2147483647, got `1.5` (number)'],
  ['int4', 2 ** 31, 'an integer between -2147483648 and 2147483647, got `2147483648` (number)'],
  ['int2', 32768n, 'an integer between -32768 and 32767, got `32768` (bigint)'],
  [
    'int8',
    2 ** 53,
    'a bigint between -2^63 and 2^63-1 or a safe integer, got `9007199254740992` (number)',
  ],
  [
    'int8',
    2n ** 63n,
    'a bigint between -2^63 and 2^63-1 or a safe integer, got `9223372036854775808` (bigint)',
  ],
  [
    'float4',
    1e39,
    'a number within the range of float4, got `1000000000000000000000000000000000000000` (number)',
  ],
  ['text', { a: 1 }, 'a string, a number, a bigint or a boolean, got an object'],
  ['"char"', 'ab', 'a string of at most one ASCII character, got `ab` (string)'],
  ['bytea', 'text', `${BYTES}, got \`text\` (string)`],
  ['jsonb', 1n, 'a value that JSON can hold, got `1` (bigint)'],
  ['jsonb', [Buffer.from('x')], 'a value that JSON can hold, got an array with bytes in it'],
  ['text', ['a'], 'a string, a number, a bigint or a boolean, got an array'],
  ['bytea', new Date(0), `${BYTES}, got a Date`],
  ['jsonb', { big: 1n }, 'a value that JSON can hold, got an object with a bigint in it'],
  ['bool', 1, 'a boolean, got `1` (number)'],
  ['timestamptz', 0, 'a Date or a string, got `0` (number)'],
]

for (const [type, value, message] of MISFITS) {
  test(`a parameter that does not fit ${type}: ${message}`, async (t) => {
    const connection = await connect(t)
    const name = type === '"char"' ? 'char' : type
    await t.throwsAsync(roundTrip(connection, type, value), {
      instanceOf: ConnectionExecuteError,
      message: `Expected parameter $1 (${name}) to be ${message}`,
    })
  })
}

test('an element that does not fit is named by its place', async (t) => {
  const connection = await connect(t)
  await t.throwsAsync(
    roundTrip(connection, 'int4[]', [
      [1, 2],
      [3, true],
    ]),
    {
      message:
        'Expected element [1][1] of parameter $1 (int4[]) to be an integer between -2147483648 and 2147483647, got `true` (boolean)',
    },
  )
  await t.throwsAsync(roundTrip(connection, 'int4[]', [[1, 2], [3]]), {
    message:
      'Expected element [1] of parameter $1 (int4[]) to be an array of 2, as long as the ones before it, got one of 1',
  })
  await t.throwsAsync(roundTrip(connection, 'int4[]', 5), {
    message: 'Expected parameter $1 (int4[]) to be an array or a string, got `5` (number)',
  })
})

const cyclic: { self?: unknown } = {}
cyclic.self = cyclic
const cyclicArray: unknown[] = []
cyclicArray.push(cyclicArray)

const NO_PARAMETERS: [unknown, RegExp][] = [
  [undefined, /`params\[0\]` .* got `undefined`/],
  [[1, undefined], /`params\[0\]\[1\]` .* got `undefined`/],
  // oxlint-disable-next-line no-sparse-arrays
  [[, 1], /`params\[0\]\[0\]` .* got `undefined`/],
  [() => 1, /`params\[0\]` .* got a function/],
  [Symbol('s'), /`params\[0\]` .* got a symbol/],
  [new Date(NaN), /`params\[0\]` to be a valid Date/],
  [cyclic, /`params\[0\]` to be a value that JSON can hold: Converting circular structure/],
  [{ toJSON: () => undefined }, /`params\[0\]` to be a value that JSON can hold/],
  [cyclicArray, /levels, got a deeper one/],
]

test('what can be no parameter at all is named by its place', async (t) => {
  const connection = await connect(t)
  for (const [value, message] of NO_PARAMETERS) {
    await t.throwsAsync(connection.execute('SELECT $1::jsonb', [value as QueryParameter]), {
      instanceOf: ArgumentTypeError,
      message,
    })
  }
  await t.throwsAsync(connection.execute('SELECT $1::text', ['\ud800']), {
    instanceOf: ArgumentRangeError,
  })
  await t.throwsAsync(connection.execute('SELECT $1::text', ['a\0b']), {
    message: /invalid byte sequence/,
  })
})
