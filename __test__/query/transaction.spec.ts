// transaction(): together or not at all.

import test, { type ExecutionContext } from 'ava'
import {
  ArgumentTypeError,
  ConnectionClosedError,
  ConnectionExecuteError,
  DatabaseError,
  TransactionBeginError,
  TransactionClosedError,
  TransactionCommitError,
  type Connection,
  type Transaction,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'

async function withTable(
  t: ExecutionContext,
): Promise<{ connection: Connection; count: () => Promise<bigint> }> {
  const connection = await connect(t)
  await connection.execute(
    'CREATE TEMPORARY TABLE entries (n int4 PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)',
  )
  return { connection, count: () => connection.fetchVal<bigint>('SELECT count(*) FROM entries') }
}

test('what resolves is committed, and its result given', async (t) => {
  const { connection, count } = await withTable(t)
  const result = await connection.transaction(async (tx) => {
    t.false(tx.isEnded)
    await tx.execute('INSERT INTO entries VALUES ($1)', [1])
    await tx.executeMany('INSERT INTO entries VALUES ($1)', [[2], [3]])
    await tx.executeBatch('INSERT INTO entries VALUES (4); INSERT INTO entries VALUES (5)')
    t.is(await tx.fetchVal('SELECT count(*) FROM entries'), 5n)
    return 'done'
  })
  t.is(result, 'done')
  t.is(await count(), 5n)
})

test('what throws is rolled back, and its error wins', async (t) => {
  const { connection, count } = await withTable(t)
  const error = new Error('changed my mind')
  const thrown = await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO entries VALUES (1)')
      throw error
    }),
  )
  t.is(thrown, error)
  const failed = await t.throwsAsync(
    connection.transaction((tx) => tx.execute('SELECT 1 / 0')),
    { instanceOf: DatabaseError },
  )
  t.is(failed.sqlState, '22012')
  t.is(await count(), 0n)
})

test('work may be synchronous, and statements that it does not await are part of it', async (t) => {
  const { connection, count } = await withTable(t)
  await connection.transaction((tx) => {
    void tx.execute('INSERT INTO entries VALUES (1)')
    void tx.execute('INSERT INTO entries VALUES (2)')
  })
  t.is(await count(), 2n)
  await t.throwsAsync(
    connection.transaction(() => {
      throw new Error('at once')
    }),
    { message: 'at once' },
  )
  t.is(await count(), 2n)
})

test('a commit that the server turns into a rollback is not taken for success', async (t) => {
  const { connection, count } = await withTable(t)
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO entries VALUES (1)')
      await tx.execute('SELECT 1 / 0').catch(() => {})
    }),
    { instanceOf: TransactionCommitError },
  )
  t.is(await count(), 0n)
})

test('a commit that the server refuses is its error', async (t) => {
  const { connection, count } = await withTable(t)
  const error = await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO entries VALUES (1)')
      await tx.execute('INSERT INTO entries VALUES (1)')
    }),
    { instanceOf: DatabaseError },
  )
  t.is(error.sqlState, '23505')
  t.is(await count(), 0n)
})

test('executeMany within a transaction is undone alone', async (t) => {
  const { connection, count } = await withTable(t)
  await connection.transaction(async (tx) => {
    await tx.execute('SET CONSTRAINTS ALL IMMEDIATE')
    await tx.execute('INSERT INTO entries VALUES (1)')
    await t.throwsAsync(tx.executeMany('INSERT INTO entries VALUES ($1)', [[2], [1]]), {
      instanceOf: DatabaseError,
    })
    await tx.executeMany('INSERT INTO entries VALUES ($1)', [[3]])
  })
  t.is(await count(), 2n)
})

test('meanwhile the connection itself is refused', async (t) => {
  const { connection } = await withTable(t)
  await connection.transaction(async (tx) => {
    await t.throwsAsync(connection.execute('SELECT 1'), {
      instanceOf: ConnectionExecuteError,
      message: /run its statements on the transaction/,
    })
    await t.throwsAsync(
      connection.transaction(async () => {}),
      { instanceOf: TransactionBeginError },
    )
    t.is(await tx.fetchVal('SELECT 1'), 1)
  })
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('an ended transaction refuses everything', async (t) => {
  const { connection } = await withTable(t)
  let kept: Transaction | undefined
  await connection.transaction((tx) => {
    kept = tx
  })
  t.true(kept?.isEnded)
  await t.throwsAsync(kept!.execute('SELECT 1'), { instanceOf: TransactionClosedError })
  await t.throwsAsync(kept!.executeBatch('SELECT 1'), { instanceOf: TransactionClosedError })
  await t.throwsAsync(
    connection.transaction((tx) => {
      kept = tx
      throw new Error('rolled back')
    }),
  )
  await t.throwsAsync(kept!.execute('SELECT 1'), { instanceOf: TransactionClosedError })
})

test('a transaction begun by a statement is not taken over', async (t) => {
  const { connection, count } = await withTable(t)
  await connection.execute('START TRANSACTION')
  await connection.execute('INSERT INTO entries VALUES (1)')
  await t.throwsAsync(
    connection.transaction(async () => t.fail()),
    { instanceOf: TransactionBeginError, message: /A statement has begun/ },
  )
  await connection.execute('ROLLBACK')
  t.is(await count(), 0n)
  t.is(await connection.transaction(() => 'works again'), 'works again')
})

test('a transaction that a statement has ended is not reported as committed', async (t) => {
  const { connection, count } = await withTable(t)
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO entries VALUES (1)')
      await tx.execute('ROLLBACK')
    }),
    { instanceOf: TransactionClosedError },
  )
  t.is(await count(), 0n)
})

test('closing the connection in the middle rolls back', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  await connection.execute('CREATE TEMPORARY TABLE halves (n int4)')
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO halves VALUES (1)')
      await connection.close()
      await tx.execute('INSERT INTO halves VALUES (2)')
    }),
    { instanceOf: ConnectionClosedError },
  )
  const next = await pool.connection()
  t.is(await next.fetchVal('SELECT count(*) FROM halves'), 0n)
  await next.close()
})

test('work must be a function', async (t) => {
  const connection = await connect(t)
  await t.throwsAsync(connection.transaction('BEGIN' as never), {
    instanceOf: ArgumentTypeError,
    message: 'Expected `work` to be a function, got `BEGIN` (string)',
  })
})

// What was in a registry once is kept by V8 until it collects all garbage, and everything that it reaches too.
test.serial('short transactions are in no registry of what is to be collected', async (t) => {
  const connection = await connect(t)
  const { prototype } = FinalizationRegistry
  const register = Object.getOwnPropertyDescriptor(prototype, 'register')!
  let registered = 0
  Object.defineProperty(prototype, 'register', {
    ...register,
    value(this: FinalizationRegistry<unknown>, ...given: [WeakKey, unknown, WeakKey?]) {
      registered += 1
      return (register.value as FinalizationRegistry<unknown>['register']).apply(this, given)
    },
  })
  try {
    for (let turn = 0; turn < 300; turn += 1)
      await connection.transaction((tx) => tx.fetchVal('SELECT $1::int4', [turn]))
  } finally {
    Object.defineProperty(prototype, 'register', register)
  }
  t.true(registered < 30, `${registered}`)
})
