// Cursors: rows in batches, within a transaction of the user's or one of their own.

import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import {
  type Connection,
  ConnectionClosedError,
  ConnectionExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  type Queryable,
  TransactionBeginError,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { ask } from '../support/listener.js'
import { occupy } from '../support/occupy.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'

const NUMBERS = 'SELECT n FROM generate_series(1, $1) AS n'

async function collect<Row>(rows: AsyncIterable<Row>): Promise<Row[]> {
  const all: Row[] = []
  for await (const row of rows) all.push(row)
  return all
}

test('a cursor yields all rows, by one, by batches, or as asked', async (t) => {
  const connection = await connect(t)
  for (const count of [0, 1, 10, 25]) {
    const expected = Array.from({ length: count }, (_, n) => ({ n: n + 1 }))
    const options = { batchSize: 10 }
    t.deepEqual(await collect(connection.cursor(NUMBERS, [count], options)), expected)
    const batches = await collect(connection.cursor(NUMBERS, [count], options).batches())
    t.deepEqual(batches.flat(), expected)
    t.true(batches.every(({ length }) => length > 0 && length <= 10))
  }
  await using cursor = connection.cursor<[number]>(
    'SELECT $(a)p::int4 FROM generate_series(1, 5)',
    { a: 7 },
    { rowMode: 'array' },
  )
  t.deepEqual(await cursor.fetch(2), [[7], [7]])
  t.deepEqual(await cursor.fetch(), [[7], [7], [7]])
  t.deepEqual(await cursor.fetch(), [])
  t.is(connection.transactionStatus, 'active')
  await t.throwsAsync(connection.fetchVal('SELECT 1'), { instanceOf: ConnectionExecuteError })
  await cursor.close()
  t.is(connection.transactionStatus, 'idle')
  await t.throwsAsync(cursor.fetch(), { message: 'the cursor was closed' })
})

test('the bounds of the first fetch count for the transaction that it begins', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  for (const abort of [false, true]) {
    const release = await occupy(connection)
    const controller = new AbortController()
    const reason = new Error('no longer')
    if (abort) setTimeout(() => controller.abort(reason), 100)
    const bounds = abort ? { signal: controller.signal } : { timeoutMs: 100 }
    const cursor = connection.cursor('SELECT 1 AS n', [], bounds)
    // The statement before it still runs.
    const error = await t.throwsAsync(within(cursor.fetch()))
    if (abort) t.is(error, reason)
    else t.true(error instanceof ConnectionTimeoutError)
    const closed = cursor.close()
    await release()
    await closed
    t.is(connection.transactionStatus, 'idle')
    t.deepEqual(await collect(connection.cursor('SELECT 1 AS n')), [{ n: 1 }])
  }
  // A later fetch has the time to itself.
  const patient = connection.cursor(NUMBERS, [3], { timeoutMs: 2000, batchSize: 1 })
  for await (const { n } of patient) if (n !== 3) await sleep(1200)
  await connection.close()
})

test('a cursor of a connection commits what its statement does, and undoes it when a fetch fails', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE changed (n int4)')
  const insert = 'INSERT INTO changed SELECT generate_series(1, 5) RETURNING n'
  for await (const _ of connection.cursor(insert, [], { batchSize: 2 })) break
  t.is(await connection.fetchVal('SELECT count(*) FROM changed'), 5n)
  const failing = connection.cursor(
    'INSERT INTO changed SELECT 1 / (3 - g) FROM generate_series(1, 5) AS g RETURNING n',
    [],
    { batchSize: 2 },
  )
  await t.throwsAsync(collect(failing), { instanceOf: DatabaseError, message: /division by zero/ })
  t.is(await connection.fetchVal('SELECT count(*) FROM changed'), 5n)
  t.is(connection.transactionStatus, 'idle')
})

test('a cursor lives within the transaction that has made it, and does not end it', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE kept (n int4)')
  const late = await connection.transaction(async (tx) => {
    await tx.execute('INSERT INTO kept VALUES (1)')
    const cursors = [
      tx.cursor(NUMBERS, [5], { batchSize: 2 }),
      tx.cursor(NUMBERS, [3], { batchSize: 1 }),
    ] as const
    t.deepEqual(await cursors[0].fetch(), [{ n: 1 }, { n: 2 }])
    // Other statements and cursors run meanwhile.
    t.deepEqual(await cursors[1].fetch(), [{ n: 1 }])
    t.is(await tx.fetchVal('SELECT count(*) FROM kept'), 1n)
    t.deepEqual(await collect(cursors[0]), [{ n: 3 }, { n: 4 }, { n: 5 }])
    t.is(await tx.fetchVal('SELECT count(*) FROM pg_cursors WHERE name <> $$$$'), 1n)
    await cursors[1].close()
    t.is(await tx.fetchVal('SELECT count(*) FROM pg_cursors WHERE name <> $$$$'), 0n)
    const open = tx.cursor(NUMBERS, [5], { batchSize: 2 })
    await open.fetch()
    return open
  })
  t.is(await connection.fetchVal('SELECT count(*) FROM kept'), 1n)
  await t.throwsAsync(late.fetch())
  await late.close()
  await connection.executeBatch('BEGIN; INSERT INTO kept VALUES (2)')
  t.is((await collect(connection.cursor(NUMBERS, [3]))).length, 3)
  t.is(connection.transactionStatus, 'active', 'a transaction that a statement has begun goes on')
  await connection.executeBatch('COMMIT')
})

test('a rollback to a savepoint ends the cursors that were opened behind it', async (t) => {
  const connection = await connect(t)
  await connection.transaction(async (tx) => {
    await tx.createSavepoint('before')
    const cursor = tx.cursor(NUMBERS, [5], { batchSize: 1 })
    await cursor.fetch()
    await tx.rollbackToSavepoint('before')
    await t.throwsAsync(cursor.fetch(), {
      instanceOf: DatabaseError,
      message: /the cursor has ended/,
    })
    await tx.rollbackToSavepoint('before')
    await cursor.close()
    await t.throwsAsync(tx.cursor('FETCH 1 FROM another').fetch(), {
      instanceOf: DatabaseError,
      message: 'cursor "another" does not exist',
    })
    await tx.rollback()
  })
})

test('a fetch has bounds, and its end leaves the connection usable', async (t) => {
  const connection = await connect(t)
  const slow = 'SELECT pg_sleep(CASE WHEN n < 3 THEN 0 ELSE 60 END) FROM generate_series(1, 5) AS n'
  const late = connection.cursor(slow, [], { batchSize: 2, timeoutMs: 2000 })
  t.is((await late.fetch()).length, 2)
  await t.throwsAsync(late.fetch(), { instanceOf: ConnectionTimeoutError })
  await late.close()
  t.is(await connection.fetchVal('SELECT 1'), 1)
  const controller = new AbortController()
  const aborted = connection.cursor(slow, [], { batchSize: 2, signal: controller.signal })
  await aborted.fetch()
  const fetching = aborted.fetch()
  controller.abort(new RangeError('mine'))
  await t.throwsAsync(fetching, { instanceOf: RangeError, message: 'mine' })
  await aborted.close()
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('a cursor whose backend is ended rejects, and its pool goes on', async (t) => {
  const applicationName = uniqueName('cursor')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const cursor = connection.cursor(NUMBERS, [1_000_000], { batchSize: 10 })
  t.is((await cursor.fetch()).length, 10)
  await ask(
    'SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1',
    [applicationName],
  )
  const error = await t.throwsAsync(async () => {
    for (;;) await cursor.fetch()
  })
  t.true(error instanceof DatabaseError || error instanceof ConnectionClosedError)
  await cursor.close().catch(() => {})
  await connection.close()
  const next = await pool.connection()
  t.is(await next.fetchVal('SELECT 1'), 1)
  await next.close()
})

test('a cursor is refused while a COPY is open where it lives, which may be fed by it', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE fed (n int4)')
  const copy = 'COPY fed FROM STDIN'
  const lines = async function* (rows: AsyncIterable<Record<string, unknown>>) {
    for await (const { n } of rows) yield `${String(n)}\n`
  }
  const refused = { instanceOf: ConnectionExecuteError, message: /A COPY is open/ }
  await connection.transaction(async (tx) => {
    await tx.transaction(async (inner) => {
      // Of the transaction itself, of one above, of one that has ended: before its first fetch, and behind it.
      const of = (tx: Queryable) => tx.cursor(NUMBERS, [5], { batchSize: 2 })
      const ended = await inner.transaction((innermost) => {
        const cursor = of(innermost)
        return cursor.fetch().then(() => cursor)
      })
      const cursors = [of(inner), of(tx), ended]
      await cursors[0]!.fetch()
      for (const cursor of cursors) {
        await inner.createSavepoint('before')
        await t.throwsAsync(within(inner.copyFrom(copy, lines(cursor))), refused)
        t.true(cursor.isClosed)
        await inner.rollbackToSavepoint('before')
      }
      const open = of(inner)
      let isFirst = true
      const source = async function* () {
        await t.throwsAsync(within(open.fetch()), refused)
        if (isFirst) yield '7\n'
        isFirst = false
      }
      await inner.copyFrom(copy, source())
      t.deepEqual(await open.fetch(), [{ n: 1 }, { n: 2 }], 'it goes on behind the COPY')
      await open.close()
      t.is(await inner.fetchVal('SELECT count(*) FROM pg_cursors WHERE name <> $$$$'), 0n)
    })
  })
  await connection.executeBatch('BEGIN')
  const cursor = connection.cursor(NUMBERS, [5], { batchSize: 2 })
  await cursor.fetch()
  await t.throwsAsync(within(connection.copyFrom(copy, lines(cursor))), refused)
  await connection.executeBatch('ROLLBACK')
  t.deepEqual([...(await connection.fetch('SELECT n FROM fed'))], [{ n: 7 }])
})

test('a cursor is closed on the server although the function that makes its rows has failed', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE held (n int4)')
  await connection.execute('INSERT INTO held SELECT generate_series(1, 10)')
  const fail = () => {
    throw new RangeError('mine')
  }
  await connection.transaction(async (tx) => {
    for (const options of [{ map: fail }, { columns: { n: fail } }]) {
      const rows = tx.cursor('SELECT * FROM held', [], { batchSize: 2, ...options })
      await t.throwsAsync(collect(rows), { message: 'mine' })
      await tx.execute('TRUNCATE held')
      await tx.execute('INSERT INTO held SELECT generate_series(1, 10)')
    }
    const late = tx.cursor('SELECT * FROM held', [], { batchSize: 2, timeoutMs: 2000 })
    await late.fetch()
    const release = await occupy(tx)
    await t.throwsAsync(within(late.fetch()), { message: /waiting for its turn/ })
    await release()
    await late.close()
    await tx.execute('TRUNCATE held')
  })
})

test('a cursor that is closed in a transaction that has failed is gone when that is brought back', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE held (n int4)')
  await connection.execute('INSERT INTO held SELECT generate_series(1, 10)')
  await connection.transaction(async (tx) => {
    const cursor = tx.cursor('SELECT * FROM held', [], { batchSize: 2 })
    await cursor.fetch()
    await tx.createSavepoint('before')
    await t.throwsAsync(tx.execute('SELECT 1 / 0'))
    await cursor.close()
    await tx.rollbackToSavepoint('before')
    await tx.execute('TRUNCATE held')
    t.is(await tx.fetchVal('SELECT count(*) FROM pg_cursors WHERE name <> $$$$'), 0n)
  })
})

test('after the loss of a connection within a transaction, what begins one says that it is lost', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  await connection.execute('BEGIN')
  const { processId } = connection.info
  await ask('SELECT pg_terminate_backend($1, 5000)', [processId])
  await t.throwsAsync(connection.execute('SELECT 1'))
  await waitFor(() => !connection.inTransaction)
  for (const begins of [
    () => connection.transaction(() => {}),
    () => connection.begin(),
    () => connection.cursor('SELECT 1').fetch(),
    () => connection.executeMany('SELECT $1::int4', [[1]]),
    () => connection.copyRecordsToTable('nothing', []),
  ]) {
    await t.throwsAsync(begins(), { instanceOf: ConnectionClosedError })
  }
  await connection.close()
})

for (const [name, use] of [
  ['a cursor', async (c) => (await collect(c.cursor(NUMBERS, [3]))).length],
  [
    'a cursor with encoders',
    async (c) =>
      (await collect(c.cursor(NUMBERS, [3], { types: { encoders: { int4: Number } } }))).length,
  ],
  ['a copy of records', (c) => c.copyRecordsToTable('begun', [[1], [2], [3]])],
] as const satisfies [string, (connection: Connection) => Promise<number>][]) {
  test(`${name} lives in the transaction that there is at its turn`, async (t) => {
    const connection = await connect(t)
    await connection.executeBatch(
      'DROP TABLE IF EXISTS begun; CREATE TEMPORARY TABLE begun (n int4)',
    )
    // What has a transaction of its own while it runs.
    const many = connection.executeMany('SELECT pg_sleep($1)', [[0.3], [0]])
    await waitFor(() => connection.transactionStatus === 'active', { what: 'the BEGIN' })
    t.is(await use(connection), 3)
    await many
    t.is(connection.transactionStatus, 'idle')

    await connection.execute('BEGIN')
    const committed = connection.execute('COMMIT')
    t.is(await use(connection), 3)
    await committed
    t.is(connection.transactionStatus, 'idle')

    const begun = connection.execute('BEGIN')
    t.is(await use(connection), 3)
    await begun
    t.is(connection.transactionStatus, 'active')
    // One that fails, and one that is of nothing.
    const failed = t.throwsAsync(connection.execute('SELECT 1 / 0'))
    const refused = await t.throwsAsync(use(connection))
    // What has failed may have been answered when this is called.
    t.true(
      refused instanceof TransactionBeginError ||
        (refused instanceof DatabaseError && refused.sqlState === '25P02'),
      String(refused),
    )
    await failed
    await t.throwsAsync(use(connection), { instanceOf: TransactionBeginError })
    await connection.execute('ROLLBACK')
    t.is(await use(connection), 3)
  })
}
