// begin(): a transaction that its caller ends; and the options of all transactions.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import {
  ConnectionClosedError,
  ConnectionExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  TransactionBeginError,
  TransactionClosedError,
  TransactionCommitError,
  type Connection,
  type Transaction,
  type TransactionOptions,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { ServerWitness } from '../../lab/witness.js'
import { waitFor, within } from '../../lab/wait.js'

async function withTable(t: ExecutionContext) {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE entries (n int4)')
  const insert = (tx: Transaction | Connection, n: number) =>
    tx.execute('INSERT INTO entries VALUES ($1)', [n])
  const stored = () =>
    connection.fetchVal<number[]>("SELECT coalesce(array_agg(n ORDER BY n), '{}') FROM entries")
  return { connection, insert, stored }
}

test('a transaction is ended by commit, by rollback, or by the end of its block', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const tx = await connection.begin()
  t.is(connection.transactionStatus, 'active')
  t.false(tx.isEnded)
  await insert(tx, 1)
  await tx.commit()
  t.true(tx.isEnded)
  t.is(connection.transactionStatus, 'idle')
  const undone = await connection.begin()
  await insert(undone, 2)
  await undone.rollback()
  {
    await using left = await connection.begin()
    await insert(left, 3)
  }
  {
    await using kept = await connection.begin()
    await insert(kept, 4)
    await kept.commit()
  }
  await t.throwsAsync(
    async () => {
      await using left = await connection.begin()
      await insert(left, 5)
      throw new Error('of the block')
    },
    { message: 'of the block' },
  )
  t.deepEqual(await stored(), [1, 4])
})

test('the block’s end waits for a commit that was not awaited', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  let committed: Promise<void>
  {
    await using tx = await connection.begin()
    void insert(tx, 1)
    committed = tx.commit()
  }
  t.deepEqual(await stored(), [1])
  await committed
})

test('an ended transaction ends only once', async (t) => {
  const { connection } = await withTable(t)
  for (const end of ['commit', 'rollback'] as const) {
    const tx = await connection.begin()
    await tx[end]()
    for (const again of [
      () => tx.commit(),
      () => tx.rollback(),
      () => tx.execute('SELECT 1'),
      () => tx.transaction(() => 1),
      () => tx.createSavepoint('x'),
    ]) {
      await t.throwsAsync(again(), { instanceOf: TransactionClosedError })
    }
    await tx[Symbol.asyncDispose]()
  }
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('a commit that the server turns into a rollback rejects, and the connection goes on', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const tx = await connection.begin()
  await insert(tx, 1)
  await t.throwsAsync(tx.execute('SELECT 1 / 0'), { instanceOf: DatabaseError })
  t.is(connection.transactionStatus, 'failed')
  await t.throwsAsync(tx.commit(), { instanceOf: TransactionCommitError })
  t.true(tx.isEnded)
  t.deepEqual(await stored(), [])
})

test('meanwhile the connection runs nothing, and begins nothing', async (t) => {
  const { connection } = await withTable(t)
  const beginning = connection.begin()
  await t.throwsAsync(connection.begin(), { instanceOf: TransactionBeginError })
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionExecuteError })
  const tx = await beginning
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionExecuteError })
  await t.throwsAsync(connection.begin(), { instanceOf: TransactionBeginError })
  await t.throwsAsync(
    connection.transaction(() => 1),
    { instanceOf: TransactionBeginError },
  )
  await tx.rollback()
  t.is(await connection.fetchVal('SELECT 1'), 1)
})

test('a begin that fails leaves the connection free', async (t) => {
  const { connection } = await withTable(t)
  await connection.execute('BEGIN')
  await t.throwsAsync(connection.begin(), {
    instanceOf: TransactionBeginError,
    message: /A statement has begun/,
  })
  await connection.execute('ROLLBACK')
  await t.throwsAsync(connection.begin({ signal: AbortSignal.abort() }), {
    any: true,
    name: 'AbortError',
  })
  const wrong: [TransactionOptions, RegExp][] = [
    [{ isolationLevel: 'snapshot' as never }, /`isolationLevel` to be one of `readUncommitted`/],
    [{ readOnly: 1 as never }, /`readOnly` to be a boolean/],
    [{ deferrable: 'yes' as never }, /`deferrable` to be a boolean/],
    [{ isolation: 'serializable' } as never, /Unknown option `isolation`/],
    [{ timeoutMs: -1 }, /`timeoutMs`/],
  ]
  for (const [options, message] of wrong) {
    await t.throwsAsync(connection.begin(options), { message })
    await t.throwsAsync(
      connection.transaction(() => 1, options),
      { message },
    )
  }
  t.is(await connection.transaction(() => 1), 1)
})

test('the isolation level and the rest are those that were asked for', async (t) => {
  const { connection } = await withTable(t)
  const read = async (options: TransactionOptions) => {
    await using tx = await connection.begin(options)
    const names = ['isolation', 'read_only', 'deferrable']
    return Promise.all(
      names.map((name) => tx.fetchVal<string>(`SELECT current_setting('transaction_${name}')`)),
    )
  }
  t.deepEqual(await read({}), ['read committed', 'off', 'off'])
  t.deepEqual(await read({ isolationLevel: 'readUncommitted' }), ['read uncommitted', 'off', 'off'])
  t.deepEqual(await read({ isolationLevel: 'readCommitted' }), ['read committed', 'off', 'off'])
  t.deepEqual(await read({ isolationLevel: 'repeatableRead' }), ['repeatable read', 'off', 'off'])
  const report = { isolationLevel: 'serializable', readOnly: true, deferrable: true } as const
  t.deepEqual(await read(report), ['serializable', 'on', 'on'])
  await connection.executeBatch(
    "SET default_transaction_read_only = on; SET default_transaction_isolation = 'serializable'; SET default_transaction_deferrable = on",
  )
  t.deepEqual(await read({}), ['serializable', 'on', 'on'])
  t.deepEqual(await read({ readOnly: false, deferrable: false }), ['serializable', 'off', 'off'])
  const level = await connection.transaction(
    (tx) => tx.fetchVal("SELECT current_setting('transaction_isolation')"),
    { isolationLevel: 'repeatableRead' },
  )
  t.is(level, 'repeatable read')
})

test('work may end its transaction itself, and its later statements reject', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const result = await connection.transaction(async (tx) => {
    await insert(tx, 1)
    await tx.commit()
    await t.throwsAsync(insert(tx, 2), { instanceOf: TransactionClosedError })
    return 'committed'
  })
  t.is(result, 'committed')
  const other = await connection.transaction(async (tx) => {
    await insert(tx, 3)
    await tx.rollback()
    await t.throwsAsync(insert(tx, 4), { instanceOf: TransactionClosedError })
    return 'rolled back'
  })
  t.is(other, 'rolled back')
  t.deepEqual(await stored(), [1])
  // What has rejected is not taken for committed, nor for undone.
  const thrown = await t.throwsAsync(
    connection.transaction(async (tx) => {
      await insert(tx, 5)
      await tx.commit()
      throw new Error('later')
    }),
  )
  t.is(thrown?.message, 'later')
  t.deepEqual(await stored(), [1, 5])
})

test('work that does not await its own commit does not resolve before it, or although it fails', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction((tx) => {
    void insert(tx, 1)
    void tx.commit()
  })
  t.deepEqual(await stored(), [1])
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.execute('SELECT 1 / 0').catch(() => {})
      void tx.commit().catch(() => {})
    }),
    { instanceOf: TransactionCommitError },
  )
})

test('a transaction whose time is over is rolled back, whether or not a statement runs', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const idle = await connection.begin({ timeoutMs: 2000 })
  await insert(idle, 1)
  await waitFor(() => idle.isEnded, { what: 'the end of the time' })
  await t.throwsAsync(insert(idle, 2), { instanceOf: ConnectionTimeoutError })
  await t.throwsAsync(idle.commit(), { instanceOf: ConnectionTimeoutError })
  await waitFor(() => connection.transactionStatus === 'idle')
  t.deepEqual(await stored(), [])

  // Time enough for what comes before the statement that lasts, also on a busy machine.
  const busy = await connection.begin({ timeoutMs: 2000 })
  await insert(busy, 3)
  await t.throwsAsync(within(busy.execute('SELECT pg_sleep(60)')), {
    instanceOf: ConnectionTimeoutError,
  })
  await busy[Symbol.asyncDispose]()
  t.deepEqual(await stored(), [])
})

test('a signal ends a transaction with its reason, and not after its end', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const abort = new AbortController()
  const reason = new Error('no longer wanted')
  const tx = await connection.begin({ signal: abort.signal })
  const sleeping = tx.execute('SELECT pg_sleep(60)')
  abort.abort(reason)
  t.is(await t.throwsAsync(within(sleeping)), reason)
  t.is(await t.throwsAsync(tx.commit()), reason)
  const later = new AbortController()
  const done = await connection.begin({ signal: later.signal })
  await insert(done, 1)
  await done.commit()
  later.abort()
  await t.throwsAsync(done.commit(), { instanceOf: TransactionClosedError })
  t.deepEqual(await stored(), [1])
})

test('a connection that is closed takes its transaction with it', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  await connection.execute('CREATE TEMPORARY TABLE entries (n int4)')
  const tx = await connection.begin()
  await tx.execute('INSERT INTO entries VALUES (1)')
  await connection.close()
  t.true(tx.isEnded)
  await t.throwsAsync(tx.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  await t.throwsAsync(tx.commit(), { instanceOf: ConnectionClosedError })
  await tx[Symbol.asyncDispose]()
  await using next = await pool.connection()
  t.is(next.transactionStatus, 'idle')
  t.is(await next.fetchVal('SELECT count(*) FROM entries'), 0n)
})

test('a transaction whose backend is gone cannot be committed, and is rolled back', async (t) => {
  const pool = await openPool(t)
  await using witness = new ServerWitness(await serverDsn())
  for (const end of ['commit', 'rollback'] as const) {
    await using connection = await pool.connection()
    const tx = await connection.begin()
    await tx.execute('SELECT 1')
    const { processId } = connection.info
    await witness.terminate(processId)
    await witness.isGone(processId)
    const ended = tx[end]()
    if (end === 'rollback') await t.notThrowsAsync(ended)
    else {
      // The server's last word, if it is read only now.
      const error = await t.throwsAsync(ended)
      t.true(
        error instanceof ConnectionClosedError ||
          (error instanceof DatabaseError && error.sqlState === '57P01'),
        String(error),
      )
    }
    t.true(tx.isEnded)
  }
})

test('a transaction that is collected without an end is rolled back, told of, and blocks nothing', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await (async () => {
    const tx = await connection.begin({ signal: new AbortController().signal, timeoutMs: 100_000 })
    await insert(tx, 1)
  })()
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionExecuteError })
  const warned = once(process, 'warning') as Promise<[Error & { code: string }]>
  const collecting = setInterval(() => globalThis.gc!(), 10)
  try {
    const [warning] = await within(warned, { what: 'the warning' })
    t.is(warning.code, 'PGLISTEN_TRANSACTION_ABANDONED')
  } finally {
    clearInterval(collecting)
  }
  t.deepEqual(await within(stored()), [])
})

test('a callback’s connection begins transactions too, and one left open is a warning', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  const warnings: string[] = []
  let kept: Transaction | undefined
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.addCallback(channel, async (connection) => {
    kept = await connection.begin()
    t.is(await kept.fetchVal('SELECT 1'), 1)
  })
  await listener.startup()
  listener.listen()
  await pool.notify(channel)
  await waitFor(() => warnings.length > 0, { what: 'the warning' })
  t.regex(warnings[0]!, /transaction/)
  t.true(kept?.isEnded)
})
