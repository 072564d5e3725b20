// `npm run volume`: a cursor over 10,000,000 rows, and COPY of 5 GB both ways. Prints by how much the memory of the process grows, and
// for how long its event loop is held up. `-- --share 0.01` takes a hundredth of that. Ends with 1 when a limit is passed.

import { createRequire } from 'node:module'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { startServer } from '../lab/server/dev-server.mjs'

const { ConnectionPool } = createRequire(import.meta.url)('pglisten')

const ROWS = 10_000_000
const BYTES = 5e9
const LINE = `${'x'.repeat(990)}\n`
const MAX_GROWTH_MIB = 64
const MAX_DELAY_MS = 20

const { values } = parseArgs({ options: { share: { type: 'string', default: '1' } } })
const share = Number(values.share)
if (!(share > 0 && share <= 1)) throw new Error(`Expected --share from 0 to 1, got ${values.share}`)

const rows = Math.round(ROWS * share)
const lines = Math.round((BYTES * share) / LINE.length)
let failed = false

/** Runs work, and prints what it costs. @param {string} what @param {() => Promise<number>} work */
async function measured(what, work) {
  globalThis.gc?.()
  const before = process.memoryUsage.rss()
  let most = before
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 20)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const began = performance.now()
  const count = await work()
  const seconds = (performance.now() - began) / 1000
  delay.disable()
  clearInterval(timer)
  const growth = (most - before) / 2 ** 20
  const longest = delay.max / 1e6
  failed ||= growth > MAX_GROWTH_MIB || longest > MAX_DELAY_MS
  console.log(
    `${what}: ${count} in ${seconds.toFixed(1)} s, memory +${growth.toFixed(0)} MiB, longest delay of the loop ${longest.toFixed(1)} ms`,
  )
}

const server = await startServer({ settings: { max_wal_size: '8GB' } })
const pool = new ConnectionPool(server.dsn)
const connection = await pool.connection()
try {
  // What is loaded and compiled at the first use is not counted.
  for await (const _ of connection.cursor('SELECT n FROM generate_series(1, 20000) AS n')) continue
  await measured('cursor, rows', async () => {
    const cursor = connection.cursor(
      `SELECT n, 'row ' || n AS t, n / 7.0::float8 AS f FROM generate_series(1, ${rows}) AS n`,
    )
    let count = 0
    for await (const row of cursor) count += row.n > 0 ? 1 : 0
    return count
  })
  await measured('COPY to us, bytes', async () => {
    let bytes = 0
    const text = LINE.slice(0, -1)
    for await (const chunk of connection.copyTo(
      `COPY (SELECT '${text}' FROM generate_series(1, ${lines})) TO STDOUT`,
    )) {
      bytes += chunk.length
    }
    return bytes
  })
  await connection.execute('CREATE UNLOGGED TABLE volume (t text)')
  await measured('COPY from us, rows', async () => {
    const chunk = Buffer.from(LINE.repeat(100))
    function* chunks() {
      for (let sent = 0; sent < lines; sent += 100)
        yield chunk.subarray(0, Math.min(100, lines - sent) * LINE.length)
    }
    return connection.copyFrom('COPY volume FROM STDIN', chunks())
  })
} finally {
  await connection.close()
  await pool.close()
  await server.stop()
}
process.exit(failed ? 1 : 0)
