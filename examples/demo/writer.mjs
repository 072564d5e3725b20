// The writing process: concurrent clients, transactions of several sizes, and now and then a rollback.
//
// It gets its task as a message, not as arguments: arguments can be read by every user of the machine.

import { ConnectionPool } from 'pglisten'

/** @typedef {{ dsn: string, schema: string, rows: number, clients: number }} Task */

const TRANSACTION_SIZES = [1, 1, 1, 2, 5, 10, 50, 100, 500]
const ROLLBACK_SHARE = 0.05
const ITEMS = ['apple', 'bread', 'coffee', 'dates', 'éclair', 'figs']

class OnPurpose extends Error {}

/** @template T @param {readonly T[]} list @returns {T} */
const anyOf = (list) => /** @type {T} */ (list[Math.floor(Math.random() * list.length)])

const stopping = new AbortController()
const stop = () => stopping.abort()

/** @param {Task} task */
async function write({ dsn, schema, rows, clients }) {
  const pool = new ConnectionPool({
    dsn,
    maxDbPoolSize: clients,
    applicationName: 'pglisten demo writer',
  })
  let left = rows
  let committed = 0

  /** @param {number} client */
  async function work(client) {
    const connection = await pool.connection()
    /** @type {bigint[]} */
    const own = []
    while (left > 0 && !stopping.signal.aborted) {
      const size = Math.min(anyOf(TRANSACTION_SIZES), left)
      const rollback = Math.random() < ROLLBACK_SHARE
      if (!rollback) left -= size
      const updates = own.length === 0 ? 0 : Math.min(own.length, Math.floor(size / 3))
      const inserts = size - updates
      try {
        const ids = await connection.transaction(async (tx) => {
          const inserted = await tx.execute(
            `INSERT INTO ${schema}.orders (client, item, quantity)
               SELECT $1::int, $2::text, quantity FROM generate_series(1, $3::int) AS quantity RETURNING id`,
            [client, anyOf(ITEMS), inserts],
          )
          if (updates > 0) {
            const changed = own.slice(-updates)
            await tx.execute(
              `UPDATE ${schema}.orders SET revision = revision + 1 WHERE id = ANY($1::bigint[])`,
              [changed],
            )
          }
          if (rollback) throw new OnPurpose()
          return inserted.map((row) => /** @type {bigint} */ (row['id']))
        })
        committed += size
        own.push(...ids)
        if (own.length > 5000) own.splice(0, own.length - 1000)
        process.send?.({ committed })
      } catch (error) {
        if (!(error instanceof OnPurpose)) throw error
      }
    }
    await connection.close()
  }

  try {
    await Promise.all(Array.from({ length: clients }, (_, client) => work(client)))
  } finally {
    stop()
    await pool.close()
  }
}

// The terminal's Ctrl-C reaches us too, but the demo decides when we stop.
process.on('SIGINT', () => {})
process.once('SIGTERM', stop)
process.once('disconnect', stop)
process.once('message', (/** @type {Task} */ task) => {
  write(task).then(
    () => process.disconnect?.(),
    (/** @type {Error} */ error) => {
      console.error(`The writer failed: ${error.message}`)
      process.exitCode = 1
      process.disconnect?.()
    },
  )
})
