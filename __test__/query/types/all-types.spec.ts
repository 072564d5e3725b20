// Every type of the server's catalogue, both ways: what is read and given back as a parameter is the same value.

import test from 'ava'
import { BoundedArray, ConnectionExecuteError, Interval, Range } from 'pglisten'
import { connect } from '../../support/connect.js'
import { givenBack } from '../../support/given-back.js'
import { TEXTS, literal, quotedType } from '../../../lab/types/samples.js'
import { uniqueName } from '../../../lab/unique-name.js'

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
    const type = quotedType(typname)
    const texts = TEXTS[typname] ?? []
    for (const text of texts) await givenBack(t, connection, type, `${literal(text)}::${type}`)
    t.is(await connection.fetchVal(`SELECT NULL::${type}`), null)
    if (texts.length === 0) continue
    const elements = [...texts, null].map((text) => (text === null ? 'NULL' : literal(text)))
    const array = `ARRAY[[${elements.join()}],[${elements.toReversed().join()}]]::${type}[]`
    const read = await givenBack(t, connection, `${type}[]`, array)
    const rows = (read instanceof BoundedArray ? read.values : read) as unknown[][]
    t.is(rows.length, 2)
    t.is(rows[0]!.at(-1), null)
    t.is(read instanceof BoundedArray, /^jsonb?$/.test(type), type)
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
