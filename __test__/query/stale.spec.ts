// Statements that were prepared, or described, before the database changed.

import test from 'ava'
import {
  ConnectionExecuteError,
  DatabaseError,
  type Queryable,
  type QueryParameter,
  type StatementOptions,
  type Transaction,
} from 'pglisten'
import { connect } from '../support/connect.js'
import { run } from '../support/listener.js'
import { uniqueName } from '../../lab/unique-name.js'

/** What makes the server forget statements behind the back of a client. */
const DEALLOCATE = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"

for (const [what, change] of [
  ['columns were added', 'ALTER TABLE changing ADD m int4 DEFAULT 2'],
  ['its statement was deallocated', DEALLOCATE],
] as const) {
  test(`a cursor works on when ${what}`, async (t) => {
    const connection = await connect(t)
    await connection.execute('CREATE TEMPORARY TABLE changing (n int4)')
    await connection.execute('INSERT INTO changing VALUES (1)')
    const fetched = async () => {
      await using cursor = connection.cursor('SELECT * FROM changing')
      return cursor.fetch()
    }
    const before = await fetched()
    await connection.executeBatch(change)
    const after = await fetched()
    t.deepEqual(before, [{ n: 1 }])
    t.deepEqual(after, change === DEALLOCATE ? before : [{ n: 1, m: 2 }])
    t.is(connection.transactionStatus, 'idle')
  })

  test(`a cursor within a transaction says that ${what}, and its next one works`, async (t) => {
    const connection = await connect(t)
    await connection.execute('CREATE TEMPORARY TABLE changing (n int4)')
    const fetched = () =>
      connection.transaction(async (tx) => tx.cursor('SELECT * FROM changing').fetch())
    await fetched()
    await connection.executeBatch(change)
    await t.throwsAsync(fetched(), {
      instanceOf: DatabaseError,
      message: /prepared before the database changed.*the transaction has failed/,
    })
    t.deepEqual(await fetched(), [])
  })
}

test('a cursor whose statement fails for another reason fails once, and leaves no transaction', async (t) => {
  const connection = await connect(t)
  for (const sql of ['SELECT 1 / 0', 'SELECT none FROM nothing']) {
    await t.throwsAsync(connection.cursor(sql).fetch(), { instanceOf: DatabaseError })
    t.is(await connection.fetchVal('SELECT 1'), 1)
  }
})

for (const change of ['ADD m int4 DEFAULT 3', 'DROP k', 'DROP n, DROP k']) {
  test(`without a name, a statement has the columns that there are after ${change}`, async (t) => {
    const connection = await connect(t)
    const unnamed = { prepared: false } as const
    await connection.execute('CREATE TEMPORARY TABLE plain (n int4, k text, x interval)')
    await connection.execute("INSERT INTO plain VALUES (1, 'a', '1 day')")
    const all = 'SELECT * FROM plain'
    const returning = 'UPDATE plain SET x = x RETURNING *'
    const read = async () => [
      await connection.fetch(all, [], unnamed),
      await connection.fetch(returning, [], unnamed),
      ...(await connection.pipeline([all, returning], unnamed)),
    ]
    await read()
    await connection.execute(`ALTER TABLE plain ${change}`)
    const expected = await connection.fetch('TABLE plain')
    for (const rows of await read()) t.deepEqual([...rows], [...expected])
    t.is(await connection.executeMany(returning, [[], []], unnamed), 2)
    // From no column to some: then no format was asked for, and all of them come as text.
    await connection.execute('CREATE TEMPORARY TABLE bare ()')
    await connection.execute('INSERT INTO bare DEFAULT VALUES')
    t.deepEqual([...(await connection.fetch('SELECT * FROM bare', [], unnamed))], [{}])
    await connection.execute('ALTER TABLE bare ADD n int4 DEFAULT 5, ADD at int8 DEFAULT 6')
    const bare = () => connection.fetch('SELECT * FROM bare', [], unnamed)
    const first = await bare().catch((error: Error) => error.message)
    if (typeof first === 'string') t.regex(first, /run the statement again/)
    else t.deepEqual([...first], [{ n: 5, at: 6n }])
    t.deepEqual([...(await bare())], [{ n: 5, at: 6n }])
  })
}

test('a pipeline is not run again when something in it has taken effect', async (t) => {
  const connection = await connect(t)
  for (const [name, before] of [
    ['begun', ['BEGIN', 'INSERT', 'COMMIT']],
    ['implicit', ['INSERT', 'COMMIT']],
    ['prepared', ['BEGIN', 'INSERT', 'END']],
    ['called', ['CALL']],
  ] as const) {
    const table = uniqueName(name)
    await run(`CREATE TABLE ${table} (n int4)`)
    await run(
      `CREATE PROCEDURE ${table}_add() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ${table} VALUES (1); COMMIT; END $$`,
    )
    t.teardown(() => run(`DROP TABLE ${table}; DROP PROCEDURE ${table}_add`))
    const statements = before.map((one) => {
      if (one === 'INSERT') return `INSERT INTO ${table} VALUES (1)`
      return one === 'CALL' ? `CALL ${table}_add()` : one
    })
    const both = () => connection.pipeline([...statements, `SELECT * FROM ${table}`])
    await both()
    await run(`ALTER TABLE ${table} ADD m int4`)
    await t.throwsAsync(both(), { message: /It was not tried again/ }, name)
    t.is(await connection.fetchVal(`SELECT count(*)::int4 FROM ${table}`), 2, name)
    t.is((await both()).at(-1)!.length, 3, name)
  }
})

test('a pipeline whose statements only count rows is run again, as one transaction', async (t) => {
  const connection = await connect(t)
  const table = uniqueName('counted')
  await run(`CREATE TABLE ${table} (n int4)`)
  t.teardown(() => run(`DROP TABLE ${table}`))
  const both = () =>
    connection.pipeline([`INSERT INTO ${table} VALUES (1)`, `SELECT * FROM ${table}`])
  await both()
  await run(`ALTER TABLE ${table} ADD m int4`)
  t.is((await both())[1].length, 2)
  // In a block of its own that has failed, it can only say so.
  const begun = () => connection.pipeline(['BEGIN', `SELECT * FROM ${table}`, 'COMMIT'])
  await begun()
  await run(`ALTER TABLE ${table} ADD o int4`)
  await t.throwsAsync(begun(), { message: /the transaction has failed/ })
  await connection.executeBatch('ROLLBACK')
  t.is((await begun())[1].length, 2)
})

test('a statement that was executed is not run again for what it says', async (t) => {
  const connection = await connect(t)
  const name = uniqueName('thrice')
  await run(`CREATE TABLE ${name} (n int4)`)
  await run(`CREATE TYPE ${name}_pair AS (a int4, b int4)`)
  t.teardown(() => run(`DROP TABLE ${name}; DROP TYPE ${name}_pair CASCADE`))
  // A procedure that commits, and fails as if a composite, a statement or a type were out of date.
  for (const [state, message] of [
    ['22P02', 'no'],
    ['26000', 'no'],
    ['XX000', 'cache lookup failed for type 1'],
  ] as const) {
    await connection.executeBatch(`CREATE OR REPLACE PROCEDURE ${name}_fail(p ${name}_pair) LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO ${name} VALUES (1); COMMIT; RAISE '${message}' USING ERRCODE = '${state}'; END $$`)
    const call = `CALL ${name}_fail($1)`
    const pair = { a: 1, b: 2 }
    for (const run of [
      () => connection.execute(call, [pair]),
      () => connection.pipeline([[call, [pair]]]),
    ]) {
      await connection.executeBatch(`TRUNCATE ${name}`)
      await t.throwsAsync(run(), { instanceOf: DatabaseError })
      t.is(await connection.fetchVal(`SELECT count(*)::int4 FROM ${name}`), 1, state)
    }
  }
})

test('a statement with a type that was made anew runs with that, at the latest the next time', async (t) => {
  const connection = await connect(t)
  const mood = uniqueName('mood')
  t.teardown(() => run(`DROP TYPE IF EXISTS ${mood}`))
  const cast = () => connection.fetchVal(`SELECT $1::text::${mood}`, ['ok'])
  const output = () => connection.fetchVal(`SELECT NULLIF('ok'::${mood}, NULL)`)
  const both = () => connection.pipeline(['SELECT 1', [`SELECT $1::text::${mood} AS mood`, ['ok']]])
  for (let time = 0; time < 3; time += 1) {
    await run(`DROP TYPE IF EXISTS ${mood}; CREATE TYPE ${mood} AS ENUM ('ok')`)
    t.is(await cast(), 'ok')
    t.deepEqual([...(await both())[1]], [{ mood: 'ok' }])
    t.is(await output().catch(output), 'ok')
  }
})

test('a pipeline may have more texts than the connection keeps statements', async (t) => {
  const connection = await connect(t)
  const texts = Array.from({ length: 1200 }, (_, n) => `SELECT ${n} AS n`)
  for (const options of [{}, { prepared: false }]) {
    const results = await connection.pipeline(texts, options)
    t.deepEqual(
      results.map(([row]) => (row as { n: number }).n),
      texts.map((_, n) => n),
    )
  }
  const twice = texts.slice(0, 700)
  t.is((await connection.pipeline([...twice, ...twice])).length, 1400)
  const kept = await connection.fetchVal('SELECT count(*)::int4 FROM pg_prepared_statements')
  t.true((kept as number) <= 520, `${String(kept)} statements`)
})

for (const encoders of [undefined, { int8: (value: unknown) => BigInt(value as number) }]) {
  test(`records are copied to the columns that there are ${encoders ? 'with' : 'without'} encoders`, async (t) => {
    const connection = await connect(t)
    const options = encoders ? { types: { encoders } } : {}
    await connection.execute('CREATE TEMPORARY TABLE copied (n int4)')
    t.is(await connection.copyRecordsToTable('copied', [[1]], options), 1)
    await connection.execute('ALTER TABLE copied ADD m text')
    t.is(await connection.copyRecordsToTable('copied', [[2, 'b']], options), 1)
    await connection.execute('ALTER TABLE copied ALTER n TYPE int8')
    t.is(await connection.copyRecordsToTable('copied', [[3, 'c']], options), 1)
    t.deepEqual(
      [...(await connection.fetch('SELECT * FROM copied ORDER BY n'))],
      [
        { n: 1n, m: null },
        { n: 2n, m: 'b' },
        { n: 3n, m: 'c' },
      ],
    )
  })
}

for (const [what, change, expected] of [
  ['has another type', 'ALTER TABLE changing ALTER n TYPE float4', [{ n: 1 }]],
  ['has text', 'ALTER TABLE changing ALTER n TYPE text', [{ n: '1' }]],
  ['has company', 'ALTER TABLE changing ADD m int4 DEFAULT 2', [{ n: 1, m: 2 }]],
  ['has another name', 'ALTER TABLE changing RENAME n TO m', [{ m: 1 }]],
  ['is in another schema', 'SET LOCAL search_path = OTHER, pg_temp', [{ n: 9, x: 'x' }]],
  [
    'is one of more columns',
    'ALTER TABLE changing ADD m int4, ADD o int4',
    [{ n: 1, m: null, o: null }],
  ],
] as const) {
  for (const encoders of [{}, { bool: Boolean }]) {
    const how = 'bool' in encoders ? ' (with encoders)' : ''
    test(`a cursor without a name reads what is there when a column ${what}${how}`, async (t) => {
      const connection = await connect(t)
      const other = uniqueName('other')
      await connection.executeBatch(`
        BEGIN;
        CREATE SCHEMA ${other};
        CREATE TABLE ${other}.changing AS SELECT 9 AS n, 'x' AS x;
        CREATE TEMPORARY TABLE changing (n int4);
        INSERT INTO changing VALUES (1);`)
      const sql = `SELECT * FROM changing -- ${other}`
      await connection.fetch(sql, [], { prepared: false })
      const fetched = async () => {
        await using cursor = connection.cursor(sql, [], { prepared: false, types: { encoders } })
        return cursor.fetch()
      }
      t.deepEqual(await fetched(), [{ n: 1 }])
      await connection.executeBatch(change.replace('OTHER', other))
      t.deepEqual(await fetched(), expected as unknown as Record<string, unknown>[])
      t.is(connection.transactionStatus, 'active')
      await connection.executeBatch('ROLLBACK')
    })
  }
}

for (const prepared of [true, false]) {
  for (const [what, before, after, value, stored] of [
    ['wider', 'int4', 'int8', 3_000_000_000, '3000000000'],
    ['wider, for a text', 'int4', 'int8', '3000000000', '3000000000'],
    [
      'of another kind',
      'int4',
      'uuid',
      '6ecd8c99-4036-403d-bf84-cf8400f67836',
      '6ecd8c99-4036-403d-bf84-cf8400f67836',
    ],
    ['of another kind, for null', 'int4', 'uuid', null, 'null'],
    ['of another kind, for a boolean', 'int4', 'bool', true, 'true'],
    ['text', 'int4', 'text', 'word', 'word'],
    // What a server says of a value for these is of no class of wrong data.
    ['no path in JSON', 'jsonpath', 'text', 'two words', 'two words'],
    ['no name of a table', 'regclass', 'text', 'two words', 'two words'],
    ['no name of a role', 'regrole', 'text', 'no_such_role', 'no_such_role'],
    ['no name of a schema', 'regnamespace', 'text', 'no_such_schema', 'no_such_schema'],
    ['no domain any more', 'information_schema.cardinal_number', 'int4', -1, '-1'],
  ] as const) {
    test(`a parameter whose type is ${what} now is written as that (${prepared ? 'prepared' : 'without a name'})`, async (t) => {
      const connection = await connect(t)
      const options = { prepared }
      const ways: [string, (sql: string, value: unknown) => Promise<unknown>][] = [
        ['execute', (sql, value) => connection.execute(sql, [value as string], options)],
        ['executeMany', (sql, value) => connection.executeMany(sql, [[value as string]], options)],
        ['pipeline', (sql, value) => connection.pipeline([[sql, [value as string]]], options)],
        [
          'cursor',
          async (sql, value) => {
            await using cursor = connection.cursor(`${sql} RETURNING 1`, [value as string], options)
            await cursor.fetch()
          },
        ],
      ]
      for (const [name, add] of ways) {
        await connection.execute(`CREATE TEMPORARY TABLE ${name}d (n ${before})`)
        const sql = `INSERT INTO ${name}d VALUES ($1)`
        await add(sql, null)
        await connection.execute(`TRUNCATE ${name}d`)
        await connection.execute(`ALTER TABLE ${name}d ALTER n TYPE ${after} USING NULL`)
        await add(sql, value)
        t.is(
          await connection.fetchVal(`SELECT coalesce(n::text, 'null') FROM ${name}d`),
          stored,
          name,
        )
      }
    })
  }

  test(`a parameter that fits no type fails as before (${prepared ? 'prepared' : 'without a name'})`, async (t) => {
    const connection = await connect(t)
    const sql = 'SELECT $1::int4 AS n'
    for (let time = 0; time < 3; time += 1) {
      t.is(await connection.fetchVal(sql, [time], { prepared }), time)
      await t.throwsAsync(connection.execute(sql, [3_000_000_000], { prepared }), {
        instanceOf: ConnectionExecuteError,
        message: /integer between/,
      })
      await t.throwsAsync(connection.execute(sql, ['word'], { prepared }), {
        instanceOf: DatabaseError,
        message: 'invalid input syntax for type integer: "word"',
      })
      await connection.transaction(async (tx) => {
        await t.throwsAsync(tx.execute(sql, [3_000_000_000], { prepared }), {
          instanceOf: ConnectionExecuteError,
        })
        t.is(await tx.fetchVal(sql, [time], { prepared }), time, 'nothing was sent')
        await tx.createSavepoint('before')
        await t.throwsAsync(tx.execute(sql, ['word'], { prepared }), { message: /invalid input/ })
        await tx.rollbackToSavepoint('before')
        t.is(await tx.fetchVal(sql, [time], { prepared }), time)
      })
    }
  })
}

for (const prepared of [true, false]) {
  test(`an operator is looked for anew when the type of its parameter has changed (${prepared ? 'prepared' : 'without a name'})`, async (t) => {
    const connection = await connect(t)
    await connection.execute('CREATE TEMPORARY TABLE compared (n int4)')
    const sql = 'SELECT count(*)::int4 FROM compared WHERE n = $1'
    t.is(await connection.fetchVal(sql, [null], { prepared }), 0)
    await connection.execute('ALTER TABLE compared ALTER n TYPE uuid USING NULL')
    t.is(await connection.fetchVal(sql, [null], { prepared }), 0)
  })
}

test('a cursor of a transaction takes a parameter of another type, which has failed nothing', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE widened (n int4)')
  const sql = 'SELECT n FROM widened WHERE n = $1'
  const fetched = (tx: Queryable, value: number) => tx.cursor(sql, [value]).fetch()
  t.deepEqual(await connection.transaction((tx) => fetched(tx, 1)), [])
  await connection.executeBatch(
    'ALTER TABLE widened ALTER n TYPE int8; INSERT INTO widened VALUES (3000000000)',
  )
  t.deepEqual(await connection.transaction((tx) => fetched(tx, 3_000_000_000)), [
    { n: 3_000_000_000n },
  ])
})

test('a statement that names a prepared one that is not there fails by itself', async (t) => {
  const connection = await connect(t)
  for (const sql of ['DEALLOCATE nope', 'EXECUTE nope']) {
    for (const prepared of [true, false]) {
      await t.throwsAsync(connection.execute(sql, [], { prepared }), {
        instanceOf: DatabaseError,
        message: 'prepared statement "nope" does not exist',
      })
      await t.throwsAsync(
        connection.transaction((tx) => tx.execute(sql, [], { prepared })),
        { message: 'prepared statement "nope" does not exist' },
      )
    }
  }
})

test('a pipeline that cannot be prepared leaves no statement that nobody knows', async (t) => {
  const connection = await connect(t)
  const names = async () => {
    const rows = await connection.fetch('SELECT statement FROM pg_prepared_statements')
    return rows.map(({ statement }) => statement as string)
  }
  for (let time = 0; time < 3; time += 1) {
    const error = await t.throwsAsync(
      connection.pipeline(['SELECT 1 AS known', 'SELECT wrong', 'SELECT 2 AS known', 'WRONG']),
      { message: /"wrong" does not exist/ },
    )
    t.is((error as DatabaseError).statementIndex, 1)
  }
  const known = (await names()).filter((statement) => statement.endsWith('AS known'))
  t.deepEqual(known.toSorted(), ['SELECT 1 AS known', 'SELECT 2 AS known'])
})

test('what was run before a wrong parameter is not run twice for it', async (t) => {
  const connection = await connect(t)
  const key = Math.floor(Math.random() * 2 ** 31)
  const lock = 'SELECT pg_advisory_lock($1::int8)'
  const unlock = () => connection.fetchVal('SELECT pg_advisory_unlock($1)', [key])
  const select = 'SELECT $1::int4'
  for (const prepared of [true, false]) {
    const ways = {
      pipeline: (value: string) =>
        connection.pipeline(
          [
            [lock, [key]],
            [select, [value]],
          ],
          { prepared },
        ),
      executeMany: (value: string) =>
        connection.executeMany(lock, [[String(key)], [value]], { prepared }),
    }
    for (const [name, run] of Object.entries(ways)) {
      await run(String(key))
      while (await unlock());
      await t.throwsAsync(run('word'), { message: /invalid input syntax/ })
      t.deepEqual([await unlock(), await unlock()], [true, false], name)
    }
  }
})

test('a parameter behind others whose type has changed is written as the new one from the next time on', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE later (n int4)')
  const insert = 'INSERT INTO later VALUES ($1)'
  const both = () => connection.pipeline(['SELECT 1', [insert, ['3000000000']]])
  await connection.pipeline([[insert, [null]]])
  await connection.execute('ALTER TABLE later ALTER n TYPE int8')
  await t.throwsAsync(both(), { instanceOf: DatabaseError, message: /out of range/ })
  await both()
  t.is(await connection.fetchVal('SELECT max(n) FROM later'), 3_000_000_000n)
})

for (const prepared of [true, false]) {
  for (const [what, change] of [
    ['another one of the same type in its place', 'DROP ATTRIBUTE a, ADD ATTRIBUTE c text'],
    ['another name', 'RENAME ATTRIBUTE a TO c'],
  ] as const) {
    test(`values stand by the names that there are when an attribute has got ${what} (${prepared ? 'prepared' : 'without a name'})`, async (t) => {
      const connection = await connect(t)
      const options = { prepared }
      // The order of the attributes, in which the server writes values.
      const order = change.startsWith('DROP') ? ['b', 'c'] : ['c', 'b']
      const first = (rows: readonly object[]) => Object.values(rows[0]!)[0] as unknown
      const ways: Record<string, (sql: string, params?: QueryParameter[]) => Promise<unknown>> = {
        execute: (sql, params) => connection.fetchVal(sql, params, options),
        pipeline: async (sql, params = []) =>
          first((await connection.pipeline(['SELECT 1', [sql, params]], options))[1]),
        cursor: async (sql, params) => {
          await using cursor = connection.cursor(sql, params, options)
          return first(await cursor.fetch())
        },
        transaction: (sql, params) =>
          connection.transaction(async (tx) => tx.fetchVal(sql, params, options)),
      }
      for (const [name, ask] of Object.entries(ways)) {
        const [pair, around, table] = ['pair', 'around', 'rows'].map((name) =>
          uniqueName(name),
        ) as [string, string, string]
        await run(`
          CREATE TYPE ${pair} AS (a text, b text);
          CREATE TYPE ${around} AS (list ${pair}[]);
          CREATE TABLE ${table} (a text, b text)`)
        t.teardown(() => run(`DROP TABLE ${table}; DROP TYPE ${around}; DROP TYPE ${pair}`))
        // The server reads each text as the type is at that moment.
        const type = async (what: string) => ask(`SELECT $1::text::${pair} -- ${what}`, ['(1,2)'])
        const list = async () => ask(`SELECT $1::text::${around}`, ['("{""(1,2)""}")'])
        const row = async () => ask(`SELECT $1::text::${table}`, ['(1,2)'])
        const written = async (value: object) => ask(`SELECT $1::${pair}::text`, [value])
        t.deepEqual(await type('before'), { a: '1', b: '2' }, name)
        t.deepEqual(await list(), { list: [{ a: '1', b: '2' }] }, name)
        t.deepEqual(await row(), { a: '1', b: '2' }, name)
        t.is(await written({ a: '1', b: '2' }), '(1,2)', name)
        const ofTable = change.replaceAll('ATTRIBUTE', 'COLUMN')
        await run(`ALTER TYPE ${pair} ${change}; ALTER TABLE ${table} ${ofTable}`)
        const now = { [order[0]!]: '1', [order[1]!]: '2' }
        for (const time of [1, 2]) {
          t.deepEqual(await type('before'), now, `${name} ${time}`)
          t.deepEqual(await type('after'), now, `${name} ${time}`)
          t.deepEqual(await list(), { list: [now] }, `${name} ${time}`)
          t.deepEqual(await row(), now, `${name} ${time}`)
          t.is(await written(now), '(1,2)', `${name} ${time}`)
          await t.throwsAsync(written({ a: '1' }), { message: /got one with `a`/ })
        }
      }
    })
  }

  test(`many sets of fields are written by the names that there are (${prepared ? 'prepared' : 'without a name'})`, async (t) => {
    const connection = await connect(t)
    const pair = uniqueName('pair')
    await run(`CREATE TYPE ${pair} AS (a text, b text)`)
    t.teardown(() => run(`DROP TYPE ${pair}`))
    await connection.execute('CREATE TEMPORARY TABLE pairs (pair text)')
    const insert = (values: object[]) =>
      connection.executeMany(
        `INSERT INTO pairs VALUES ($1::${pair}::text)`,
        values.map((value) => [value]),
        { prepared },
      )
    await insert([{ b: '1' }])
    await run(`ALTER TYPE ${pair} DROP ATTRIBUTE a, ADD ATTRIBUTE c text`)
    await insert([{ b: '2' }, { c: '3' }])
    const pairs = await connection.fetch<{ pair: string }>('SELECT pair FROM pairs')
    t.deepEqual(
      pairs.map((one) => one.pair),
      ['(,1)', '(2,)', '(,3)'],
    )
  })
}

for (const prepared of [true, false]) {
  const how = prepared ? 'prepared' : 'without a name'
  const options = { prepared }
  /** The ways to get the rows of a text. */
  const ways: [string, (tx: Transaction, sql: string) => Promise<unknown>][] = [
    ['fetch', async (tx, sql) => [...(await tx.fetch(sql, [], options))]],
    ['pipeline', async (tx, sql) => [...(await tx.pipeline([sql], options))[0]]],
    [
      'cursor',
      async (tx, sql) => {
        await using cursor = tx.cursor(sql, [], options)
        return cursor.fetch()
      },
    ],
    [
      'prepared statement',
      async (tx, sql) => {
        const statement = await tx.prepare(sql)
        return [...(await statement.execute())]
      },
    ],
  ]

  for (const [way, fetched] of ways) {
    test(`a FETCH reads the columns of the cursor that is open: ${way} (${how})`, async (t) => {
      const connection = await connect(t)
      const processId = connection.info.processId
      const sql = '/* all */ fetch ALL FROM c'
      for (const [query, expected] of [
        ["SELECT 1 AS id, 'x' AS name", [{ id: 1, name: 'x' }]],
        ["SELECT 1 AS id, 'x' AS email", [{ id: 1, email: 'x' }]],
        ["SELECT 'abcd' AS id, 7 AS n", [{ id: 'abcd', n: 7 }]],
        ["SELECT '00:00:01'::interval::text AS one", [{ one: '00:00:01' }]],
        ['SELECT 1 AS a, 2::int8 AS b, ROW(1, 2)::text AS c', [{ a: 1, b: 2n, c: '(1,2)' }]],
        ['SELECT WHERE false', []],
        ['SELECT 5 AS n', [{ n: 5 }]],
      ] as const) {
        const rows = await connection.transaction(async (tx) => {
          await tx.execute(`DECLARE c CURSOR FOR ${query}`)
          return fetched(tx, sql)
        })
        t.deepEqual(rows, expected as unknown, query)
      }
      t.is(connection.info.processId, processId)
    })
  }

  test(`an EXECUTE reads the columns of the statement that has its name (${how})`, async (t) => {
    const connection = await connect(t)
    for (const [query, expected] of [
      ['SELECT 1 AS n', [{ n: 1 }]],
      ["SELECT 'abcd' AS n, true AS b", [{ n: 'abcd', b: true }]],
      ['SELECT 2::int8 AS n', [{ n: 2n }]],
    ] as const) {
      await connection.execute(`PREPARE p AS ${query}`)
      t.deepEqual([...(await connection.fetch('EXECUTE p', [], options))], expected as unknown)
      await connection.execute('DEALLOCATE p')
    }
    await connection.execute('CREATE TEMPORARY TABLE executed (n int4)')
    await connection.execute('PREPARE p (int4) AS INSERT INTO executed VALUES ($1)')
    const inserted = await connection.pipeline(['EXECUTE p(1)', 'EXECUTE p(2)'], options)
    t.deepEqual(
      inserted.map(({ rowCount }) => rowCount),
      [1, 1],
    )
    t.is(await connection.executeMany('EXECUTE p(3)', [[], []], options), 2)
    await connection.execute('DEALLOCATE p')
  })

  test(`a cursor that was not there yet is read once it is (${how})`, async (t) => {
    const connection = await connect(t)
    const processId = connection.info.processId
    await t.throwsAsync(
      connection.transaction((tx) => tx.fetch('FETCH 10 FROM c', [], options)),
      { instanceOf: DatabaseError, message: /cursor "c" does not exist/ },
    )
    const rows = await connection.transaction(async (tx) => {
      await tx.execute('DECLARE c CURSOR FOR SELECT 1 AS a, 2 AS b')
      return tx.fetch('FETCH 10 FROM c', [], options)
    })
    t.deepEqual([...rows], [{ a: 1, b: 2 }])
    t.is(connection.info.processId, processId)
  })

  test(`a pipeline reads what it has declared itself (${how})`, async (t) => {
    const connection = await connect(t)
    const processId = connection.info.processId
    const values = "SELECT 1 AS a, 'b' AS b, 3::numeric AS c, ARRAY['d'] AS d, '{}'::jsonb AS e"
    const [, fetched] = await connection.transaction((tx) =>
      tx.pipeline([`DECLARE c CURSOR FOR ${values}`, 'FETCH 10 FROM c', 'CLOSE c'], options),
    )
    t.deepEqual([...fetched], [...(await connection.fetch(values))])
    const [, executed] = await connection.pipeline(
      [`PREPARE p AS ${values}`, 'EXECUTE p', 'DEALLOCATE p'],
      options,
    )
    t.deepEqual([...executed], [...(await connection.fetch(values))])
    // Another one of the same name, in the same pipeline.
    const results = await connection.transaction((tx) =>
      tx.pipeline(
        [
          'DECLARE c CURSOR FOR SELECT 1 AS a',
          'FETCH 10 FROM c',
          'CLOSE c',
          'DECLARE c CURSOR FOR SELECT 2::int8 AS b, true AS c',
          'FETCH 10 FROM c',
        ],
        options,
      ),
    )
    t.deepEqual([...results[1]], [{ a: 1 }])
    t.deepEqual([...results[4]], [{ b: 2n, c: true }])
    // In the place of one that was there before.
    const [, , again] = await connection.transaction(async (tx) => {
      await tx.execute('DECLARE c CURSOR FOR SELECT 1 AS a')
      return tx.pipeline(['CLOSE c', `DECLARE c CURSOR FOR ${values}`, 'FETCH 10 FROM c'], options)
    })
    t.deepEqual([...again], [...(await connection.fetch(values))])
    const [, , fewer] = await connection.transaction(async (tx) => {
      await tx.execute(`DECLARE c CURSOR FOR ${values}`)
      return tx.pipeline(
        ['CLOSE c', 'DECLARE c CURSOR FOR SELECT 2 AS b', 'FETCH 10 FROM c'],
        options,
      )
    })
    t.deepEqual([...fewer], [{ b: 2 }])
    // A type whose values cross as text: nobody could tell before.
    await t.throwsAsync(
      connection.transaction((tx) =>
        tx.pipeline(["DECLARE c CURSOR FOR SELECT '1'::money AS m", 'FETCH 10 FROM c'], options),
      ),
      { instanceOf: ConnectionExecuteError, message: /`m`.*not in one pipeline/ },
    )
    t.is(connection.info.processId, processId)
  })
}

for (const prepared of [true, false]) {
  test(`a label is never read as the bytes of another type (${prepared ? 'prepared' : 'without a name'})`, async (t) => {
    const connection = await connect(t)
    const label = uniqueName('label')
    await run(`CREATE TYPE ${label} AS ENUM ('done')`)
    t.teardown(() => run(`DROP TYPE ${label} CASCADE`))
    await connection.executeBatch(
      `DROP TABLE IF EXISTS labels; CREATE TEMPORARY TABLE labels (n ${label})`,
    )
    const insert = async () =>
      connection.execute('INSERT INTO labels VALUES ($1)', ['done'], { prepared })
    await insert()
    await connection.execute('ALTER TABLE labels ALTER n TYPE int4 USING 1')
    await t.throwsAsync(insert(), { message: /invalid input syntax for type integer: "done"/ })
    t.is(await connection.fetchVal('SELECT sum(n) FROM labels'), 1n)
  })
}

test('a parameter of a type that another schema has under its name is that schema’s', async (t) => {
  const connection = await connect(t)
  const [one, two] = [uniqueName('tenant'), uniqueName('tenant')] as const
  t.teardown(() => run(`DROP SCHEMA ${one} CASCADE; DROP SCHEMA ${two} CASCADE`))
  for (const schema of [one, two]) {
    await run(`CREATE SCHEMA ${schema};
      CREATE TYPE ${schema}.status AS ENUM ('new', 'done');
      CREATE TABLE ${schema}.orders (status ${schema}.status)`)
  }
  const insert = (schema: string, options: StatementOptions) =>
    connection.transaction(async (tx) => {
      await tx.executeBatch(`SET LOCAL search_path = ${schema}`)
      await tx.execute(`INSERT INTO orders VALUES ($1) -- ${one}`, ['new'], options)
    })
  const stored = (schema: string) => connection.fetchVal(`SELECT count(*) FROM ${schema}.orders`)
  for (const schema of [one, two, one]) await insert(schema, { prepared: false })
  t.deepEqual([await stored(one), await stored(two)], [2n, 1n])
  await insert(one, {})
  for (const schema of [two, one]) {
    await t.throwsAsync(insert(schema, {}), {
      instanceOf: DatabaseError,
      message: /is of type .*prepared before the database changed.*run it again/,
    })
    await insert(schema, {})
  }
  t.deepEqual([await stored(one), await stored(two)], [4n, 2n])
})
