// What the users of pg and of postgres.js rely on in transactions, cursors, copies and the life of connections: here it holds too.

import test from 'ava'
import {
  ConnectionClosedError,
  ConnectionPoolExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  TransactionBeginError,
  TransactionCommitError,
} from 'pglisten'
import { connect, openPool } from '../../support/connect.js'
import { run } from '../../support/listener.js'
import { uniqueName } from '../../../lab/unique-name.js'
import { within } from '../../../lab/wait.js'

const NUMBERS = 'SELECT n FROM generate_series(1, $1) AS n'
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => ({ n: from + n }))

test('transactions side by side are on connections of their own', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 3 })
  const each = Array.from({ length: 6 }, async (_, n) => {
    await using connection = await pool.connection()
    return await connection.transaction(async (tx) => {
      await tx.execute("SELECT set_config('peers.n', $1, true)", [`${n}`])
      return tx.fetchVal("SELECT current_setting('peers.n')")
    })
  })
  t.deepEqual(await Promise.all(each), ['0', '1', '2', '3', '4', '5'])
})

test('the error of a transaction is that of its statement; what it did is undone', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE undone (n int4)')
  const failing = connection.transaction(async (tx) => {
    await tx.execute('INSERT INTO undone VALUES (1)')
    await tx.execute('INSERT INTO undone VALUES ($1)', ['text'])
  })
  const error = await t.throwsAsync(failing, { instanceOf: DatabaseError })
  t.is(error.sqlState, '22P02')
  t.is(await connection.fetchVal('SELECT count(*) FROM undone'), 0n)
  await connection.execute('DROP TABLE undone')
})

test('a savepoint whose error is caught undoes its own part, one whose error is not undoes everything', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE parts (n int4)')
  const part = (isCaught: boolean) =>
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO parts VALUES (1)')
      const inner = tx.savepoint(async (nested) => {
        await nested.execute('INSERT INTO parts VALUES (2)')
        throw new Error('of the part')
      })
      await (isCaught ? inner.catch(() => {}) : inner)
      await tx.execute('INSERT INTO parts VALUES (3)')
      return tx.savepoint((nested) => nested.fetchVal('SELECT 7'))
    })
  await t.throwsAsync(part(false), { message: 'of the part' })
  t.is(await connection.fetchVal('SELECT count(*) FROM parts'), 0n)
  t.is(await part(true), 7)
  t.deepEqual(
    [...(await connection.execute('SELECT n FROM parts ORDER BY n'))],
    [{ n: 1 }, { n: 3 }],
  )
  await connection.execute('DROP TABLE parts')
})

test('statements of a transaction that are not awaited are part of it, and run in their order', async (t) => {
  const connection = await connect(t)
  const value = await connection.transaction(async (tx) => {
    void tx.execute("SELECT set_config('peers.order', 'first', true)")
    void tx.execute("SELECT set_config('peers.order', 'second', true)")
    return tx.fetchVal("SELECT current_setting('peers.order')")
  })
  t.is(value, 'second')
})

test('an error that `work` has swallowed does not let half of a transaction be committed', async (t) => {
  const connection = await connect(t)
  const swallowing = connection.transaction(async (tx) => {
    await tx.execute('SELECT wat').catch(() => {})
    await t.throwsAsync(tx.execute('SELECT 1'), { message: /current transaction is aborted/ })
  })
  await t.throwsAsync(swallowing, { instanceOf: TransactionCommitError })
  t.is(connection.transactionStatus, 'idle')
})

test('a commit that the server refuses is its error, and the connection goes on without a rollback', async (t) => {
  const connection = await connect(t)
  await connection.executeBatch(`
    CREATE TEMPORARY TABLE checked (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO checked VALUES (1)`)
  const error = await t.throwsAsync(
    connection.transaction((tx) => tx.execute('INSERT INTO checked VALUES (1)')),
    { instanceOf: DatabaseError },
  )
  t.is(error.sqlState, '23505')
  t.is(connection.transactionStatus, 'idle')
  await connection.execute('DROP TABLE checked')
})

test('the status of the transaction is that of the last answer', async (t) => {
  const connection = await connect(t)
  const statuses = [connection.transactionStatus]
  for (const sql of ['BEGIN', 'SELECT 1', 'SELECT wat', 'ROLLBACK']) {
    await connection.execute(sql).catch(() => {})
    statuses.push(connection.transactionStatus)
  }
  t.deepEqual(statuses, ['idle', 'active', 'active', 'failed', 'idle'])
})

test('several cursors of a transaction are read in turns', async (t) => {
  const connection = await connect(t)
  await connection.transaction(async (tx) => {
    const [a, b] = [tx.cursor(NUMBERS, [4]), tx.cursor(NUMBERS, [5])]
    const reads = [a.fetch(2), b.fetch(1), a.fetch(9), b.fetch(9), a.fetch(1)]
    t.deepEqual(await Promise.all(reads), [
      numbers(1, 2),
      numbers(1, 1),
      numbers(3, 4),
      numbers(2, 5),
      [],
    ])
  })
})

test('a cursor gives fewer rows at the end, and none beyond it', async (t) => {
  const connection = await connect(t)
  const cursor = connection.cursor(NUMBERS, [10], { batchSize: 6 })
  t.deepEqual(await cursor.fetch(), numbers(1, 6))
  t.deepEqual(await cursor.fetch(), numbers(7, 10))
  t.deepEqual(await cursor.fetch(), [])
  await cursor.close()
  await cursor.close()
  const batches: number[] = []
  for await (const rows of connection.cursor(NUMBERS, [20], { batchSize: 10 }).batches())
    batches.push(rows.length)
  t.deepEqual(batches, [10, 10])
})

test('a cursor for a statement without rows, or with nothing in it, gives none', async (t) => {
  const connection = await connect(t)
  for (const sql of ['', 'CREATE TEMPORARY TABLE without (n int4)', 'DROP TABLE without']) {
    const rows: unknown[] = []
    for await (const row of connection.cursor(sql)) rows.push(row)
    t.deepEqual(rows, [], sql)
  }
  await connection.execute('CREATE TEMPORARY TABLE within (n int4)')
  const cursor = connection.cursor('INSERT INTO within SELECT generate_series(1, 5) RETURNING n')
  t.deepEqual(await cursor.fetch(2), numbers(1, 2))
  await cursor.close()
  // The statement had run to its end with the first fetch.
  t.is(await connection.fetchVal('SELECT count(*) FROM within'), 5n)
  await connection.execute('DROP TABLE within')
})

test('a loop over a cursor that breaks or throws frees the connection', async (t) => {
  const connection = await connect(t)
  const reading = async (stop: () => void) => {
    for await (const { n } of connection.cursor<{ n: number }>(NUMBERS, [1_000_000]))
      if (n === 3) return stop()
  }
  await reading(() => {})
  await t.throwsAsync(
    reading(() => {
      throw new Error('of the loop')
    }),
    { message: 'of the loop' },
  )
  t.is(connection.transactionStatus, 'idle')
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('an error of a cursor fails the reads behind it, and not the connection', async (t) => {
  const connection = await connect(t)
  const cursor = connection.cursor('SELECT 1 / (n - 2) FROM generate_series(1, 3) AS n', [], {
    batchSize: 1,
  })
  t.is((await cursor.fetch()).length, 1)
  for (const read of [cursor.fetch(), cursor.fetch()])
    await t.throwsAsync(read, { instanceOf: DatabaseError })
  await cursor.close()
  await t.throwsAsync(connection.cursor('SELECT wat').fetch(), { instanceOf: DatabaseError })
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('data is copied both ways, first thing on a connection and within a transaction, and a failing copy is undone', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const table = uniqueName('peers')
  await pool.execute(`CREATE TABLE ${table} (n int4, s text)`)
  t.teardown(() => run(`DROP TABLE ${table}`))
  {
    await using connection = await pool.connection()
    t.is(await connection.copyFrom(`COPY ${table} FROM STDIN`, ['1\ta\n', '2\tb', '\n']), 2)
  }
  await using connection = await pool.connection()
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.copyFrom(`COPY ${table} FROM STDIN`, '3\tc\n')
      await tx.copyFrom(`COPY ${table} FROM STDIN`, 'nonsense\n')
    }),
    { instanceOf: DatabaseError },
  )
  const chunks: Buffer[] = []
  for await (const chunk of connection.copyTo(`COPY ${table} TO STDOUT`)) chunks.push(chunk)
  t.is(Buffer.concat(chunks).toString(), '1\ta\n2\tb\n')
})

test('a statement that is cancelled while it runs, or before its turn, leaves the others as they are', async (t) => {
  const connection = await connect(t)
  const abort = new AbortController()
  const { signal } = abort
  const running = connection.execute('SELECT pg_sleep(60)', [], { signal })
  const queued = connection.execute('SELECT pg_sleep(60)', [], { signal })
  const behind = connection.fetchVal('SELECT 3')
  abort.abort()
  for (const call of [running, queued])
    await t.throwsAsync(within(call), { any: true, name: 'AbortError' })
  t.is(await behind, 3)
  const late = connection.execute('SELECT pg_sleep(60)', [], { timeoutMs: 50 })
  await t.throwsAsync(within(late), { instanceOf: ConnectionTimeoutError })
  t.is(await connection.fetchVal('SELECT 4'), 4)
})

test('closing lets statements end that were called before, refuses those that come later, and may be done twice', async (t) => {
  const pool = await openPool(t)
  // Two connections, so that whoever asks first has one first, however long it takes to open one.
  await Promise.all([1, 2].map(() => pool.fetchVal('SELECT 1 FROM pg_sleep(0.1)')))
  const before = pool.fetchVal('SELECT 1 FROM pg_sleep(0.1)')
  const connection = await pool.connection()
  const running = connection.fetchVal('SELECT 2 FROM pg_sleep(0.1)')
  const closing = [connection.close(), pool.close(), pool.close()]
  await t.throwsAsync(connection.fetchVal('SELECT 3'), { instanceOf: ConnectionClosedError })
  await t.throwsAsync(pool.fetchVal('SELECT 4'), { instanceOf: ConnectionPoolExecuteError })
  t.deepEqual(await Promise.all([before, running]), [1, 2])
  await Promise.all(closing)
})

test('a pool that was closed without ever connecting is closed at once', async (t) => {
  const pool = await openPool(t)
  await within(pool.close())
  t.is(pool.status().size, 0)
})

test('of two transactions on one connection the second is refused, and the first goes on', async (t) => {
  const connection = await connect(t)
  const first = connection.transaction((tx) => tx.fetchVal('SELECT 1 FROM pg_sleep(0.05)'))
  await t.throwsAsync(
    connection.transaction(() => 2),
    { instanceOf: TransactionBeginError },
  )
  t.is(await first, 1)
})
