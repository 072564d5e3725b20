// The types of the extensions that come with PostgreSQL, both ways: alone, in arrays, in composites and in domains.

import test, { type ExecutionContext } from 'ava'
import * as fc from 'fast-check'
import { type Connection, ConnectionExecuteError, connect } from 'pglisten'
import { serverDsn } from '../../../lab/server/test-server.js'
import { EXTENSIONS, literal } from '../../../lab/types/samples.js'
import { connect as connectShared } from '../../support/connect.js'
import { createDatabase } from '../../support/database.js'
import { EXACT, givenBack } from '../../support/given-back.js'

const RUNS = 200

/** Types that are for the indexes of an extension, and have no input. */
const INTERNAL = new Set(['ghstore', 'ltree_gist', 'intbig_gkey', 'gtrgm', 'cube_gist'])

/** A connection to a database of its own with an extension. */
async function withExtension(t: ExecutionContext, create: string): Promise<Connection> {
  const dsn = new URL(await serverDsn())
  dsn.pathname = await createDatabase(t)
  const connection = await connect({ dsn: dsn.href })
  t.teardown(() => connection.close())
  await connection.executeBatch(create)
  return connection
}

for (const [extension, samples] of Object.entries(EXTENSIONS)) {
  // pgvector has a server of its own: pgvector.spec.ts.
  if (extension === 'vector') continue
  test(`${extension}: each type is read and written, alone and as a part of others`, async (t) => {
    const connection = await withExtension(t, `CREATE EXTENSION ${extension}`)
    const own = await connection.fetch<{ typname: string }>(
      `SELECT typname FROM pg_type JOIN pg_depend ON objid = pg_type.oid AND classid = 'pg_type'::regclass
       WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND typcategory <> 'A'
       AND refobjid = (SELECT oid FROM pg_extension WHERE extname = $1)`,
      [extension],
    )
    const names = own.map(({ typname }) => typname).filter((name) => !INTERNAL.has(name))
    t.deepEqual(names.sort(), Object.keys(samples).sort())
    for (const [type, texts] of Object.entries(samples)) {
      t.is(await connection.fetchVal(`SELECT NULL::${type}`), null)
      await connection.executeBatch(`
        CREATE DOMAIN domain_${type} AS ${type};
        CREATE TYPE holder_${type} AS (value ${type}, list ${type}[], n int4)`)
      const values = texts.map((text) => `${literal(text)}::${type}`)
      const array = `ARRAY[[${values.join()},NULL],[NULL,${values.toReversed().join()}]]`
      const read = (await givenBack(t, connection, `${type}[]`, array)) as unknown[][]
      t.deepEqual(read[0], read[1]!.toReversed())
      t.is(read[0]!.at(-1), null)
      for (const value of values) {
        await givenBack(t, connection, type, value)
        await givenBack(t, connection, `domain_${type}`, `${value}::domain_${type}`)
        await givenBack(t, connection, `domain_${type}[]`, `ARRAY[${value}]::domain_${type}[]`)
        const holder = `ROW(${value}, ${array}, 7)::holder_${type}`
        await givenBack(t, connection, `holder_${type}`, holder)
        await givenBack(t, connection, `holder_${type}[]`, `ARRAY[${holder}, NULL]`)
      }
    }
  })
}

test('hstore is an object, ltree and citext are strings, and other types of extensions are their text', async (t) => {
  const connection = await withExtension(
    t,
    'CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext; CREATE EXTENSION cube',
  )
  for (const [sql, value] of [
    ['\'a=>1, "b c"=>NULL\'::hstore', { a: '1', 'b c': null }],
    ["''::hstore", {}],
    ["'top.science'::ltree", 'top.science'],
    ["'Any CASE'::citext", 'Any CASE'],
    ["'(1,2),(3,4)'::cube", '(1, 2),(3, 4)'],
  ] as const) {
    t.deepEqual(await connection.fetchVal(`SELECT ${sql}`), value)
  }
  // citext compares without regard to case, as a parameter too.
  t.true(await connection.fetchVal("SELECT 'ABC'::citext = $1", ['abc']))
  t.true(await connection.fetchVal("SELECT 'a.b.c'::ltree ~ $1", ['a.*']))
  t.is(
    await connection.fetchVal("SELECT 'top.science'::ltree <@ $1::ltree[]", [['top', 'x']]),
    true,
  )
})

test('types of an extension whose schema is not in the search path are known', async (t) => {
  const connection = await withExtension(
    t,
    'CREATE SCHEMA "else where"; CREATE EXTENSION hstore SCHEMA "else where"; CREATE EXTENSION ltree SCHEMA "else where"',
  )
  const record = { a: 'x', b: null }
  const type = '"else where".hstore'
  t.deepEqual(await connection.fetchVal(`SELECT $1::${type}`, [record]), record)
  t.deepEqual(await connection.fetchVal(`SELECT $1::${type}[]`, [[record, null]]), [record, null])
  t.is(await connection.fetchVal('SELECT $1::"else where".ltree', ['a.b']), 'a.b')
})

test('a type of the user that has the name of an extension is not taken for it', async (t) => {
  const connection = await connectShared(t)
  const [schema] = await connection.fetchRow<[string]>('SELECT $1::text', ['own_hstore'], {
    rowMode: 'array',
  })
  await connection.executeBatch(`
    CREATE SCHEMA ${schema};
    CREATE TYPE ${schema}.hstore AS (a int4, b text);
    CREATE TYPE ${schema}.ltree AS ENUM ('top', 'low');
    CREATE DOMAIN ${schema}.citext AS int8`)
  t.teardown(() => connection.executeBatch(`DROP SCHEMA ${schema} CASCADE`))
  t.deepEqual(await connection.fetchVal(`SELECT $1::${schema}.hstore`, [{ a: 1, b: 'x' }]), {
    a: 1,
    b: 'x',
  })
  t.is(await connection.fetchVal(`SELECT $1::${schema}.ltree`, ['low']), 'low')
  t.is(await connection.fetchVal(`SELECT $1::${schema}.citext`, [5n]), 5n)
})

/** Texts that PostgreSQL can hold, many of them with what hstore, arrays or composites have to quote. */
const text = fc.oneof(
  fc.string({ unit: fc.constantFrom('"', '\\', "'", '=', '>', ',', ' ', '{', '}', 'a', 'NULL') }),
  fc.string({ unit: 'binary' }).filter((value) => !value.includes('\0')),
)

test('any hstore: an object and a Map give what the server makes of keys and values, and it is read back', async (t) => {
  const connection = await withExtension(
    t,
    'CREATE EXTENSION hstore; CREATE TYPE holder AS (label text, pairs hstore)',
  )
  const records = fc.dictionary(text, fc.option(text), { maxKeys: 8 })
  const property = fc.asyncProperty(records, async (record) => {
    for (const given of [record, new Map(Object.entries(record))]) {
      const row = await connection.fetchRow(
        `SELECT $1::hstore = hstore($2::text[], $3::text[]) AS same, $1::hstore AS read,
         $4::hstore[] AS list, $5::holder AS holder, $1::hstore::text AS text`,
        [
          given,
          Object.keys(record),
          Object.values(record),
          [[given, null]],
          { label: '"', pairs: given },
        ],
      )
      t.true(row['same'])
      t.deepEqual(row['read'], Object.assign(Object.create(null), record))
      t.deepEqual(row['list'], [[row['read'], null]])
      t.deepEqual(row['holder'], { label: '"', pairs: row['read'] })
      // The text of the server is a parameter too.
      t.true(
        await connection.fetchVal('SELECT $1::hstore = $2::hstore', [row['text'] as string, given]),
      )
    }
  })
  await fc.assert(property, { numRuns: RUNS })
})

test('a value in an hstore that is no text is refused', async (t) => {
  const connection = await withExtension(t, 'CREATE EXTENSION hstore')
  t.deepEqual(await connection.fetchVal('SELECT $1::hstore', [{ a: 1, b: true, c: 2n }]), {
    a: '1',
    b: 'true',
    c: '2',
  })
  for (const wrong of [{ a: { b: 'x' } }, { a: ['x'] }, { a: Buffer.from('x') }, ['a', 'b'], 5]) {
    await t.throwsAsync(connection.fetchVal('SELECT $1::hstore', [wrong]), {
      instanceOf: ConnectionExecuteError,
      message: /^Expected parameter \$1 \(hstore\) to be |^Expected .*\$1 \(hstore\)/,
    })
  }
})

test('any path of an ltree, and any point of a cube', async (t) => {
  const connection = await withExtension(t, 'CREATE EXTENSION ltree; CREATE EXTENSION cube')
  const label = fc.string({ unit: fc.constantFrom('a', 'Z', '0', '_'), minLength: 1 })
  const paths = fc.array(label, { maxLength: 6 }).map((labels) => labels.join('.'))
  const property = fc.asyncProperty(paths, async (path) => {
    t.is(await connection.fetchVal('SELECT $1::ltree', [path]), path)
    await givenBack(t, connection, 'ltree', `${literal(path)}::ltree`)
  })
  await fc.assert(property, { numRuns: RUNS })
  const points = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), {
    minLength: 1,
    maxLength: 4,
  })
  const cubes = fc.asyncProperty(points, points, async (from, to) => {
    const expression = `cube(ARRAY[${from.join()}]::float8[], ARRAY[${from.map((_, at) => to[at] ?? 0).join()}]::float8[])`
    await givenBack(t, connection, 'cube', expression, EXACT)
  })
  await fc.assert(cubes, { numRuns: RUNS })
})
