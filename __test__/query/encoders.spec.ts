// Parameters that functions of the user's make by their types, which have to be asked for first: every method, in the order of the calls.

import test from 'ava'
import { ConnectionTimeoutError, DatabaseError } from 'pglisten'
import { connect, openPool } from '../support/connect.js'

/** A number of the user's, of which no type but int4 knows anything. */
class Id {
  constructor(readonly n: number) {}
}

const types = { encoders: { int4: ({ n }: Id) => n } }
const failing = {
  encoders: {
    int4: () => {
      throw new RangeError('mine')
    },
  },
}

for (const prepared of [true, false]) {
  const how = prepared ? 'prepared' : 'without a name'

  test(`a pipeline has its parameters encoded (${how})`, async (t) => {
    const connection = await connect(t)
    const options = { types, prepared }
    await connection.execute('CREATE TEMPORARY TABLE encoded (n int4, word text)')
    const insert = 'INSERT INTO encoded VALUES ($1, $2)'
    const [, , named, list, plain] = await connection.pipeline(
      [
        [insert, [new Id(1), 'a']],
        [insert, [new Id(2), null]],
        ['SELECT $(id)p::int4 AS n', { id: new Id(3) }],
        ['SELECT $1::int4[] AS n', [[new Id(4), null]]],
        'SELECT count(*)::int4 AS n FROM encoded',
      ],
      options,
    )
    t.deepEqual([named[0], list[0], plain[0]], [{ n: 3 }, { n: [4, null] }, { n: 2 }])
    t.deepEqual(
      [...(await connection.fetch('SELECT * FROM encoded'))],
      [
        { n: 1, word: 'a' },
        { n: 2, word: null },
      ],
    )
    t.deepEqual(await connection.pipeline([], options), [])
    // One text under two names, and one given twice.
    const both = await connection.pipeline(
      [
        ['SELECT $(a)p::int4 AS n', { a: new Id(5) }],
        ['SELECT $(b)p::int4 AS n', { b: new Id(6) }],
        ['SELECT $(a)p::int4 AS n', { a: new Id(7) }],
      ],
      options,
    )
    t.deepEqual(
      both.map(([row]) => row),
      [{ n: 5 }, { n: 6 }, { n: 7 }],
    )
    await t.throwsAsync(
      connection.pipeline([['SELECT $1::int4', [1]]], { types: failing, prepared }),
      { message: 'mine' },
    )
    const select = 'SELECT $1::int4'
    const wrong = await t.throwsAsync(
      connection.pipeline(
        [
          [select, [new Id(1)]],
          [select, [new Id(1)]],
          ['SELECT wrong', []],
          [select, [new Id(1)]],
        ],
        options,
      ),
      { instanceOf: DatabaseError, message: /^Statement 2 of the pipeline: .*"wrong"/ },
    )
    t.is(wrong.statementIndex, 2)
    const divided = await t.throwsAsync(
      connection.pipeline(
        [
          [select, [new Id(1)]],
          ['SELECT 1 / $1::int4', [new Id(0)]],
        ],
        options,
      ),
      { instanceOf: DatabaseError },
    )
    t.is(divided.statementIndex, 1)
    t.is(await connection.fetchVal('SELECT 1'), 1, 'the place was given up')
  })

  test(`many runs and a pipeline keep their place in the order (${how})`, async (t) => {
    const connection = await connect(t)
    const options = { types, prepared }
    await connection.execute('CREATE TEMPORARY TABLE ordered (n int4)')
    const insert = 'INSERT INTO ordered VALUES ($1)'
    const count = 'SELECT count(*)::int4 FROM ordered'
    const many = connection.executeMany(insert, [[new Id(1)], [new Id(2)]], options)
    const behind = connection.fetchVal(count)
    const pipeline = connection.pipeline([[insert, [new Id(3)]]], options)
    const last = connection.fetchVal(count)
    t.deepEqual(await Promise.all([many, behind, last]), [2, 2, 3])
    await pipeline
    await connection.transaction((tx) => {
      // Not awaited: the commit comes behind.
      void tx.executeMany(insert, [[new Id(4)]], options)
      void tx.pipeline([[insert, [new Id(5)]]], options)
    })
    t.is(await connection.fetchVal(count), 5)
    await t.throwsAsync(connection.executeMany(insert, [[1]], { types: failing, prepared }), {
      message: 'mine',
    })
    await t.throwsAsync(connection.executeMany(insert, [[new Id(6), 7]], options), {
      message: 'Parameter set 0: Expected 1 parameter for the statement, got 2',
    })
    t.is(await connection.fetchVal(count), 5)
  })

  test(`a cursor has its parameters encoded (${how})`, async (t) => {
    const connection = await connect(t)
    const sql = 'SELECT n FROM generate_series(1, $(most)p::int4) AS n'
    const params = { most: new Id(3) }
    const rows: unknown[] = []
    for await (const { n } of connection.cursor(sql, params, { types, prepared, batchSize: 2 }))
      rows.push(n)
    t.deepEqual(rows, [1, 2, 3])
    await t.throwsAsync(connection.cursor(sql, params, { types: failing, prepared }).fetch(), {
      message: 'mine',
    })
    t.is(connection.transactionStatus, 'idle')
    t.throws(() => connection.cursor(sql, { least: 1 }, { types, prepared }), { message: /most/ })
  })
}

test('the time of a call counts once, although the types of its parameters are asked for first', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  await using connection = await pool.connection()
  const sql = 'SELECT pg_sleep(0.6) FROM (SELECT $1::int4) AS n'
  const options = { types, timeoutMs: 800 }
  const calls = {
    execute: () => connection.execute(sql, [new Id(1)], options),
    executeMany: () => connection.executeMany(sql, [[new Id(1)]], options),
    pipeline: () => connection.pipeline([[sql, [new Id(1)]]], options),
    cursor: async () => {
      await using cursor = connection.cursor(sql, [new Id(1)], options)
      await cursor.fetch()
    },
  }
  for (const [name, call] of Object.entries(calls)) {
    // The types are asked for behind it.
    const busy = connection.execute('SELECT pg_sleep(0.5)')
    await t.throwsAsync(call(), { instanceOf: ConnectionTimeoutError }, name)
    await busy
  }
})
