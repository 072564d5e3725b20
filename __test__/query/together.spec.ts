// Values that cross together: parameters of many runs, the statements of a pipeline, the texts and rows of a large result.

import test from 'ava'
import * as fc from 'fast-check'
import { ArgumentRangeError, ArgumentTypeError, DatabaseError, type QueryParameter } from 'pglisten'
import { connect } from '../support/connect.js'

const moment = fc.date({ min: new Date(0), max: new Date('9999-12-31'), noInvalidDate: true })
const text = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', ' ', '\u{7f}'), maxLength: 20 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }).map((it) => it.replaceAll('\0', '')),
  fc.constantFrom('', 'é', '日本', '🦀', 'x'.repeat(5000)),
)
const row = fc.tuple(
  fc.option(fc.boolean()),
  fc.option(fc.double({ noNaN: true })),
  fc.option(text),
  fc.option(moment),
  fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  fc.option(fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes))),
  fc.option(fc.array(fc.option(text), { maxLength: 3 })),
)
const COLUMNS = 'b bool, f float8, t text, at timestamptz, i int8, raw bytea, list text[]'

test('the parameters of many runs arrive as they were, whatever stands beside them', async (t) => {
  const connection = await connect(t)
  await connection.execute(`CREATE TEMPORARY TABLE many (n serial, ${COLUMNS})`)
  const insert = 'INSERT INTO many (b, f, t, at, i, raw, list) VALUES ($1, $2, $3, $4, $5, $6, $7)'
  const select = 'SELECT b, f, t, at, i, raw, list FROM many ORDER BY n'
  const property = fc.asyncProperty(fc.array(row, { maxLength: 60 }), async (rows) => {
    await connection.execute('TRUNCATE many')
    t.is(await connection.executeMany(insert, rows), rows.length)
    t.deepEqual([...(await connection.fetch(select, [], { rowMode: 'array' }))], rows)
    await connection.execute('TRUNCATE many RESTART IDENTITY')
    const columns = ['b', 'f', 't', 'at', 'i', 'raw', 'list']
    t.is(await connection.copyRecordsToTable('many', rows, { columns }), rows.length)
    t.deepEqual([...(await connection.fetch(select, [], { rowMode: 'array' }))], rows)
  })
  await fc.assert(property, { numRuns: 40 })
})

test('each statement of a pipeline has its own text and parameters', async (t) => {
  const connection = await connect(t)
  const kinds: ((value: string, n: number) => readonly [string, QueryParameter[]])[] = [
    (value) => ['SELECT $1::text AS v', [value]],
    (value, n) => ["SELECT $1::text || '' AS v WHERE $2 >= 0", [value, n]],
    (value) => ['SELECT $2::text AS v WHERE $1', [true, value]],
  ]
  const some = fc.array(fc.tuple(fc.nat(2), text), { maxLength: 40 })
  const property = fc.asyncProperty(some, async (chosen) => {
    const results = await connection.pipeline(
      chosen.map(([kind, value], n) => kinds[kind]!(value, n)),
    )
    t.deepEqual(
      results.map(([first]) => first!['v']),
      chosen.map(([, value]) => value),
    )
  })
  await fc.assert(property, { numRuns: 40 })
})

test('texts that are too long to be put together cross one by one', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE long (n serial, length int4, hash text)')
  const sql = 'INSERT INTO long (length, hash) VALUES (length($1), md5($1)) RETURNING hash'
  const texts = ['a'.repeat(2 ** 24 - 2), 'bc', 'd', 'é'.repeat(2 ** 24), 'e']
  t.is(
    await connection.executeMany(
      sql,
      texts.map((it) => [it]),
    ),
    texts.length,
  )
  const stored = await connection.fetch('SELECT length, hash FROM long ORDER BY n')
  const expected = []
  for (const it of texts)
    expected.push(await connection.fetchRow('SELECT length($1), md5($1) AS hash', [it]))
  t.deepEqual([...stored], expected)
})

test('what no run can take is told with its place, and nothing is run', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE none (a text)')
  const sql = 'INSERT INTO none VALUES ($1)'
  for (const [sets, instanceOf, place] of [
    [[['a'], [undefined]], ArgumentTypeError, 'paramSets[1][0]'],
    [[['a'], ['b'], ['\ud800']], ArgumentRangeError, 'paramSets[2][0]'],
    [[[new Date(Number.NaN)]], ArgumentTypeError, 'paramSets[0][0]'],
    [[['a'], 'b'], ArgumentTypeError, 'paramSets[1]'],
  ] as const) {
    const error = await t.throwsAsync(connection.executeMany(sql, sets as never), { instanceOf })
    t.true(error.message.includes(`\`${place}\``), error.message)
  }
  const error = await t.throwsAsync(
    connection.pipeline([
      [sql, ['a']],
      [sql, [Symbol('b')]],
    ] as never),
    { instanceOf: ArgumentTypeError },
  )
  t.true(error.message.includes('`statements[1][1][0]`'), error.message)
  await t.throwsAsync(connection.pipeline([[sql, ['a']], 7] as never), {
    message: /`statements\[1\]` to be a string/,
  })
  t.is(await connection.fetchVal('SELECT count(*) FROM none'), 0n)
})

test('texts that the server would not get as they are are refused in a pipeline too', async (t) => {
  const connection = await connect(t)
  for (const [text, message] of [
    ["SELECT '\ud800'", /`statements\[1\]` to be well-formed text/],
    ["SELECT '\0'", /`statements\[1\]` to be a string without NUL/],
  ] as const) {
    for (const statement of [text, [text, []] as const]) {
      await t.throwsAsync(connection.pipeline(['SELECT 1', statement]), {
        instanceOf: ArgumentRangeError,
        message,
      })
    }
  }
})

test('the commit of a pipeline that fails is told of none of its statements', async (t) => {
  const connection = await connect(t)
  await connection.execute(
    'CREATE TEMPORARY TABLE later (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)',
  )
  const insert = 'INSERT INTO later VALUES (1)'
  for (const statements of [
    [insert, insert],
    [insert, insert, 'SELECT 1'],
  ]) {
    const error = await t.throwsAsync(connection.pipeline(statements), {
      instanceOf: DatabaseError,
      message: /^duplicate key/,
    })
    t.false('statementIndex' in error && error.statementIndex !== undefined)
    t.is(error.sqlState, '23505')
  }
})

test('the texts of a large result keep their order, and the rows their columns', async (t) => {
  const connection = await connect(t)
  const names = Array.from({ length: 30 }, (_, at) => `c${at}`)
  const columns = names.map(
    (name, at) => `CASE WHEN n % ${at + 2} > 0 THEN n || '${name}é' ELSE '' END AS ${name}`,
  )
  const sql = `SELECT ${columns.join(', ')} FROM generate_series(1, 5000) AS n`
  const expected = Array.from({ length: 5000 }, (_, index) =>
    Object.fromEntries(
      names.map((name, at) => [name, (index + 1) % (at + 2) > 0 ? `${index + 1}${name}é` : '']),
    ),
  )
  for (const _ of [1, 2]) t.deepEqual([...(await connection.fetch(sql))], expected)
})

test('the results of one statement are read as each call says', async (t) => {
  const connection = await connect(t)
  const sql = "SELECT 1 AS a, 'x' AS b, '2026-11-30'::date AS d"
  const date = new Date('2026-11-30')
  for (const _ of [1, 2]) {
    t.deepEqual(await connection.fetchRow(sql), { a: 1, b: 'x', d: date })
    t.deepEqual(await connection.fetchRow(sql, [], { rowMode: 'array' }), [1, 'x', date])
    const types = { dates: 'string', decoders: { int4: (value: number) => -value } } as const
    t.deepEqual(await connection.fetchRow(sql, [], { types }), { a: -1, b: 'x', d: '2026-11-30' })
    t.is(await connection.fetchVal(sql, [], { types }), -1)
    t.is(await connection.fetchVal(sql), 1)
    t.is(await connection.fetchVal(sql, [], { columns: { a: String } }), '1')
    t.deepEqual(await connection.fetchRow(sql, [], { columns: { b: () => 'y' } }), {
      a: 1,
      b: 'y',
      d: date,
    })
  }
  const [one, other] = [await connection.fetch(sql), await connection.fetch(sql)]
  t.deepEqual(one.columns, other.columns)
  t.is(one.columns, one.columns)
  t.not(one.columns, other.columns, 'what is done to those of one result changes no other')
  one[0]!['a'] = 7
  t.is(other[0]!['a'], 1)
})
