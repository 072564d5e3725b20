// Cursors.

import { attempt, type Program } from '../port.js'

const TEN = 'SELECT n FROM generate_series(1, 10) AS n'

const cursor: Program = (connection, say) =>
  connection.transaction(async (tx) => {
    const rows: unknown[] = []
    for await (const row of tx.cursor(TEN, [], { batchSize: 3 })) rows.push(row)
    say('rows', rows)
    const sizes: number[] = []
    const batches = tx.cursor(TEN, [], { batchSize: 3 }).batches()
    for await (const batch of batches) sizes.push(batch.length)
    say('sizes of batches', sizes)
    const list = tx.cursor('SELECT $1::text || $2 AS t', ['a', 'b'])
    say('with parameters', await list.fetch(10))
    await list.close()
    const mapping = tx.cursor('SELECT $(t)p::text AS t', { t: 'a' })
    say('with names', await mapping.fetch(10))
    await mapping.close()
  })

const fetching: Program = (connection, say) =>
  connection.transaction(async (tx) => {
    const cursor = tx.cursor(TEN)
    say('one', await cursor.fetch(1))
    say('three', await cursor.fetch(3))
    say('the rest', await cursor.fetch(100))
    say('at the end', await cursor.fetch(5))
    await cursor.close()
  })

const ofWrites: Program = async (connection, say) => {
  await connection.execute('CREATE TEMPORARY TABLE numbers (n int4)')
  await connection.transaction(async (tx) => {
    const cursor = tx.cursor('INSERT INTO numbers VALUES (1), (2) RETURNING n')
    say('rows', await cursor.fetch(10))
    await cursor.close()
  })
}

const failing: Program = async (connection, say) => {
  const outcome = await attempt(() =>
    connection.transaction(async (tx) => {
      const cursor = tx.cursor('SELECT 1 / (n - 2) FROM generate_series(1, 3) AS n')
      return cursor.fetch(100)
    }),
  )
  say('a row that fails', outcome)
  say('the connection behind it', await attempt(() => connection.fetchVal('SELECT 1')))
}

const withinTransaction: Program = async (connection, say) => {
  await connection.execute('CREATE TEMPORARY TABLE numbers (n int4)')
  await attempt(() =>
    connection.transaction(async (tx) => {
      await tx.execute('INSERT INTO numbers VALUES (1)')
      const cursor = tx.cursor(TEN)
      await cursor.fetch(1)
      await cursor.close()
      await tx.execute('INSERT INTO numbers VALUES (2)')
    }),
  )
  const rows = await connection.fetch('SELECT n FROM numbers ORDER BY n')
  say('rows around a closed cursor', rows)
}

const ofConnection: Program = async (connection, say) => {
  const rows: unknown[] = []
  for await (const row of connection.cursor(TEN, [], { batchSize: 4 })) rows.push(row)
  say('rows', rows)
  say('the connection behind it', await connection.fetchVal('SELECT 1'))
}

export const CURSORS: Record<string, Program> = {
  cursor,
  'fetching from a cursor': fetching,
  'cursor of an INSERT': ofWrites,
  'failing cursor': failing,
  'cursor within a transaction': withinTransaction,
  'cursor of a connection': ofConnection,
}
