// What the users of pg and of postgres.js rely on in statements, parameters and results: here it holds too.

import test from 'ava'
import {
  ArgumentTypeError,
  type Connection,
  ConnectionExecuteError,
  DatabaseError,
  type QueryParameter,
} from 'pglisten'
import { connect } from '../../support/connect.js'

/** A value of each kind that goes there and back without a cast of its own at the caller's side. */
const ROUND_TRIPS: Record<string, [type: string, value: QueryParameter, back?: unknown]> = {
  null: ['int4', null],
  'an integer': ['int4', -(2 ** 31)],
  'a large integer': ['int8', 2n ** 63n - 1n],
  'a small integer as int8': ['int8', 3, 3n],
  'a number beyond any double': ['numeric', `${'9'.repeat(200)}.${'1'.repeat(100)}`],
  'a fraction': ['float8', 0.1],
  'a fraction of single precision': ['float4', 0.5],
  'no number': ['float8', NaN],
  infinity: ['float8', -Infinity],
  true: ['bool', true],
  false: ['bool', false],
  text: ['text', 'a "quoted", \\back\\slashed, {braced} text\nof two lines ‹ü›'],
  'an empty text': ['text', ''],
  'blank-padded text': ['char(3)', 'a', 'a  '],
  'a date with a time': ['timestamptz', new Date('2038-01-19T03:14:07.999Z')],
  'a date before 1900 in a zone of its time': ['timestamptz', new Date('1816-04-01T00:00:00Z')],
  bytes: ['bytea', Buffer.from([0, 255, 92, 39])],
  'no bytes': ['bytea', Buffer.alloc(0)],
  'an object as json': ['json', { a: 'hello', b: [1, null, { c: true }] }],
  'an array as jsonb': ['jsonb', [1, 'two', null]],
  'an array of integers': ['int4[]', [1, 2, 3]],
  'an empty array': ['text[]', []],
  'an array with nulls': ['int4[]', [1, null, 3]],
  'an array of texts that need quotes': [
    'text[]',
    ['a,b', '{x}', '"q"', 'c:\\windows', 'NULL', ''],
  ],
  'an array of arrays of arrays': ['int4[]', [[[1, 2]], [[3, 4]], [[5, 6]]]],
  'an array of dates': ['timestamptz[]', [new Date(0), new Date(1)]],
  'an array of booleans': ['bool[]', [true, false]],
  'an array of numerics': ['numeric[]', ['0.10', '1e3'], ['0.10', '1000']],
  'an array of json': ['jsonb[]', [{ a: 1 }, null]],
  'an array as text': ['int4[]', '{1,2,3}', [1, 2, 3]],
  'a number where text is expected': ['text', 12, '12'],
  'text where a number is expected': ['int4', '12', 12],
}
for (const [name, [type, value, back = value]] of Object.entries(ROUND_TRIPS)) {
  test(`${name} comes back`, async (t) => {
    const connection = await connect(t)
    t.deepEqual(await connection.fetchVal(`SELECT $1::${type}`, [value]), back)
    // The same as text in the statement's own way, where nothing of the connection is prepared.
    t.deepEqual(await connection.fetchVal(`SELECT $1::${type}`, [value], { prepared: false }), back)
  })
}

test('a result is an array with its rows, the number of rows and the columns, also without rows', async (t) => {
  const connection = await connect(t)
  const result = await connection.execute('SELECT 1 AS a, NULL::text AS "B c" WHERE false')
  t.true(Array.isArray(result))
  t.is(result.length, 0)
  t.is(result.rowCount, 0)
  t.deepEqual(
    result.columns.map(({ name, type }) => [name, type]),
    [
      ['a', 'int4'],
      ['B c', 'text'],
    ],
  )
  await connection.execute('CREATE TEMPORARY TABLE counted (n int4)')
  t.is((await connection.execute('INSERT INTO counted VALUES (1), (2), (3)')).rowCount, 3)
  t.is((await connection.execute('UPDATE counted SET n = 0 WHERE n > 1')).rowCount, 2)
  t.deepEqual(
    [...(await connection.execute('DELETE FROM counted WHERE n = 1 RETURNING n'))],
    [{ n: 1 }],
  )
  await connection.execute('DROP TABLE counted')
})

test('a statement without anything in it is a result without rows', async (t) => {
  const connection = await connect(t)
  for (const sql of ['', ' ', '-- nothing', '/* nothing */', ';']) {
    const result = await connection.execute(sql)
    t.is(result.length, 0, sql)
    t.deepEqual(result.columns, [], sql)
  }
  t.is(await connection.fetchVal('SELECT 1;'), 1)
})

test('names of columns are as they were written, with quotes, newlines and what else', async (t) => {
  const connection = await connect(t)
  const names = ['a"b', "it's", 'a\\b', 'two\nlines', '\t', '${x}', 'toString', '__proto__', 'ü']
  const columns = names.map((name, n) => `${n} AS "${name.replaceAll('"', '""')}"`)
  const row = await connection.fetchRow<Record<string, number>>(`SELECT ${columns.join(', ')}`)
  t.deepEqual(
    Object.entries(row),
    names.map((name, n) => [name, n]),
  )
})

test('of two columns with one name the last counts, and none is lost in rows that are arrays', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT 1 AS a, 2 AS b, 3 AS a'
  t.deepEqual(await connection.fetchRow(sql), { a: 3, b: 2 })
  t.deepEqual(await connection.fetchRow(sql, [], { rowMode: 'array' }), [1, 2, 3])
})

test('parameters are not changed', async (t) => {
  const connection = await connect(t)
  const inner = Object.freeze([1, 2])
  const params = Object.freeze([Object.freeze({ a: inner }), inner, new Date(5)])
  await connection.execute('SELECT $1::jsonb, $2::int4[], $3::timestamptz', params)
  t.deepEqual(params, [{ a: [1, 2] }, [1, 2], new Date(5)])
})

test('a text that could be SQL is a value', async (t) => {
  const connection = await connect(t)
  const text = "'); DROP TABLE students; --"
  t.is(await connection.fetchVal('SELECT $1::text', [text]), text)
  t.is(await connection.fetchVal('SELECT $(name)p::text', { name: text }), text)
})

test('a statement and a value of some MiB are no obstacle', async (t) => {
  const connection = await connect(t)
  const big = 'x'.repeat(4 * 2 ** 20)
  t.is(await connection.fetchVal(`SELECT length('${big}')`), big.length)
  t.is(await connection.fetchVal('SELECT $1::text', [big]), big)
})

test('a statement takes 65,535 parameters; one with more is refused, and the connection goes on', async (t) => {
  const connection = await connect(t)
  const summing = (count: number) =>
    `SELECT cardinality(ARRAY[${Array.from({ length: count }, (_, n) => `$${n + 1}::int4`).join()}])`
  const params = Array.from({ length: 65_537 }, (_, n) => n)
  t.is(await connection.fetchVal(summing(65_535), params.slice(0, 65_535)), 65_535)
  for (const count of [65_536, 65_537]) {
    for (const options of [{}, { prepared: false }]) {
      await t.throwsAsync(connection.execute(summing(count), params.slice(0, count), options), {
        instanceOf: ConnectionExecuteError,
        message: new RegExp(`has ${count} parameters, and at most 65535 can be sent`),
      })
    }
  }
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

const REFUSED: Record<string, (connection: Connection) => Promise<unknown>> = {
  'parameters that are no list': (c) => c.execute('SELECT 1', 'x' as never),
  'a text that is none': (c) => c.execute(5 as never),
  undefined: (c) => c.execute('SELECT $1::int4', [undefined as never]),
  'undefined in an array': (c) => c.execute('SELECT $1::int4[]', [[1, undefined] as never]),
  'an object that holds itself': (c) => {
    const loop: Record<string, unknown> = {}
    loop['loop'] = loop
    return c.execute('SELECT $1::jsonb', [loop as never])
  },
  'an object whose `toJSON` throws': (c) => {
    const failing = {
      toJSON() {
        throw new Error('no JSON')
      },
    }
    return c.execute('SELECT $1::jsonb', [failing as never])
  },
}
for (const [name, run] of Object.entries(REFUSED)) {
  test(`${name}: the call rejects, nothing hangs, and the connection goes on`, async (t) => {
    const connection = await connect(t)
    await t.throwsAsync(run(connection), { instanceOf: ArgumentTypeError })
    t.is(await connection.fetchVal('SELECT 1'), 1)
  })
}

test('a decoder or an encoder that throws is the error of the call, in a transaction too', async (t) => {
  const connection = await connect(t)
  const fails = (error: Error) => () => {
    throw error
  }
  const [decoding, encoding] = [new Error('decoding'), new Error('encoding')]
  const decode = { types: { decoders: { int4: fails(decoding) } } }
  const encode = { types: { encoders: { int4: fails(encoding) } } }
  t.is(await t.throwsAsync(connection.fetchVal('SELECT 1', [], decode)), decoding)
  t.is(await t.throwsAsync(connection.fetchVal('SELECT $1::int4', [1], encode)), encoding)
  await connection.transaction(async (tx) => {
    t.is(await t.throwsAsync(tx.fetchVal('SELECT 1', [], decode)), decoding)
    t.is(await t.throwsAsync(tx.fetchVal('SELECT $1::int4', [1], encode)), encoding)
    // Neither is a failure on the server.
    t.is(await tx.fetchVal('SELECT 2'), 2)
  })
})

test('a statement survives what the table it selects from and inserts into becomes', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE changing (a int4)')
  const insert = () => connection.execute('INSERT INTO changing VALUES ($1)', [1])
  await insert()
  t.deepEqual(await connection.fetchRow('SELECT * FROM changing'), { a: 1 })
  await connection.execute('ALTER TABLE changing ALTER a TYPE text')
  await t.notThrowsAsync(connection.execute('SELECT * FROM changing'))
  await connection.execute('ALTER TABLE changing ADD b int4 DEFAULT 2')
  t.deepEqual(await connection.fetchRow('SELECT * FROM changing'), { a: '1', b: 2 })
  await connection.execute('DROP TABLE changing')
})

test('an error of one statement is that of one call: those before and behind it go on', async (t) => {
  const connection = await connect(t)
  const [before, failing, behind] = await Promise.allSettled([
    connection.fetchVal('SELECT 1'),
    connection.fetchVal('SELECT 1 / 0'),
    connection.fetchVal('SELECT 3'),
  ])
  t.like(before, { status: 'fulfilled', value: 1 })
  t.true(failing.status === 'rejected' && failing.reason instanceof DatabaseError)
  t.like(behind, { status: 'fulfilled', value: 3 })
})

test('an error tells the place in the statement, and the table, column and constraint that it is about', async (t) => {
  const connection = await connect(t)
  const wrong = await t.throwsAsync(connection.execute('SELECT wat'), { instanceOf: DatabaseError })
  t.like(wrong, { sqlState: '42703', position: 8, severity: 'ERROR' })
  await connection.execute(
    'CREATE TEMPORARY TABLE strict (n int4 NOT NULL CONSTRAINT positive CHECK (n > 0))',
  )
  const insert = (value: number | null) =>
    t.throwsAsync(connection.execute('INSERT INTO strict VALUES ($1)', [value]), {
      instanceOf: DatabaseError,
    })
  t.like(await insert(null), { sqlState: '23502', table: 'strict', column: 'n' })
  t.like(await insert(-1), { sqlState: '23514', table: 'strict', constraint: 'positive' })
  await connection.execute('DROP TABLE strict')
})

test('a value that does not fit is refused at bind, and the same statement runs with one that does', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $1::int4 AS n'
  await t.throwsAsync(connection.execute(sql, ['hi']), { instanceOf: DatabaseError })
  await t.throwsAsync(connection.execute(sql, [3.5]), { instanceOf: ConnectionExecuteError })
  t.is(await connection.fetchVal(sql, [4]), 4)
})
