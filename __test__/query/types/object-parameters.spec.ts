// What objects hold is what it is by itself, and has one form in JSON, wherever it stands and whatever stands beside it.

import test, { type ExecutionContext } from 'ava'
import {
  ArgumentTypeError,
  BoundedArray,
  type Connection,
  ConnectionExecuteError,
  Interval,
  type QueryParameter,
  Range,
  connect as open,
} from 'pglisten'
import { Temporal } from 'temporal-polyfill'
import { serverDsn } from '../../../lab/server/test-server.js'
import { uniqueName } from '../../../lab/unique-name.js'
import { connect } from '../../support/connect.js'
import { createDatabase } from '../../support/database.js'

/** A composite with these fields. */
async function composite(t: ExecutionContext, fields: string) {
  const connection = await connect(t)
  await connection.execute("SET TIME ZONE 'UTC'")
  const type = uniqueName('made')
  await connection.executeBatch(`CREATE TYPE ${type} AS (${fields})`)
  t.teardown(() => connection.executeBatch(`DROP TYPE ${type}`))
  const read = <Value>(value: unknown, path = '$1', options = {}) =>
    connection.fetchVal<Value>(
      `SELECT ${path.replace('$1', `($1::${type})`)}`,
      [value as QueryParameter],
      options,
    )
  return { connection, type, read }
}

const asJson = (connection: Connection, value: unknown, types = {}) =>
  connection.fetchVal<string>('SELECT $1::json::text', [value as QueryParameter], { types })

test('a field of JSON takes any value of JSON', async (t) => {
  const { read } = await composite(t, 'id int4, data jsonb, list jsonb[], doc json')
  for (const data of [
    5,
    -1,
    0.5,
    true,
    false,
    [],
    [1, 2],
    [1, [2, null]],
    {},
    { a: [1] },
    2 ** 53 - 1,
  ])
    t.deepEqual(await read({ id: 1, data, doc: data }), { id: 1, data, list: null, doc: data })
  const list = [1, { a: 2 }, null, false]
  t.deepEqual(await read({ list }, '$1.list'), list)
  // A string is JSON text, as it is by itself.
  t.deepEqual(await read({ data: '{"a": 1}', list: ['"x"'] }), {
    id: null,
    data: { a: 1 },
    list: ['x'],
    doc: null,
  })
})

test('a field of JSON that is given as an object with a JSON form has that, and not its text', async (t) => {
  const { connection, read } = await composite(t, 'data jsonb, list jsonb[]')
  const at = new Date('2026-11-30T01:02:03.004Z')
  const own = { toJSON: () => '12.50' }
  for (const value of [at, own, new URL('https://example.org/a'), new Interval({ days: 1 })]) {
    const alone = await connection.fetchVal('SELECT $1::jsonb', [value])
    t.is(typeof alone, 'string')
    t.deepEqual(await read({ data: value, list: [value] }), { data: alone, list: [alone] })
  }
  t.deepEqual(await read({ data: { deep: [own, at] } }, '$1.data'), {
    deep: ['12.50', at.toISOString()],
  })
})

test('what is refused by itself is refused in a field', async (t) => {
  const { connection, read } = await composite(
    t,
    'label text, labels text[], t time, n name, c "char", f float8, b bytea',
  )
  const at = new Date(0)
  const refused: [string, string, unknown][] = [
    ['label', 'text', at],
    ['label', 'text', { toJSON: () => 'x' }],
    ['labels', 'text[]', [at]],
    ['t', 'time', at],
    ['c', '"char"', 65],
    ['f', 'float8', 2n ** 64n + 1n],
    ['b', 'bytea', new URL('https://example.org/')],
  ]
  for (const [field, type, value] of refused) {
    const parameter = value as QueryParameter
    await t.throwsAsync(
      connection.fetchVal(`SELECT $1::${type}`, [parameter]),
      { instanceOf: ConnectionExecuteError },
      type,
    )
    await t.throwsAsync(read({ [field]: value }), { instanceOf: ConnectionExecuteError }, type)
  }
  // The server refuses it in its binary format, and cuts it off in text.
  await t.throwsAsync(read({ n: 'x'.repeat(64) }), { message: /at most 63 bytes/ })
  t.is(await read({ n: 'x'.repeat(63) }, '$1.n'), 'x'.repeat(63))
  await connection.execute('CREATE TEMPORARY TABLE names (n name, span int4range)')
  await t.throwsAsync(connection.copyRecordsToTable('names', [['é'.repeat(32), null]]), {
    message: /at most 63 bytes/,
  })
})

test('half of a surrogate pair is text nowhere, but JSON can hold it', async (t) => {
  const { connection, read } = await composite(t, 'label text, labels text[], doc json')
  const half = '😀'.slice(0, 1)
  const refused = {
    instanceOf: ConnectionExecuteError,
    message: /got a string with half of a surrogate pair$/,
  }
  await t.throwsAsync(read({ label: half }), refused)
  await t.throwsAsync(read({ labels: ['x', half] }), refused)
  await t.throwsAsync(read({ label: half, doc: new Date(0) }), refused)
  for (const doc of [{ half }, { half, n: -0 }, { half: [half], at: new Date(0) }]) {
    const expected = JSON.stringify(doc)
    t.is(await asJson(connection, doc), expected)
    t.is(await read({ doc }, '$1.doc::text'), expected)
  }
})

test('in an hstore too', async (t) => {
  const dsn = new URL(await serverDsn())
  dsn.pathname = await createDatabase(t)
  const connection = await open({ dsn: dsn.href })
  t.teardown(() => connection.close())
  await connection.executeBatch('CREATE EXTENSION hstore')
  const read = (value: unknown) =>
    connection.fetchVal('SELECT $1::hstore', [value as QueryParameter])
  for (const value of ['😀'.slice(0, 1), new Date(0), { toJSON: () => 'x' }]) {
    await t.throwsAsync(read({ a: value }), { instanceOf: ConnectionExecuteError })
    await t.throwsAsync(read(new Map([['a', value]])), { instanceOf: ConnectionExecuteError })
  }
  t.deepEqual(await read({ a: new URL('https://example.org/'), b: 12, c: true, d: null }), {
    a: 'https://example.org/',
    b: '12',
    c: 'true',
    d: null,
  })
})

test('objects of Temporal in a field are what they are by themselves', async (t) => {
  const { connection, read } = await composite(
    t,
    'd date, dt timestamp, at timestamptz, t time, during interval, days date[], doc json',
  )
  const { Duration, Instant, PlainDate, PlainDateTime, PlainTime, ZonedDateTime } = Temporal
  const samples: [string, string, { toString(): string }][] = [
    ['d', 'date', PlainDate.from('-000043-03-15')],
    ['d', 'date', PlainDate.from('+012026-01-01')],
    ['dt', 'timestamp', PlainDateTime.from('-000043-03-15T01:02:03.000004')],
    ['at', 'timestamptz', Instant.from('-000043-03-15T01:02:03.000004Z')],
    ['at', 'timestamptz', ZonedDateTime.from('2026-11-29T12:34:56.123456+05:30[Asia/Kolkata]')],
    ['t', 'time', PlainTime.from('12:34:56.123456')],
    ['during', 'interval', Duration.from('-P1Y2M3DT4H5M6.000007S')],
  ]
  for (const [field, type, value] of samples) {
    const alone = await connection.fetchVal(`SELECT $1::${type}::text`, [value])
    for (const given of [{ [field]: value }, new Map([[field, value]])])
      t.is(await read(given, `$1.${field}::text`), alone, value.toString())
  }
  t.is(
    await read({ days: [PlainDate.from('-000043-03-15'), null] }, '$1.days::text'),
    '{"0044-03-15 BC",NULL}',
  )
  // PostgreSQL would round it. JSON holds it.
  const exact = Instant.from('2026-11-29T12:34:56.123456789Z')
  await t.throwsAsync(read({ at: exact }), { instanceOf: ConnectionExecuteError })
  t.is(await asJson(connection, { exact }), JSON.stringify({ exact }))
  t.is(await read({ doc: { exact } }, '$1.doc::text'), JSON.stringify({ exact }))
})

test('a value has one form in JSON, wherever it stands', async (t) => {
  const { connection, read } = await composite(t, 'doc json, docs json[]')
  const { Duration, ZonedDateTime } = Temporal
  const forms: [unknown, unknown][] = [
    [
      ZonedDateTime.from('2026-11-29T12:34:56+05:30[Asia/Kolkata]'),
      '2026-11-29T12:34:56+05:30[Asia/Kolkata]',
    ],
    [Duration.from({ hours: 1 }), 'PT1H'],
    [new Interval({ days: 1 }), '+0 months +1 days +0 microseconds'],
    [new URL('https://example.org/'), 'https://example.org/'],
    [{ toPostgres: () => 7, n: 1 }, 7],
    [{ toPostgres: () => 'x' }, 'x'],
    [Object.assign([1, 2], { toPostgres: () => true }), true],
    [new Float32Array([1, 0.5]), [1, 0.5]],
    [new BoundedArray([1, 2], [5]), [1, 2]],
    [new Set(['a']), ['a']],
    [new Map([['a', 1]]), { a: 1 }],
    [
      new Range({ lower: 1, upper: 5 }),
      { lower: 1, upper: 5, lowerInclusive: true, upperInclusive: false, isEmpty: false },
    ],
  ]
  for (const [value, form] of forms) {
    const one = async (given: unknown) => JSON.parse(await asJson(connection, given)) as unknown
    const what = JSON.stringify(form)
    t.deepEqual(await one([value]), [form], what)
    t.deepEqual(await one({ x: value }), { x: form }, what)
    t.deepEqual(await one({ x: [{ y: value }], n: -0 }), { x: [{ y: form }], n: 0 }, what)
    t.deepEqual(await one(new Map([['x', value]])), { x: form }, what)
    t.deepEqual(await read({ doc: { x: value } }, '$1.doc'), { x: form }, what)
    t.deepEqual(await read({ docs: [{ x: value }] }, '$1.docs'), [{ x: form }], what)
  }
  // Bytes have none.
  for (const bytes of [Buffer.from('x'), new Uint8Array(1), new ArrayBuffer(1)]) {
    for (const given of [[bytes], { bytes }, { deep: [{ bytes }] }]) {
      await t.throwsAsync(asJson(connection, given), {
        instanceOf: ConnectionExecuteError,
        message: /with bytes in it$/,
      })
    }
  }
})

test('what JSON takes in an object is taken whatever else is in it', async (t) => {
  const { connection, read } = await composite(t, 'doc json, n float8')
  const deep: Record<string, unknown> = {}
  let at = deep
  for (let level = 0; level < 150; level += 1) at = at['next'] = {} as Record<string, unknown>
  const documents = [
    { a: [undefined, () => 1, Symbol('s')], none: undefined },
    { a: { toJSON: () => undefined }, b: [{ toJSON: () => undefined }] },
    { boxed: [new Number(5), new String('x'), new Boolean(false)] },
    deep,
  ]
  for (const document of documents) {
    for (const beside of [
      1,
      -0,
      NaN,
      1e20,
      2 ** 60,
      new Date(0),
      new URL('https://example.org/'),
    ]) {
      const given = { document, beside }
      t.is(await asJson(connection, given), JSON.stringify(given))
      t.is(await read({ doc: given, n: 1e20 }, '$1.doc::text'), JSON.stringify(given))
    }
  }
  // And what JSON would take for an empty object is refused.
  for (const lost of [Promise.resolve(1), /x/]) {
    for (const beside of [1, -0])
      await t.throwsAsync(asJson(connection, { lost, beside }), { instanceOf: ArgumentTypeError })
  }
  const types = { json: { stringify: (value: unknown) => JSON.stringify(value, replace) } }
  const replace = (_: string, value: unknown) => (value instanceof RegExp ? value.source : value)
  t.is(
    await asJson(connection, { found: /x/, at: new Date(0) }, types),
    `{"found":"x","at":"${new Date(0).toISOString()}"}`,
  )
})

test('no number of levels is too many to be told of', async (t) => {
  const { connection, read } = await composite(t, 'doc json')
  for (const last of [1, -0, 1n, new Map()]) {
    let deep: unknown = last
    for (let level = 0; level < 50_000; level += 1) deep = { deep }
    // Where the engine makes text of so many levels, the server refuses it.
    for (const refused of [asJson(connection, deep), read({ doc: deep })]) {
      const error = await t.throwsAsync(refused)
      t.regex((error as Error & { code: string }).code, /^ERR_PGLISTEN_/)
    }
  }
})

test('a part of an object is made JSON text of once more at most, however deep it lies', async (t) => {
  const { connection } = await composite(t, 'doc json')
  let asked = 0
  const counted = {
    toJSON: () => {
      asked += 1
      return 'x'
    },
  }
  let deep: unknown = { counted, big: 2 ** 60 }
  for (let level = 0; level < 50; level += 1) deep = { deep, at: new Date(0) }
  t.is(await asJson(connection, deep), JSON.stringify(deep))
  // Twice by the parameter, and once by the expected text.
  t.is(asked, 3)
})

test('a class that extends a built-in one is asked what it is', async (t) => {
  const connection = await connect(t)
  const classes: (new () => object)[] = [Array, Date, Map, Set, Uint8Array, Float64Array]
  await connection.execute('CREATE TEMPORARY TABLE own (n int4)')
  for (const base of classes) {
    const own = new (class extends base {
      toPostgres() {
        return 7
      }
    })()
    t.is(await connection.fetchVal('SELECT $1::int4', [own]), 7)
    t.deepEqual(await connection.fetchVal('SELECT $1::int4[]', [[own]]), [7])
    t.is(await connection.executeMany('INSERT INTO own VALUES ($1)', [[own]]), 1)
    t.is(await connection.copyRecordsToTable('own', [[own]]), 1)
  }
  t.is(await connection.fetchVal('SELECT sum(n)::int4 FROM own'), 7 * 2 * classes.length)
})

test('bytes that were transferred elsewhere are refused', async (t) => {
  const connection = await connect(t)
  const given = () => {
    const buffer = new ArrayBuffer(4)
    const views = [new Uint8Array(buffer), Buffer.from(buffer), new DataView(buffer), buffer]
    structuredClone(buffer, { transfer: [buffer] })
    return views
  }
  for (const bytes of given()) {
    await t.throwsAsync(connection.fetchVal('SELECT $1::bytea', [bytes]), {
      instanceOf: ArgumentTypeError,
      message: 'Expected `params[0]` to have bytes, got some that were transferred elsewhere',
    })
  }
  t.deepEqual(await connection.fetchVal('SELECT $1::bytea', [new Uint8Array()]), Buffer.alloc(0))
})
