// Cursors whose network is gone behind a batch: their end is bounded.

import test from 'ava'
import { ConnectionClosedError, ConnectionPool } from 'pglisten'
import { startProxy } from '../../../lab/network/proxy.js'
import { within } from '../../../lab/wait.js'

const NUMBERS = 'SELECT n FROM generate_series(1, 100) AS n'
/** The longest time of the end of a transaction, and some more for a machine that is busy. */
const END_MS = 9000

const fail = () => {
  throw new RangeError('mine')
}

for (const how of ['closed', 'left', 'failed'] as const) {
  test(`a cursor that is ${how} while the network is gone ends in time`, async (t) => {
    const proxy = await startProxy(t)
    const pool = new ConnectionPool({ dsn: proxy.dsn, maxDbPoolSize: 1 })
    t.teardown(() => pool.close({ timeoutMs: 0 }))
    const connection = await pool.connection()
    const options = { batchSize: 10, columns: how === 'failed' ? { n: fail } : {} }
    const cursor = connection.cursor(NUMBERS, [], options)
    const bound = { timeoutMs: END_MS, what: 'the end of the cursor' }
    if (how === 'left') {
      const ended = async () => {
        for await (const _ of cursor) {
          proxy.silence()
          break
        }
      }
      await t.throwsAsync(within(ended(), bound), { instanceOf: ConnectionClosedError })
    } else if (how === 'closed') {
      await cursor.fetch()
      proxy.silence()
      await t.throwsAsync(within(cursor.close(), bound), { instanceOf: ConnectionClosedError })
    } else {
      await t.throwsAsync(cursor.fetch(), { message: 'mine' })
      proxy.silence()
      await within(cursor.close(), bound)
    }
    await connection.close()
    // New connections work.
    const next = await pool.connection()
    t.is(await next.fetchVal('SELECT 1'), 1)
    await next.close()
  })
}

test('a cursor of a transaction ends in time while the network is gone', async (t) => {
  const proxy = await startProxy(t)
  const pool = new ConnectionPool({ dsn: proxy.dsn, maxDbPoolSize: 1 })
  t.teardown(() => pool.close({ timeoutMs: 0 }))
  const connection = await pool.connection()
  await t.throwsAsync(
    within(
      connection.transaction(async (tx) => {
        await using cursor = tx.cursor(NUMBERS, [], { batchSize: 10 })
        await cursor.fetch()
        proxy.silence()
      }),
      { timeoutMs: END_MS, what: 'the end of the transaction' },
    ),
    { instanceOf: ConnectionClosedError },
  )
  await connection.close()
})
