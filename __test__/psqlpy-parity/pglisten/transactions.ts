// Transactions, savepoints and pipelines.

import type { Queryable, TransactionOptions } from 'pglisten'
import { attempt, type Program } from '../port.js'

const CREATE = 'CREATE TEMPORARY TABLE numbers (n int4 PRIMARY KEY)'
const INSERT = 'INSERT INTO numbers VALUES ($1)'

async function numbers(queryable: Queryable): Promise<number[]> {
  const rows = await queryable.fetch<{ n: number }>('SELECT n FROM numbers ORDER BY n')
  return rows.map(({ n }) => n)
}

const committed: Program = async (connection, say) => {
  await connection.execute(CREATE)
  await connection.transaction(async (tx) => {
    await tx.execute(INSERT, [1])
    say('within', await numbers(tx))
  })
  say('committed', await numbers(connection))
  try {
    await connection.transaction(async (tx) => {
      await tx.execute(INSERT, [2])
      throw new RangeError('mine')
    })
  } catch (error) {
    say('the error of the body', (error as RangeError).message)
  }
  say('rolled back', await numbers(connection))
}

const failed: Program = async (connection, say) => {
  await connection.execute(CREATE)
  const outcome = await attempt(() =>
    connection.transaction(async (tx) => {
      await tx.execute(INSERT, [1])
      await attempt(() => tx.execute('SELECT 1 / 0'))
      return 'committed'
    }),
  )
  say('leaving after a failed statement', outcome)
  say('rows', await numbers(connection))
}

const byHand: Program = async (connection, say) => {
  await connection.execute(CREATE)
  const first = await connection.begin()
  await first.execute(INSERT, [1])
  await first.commit()
  say('committed', await numbers(connection))
  say('a statement behind it', await attempt(() => first.execute(INSERT, [2])))
  const second = await connection.begin()
  await second.execute(INSERT, [3])
  await second.rollback()
  say('rolled back', await numbers(connection))
}

const characteristics: Program = async (connection, say) => {
  const settings = (options?: TransactionOptions) =>
    connection.transaction(
      async (tx) => [
        await tx.fetchVal('SHOW transaction_isolation'),
        await tx.fetchVal('SHOW transaction_read_only'),
        await tx.fetchVal('SHOW transaction_deferrable'),
      ],
      options,
    )
  say('the usual', await settings())
  say('serializable', await settings({ isolationLevel: 'serializable' }))
  say('repeatable read', await settings({ isolationLevel: 'repeatableRead' }))
  say('read committed', await settings({ isolationLevel: 'readCommitted' }))
  say('read only', await settings({ readOnly: true }))
  const everything = { isolationLevel: 'serializable', readOnly: true, deferrable: true } as const
  say('all of them', await settings(everything))
}

const savepoints: Program = async (connection, say) => {
  await connection.execute(CREATE)
  await attempt(() =>
    connection.transaction(async (tx) => {
      await tx.execute(INSERT, [1])
      await tx.createSavepoint('point')
      await tx.execute(INSERT, [2])
      await tx.rollbackToSavepoint('point')
      await tx.execute(INSERT, [3])
      await tx.releaseSavepoint('point')
      say('a released one', await attempt(() => tx.rollbackToSavepoint('point')))
    }),
  )
  await connection.transaction(async (tx) => {
    await tx.createSavepoint('point')
    await attempt(() => tx.execute('SELECT 1 / 0'))
    await tx.rollbackToSavepoint('point')
    await tx.execute(INSERT, [4])
  })
  say('rows', await numbers(connection))
}

const namesOfSavepoints: Program = async (connection, say) => {
  const named = (name: string, written: string) =>
    attempt(() =>
      connection.transaction(async (tx) => {
        await tx.createSavepoint(name)
        await tx.executeBatch(`ROLLBACK TO SAVEPOINT ${written}`)
        return 'found'
      }),
    )
  say('a simple one', await named('point', 'point'))
  say('with capitals, folded', await named('MyPoint', 'mypoint'))
  say('with capitals, quoted', await named('MyPoint', '"MyPoint"'))
  say('with a blank', await named('my point', '"my point"'))
}

const nested: Program = async (connection, say) => {
  await connection.execute(CREATE)
  await attempt(() =>
    connection.transaction(async (outer) => {
      await outer.execute(INSERT, [1])
      await outer.transaction((inner) => inner.execute(INSERT, [2]))
      throw new RangeError('the outer one is undone')
    }),
  )
  say('rows', await numbers(connection))
}

const pipeline: Program = async (connection, say) => {
  await connection.execute(CREATE)
  await connection.transaction(async (tx) => {
    const results = await tx.pipeline([
      [INSERT, [1]],
      [INSERT, [2]],
      ['SELECT n FROM numbers ORDER BY n', []],
      ['SELECT $1::text AS t, $2::bool AS b', ['x', true]],
    ])
    say('results', results)
  })
  say('rows', await numbers(connection))
}

const failingPipeline: Program = async (connection, say) => {
  await connection.execute(CREATE)
  const outcome = await attempt(() =>
    connection.transaction(async (tx) => {
      const run = () =>
        tx.pipeline([
          [INSERT, [1]],
          ['SELECT 1 / 0', []],
          [INSERT, [3]],
        ])
      say('the pipeline', await attempt(run))
      return 'committed'
    }),
  )
  say('leaving the transaction', outcome)
  say('rows', await numbers(connection))
}

const inTransaction: Program = async (connection, say) => {
  say('outside', connection.inTransaction)
  await connection.transaction(async () => say('within', connection.inTransaction))
  say('behind it', connection.inTransaction)
  await connection.executeBatch('BEGIN')
  say('after a BEGIN', connection.inTransaction)
  await connection.executeBatch('ROLLBACK')
}

export const TRANSACTIONS: Record<string, Program> = {
  transaction: committed,
  'failed transaction': failed,
  'begin, commit, rollback': byHand,
  'characteristics of transactions': characteristics,
  savepoints,
  'names of savepoints': namesOfSavepoints,
  'nested transactions': nested,
  pipeline,
  'failing pipeline': failingPipeline,
  inTransaction,
}
