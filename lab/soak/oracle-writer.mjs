// The writing process of the oracle: several writers commit numbered rows and notify them in the same transaction.
//
// It connects to the server itself, whatever stands between the server and the listener, and outlives its restarts.

import { ConnectionPool } from 'pglisten'
import { randomNumbers } from '../random.mjs'

/**
 * @typedef {object} Task
 * @property {string} dsn
 * @property {string} table
 * @property {string[]} channels
 * @property {number} writers
 * @property {number} seed
 *
 * @typedef {{ type: 'burst', rows: number } | { type: 'stop' }} Order
 */

const MAX_TRANSACTION = 8
const MAX_PADDING = 600
const PAUSE_MS = 12
const BURST_TRANSACTION = 100

/** @type {import('./oracle.js').Commit[]} */
let commits = []
let burst = 0
const stopping = new AbortController()

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** @param {Task} task */
async function work({ dsn, table, channels, writers, seed }) {
  const pool = new ConnectionPool({
    dsn,
    maxDbPoolSize: writers,
    connectTimeoutSec: 2,
    applicationName: 'oracle writer',
  })
  // A number goes to the channel that it says itself, so that one that came by another would be seen.
  const sql = `
    WITH written AS (
      INSERT INTO ${table} (writer, n) SELECT $1::int4, n FROM generate_series($2::int4, $3::int4) AS n
      RETURNING writer, n)
    SELECT count(pg_notify(($5::text[])[1 + n % ${channels.length}],
                           concat(writer, ':', n, ':', repeat('x', (n * 37) % $4::int4))))
      FROM (SELECT * FROM written ORDER BY n) AS numbered`

  /** @param {number} writer */
  async function write(writer) {
    const next = randomNumbers(seed + writer)
    let from = 1
    while (!stopping.signal.aborted) {
      const wanted = burst > 0 ? BURST_TRANSACTION : 1 + Math.floor(next() * MAX_TRANSACTION)
      if (burst > 0) burst -= wanted
      await pause(next() * 2 * PAUSE_MS)
      const to = from + wanted - 1
      from = to + 1
      if (await commit(writer, to - wanted + 1, to, Math.floor(next() * MAX_PADDING))) continue
      // A server that is away needs no storm of attempts.
      await pause(50)
    }
  }

  /** Whether a transaction that failed was committed, the table knows. @param {[number, number, number, number]} row */
  async function commit(...[writer, from, to, padding]) {
    const connection = await pool.connection().catch(() => undefined)
    if (connection === undefined) return false
    const sentAt = Date.now()
    try {
      await connection.execute(sql, [writer, from, to, 1 + padding, channels])
      return true
    } catch {
      return false
    } finally {
      commits.push({ writer, from, to, sentAt, overAt: Date.now() })
      await connection.close()
    }
  }

  try {
    await Promise.all(Array.from({ length: writers }, (_, index) => write(index + 1)))
  } finally {
    report()
    await pool.close()
  }
}

function report() {
  if (commits.length > 0 && process.connected) process.send?.({ commits })
  commits = []
}

const stop = () => stopping.abort()
// The terminal's Ctrl-C reaches us too, but whoever started us decides when we stop.
process.on('SIGINT', () => {})
process.once('disconnect', stop)
process.once('message', (/** @type {Task} */ task) => {
  const reports = setInterval(report, 250)
  process.on('message', (/** @type {Order} */ order) => {
    if (order.type === 'burst') burst += order.rows
    else stop()
  })
  work(task).then(
    () => {
      clearInterval(reports)
      if (process.connected) process.disconnect()
    },
    (/** @type {Error} */ error) => {
      console.error(`The oracle's writer failed: ${error.message}`)
      process.exit(1)
    },
  )
})
