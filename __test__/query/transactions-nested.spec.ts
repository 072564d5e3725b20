// Nested transactions and savepoints: parts of a transaction that can be undone by themselves.

import test, { type ExecutionContext } from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionExecuteError,
  ConnectionTimeoutError,
  DatabaseError,
  TransactionBeginError,
  TransactionClosedError,
  TransactionCommitError,
  type Transaction,
} from 'pglisten'
import { connect } from '../support/connect.js'
import { occupy } from '../support/occupy.js'
import { deferred, within } from '../../lab/wait.js'

async function withTable(t: ExecutionContext) {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE entries (n int4)')
  const insert = (tx: Transaction, n: number) => tx.execute('INSERT INTO entries VALUES ($1)', [n])
  const stored = () =>
    connection.fetchVal<number[]>("SELECT coalesce(array_agg(n ORDER BY n), '{}') FROM entries")
  return { connection, insert, stored }
}

const SLEEP = 'SELECT pg_sleep(60)'

test('what resolves is kept, what rejects is undone alone', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const result = await connection.transaction(async (tx) => {
    await insert(tx, 1)
    t.is(await tx.transaction((inner) => insert(inner, 2).then(() => 'kept')), 'kept')
    await t.throwsAsync(
      tx.transaction(async (inner) => {
        await insert(inner, 3)
        throw new Error('changed my mind')
      }),
      { message: 'changed my mind' },
    )
    await t.throwsAsync(
      tx.savepoint(async (inner) => {
        await insert(inner, 4)
        await inner.execute('SELECT 1 / 0')
      }),
      { instanceOf: DatabaseError },
    )
    await insert(tx, 5)
    t.is(await tx.savepoint(() => 'at once'), 'at once')
    return 'done'
  })
  t.is(result, 'done')
  t.deepEqual(await stored(), [1, 2, 5])
})

test('nesting is as deep as one likes, and each level is undone by itself', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const depth = 50
  const nest = async (tx: Transaction, level: number): Promise<void> => {
    await insert(tx, level)
    if (level === depth) return
    await tx.transaction((inner) => nest(inner, level + 1))
    await t.throwsAsync(
      tx.transaction(async (inner) => {
        await insert(inner, -level)
        throw new Error('undone')
      }),
    )
  }
  await connection.transaction((tx) => nest(tx, 1))
  t.deepEqual(
    await stored(),
    Array.from({ length: depth }, (_, level) => level + 1),
  )
})

test('the end of the outer one decides on the inner one', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.transaction((inner) => insert(inner, 1))
      throw new Error('undone')
    }),
  )
  await using tx = await connection.begin()
  await tx.transaction((inner) => insert(inner, 2))
  await tx.commit()
  t.deepEqual(await stored(), [2])
})

test('a failure that work hides is not taken for success, and the outer one goes on', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    await t.throwsAsync(
      tx.transaction(async (inner) => {
        await insert(inner, 1)
        await inner.execute('SELECT 1 / 0').catch(() => {})
      }),
      { instanceOf: TransactionCommitError, message: /nested transaction/ },
    )
    t.is(connection.transactionStatus, 'active')
    await insert(tx, 2)
  })
  t.deepEqual(await stored(), [2])
})

test('a nested transaction may be ended by its work', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    await tx.transaction(async (inner) => {
      await insert(inner, 1)
      await inner.commit()
      t.true(inner.isEnded)
      await t.throwsAsync(insert(inner, 2), { instanceOf: TransactionClosedError })
      await insert(tx, 3)
    })
    await tx.transaction(async (inner) => {
      await insert(inner, 4)
      await inner.rollback()
      await t.throwsAsync(inner.commit(), { instanceOf: TransactionClosedError })
      await insert(tx, 5)
    })
  })
  t.deepEqual(await stored(), [1, 3, 5])
})

test('two at the same time are refused, and so is whatever the outer one runs meanwhile', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    const [first, second] = await Promise.allSettled([
      tx.transaction((inner) => insert(inner, 1)),
      tx.transaction((inner) => insert(inner, 2)),
    ])
    t.is(first.status, 'fulfilled')
    t.true(second.status === 'rejected' && second.reason instanceof TransactionBeginError)
    await tx.transaction(async (inner) => {
      for (const refused of [
        () => insert(tx, 3),
        () => tx.executeBatch('SELECT 1'),
        () => tx.createSavepoint('meanwhile'),
        () => tx.commit(),
      ]) {
        await t.throwsAsync(refused(), {
          instanceOf: ConnectionExecuteError,
          message: /run its statements on the nested one/,
        })
      }
      await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionExecuteError })
      await insert(inner, 4)
    })
    t.false(tx.isEnded)
    await insert(tx, 5)
  })
  t.deepEqual(await stored(), [1, 4, 5])
})

test('a nested transaction that is not awaited is not committed by half', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const gate = deferred()
  let inner: Promise<unknown> | undefined
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await insert(tx, 1)
      inner = tx.transaction(async (nested) => {
        await insert(nested, 2)
        await gate.promise
      })
      inner.catch(() => {})
      return 'too early'
    }),
    { instanceOf: TransactionCommitError, message: /still open/ },
  )
  await t.throwsAsync(inner!, { instanceOf: TransactionCommitError })
  gate.resolve()
  t.deepEqual(await stored(), [])
})

test('the end of the outer one ends what is open in it', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const tx = await connection.begin()
  await insert(tx, 1)
  let deep: Transaction | undefined
  const inside = deferred()
  const running = tx.transaction((inner) =>
    inner.transaction(async (deeper) => {
      deep = deeper
      await insert(deeper, 2)
      inside.resolve()
      await new Promise(() => {})
    }),
  )
  running.catch(() => {})
  await within(inside.promise)
  await within(tx.rollback())
  await t.throwsAsync(within(running), { instanceOf: TransactionClosedError })
  t.true(deep?.isEnded)
  await t.throwsAsync(insert(deep!, 3), { instanceOf: TransactionClosedError })
  t.deepEqual(await stored(), [])
})

test('a bound of a nested transaction undoes that alone', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    await insert(tx, 1)
    await t.throwsAsync(
      within(
        tx.transaction(
          async (inner) => {
            await insert(inner, 2)
            await inner.execute(SLEEP)
          },
          { timeoutMs: 100 },
        ),
      ),
      { instanceOf: ConnectionTimeoutError },
    )
    await insert(tx, 3)
    const abort = new AbortController()
    const reason = new Error('no longer wanted')
    const aborted = tx.transaction(
      async (inner) => {
        await insert(inner, 4)
        const sleeping = inner.execute(SLEEP)
        abort.abort(reason)
        await sleeping
      },
      { signal: abort.signal },
    )
    t.is(await t.throwsAsync(within(aborted)), reason)
    // Its work goes on, and is not waited for.
    const late = tx.transaction(() => new Promise(() => {}), { timeoutMs: 50 })
    await t.throwsAsync(within(late), { instanceOf: ConnectionTimeoutError })
    await insert(tx, 5)
  })
  t.deepEqual(await stored(), [1, 3, 5])
})

test('a bound is kept while the savepoint waits for its turn, and costs the outer one nothing', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    const release = await occupy(tx)
    const late = tx.transaction((inner) => insert(inner, 1), { timeoutMs: 50 })
    await t.throwsAsync(within(late), { instanceOf: ConnectionTimeoutError })
    t.is(connection.transactionStatus, 'active')
    await release()
    await insert(tx, 2)
  })
  t.deepEqual(await stored(), [2])
})

test('a cancellation never hits the savepoint, whenever it comes', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    for (let turn = 0; turn < 100; turn += 1) {
      await tx
        .transaction((inner) => inner.execute('SELECT pg_sleep(0.004)'), { timeoutMs: turn % 8 })
        .catch((error: unknown) => {
          if (!(error instanceof ConnectionTimeoutError)) throw error
        })
      t.is(connection.transactionStatus, 'active')
    }
    await insert(tx, 1)
  })
  t.deepEqual(await stored(), [1])
})

test('a bound of the outer one ends both, with one error', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  let inner: Promise<unknown> | undefined
  const outer = connection.transaction(
    async (tx) => {
      await insert(tx, 1)
      inner = tx.transaction(
        async (nested) => {
          await insert(nested, 2)
          await nested.execute(SLEEP)
        },
        { timeoutMs: 60_000 },
      )
      await inner
    },
    { timeoutMs: 2000 },
  )
  const error = await t.throwsAsync(within(outer), { instanceOf: ConnectionTimeoutError })
  t.regex(error.message, /2000 ms/)
  t.is(await t.throwsAsync(inner!), error)
  t.deepEqual(await stored(), [])
})

test('savepoints have names of any kind, and are told apart', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  const names = ['MyPoint', 'mypoint', 'a"b', '"', '; DROP TABLE entries; --', "'", '$$', 'select']
  names.push('point', 'é'.repeat(31), 'x'.repeat(63), '\n', '\\', 'pglisten_1')
  await connection.transaction(async (tx) => {
    for (const [index, name] of names.entries()) {
      await tx.createSavepoint(name)
      await insert(tx, index)
    }
    for (const [index, name] of [...names.entries()].toReversed()) {
      await tx.rollbackToSavepoint(name)
      const left = await tx.fetchVal<bigint>('SELECT count(*) FROM entries')
      t.is(left, BigInt(index), name)
      await tx.releaseSavepoint(name)
    }
    await insert(tx, 100)
  })
  t.deepEqual(await stored(), [100])
})

test('names that no savepoint can have are refused before anything is sent', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    for (const name of ['', 'a\0b', 'x'.repeat(64), `${'é'.repeat(31)}xx`, 'a\uD800']) {
      for (const call of ['createSavepoint', 'rollbackToSavepoint', 'releaseSavepoint'] as const) {
        await t.throwsAsync(tx[call](name), { instanceOf: ArgumentRangeError })
      }
    }
    await t.throwsAsync(tx.createSavepoint(7 as never), { instanceOf: ArgumentTypeError })
    await t.throwsAsync(tx.createSavepoint('x', { timeout: 1 } as never), {
      instanceOf: ArgumentTypeError,
    })
    await insert(tx, 1)
  })
  t.deepEqual(await stored(), [1])
})

test('a savepoint brings a failed transaction back', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    await insert(tx, 1)
    await tx.createSavepoint('before')
    await insert(tx, 2)
    await t.throwsAsync(tx.execute('SELECT 1 / 0'))
    await t.throwsAsync(
      tx.transaction(() => t.fail()),
      { instanceOf: DatabaseError },
    )
    await tx.rollbackToSavepoint('before')
    await insert(tx, 3)
    await tx.releaseSavepoint('before')
    await t.throwsAsync(tx.rollbackToSavepoint('before'), { instanceOf: DatabaseError })
    await tx.rollback()
  })
  t.deepEqual(await stored(), [])
})

test('a nested transaction that a statement has ended is not taken for kept', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.createSavepoint('before')
      const ended = tx.transaction(async (inner) => {
        await insert(inner, 1)
        await inner.rollbackToSavepoint('before')
      })
      await t.throwsAsync(ended, { instanceOf: TransactionClosedError, message: /nested/ })
      t.is(connection.transactionStatus, 'failed')
    }),
    { instanceOf: TransactionCommitError },
  )
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await t.throwsAsync(
        tx.transaction((inner) => inner.execute('ROLLBACK')),
        { instanceOf: TransactionClosedError },
      )
    }),
    { instanceOf: TransactionClosedError },
  )
  t.deepEqual(await stored(), [])
})

test('a savepoint of the user is none of those of nested transactions', async (t) => {
  const { connection, insert, stored } = await withTable(t)
  await connection.transaction(async (tx) => {
    await insert(tx, 1)
    await t.throwsAsync(
      tx.transaction(async (nested) => {
        await insert(nested, 2)
        // Names that such a savepoint might have.
        for (const name of ['pglisten_1', 'pglisten_2', 'pglisten_part', 'pglisten_many']) {
          await nested.createSavepoint(name)
          await insert(nested, 3)
        }
        throw new Error('undone')
      }),
      { message: 'undone' },
    )
    await tx.transaction(async (nested) => {
      await nested.createSavepoint('pglisten_1')
      await insert(nested, 4)
      await nested.rollbackToSavepoint('pglisten_1')
      await insert(nested, 5)
    })
    for (const call of ['createSavepoint', 'rollbackToSavepoint', 'releaseSavepoint'] as const)
      await t.throwsAsync(tx[call]('pglisten:1'), { instanceOf: ArgumentRangeError })
  })
  t.deepEqual(await stored(), [1, 5])
})
