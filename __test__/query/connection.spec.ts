// Statements on a connection, and how it is given back.

import test from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionClosedError,
  ConnectionExecuteError,
  DatabaseError,
  PglistenError,
  QueryResult,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'

test('execute gives the rows as an array of plain objects', async (t) => {
  const connection = await connect(t)
  const result = await connection.execute<{ id: number; name: string | null }>(
    "SELECT * FROM (VALUES (1, 'one'), (2, NULL)) AS v (id, name)",
  )
  t.true(Array.isArray(result))
  t.is(result.length, 2)
  t.is(result.rowCount, 2)
  t.deepEqual(result.result(), [
    { id: 1, name: 'one' },
    { id: 2, name: null },
  ])
  t.deepEqual(result.columns, [
    { name: 'id', type: 'int4', oid: 23 },
    { name: 'name', type: 'text', oid: 25 },
  ])
  const names = result.map((row) => row.name)
  t.deepEqual(names, ['one', null])
  t.false(names instanceof QueryResult)
  t.is(JSON.stringify(result), '[{"id":1,"name":"one"},{"id":2,"name":null}]')
})

test('fetch is execute by another name', async (t) => {
  const connection = await connect(t)
  t.deepEqual((await connection.fetch('SELECT $1::int4 AS n', [7])).result(), [{ n: 7 }])
})

test('a statement without rows tells how many it changed', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE counted (n int4)')
  const inserted = await connection.execute('INSERT INTO counted SELECT generate_series(1, 5)')
  t.is(inserted.length, 0)
  t.is(inserted.rowCount, 5)
  t.deepEqual(inserted.columns, [])
  t.is((await connection.execute('DELETE FROM counted WHERE n > $1', [3])).rowCount, 2)
  t.is((await connection.execute('UPDATE counted SET n = 0 RETURNING n')).rowCount, 3)
  t.is((await connection.execute('SELECT * FROM counted WHERE false')).rowCount, 0)
  t.is((await connection.execute('SHOW server_version')).rowCount, 1)
  t.is((await connection.execute('')).rowCount, 0)
})

test('of two columns of one name the last counts, and fetchVal gives the first', async (t) => {
  const connection = await connect(t)
  t.deepEqual(await connection.fetchRow('SELECT 1 AS a, 2 AS a'), { a: 2 })
  t.is(await connection.fetchVal('SELECT 1 AS a, 2 AS a'), 1)
})

test('a column named __proto__ is a property like any other', async (t) => {
  const connection = await connect(t)
  const row = await connection.fetchRow(
    `SELECT '{"polluted":true}'::jsonb AS "__proto__", 1 AS "constructor"`,
  )
  t.deepEqual(Object.keys(row), ['__proto__', 'constructor'])
  t.is(Object.getPrototypeOf(row), Object.prototype)
  t.is((row as { polluted?: boolean }).polluted, undefined)
})

test('fetchRow and fetchVal want exactly one row', async (t) => {
  const connection = await connect(t)
  t.deepEqual(await connection.fetchRow('SELECT 1 AS a, true AS b'), { a: 1, b: true })
  t.deepEqual(await connection.fetchVal("SELECT '[1]'::jsonb"), [1])
  for (const [sql, rows] of [
    ['SELECT 1 WHERE false', '0'],
    ['SELECT generate_series(1, 3)', '3'],
    ['SET application_name = DEFAULT', 'a statement without columns'],
    ['CREATE TEMPORARY TABLE one AS SELECT 1', 'a statement without columns'],
  ] as const) {
    const message = `Expected the statement to return exactly one row, got ${rows}`
    await t.throwsAsync(connection.fetchRow(sql), { instanceOf: ConnectionExecuteError, message })
    await connection.execute('DROP TABLE IF EXISTS one')
    await t.throwsAsync(connection.fetchVal(sql), { instanceOf: ConnectionExecuteError, message })
  }
})

test('one row is one row, however large it is', async (t) => {
  const connection = await connect(t)
  const large = 'x'.repeat(2 ** 20)
  const sql = 'SELECT $1::text AS large, $2::int4 AS n'
  const row = { large, n: 1 }
  t.deepEqual(await connection.fetchRow(sql, [large, 1]), row)
  t.deepEqual(await connection.fetchRowOrNull(sql, [large, 1]), row)
  t.is(await connection.fetchVal(sql, [large, 1]), large)
  const many = `SELECT ${Array.from({ length: 1600 }, (_, n) => `ARRAY[1, 2, 3, 4, ${n}, 6, 7, 8, 9, 10, 11] AS n${n}`).join()}`
  t.is(Object.keys(await connection.fetchRow(many)).length, 1600)
  for (const fetch of [
    () => connection.fetchRow('SELECT $1::text FROM generate_series(1, 3)', [large]),
    () => connection.fetchRowOrNull('SELECT $1::text FROM generate_series(1, 3)', [large]),
  ])
    await t.throwsAsync(fetch, { instanceOf: ConnectionExecuteError, message: /got 3$/ })
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('a row without columns is an object without properties', async (t) => {
  const connection = await connect(t)
  t.deepEqual(await connection.fetchRow('SELECT'), {})
  const rows = await connection.execute('SELECT FROM generate_series(1, 3)')
  t.deepEqual([...rows], [{}, {}, {}])
  t.is(rows.rowCount, 3)
  t.deepEqual(await connection.fetchRowOrNull('SELECT WHERE false'), null)
  await t.throwsAsync(connection.fetchVal('SELECT'), {
    message: 'Expected the statement to return a column, got a row without columns',
  })
})

test('a large result arrives whole', async (t) => {
  const connection = await connect(t)
  const rows = await connection.execute<{ n: number; text: string }>(
    "SELECT n, repeat('x', 100) AS text FROM generate_series(1, 50000) AS n",
  )
  t.is(rows.length, 50_000)
  t.true(rows.every((row, index) => row.n === index + 1 && row.text.length === 100))
})

test('statements run in the order of the calls, awaited or not', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE ordered (position serial, n int4)')
  const calls = Array.from({ length: 200 }, (_, n) =>
    // Different statements: the first of each kind has to be prepared.
    connection.execute(`INSERT INTO ordered (n) VALUES ($1) /* ${n % 7} */`, [n]),
  )
  await Promise.all(calls)
  const wrong = await connection.fetchVal('SELECT count(*) FROM ordered WHERE position <> n + 1')
  t.is(wrong, 0n)
})

test('an error of the server has its fields, and the connection goes on', async (t) => {
  const connection = await connect(t)
  await connection.execute(
    'CREATE TEMPORARY TABLE people (id int4 CONSTRAINT people_key PRIMARY KEY, name text NOT NULL)',
  )
  await connection.execute("INSERT INTO people VALUES (1, 'a')")
  const duplicate = await t.throwsAsync(connection.execute("INSERT INTO people VALUES (1, 'b')"), {
    instanceOf: DatabaseError,
  })
  t.true(duplicate instanceof PglistenError)
  t.is(duplicate.code, 'ERR_PGLISTEN_DATABASE')
  t.is(duplicate.sqlState, '23505')
  t.is(duplicate.severity, 'ERROR')
  t.is(duplicate.constraint, 'people_key')
  t.is(duplicate.table, 'people')
  t.is(duplicate.detail, 'Key (id)=(1) already exists.')
  const missing = await t.throwsAsync(connection.execute('INSERT INTO people VALUES (2, NULL)'), {
    instanceOf: DatabaseError,
  })
  t.is(missing.sqlState, '23502')
  t.is(missing.column, 'name')
  const syntax = await t.throwsAsync(connection.execute('SELECT 1 +'), {
    instanceOf: DatabaseError,
  })
  t.is(syntax.sqlState, '42601')
  const column = await t.throwsAsync(connection.execute('SELECT nmae FROM people'), {
    instanceOf: DatabaseError,
  })
  t.is(column.sqlState, '42703')
  t.is(column.position, 8)
  t.is(typeof column.hint, 'string')
  t.is(await connection.fetchVal('SELECT count(*) FROM people'), 1n)
})

test('the number of parameters must be that of the statement', async (t) => {
  const connection = await connect(t)
  for (const [params, message] of [
    [[], 'Expected 1 parameter for the statement, got 0'],
    [[1, 2], 'Expected 1 parameter for the statement, got 2'],
  ] as const) {
    await t.throwsAsync(connection.execute('SELECT $1::int4', params), {
      instanceOf: ConnectionExecuteError,
      message,
    })
  }
})

test('wrong arguments are refused by name', async (t) => {
  const connection = await connect(t)
  const wrong = connection as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
  for (const method of [
    'execute',
    'fetch',
    'fetchRow',
    'fetchVal',
    'executeMany',
    'executeBatch',
  ]) {
    await t.throwsAsync(wrong[method]!(5, []), {
      instanceOf: ArgumentTypeError,
      message: 'Expected `sql` to be a string, got `5` (number)',
    })
    await t.throwsAsync(wrong[method]!('SELECT 1\0', []), {
      instanceOf: ArgumentRangeError,
      message: /NUL/,
    })
    await t.throwsAsync(wrong[method]!('SELECT \ud800', []), { instanceOf: ArgumentRangeError })
  }
  await t.throwsAsync(wrong['execute']!('SELECT 1', 'x'), {
    instanceOf: ArgumentTypeError,
    message: 'Expected `params` to be an array, got `x` (string)',
  })
  await t.throwsAsync(wrong['execute']!('SELECT 1', { 0: 1 }), { instanceOf: ArgumentTypeError })
  await t.throwsAsync(wrong['executeMany']!('SELECT 1', 'x'), {
    instanceOf: ArgumentTypeError,
    message: 'Expected `paramSets` to be an iterable of arrays, got `x` (string)',
  })
  await t.throwsAsync(wrong['executeMany']!('SELECT 1', [[], 'x']), {
    instanceOf: ArgumentTypeError,
    message: 'Expected `paramSets[1]` to be an array, got `x` (string)',
  })
})

test('several statements are for executeBatch', async (t) => {
  const connection = await connect(t)
  const error = await t.throwsAsync(connection.execute('SELECT 1; SELECT 2'), {
    instanceOf: DatabaseError,
  })
  t.is(error.sqlState, '42601')
  t.is(
    await connection.executeBatch(
      'CREATE TEMPORARY TABLE batch (n int4); INSERT INTO batch VALUES (1), (2)',
    ),
    undefined,
  )
  await t.throwsAsync(connection.executeBatch('INSERT INTO batch VALUES (3); SELECT 1 / 0'), {
    instanceOf: DatabaseError,
  })
  t.is(await connection.fetchVal('SELECT count(*) FROM batch'), 2n)
})

test('executeMany runs a statement for each list, all or nothing', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE many (n int4 PRIMARY KEY, t text)')
  const insert = 'INSERT INTO many VALUES ($1, $2)'
  const sets = Array.from({ length: 1500 }, (_, n): [number, string] => [n, `row ${n}`])
  t.is(await connection.executeMany(insert, sets), 1500)
  t.is(
    await connection.executeMany('UPDATE many SET t = $1 WHERE n < $2', [
      ['a', 3],
      ['b', 2],
    ]),
    5,
  )
  t.is(await connection.executeMany(insert, []), 0)

  const duplicate = await t.throwsAsync(
    connection.executeMany(insert, [
      [2000, 'x'],
      [1, 'y'],
      [2001, 'z'],
    ]),
    {
      instanceOf: DatabaseError,
    },
  )
  t.is(duplicate.sqlState, '23505')
  await t.throwsAsync(
    connection.executeMany(insert, [
      [2000, 'x'],
      [true, 'y'],
    ]),
    {
      instanceOf: ConnectionExecuteError,
      message: /^Parameter set 1: Expected parameter \$1 \(int4\)/,
    },
  )
  await t.throwsAsync(connection.executeMany(insert, [[2000, 'x'], [2001]]), {
    instanceOf: ConnectionExecuteError,
    message: 'Parameter set 1: Expected 2 parameters for the statement, got 1',
  })
  t.is(await connection.fetchVal('SELECT count(*) FROM many'), 1500n)
})

test('executeMany within a transaction begun by a statement leaves it open', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE inner_many (n int4 PRIMARY KEY)')
  await connection.execute('BEGIN')
  await connection.executeMany('INSERT INTO inner_many VALUES ($1)', [[1], [2]])
  await t.throwsAsync(connection.executeMany('INSERT INTO inner_many VALUES ($1)', [[3], [3]]))
  t.is(await connection.fetchVal('SELECT count(*) FROM inner_many'), 2n)
  await connection.execute('ROLLBACK')
  t.is(await connection.fetchVal('SELECT count(*) FROM inner_many'), 0n)
})

test('COPY from and to the client is refused, and the connection goes on', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE copied (n int4)')
  for (const sql of ['COPY copied FROM STDIN', '/* to */ copy copied TO STDOUT']) {
    await t.throwsAsync(connection.execute(sql), {
      instanceOf: ConnectionExecuteError,
      message: /COPY/,
    })
    await t.throwsAsync(connection.executeBatch(`SELECT 1; ${sql}`), {
      instanceOf: ConnectionExecuteError,
      message: /COPY/,
    })
  }
  t.is(await connection.fetchVal("SELECT 'copy from stdin'"), 'copy from stdin')
})

test('a statement survives a change of the table it was prepared for', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE changing (a int4)')
  await connection.execute('INSERT INTO changing VALUES (1)')
  t.deepEqual(await connection.fetchRow('SELECT * FROM changing'), { a: 1 })
  await connection.execute("ALTER TABLE changing ADD COLUMN b text DEFAULT 'new'")
  t.deepEqual(await connection.fetchRow('SELECT * FROM changing'), { a: 1, b: 'new' })
  await connection.execute('DEALLOCATE ALL')
  t.deepEqual(await connection.fetchRow('SELECT * FROM changing'), { a: 1, b: 'new' })
})

test('within a transaction a statement that has to be prepared anew says so', async (t) => {
  const connection = await connect(t)
  const table = uniqueName('changing')
  await connection.execute(`CREATE TEMPORARY TABLE ${table} (a int4)`)
  const read = `SELECT * FROM ${table}`
  for (const [change, sqlState] of [
    [`ALTER TABLE ${table} ADD COLUMN b int4`, '0A000'],
    // Its tag does not tell that the statements are gone.
    [`DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$`, '26000'],
  ] as const) {
    await connection.execute(read)
    await t.throwsAsync(
      connection.transaction(async (tx) => {
        await tx.executeBatch(change)
        await tx.execute(read)
      }),
      {
        instanceOf: DatabaseError,
        code: 'ERR_PGLISTEN_DATABASE',
        message: /: the statement was prepared before .*roll it back, and run it again$/,
      },
      sqlState,
    )
    // Outside it is tried again, and nobody notices.
    await connection.executeBatch(change)
    t.is((await connection.fetch(read)).length, 0)
  }
})

test('executeMany with a statement that has to be prepared anew tries again, within a transaction too', async (t) => {
  const connection = await connect(t)
  const table = uniqueName('many')
  await connection.execute(`CREATE TEMPORARY TABLE ${table} (a int4)`)
  const insert = `INSERT INTO ${table} VALUES ($1)`
  const deallocate = `DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$`
  await connection.executeMany(insert, [[1]])
  await connection.executeBatch(deallocate)
  t.is(await connection.executeMany(insert, [[2], [3]]), 2)
  await connection.executeBatch('BEGIN')
  await connection.executeBatch(deallocate)
  t.is(await connection.executeMany(insert, [[4], [5]]), 2)
  await connection.executeBatch('COMMIT')
  t.is(await connection.fetchVal(`SELECT count(*) FROM ${table}`), 5n)
})

test('a connection whose statements were all discarded goes on', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const [colour, shape] = [uniqueName('colour'), uniqueName('shape')]
  const first = await pool.connection()
  await first.executeBatch(
    `CREATE TYPE ${colour} AS ENUM ('red'); CREATE TYPE ${shape} AS ENUM ('round')`,
  )
  t.is(await first.fetchVal(`SELECT 'red'::${colour}`), 'red')
  const processId = await first.fetchVal('SELECT pg_backend_pid()')
  for (const discard of ['DISCARD ALL', 'DEALLOCATE ALL']) {
    await first.execute(discard)
    t.is(await first.fetchVal(`SELECT 'red'::${colour}`), 'red')
    t.is(await first.fetchVal(`SELECT 'round'::${shape}`), 'round')
  }
  // Within a transaction a statement that the server no longer knows would end it.
  await first.execute('DISCARD ALL')
  t.is(await first.transaction((tx) => tx.fetchVal(`SELECT 'red'::${colour}`)), 'red')
  const inside = first.transaction(async (tx) => {
    await tx.executeBatch('DEALLOCATE ALL')
    return tx.fetchVal(`SELECT 'red'::${colour}`)
  })
  t.is(await inside, 'red')
  await first.close()
  const second = await pool.connection()
  t.is(await second.fetchVal('SELECT pg_backend_pid()'), processId)
  await second.executeBatch(`DROP TYPE ${colour}; DROP TYPE ${shape}`)
  await second.close()
})

test('prepared statements do not pile up', async (t) => {
  const connection = await connect(t)
  for (let n = 0; n < 1200; n += 1) t.is(await connection.fetchVal(`SELECT ${n}`), n)
  t.true((await connection.fetchVal<bigint>('SELECT count(*) FROM pg_prepared_statements')) < 600n)
})

test('no two connections give a prepared statement the same name', async (t) => {
  const names = new Set<string>()
  for (const pool of [await openPool(t), await openPool(t)]) {
    const connection = await pool.connection()
    const rows = await connection.fetch<{ name: string }>(
      'SELECT name FROM pg_prepared_statements WHERE $1 <> 0',
      [1],
    )
    t.is(rows.length, 1)
    t.true(rows[0]!.name.startsWith('pglisten_'))
    // A longer one would be cut, and be another.
    t.true(Buffer.byteLength(rows[0]!.name) < 64)
    names.add(rows[0]!.name)
    await connection.close()
  }
  t.is(names.size, 2)
})

test('a closed connection refuses everything', async (t) => {
  const pool = await openPool(t)
  const connection = await pool.connection()
  t.false(connection.isClosed)
  await connection.close()
  await connection.close()
  t.true(connection.isClosed)
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  await t.throwsAsync(connection.executeMany('SELECT 1', []), { instanceOf: ConnectionClosedError })
  await t.throwsAsync(connection.executeBatch(''), { instanceOf: ConnectionClosedError })
  await t.throwsAsync(
    connection.transaction(async () => {}),
    { instanceOf: ConnectionClosedError },
  )
})

test('statements called before close finish first', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const statements = Promise.all([
    connection.fetchVal('SELECT pg_sleep(0.2)'),
    connection.fetchVal('SELECT 2'),
  ])
  const closed = connection.close()
  t.deepEqual(await statements, [null, 2])
  await closed
})

test('leaving an `await using` block gives the connection back', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  {
    await using connection = await pool.connection()
    await connection.execute('SELECT 1')
    t.is(pool.status().available, 0)
  }
  t.is(pool.status().available, 1)
})

for (const left of ['open', 'failed'] as const) {
  test(`a transaction left ${left} is rolled back when the connection is closed`, async (t) => {
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    const table = uniqueName('left_open')
    const first = await pool.connection()
    const processId = await first.fetchVal('SELECT pg_backend_pid()')
    await first.execute(`CREATE TEMPORARY TABLE ${table} (n int4)`)
    await first.execute('  begin')
    await first.execute(`INSERT INTO ${table} VALUES (1)`)
    if (left === 'failed') await t.throwsAsync(first.execute('SELECT 1 / 0'))
    await first.close()
    const second = await pool.connection()
    t.is(await second.fetchVal('SELECT pg_backend_pid()'), processId)
    t.is(await second.fetchVal(`SELECT count(*) FROM ${table}`), 0n)
    const outside = await t.throwsAsync(second.executeBatch('SAVEPOINT s'), {
      instanceOf: DatabaseError,
    })
    t.is(outside.sqlState, '25P01')
    await second.close()
  })
}

test('a transaction that was committed by a statement is left alone', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  await connection.executeBatch(
    'BEGIN; CREATE TEMPORARY TABLE kept (n int4); COMMIT; START TRANSACTION; COMMIT',
  )
  await connection.close()
  const again = await pool.connection()
  t.is(await again.fetchVal('SELECT count(*) FROM kept'), 0n)
  await again.close()
})

test('a forgotten connection goes back to the pool, with its transaction rolled back', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const table = uniqueName('forgotten')
  await (async () => {
    const connection = await pool.connection()
    await connection.execute(`CREATE TEMPORARY TABLE ${table} (n int4)`)
    await connection.execute('BEGIN')
    await connection.execute(`INSERT INTO ${table} VALUES (1)`)
  })()
  await waitFor(
    () => {
      globalThis.gc?.()
      return pool.status().available === 1
    },
    { what: 'the garbage is collected' },
  )
  const connection = await pool.connection()
  t.is(await connection.fetchVal(`SELECT count(*) FROM ${table}`), 0n)
  await connection.close()
})

test('a connection that the server ends is an error, and the pool opens another', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const ended = await t.throwsAsync(
    connection.execute('SELECT pg_terminate_backend(pg_backend_pid())'),
  )
  t.true(ended instanceof DatabaseError || ended instanceof ConnectionClosedError)
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  await connection.close()
  const next = await pool.connection()
  t.is(await next.fetchVal('SELECT 1'), 1)
  await next.close()
})

test('closing the connection of a listening session ends a transaction left open, not the session', async (t) => {
  const pool = await openPool(t)
  const listener = pool.listener()
  await listener.addChannel(uniqueName('first'))
  await listener.startup()
  const connection = listener.connection
  const processId = await connection.fetchVal('SELECT pg_backend_pid()')
  t.is(await connection.transaction((tx) => tx.fetchVal('SELECT pg_backend_pid()')), processId)
  await connection.execute('BEGIN')
  await connection.close()
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  // LISTEN would be refused within a transaction.
  await listener.addChannel(uniqueName('second'))
  t.is(await listener.connection.fetchVal('SELECT pg_backend_pid()'), processId)
})
