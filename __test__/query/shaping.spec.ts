// The forms of rows and values, the functions of the user's that make them, and statements that the server keeps nothing of.

import test from 'ava'
import {
  ArgumentTypeError,
  ConnectionExecuteError,
  ConnectionPool,
  ConnectionPoolConfigurationError,
  DatabaseError,
  PglistenError,
  connect as connectAlone,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { uniqueName } from '../../lab/unique-name.js'

test('rows are objects, arrays, or what a function makes of them', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT n, n * 2 AS n, -n AS m FROM generate_series(1, 2) AS n'
  t.deepEqual(
    [...(await connection.fetch(sql))],
    [
      { n: 2, m: -1 },
      { n: 4, m: -2 },
    ],
  )
  const arrays = await connection.fetch<[number, number, number]>(sql, [], { rowMode: 'array' })
  t.deepEqual(
    [...arrays],
    [
      [1, 2, -1],
      [2, 4, -2],
    ],
  )
  const mapped = await connection.fetch(sql, [], { map: (row: { m: number }) => row.m })
  t.deepEqual([...mapped], [-1, -2])
  t.is(mapped.rowCount, 2)
  const [first] = await connection.fetch(sql, [], {
    rowMode: 'array',
    map: ([one]: number[]) => ({ one }),
  })
  t.deepEqual(first, { one: 1 })
  await t.throwsAsync(
    connection.fetch(sql, [], {
      map: () => {
        throw new RangeError('mine')
      },
    }),
    {
      instanceOf: RangeError,
      message: 'mine',
    },
  )
  t.is(await connection.fetchVal('SELECT 1'), 1, 'the connection goes on')
  await t.throwsAsync(connection.fetch(sql, [], { rowMode: 'tuple' as 'array' }), {
    message: /`rowMode` to be one of/,
  })
})

test('a column of the name __proto__ is a property', async (t) => {
  const connection = await connect(t)
  const row = await connection.fetchRow<object>('SELECT 1 AS "__proto__", 2 AS a')
  t.deepEqual(Object.entries(row), [
    ['__proto__', 1],
    ['a', 2],
  ])
  t.is(Object.getPrototypeOf(row), Object.prototype)
})

test('decoders make values by type and by column, also within arrays, ranges and composites', async (t) => {
  const connection = await connect(t)
  const types = { decoders: { int8: Number, int4: (value: number) => value * 10 } }
  t.deepEqual(
    await connection.fetchRow(
      `SELECT 7::int8 AS a, ARRAY[1, NULL] AS b, int8range(1, 5) AS c, NULL::int8 AS d, 'x' AS e`,
      [],
      { types, columns: { e: (text: string) => text.toUpperCase() } },
    ),
    {
      a: 7,
      b: [10, null],
      c: (await connection.fetchRow<{ c: unknown }>('SELECT int4range(1, 5) AS c')).c,
      d: null,
      e: 'X',
    },
  )
  await t.throwsAsync(
    connection.fetch('SELECT 1', [], { types: { decoders: { int4: 1 } } as never }),
    {
      instanceOf: ArgumentTypeError,
      message: /`types\.decoders\.int4` to be a function/,
    },
  )
})

test('the types of a pool hold for all of its connections, and those of a statement come before them', async (t) => {
  const pool = await openPool(t, { types: { dates: 'string', decoders: { int8: Number } } })
  const connection = await pool.connection()
  t.teardown(() => connection.close())
  const sql = "SELECT '2026-11-29 01:02:03.456789+00'::timestamptz"
  t.is(await connection.fetchVal(sql), '2026-11-29 01:02:03.456789+00')
  t.is(await connection.fetchVal('SELECT 1::int8'), 1)
  t.deepEqual(
    await connection.fetchVal(sql, [], { types: { dates: 'date' } }),
    new Date('2026-11-29T01:02:03.456Z'),
  )
  await connection.transaction(async (tx) => {
    t.is(await tx.fetchVal(sql), '2026-11-29 01:02:03.456789+00')
  })
  await t.throwsAsync(openPool(t, { types: { dates: 'iso' as 'date' } }), {
    instanceOf: ConnectionPoolConfigurationError,
    message: /`types\.dates`/,
  })
})

test('JSON is read and written by functions of the user', async (t) => {
  const connection = await connect(t)
  const big = '{"n": 12345678901234567890}'
  const types = { json: { parse: (text: string) => `parsed ${text}`, stringify: () => big } }
  t.is(await connection.fetchVal(`SELECT '${big}'::jsonb`, [], { types }), `parsed ${big}`)
  t.is(await connection.fetchVal('SELECT $1::jsonb::text', [{ n: 1 }], { types }), big)
})

test('infinity is a number, a text or an error, as one likes', async (t) => {
  const connection = await connect(t)
  const sql = "SELECT '-infinity'::date"
  t.is(await connection.fetchVal(sql), -Infinity)
  t.is(await connection.fetchVal(sql, [], { types: { infinity: 'string' } }), '-infinity')
  await t.throwsAsync(connection.fetchVal(sql, [], { types: { infinity: 'error' } }), {
    instanceOf: ConnectionExecuteError,
    message: /`-infinity`/,
  })
})

test('encoders make parameters by type, in the order of the calls', async (t) => {
  const connection = await connect(t)
  class Id {
    constructor(readonly n: number) {}
  }
  const types = {
    encoders: { int4: (value: Id | number) => (value instanceof Id ? value.n : value) },
  }
  t.is(await connection.fetchVal('SELECT $1::int4', [new Id(5)], { types }), 5)
  t.deepEqual(await connection.fetchVal('SELECT $1::int4[]', [[new Id(5), null]], { types }), [
    5,
    null,
  ])
  t.is(await connection.fetchVal('SELECT $(id)p::int4', { id: new Id(6) }, { types }), 6)
  await connection.execute('CREATE TEMPORARY TABLE encoded (position serial, n int4)')
  const calls = [1, 2, 3].map((n) =>
    connection.execute(
      'INSERT INTO encoded (n) VALUES ($1)',
      [new Id(n)],
      n % 2 ? { types } : { types: { encoders: { int4: ({ n }: Id) => n } } },
    ),
  )
  await Promise.all(calls)
  t.is(
    await connection.executeMany(
      'INSERT INTO encoded (n) VALUES ($1)',
      [[new Id(4)], [new Id(5)]],
      { types },
    ),
    2,
  )
  t.is(
    await connection.fetchVal("SELECT string_agg(n::text, ',' ORDER BY position) FROM encoded"),
    '1,2,3,4,5',
  )
  const failing = {
    encoders: {
      int4: () => {
        throw new RangeError('mine')
      },
    },
  }
  await t.throwsAsync(connection.fetchVal('SELECT $1::int4', [1], { types: failing }), {
    message: 'mine',
  })
  t.is(await connection.fetchVal('SELECT 1'), 1, 'the place was given up')
})

test('a statement without a name leaves nothing on the server', async (t) => {
  const connection = await connect(t)
  const sql = 'SELECT $1::int4 AS n, $2::text AS t, now() AS at'
  for (let time = 0; time < 3; time += 1) {
    const row = await connection.fetchRow<{ n: number }>(sql, [time, 'x'], { prepared: false })
    t.is(row.n, time)
  }
  t.is(
    await connection.fetchVal(
      "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%AS at'",
    ),
    0n,
  )
  await connection.execute('CREATE TEMPORARY TABLE plain (n int4)')
  t.is(
    await connection.executeMany('INSERT INTO plain VALUES ($1)', [[1], [2]], { prepared: false }),
    2,
  )
  // The table changes while the description of the text is known.
  const all = { prepared: false } as const
  t.deepEqual([...(await connection.fetch('SELECT * FROM plain', [], all))], [{ n: 1 }, { n: 2 }])
  await connection.execute("ALTER TABLE plain ALTER n TYPE text USING 'text ' || n")
  t.deepEqual(
    [...(await connection.fetch('SELECT * FROM plain', [], all))],
    [{ n: 'text 1' }, { n: 'text 2' }],
  )
  await connection.execute('ALTER TABLE plain ADD m int8 DEFAULT 7')
  t.deepEqual(
    [...(await connection.fetch('SELECT * FROM plain', [], all))],
    [
      { n: 'text 1', m: 7n },
      { n: 'text 2', m: 7n },
    ],
  )
})

test('a pipeline runs its statements together, and tells which one failed', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE piped (n int4 PRIMARY KEY)')
  const [inserted, rows, named] = await connection.pipeline([
    ['INSERT INTO piped VALUES ($1), ($2)', [1, 2]],
    'SELECT n FROM piped ORDER BY n',
    ['SELECT $(a)p::text AS a', { a: 'x' }],
  ])
  t.is(inserted.rowCount, 2)
  t.deepEqual([...rows], [{ n: 1 }, { n: 2 }])
  t.deepEqual([...named], [{ a: 'x' }])
  const failed = await t.throwsAsync(
    connection.pipeline([
      ['INSERT INTO piped VALUES (3)'],
      ['INSERT INTO piped VALUES ($1)', [1]],
      ['INSERT INTO piped VALUES (4)'],
    ]),
    { instanceOf: DatabaseError, message: /^Statement 1 of the pipeline: duplicate key/ },
  )
  t.is(failed.statementIndex, 1)
  t.is(await connection.fetchVal('SELECT count(*) FROM piped'), 2n, 'nothing of it took effect')
  const unfit = await t.throwsAsync(connection.pipeline(['SELECT 1', ['SELECT $1::bool', [1]]]), {
    instanceOf: ConnectionExecuteError,
  })
  t.is(unfit.statementIndex, 1)
  const unknown = await t.throwsAsync(
    connection.pipeline(['SELECT 1', 'SELECT 2', 'SELECT nonsense']),
  )
  t.is((unknown as DatabaseError).statementIndex, 2)
  t.deepEqual(await connection.pipeline([]), [])
  const many = await connection.pipeline(
    Array.from({ length: 1000 }, (_, n) => ['SELECT $1::int4 AS n', [n]] as const),
  )
  t.true(many.every(([row], n) => row!['n'] === n))
  // Within a transaction, the statements before the one that failed are part of what the transaction has failed.
  await t.throwsAsync(
    connection.transaction((tx) => tx.pipeline(['INSERT INTO piped VALUES (9)', 'SELECT 1/0'])),
    { message: /division by zero/ },
  )
  t.is(await connection.fetchVal('SELECT count(*) FROM piped'), 2n)
})

test('a prepared statement tells what it takes and gives, and follows the database', async (t) => {
  const connection = await connect(t)
  const table = uniqueName('prepared')
  await connection.execute(`CREATE TABLE ${table} (n int4, t text)`)
  t.teardown(() => connection.execute(`DROP TABLE ${table}`))
  const statement = await connection.prepare<{ n: number }>(
    `SELECT n, t, n + 1 FROM ${table} WHERE n = $1`,
  )
  t.deepEqual(statement.parameters, [{ type: 'int4', oid: 23 }])
  const tableOid = await connection.fetchVal<number>(`SELECT '${table}'::regclass::oid`)
  t.deepEqual(statement.columns, [
    { name: 'n', type: 'int4', oid: 23, tableOid, columnNumber: 1 },
    { name: 't', type: 'text', oid: 25, tableOid, columnNumber: 2 },
    { name: '?column?', type: 'int4', oid: 23, tableOid: null, columnNumber: null },
  ])
  await connection.execute(`INSERT INTO ${table} VALUES (1, 'a')`)
  t.deepEqual(await statement.fetchRow([1]), { n: 1, t: 'a', '?column?': 2 } as { n: number })
  t.is(await statement.fetchVal([1]), 1)
  t.is(await statement.fetchRowOrNull([2]), null)
  await connection.execute(`ALTER TABLE ${table} ALTER t TYPE int8 USING 5`)
  t.deepEqual([...(await statement.execute([1]))] as unknown[], [{ n: 1, t: 5n, '?column?': 2 }])
  const of = `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT n, t%${table} WHERE%'`
  t.is(await connection.fetchVal(of), 1n, 'the one of before the change is not kept')
  await statement.close()
  await statement.close()
  t.is(await connection.fetchVal(of, [], { prepared: false }), 0n)
  await t.throwsAsync(statement.execute([1]), { message: 'the prepared statement was closed' })
  await t.throwsAsync(connection.prepare('SELEC 1'), { instanceOf: DatabaseError })
})

test('one row is one row, however large it is', async (t) => {
  const connection = await connect(t)
  const sql = "SELECT repeat('x', n) AS x FROM generate_series(3000000, $1, 1000000) AS n"
  t.is((await connection.fetchVal<string>(sql, [3_000_000])).length, 3_000_000)
  t.is((await connection.fetchRow<{ x: string }>(sql, [3_000_000])).x.length, 3_000_000)
  t.is((await connection.fetchRowOrNull<{ x: string }>(sql, [3_000_000]))?.x.length, 3_000_000)
  const rows = await connection.fetch<{ x: string }>(sql, [6_000_000])
  t.deepEqual(
    rows.map(({ x }) => x.length),
    [3_000_000, 4_000_000, 5_000_000, 6_000_000],
  )
  const error = await t.throwsAsync(connection.fetchVal(sql, [6_000_000]), {
    instanceOf: ConnectionExecuteError,
  })
  t.regex(error?.message ?? '', /got 4$/)
})

test('the event loop goes on while the rows of a large result are made', async (t) => {
  const connection = await connect(t)
  let turn = 0
  let ticking = true
  const tick = () => {
    turn += 1
    if (ticking) setImmediate(tick)
  }
  setImmediate(tick)
  const rowsOfTurns = new Map<number, number>()
  const rows = await connection.fetch(
    `SELECT n, 'row ' || n AS name, n::int8 AS big FROM generate_series(1, 300000) AS n`,
    [],
    {
      map: (row: { n: number }) => {
        rowsOfTurns.set(turn, (rowsOfTurns.get(turn) ?? 0) + 1)
        return row.n
      },
    },
  )
  ticking = false
  t.is(rows.length, 300_000)
  t.true(rows.every((n, index) => n === index + 1))
  const most = Math.max(...rowsOfTurns.values())
  t.true(most < 100_000, `${most} rows in one turn`)
})

test('what holds no options is refused in their place, wherever they stand', async (t) => {
  const connection = await connect(t)
  const pool = await openPool(t)
  const { signal } = new AbortController()
  const misplaced = signal as object
  const calls: Record<string, () => unknown> = {
    execute: () => connection.execute('SELECT 1', [], misplaced),
    cursor: () => connection.cursor('SELECT 1', [], misplaced),
    types: () => connection.execute('SELECT 1', [], { types: new Map() as {} }),
    decoders: () => connection.execute('SELECT 1', [], { types: { decoders: misplaced as {} } }),
    columns: () => connection.execute('SELECT 1', [], { columns: misplaced as {} }),
    transaction: () => connection.transaction(() => 1, misplaced),
    listen: () => pool.listen({ channel: () => {} }, misplaced),
    publish: () => pool.publish('channel', 'payload', misplaced),
    pool: () => new ConnectionPool(misplaced),
    connect: () => connectAlone(misplaced),
  }
  for (const [name, call] of Object.entries(calls)) {
    const message = /to be an object of (options|functions), got/
    // Some throw, others reject.
    await t.throwsAsync(async () => call(), { instanceOf: PglistenError, message }, name)
  }
})
