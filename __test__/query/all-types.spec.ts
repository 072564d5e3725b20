// Every type of the server's catalogue, both ways: what is read and given back as a parameter is the same value.

import test, { type ExecutionContext } from 'ava'
import { BoundedArray, ConnectionExecuteError, Interval, Range } from 'pglisten'
import type { Connection, QueryParameter } from 'pglisten'
import { connect } from '../support/connect.js'
import { uniqueName } from '../../lab/unique-name.js'

/** Texts of each built-in type that the server reads. */
const TEXTS: Record<string, string[]> = {
  bool: ['t', 'f'],
  int2: ['-32768', '0', '32767'],
  int4: ['-2147483648', '2147483647'],
  int8: ['-9223372036854775808', '9223372036854775807'],
  float4: ['1.1', '-0', 'NaN', 'Infinity', '-Infinity', '1e-45', '3.4028235e+38'],
  float8: ['0.30000000000000004', '-0', 'NaN', '-Infinity', '5e-324', '1.7976931348623157e+308'],
  numeric: ['1.10', '-0.0001', '1e-30', '12345678901234567890.123', 'NaN', 'Infinity', '0.00'],
  money: ['12.34', '-5'],
  oid: ['0', '4294967295'],
  xid: ['4294967295'],
  cid: ['7'],
  xid8: ['18446744073709551615'],
  regclass: ['pg_class', '-'],
  regtype: ['integer'],
  regproc: ['now'],
  regprocedure: ['abs(integer)'],
  regoper: ['||/'],
  regoperator: ['+(integer,integer)'],
  regconfig: ['simple'],
  regdictionary: ['simple'],
  regnamespace: ['public'],
  regrole: ['pg_monitor'],
  regcollation: ['"C"'],
  bytea: ['\\x', '\\x00ff10'],
  text: ['', 'a "b" \\ \'c\' {x,y} (z) NULL ünïcödé 😀'],
  varchar: ['x'],
  bpchar: ['ab  '],
  name: ['some_name'],
  char: ['r', '\\351'],
  // A string is given as JSON text, so what was read of one is not the same parameter.
  json: ['{"z": 1, "a": [true, null]}'],
  jsonb: ['{"a": [1, "x"]}', '12345678901234567890'],
  jsonpath: ['$."a"[*]?(@ > 1)'],
  xml: ['<a>ä</a>'],
  uuid: ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  date: ['2000-02-29', '0044-03-15 BC', '10000-01-01', '5874897-12-31', 'infinity', '-infinity'],
  time: ['00:00:00', '24:00:00', '12:34:56.000001'],
  timetz: ['12:34:56.7+05:45', '00:00:00-15:59:59', '24:00:00+00'],
  timestamp: ['2000-01-01 00:00:00.123', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999'],
  timestamptz: ['1999-12-31 23:59:59.999+00', 'infinity', '-infinity', '10000-01-01 00:00:00+00'],
  interval: ['1 year 2 mons -3 days 25:00:00.000001', '-178000000 years', '00:00:00'],
  inet: ['192.168.1.5/24', '10.0.0.1', '::1', '::1.2.3.4', '::ffff:1.2.3.4', '2001:db8::/32'],
  cidr: ['10.0.0.0/8', '1.2.3.4/32', '2001:db8::/32'],
  macaddr: ['08:00:2b:01:02:03'],
  macaddr8: ['08:00:2b:01:02:03:04:05'],
  bit: ['1'],
  varbit: ['', '101100111'],
  point: ['(1,2.5)', '(NaN,Infinity)'],
  lseg: ['[(1,2),(3,4)]'],
  box: ['(3,4),(1,2)'],
  line: ['{1,-1,0}'],
  path: ['((1,2),(3,4))', '[(1,2)]'],
  polygon: ['((1,2),(3,4),(5,6))'],
  circle: ['<(1,2),3>'],
  tsvector: ["'a':1A,2 'b':3", ''],
  tsquery: ["'a' & !'b':*AB", "'a' <2> 'b'"],
  pg_lsn: ['16/B374D848'],
  tid: ['(7,3)'],
  pg_snapshot: ['10:20:10,14'],
  txid_snapshot: ['10:20:10,14'],
  int2vector: ['1 2', ''],
  oidvector: ['1 4294967295', ''],
  refcursor: ['a "cursor"'],
  aclitem: ['=r/postgres'],
  int4range: ['[1,6)', 'empty', '(,)', '(,5)'],
  int8range: ['[1,9223372036854775807)'],
  numrange: ['[1.10,2.50]', '(1,)'],
  tsrange: ['["2000-01-01 00:00:00.5","2001-01-01 00:00:00")', '[-infinity,infinity]'],
  tstzrange: ['["2000-01-01 00:00:00+00",)'],
  daterange: ['[2000-01-01,2000-01-03)', '[2000-01-01,infinity]'],
  int4multirange: ['{[1,3),[5,7)}', '{}'],
  int8multirange: ['{[1,3)}'],
  nummultirange: ['{[1.1,2.2],(3,)}'],
  tsmultirange: ['{["2000-01-01 00:00:00","2001-01-01 00:00:00")}'],
  tstzmultirange: ['{["2000-01-01 00:00:00+00","2001-01-01 00:00:00+00")}'],
  datemultirange: ['{[2000-01-01,2000-01-03)}'],
}

/** Types that no value can be given of: the server has no input function, or refuses it. */
const OUTPUT_ONLY = new Set([
  'pg_node_tree',
  'pg_ndistinct',
  'pg_dependencies',
  'pg_mcv_list',
  'pg_brin_bloom_summary',
  'pg_brin_minmax_multi_summary',
  'gtsvector',
])

// A json is read as its text, which keeps big numbers, and is given as such.
const EXACT = { types: { dates: 'string', json: { parse: (text: string) => text } } } as const

const quoted = (name: string) => (name === 'char' ? '"char"' : name)
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

/** Reads a value and gives it back. The server says whether it is the same, by its text. */
async function check(t: ExecutionContext, connection: Connection, type: string, text: string) {
  const value = `${literal(text)}::${type}`
  const read = await connection.fetchVal<QueryParameter>(`SELECT ${value}`, [], EXACT)
  // What stands between the parts of a json is not kept.
  const as = type === 'json' ? '::jsonb::text' : '::text'
  const [same, got, expected] = (
    await connection.fetchRow<[boolean, string, string]>(
      `SELECT $1::${type}${as} = ${value}${as}, $1::${type}${as}, ${value}${as}`,
      [read],
      { rowMode: 'array' },
    )
  ).values()
  t.true(same, `${type}: ${expected} came back as ${got}`)
}

test('every type of the catalogue is read and written, and so is each array of it', async (t) => {
  const connection = await connect(t)
  await connection.execute("SET TIME ZONE 'UTC'")
  const names = await connection.fetch<{ typname: string }>(
    `SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
     AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A' AND typelem = 0
     OR typname IN ('point', 'lseg', 'box', 'line', 'name', 'int2vector', 'oidvector') AND typtype = 'b'`,
  )
  t.true(names.length >= 70)
  const untested = names.map(({ typname }) => typname).filter((name) => !(name in TEXTS))
  t.deepEqual(
    untested.filter((name) => !OUTPUT_ONLY.has(name)),
    [],
  )
  for (const { typname } of names) {
    const type = quoted(typname)
    const texts = TEXTS[typname] ?? []
    for (const text of texts) await check(t, connection, type, text)
    t.is(await connection.fetchVal(`SELECT NULL::${type}`), null)
    if (texts.length === 0) continue
    const elements = [...texts, null].map((text) => (text === null ? 'NULL' : literal(text)))
    const array = `ARRAY[[${elements.join()}],[${elements.toReversed().join()}]]::${type}[]`
    const as = type === 'json' ? '::jsonb[]' : ''
    const read = await connection.fetchVal<QueryParameter[][]>(`SELECT ${array}`, [], EXACT)
    t.is(read.length, 2)
    t.is(read[0]!.at(-1), null)
    const again = await connection.fetchVal<boolean>(
      `SELECT $1::${type}[]${as}::text = ${array}${as}::text`,
      [read],
    )
    t.true(again, `${typname}[]`)
  }
})

test('a type that has no input is read as text', async (t) => {
  const connection = await connect(t)
  const tree = await connection.fetchVal<string>(
    'SELECT adbin FROM (SELECT ev_action AS adbin FROM pg_rewrite LIMIT 1) AS rules',
  )
  t.true(tree.startsWith('('))
  t.is(await connection.fetchVal("SELECT ROW(1, 'a b')"), '(1,"a b")')
  t.deepEqual(await connection.fetchVal("SELECT array_agg(ROW(1, 'x b'))"), ['(1,"x b")'])
})

test('composites are objects, with every kind of field, within arrays, ranges and each other', async (t) => {
  const connection = await connect(t)
  const [inner, outer, span, colour, age] = ['inner', 'outer', 'span', 'colour', 'age'].map(
    (name) => uniqueName(name),
  ) as [string, string, string, string, string]
  await connection.executeBatch(`
    CREATE TYPE ${colour} AS ENUM ('red', 'light blue');
    CREATE DOMAIN ${age} AS int4 CHECK (VALUE >= 0);
    CREATE TYPE ${inner} AS (n numeric, "a ""b" text, at timestamptz, c ${colour}, __proto__ ${age});
    CREATE TYPE ${span} AS RANGE (subtype = text);
    CREATE TYPE ${outer} AS (i ${inner}, list ${inner}[], s ${span}, bits bytea)`)
  t.teardown(() =>
    connection.executeBatch(
      `DROP TYPE ${outer}; DROP TYPE ${inner}; DROP TYPE ${span}; DROP DOMAIN ${age}; DROP TYPE ${colour}`,
    ),
  )
  const at = new Date('2026-11-29T01:02:03.004Z')
  const one = { n: '1.50', 'a "b': 'x,"y"\\z', at, c: 'light blue' }
  Object.defineProperty(one, '__proto__', { value: 7, enumerable: true })
  const value = {
    i: one,
    list: [one, null],
    s: new Range({ lower: 'a,"b', upper: 'c' }),
    bits: Buffer.from([0, 255]),
  }
  t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}`, [value]), value)
  t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}[]`, [[value, null]]), [value, null])
  // Fields that are left out are null, an array gives all in their order.
  t.deepEqual(await connection.fetchVal(`SELECT $1::${outer}`, [{ bits: null }]), {
    i: null,
    list: null,
    s: null,
    bits: null,
  })
  const [n] = await connection.fetchRow<[string]>(
    `SELECT ($1::${inner}).n`,
    [[2, null, null, null, null]],
    { rowMode: 'array' },
  )
  t.is(n, '2')
  await t.throwsAsync(connection.fetchVal(`SELECT $1::${inner}`, [{ m: 1 }]), {
    instanceOf: ConnectionExecuteError,
    message: new RegExp(
      `^Expected parameter \\$1 \\(${inner}\\) to be an object with the fields .* got one with \`m\``,
    ),
  })
})

test('what is known of a type follows when the type is altered', async (t) => {
  const connection = await connect(t)
  const other = await connect(t)
  const pair = uniqueName('pair')
  await other.executeBatch(`CREATE TYPE ${pair} AS (a int4)`)
  t.teardown(() => other.executeBatch(`DROP TYPE ${pair}`))
  // The text stays, and with it the prepared statement.
  const read = `SELECT (row_to_json(x)->>'v') AS text, v FROM (SELECT $1::${pair} AS v) AS x`
  t.deepEqual((await connection.fetchRow<{ v: object }>(read, [{ a: 1 }])).v, { a: 1 })
  await other.executeBatch(`ALTER TYPE ${pair} ADD ATTRIBUTE b text`)
  t.deepEqual((await connection.fetchRow<{ v: object }>(read, [{ a: 1, b: 'x' }])).v, {
    a: 1,
    b: 'x',
  })
  await other.executeBatch(`ALTER TYPE ${pair} DROP ATTRIBUTE a`)
  t.deepEqual((await connection.fetchRow<{ v: object }>(read, [['y']])).v, { b: 'y' })
  // The parameters alone tell nothing: here the rows do.
  const rows = `SELECT v FROM (VALUES (NULL::${pair}), (ROW('z')::${pair})) AS x (v)`
  t.deepEqual([...(await connection.fetch(rows))], [{ v: null }, { v: { b: 'z' } }])
  await other.executeBatch(
    `ALTER TYPE ${pair} DROP ATTRIBUTE b; ALTER TYPE ${pair} ADD ATTRIBUTE b int8`,
  )
  t.deepEqual(
    [...(await connection.fetch(rows.replace("'z'", '9')))],
    [{ v: null }, { v: { b: 9n } }],
  )
})

test('intervals, ranges and bounds have objects', async (t) => {
  const connection = await connect(t)
  t.deepEqual(
    await connection.fetchVal("SELECT interval '1 year 2 mons -3 days 25:00:00.000001'"),
    new Interval({ months: 14, days: -3, microseconds: 90_000_000_001n }),
  )
  for (const style of ['postgres', 'sql_standard', 'iso_8601', 'postgres_verbose']) {
    await connection.execute(`SET IntervalStyle = ${style}`)
    const mixed = new Interval({ months: -14, days: 3, microseconds: -5 })
    t.deepEqual(await connection.fetchVal('SELECT $1::interval', [mixed]), mixed)
  }
  t.deepEqual(
    await connection.fetchVal('SELECT $1::interval', [{ hours: 1, minutes: -1.5, years: 1 }]),
    new Interval({ months: 12, microseconds: 3_510_000_000 }),
  )
  t.deepEqual(
    await connection.fetchVal("SELECT '[1,5]'::int4range"),
    new Range({ lower: 1, upper: 6 }),
  )
  t.deepEqual(await connection.fetchVal("SELECT 'empty'::int4range"), Range.empty())
  const infinite = await connection.fetchVal<Range>("SELECT '[2000-01-01,infinity]'::daterange")
  t.is(infinite.upper, Infinity)
  t.is(
    await connection.fetchVal('SELECT $1::daterange::text', [
      new Range<Date | string>({
        lower: new Date('2000-01-01'),
        upper: 'infinity',
        upperInclusive: true,
      }),
    ]),
    '[2000-01-01,infinity]',
  )
  const array = "'[2:3][-1:0]={{1,2},{3,4}}'::int4[]"
  t.deepEqual(await connection.fetchVal(`SELECT ${array}`), [
    [1, 2],
    [3, 4],
  ])
  const bounded = await connection.fetchVal<BoundedArray>(`SELECT ${array}`, [], {
    types: { arrayBounds: 'keep' },
  })
  t.deepEqual(
    bounded,
    new BoundedArray(
      [
        [1, 2],
        [3, 4],
      ],
      [2, -1],
    ),
  )
  t.true(await connection.fetchVal(`SELECT $1 = ${array}`, [bounded]))
})
