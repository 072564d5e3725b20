// What grows while many events are published, done and trimmed: `growth.ts EVENTS VACUUM`. Prints a row of a Markdown table for each million.
//
// Four subscriptions do every event, and events are trimmed as soon as all have. Tables and indexes must not grow after the first
// million, and neither must the memory of the process.
//
// An index is as large as it ever had to be. With VACUUM `auto` that depends on how late the server's own vacuum ever came, which may be
// later at any time; with `each` it is vacuumed after each trim, and what grows then is ours.

import { ConnectionPool } from 'pglisten'
import { startServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'

const events = Number(process.argv[2])
const isVacuumedEach = process.argv[3] === 'each'
const STEP = 10_000
/** It is trimmed each so many events. */
const TRIM_EVERY = 100_000
const ROW = Math.min(1_000_000, Math.max(STEP, Math.ceil(events / 5 / STEP) * STEP))
/** So much more than after the first row anything may be at the end. */
const MAX_GROWTH = 1.05
/** What is smaller than this may have been another moment of the vacuum, or of the garbage collector. */
const NOISE_BYTES = 8 * 2 ** 20
const SUBSCRIPTIONS = ['a', 'b', 'c', 'd']

const server = await startServer({
  settings: {
    ...(isVacuumedEach ? { autovacuum: 'off' } : { autovacuum_naptime: '1s' }),
    shared_buffers: '256MB',
  },
})
const pool = new ConnectionPool({ dsn: server.dsn, maxDbPoolSize: 16 })
const ending = new AbortController()
const runs: Promise<void>[] = []
let isRight = true
try {
  await pool.durable.install()
  const done = new Map<string, number>()
  for (const name of SUBSCRIPTIONS) {
    done.set(name, 0)
    const subscription = pool.subscription(name, {
      channels: ['events'],
      from: 'beginning',
      batchSize: 1000,
      synchronousCommit: 'off',
    })
    runs.push(
      subscription.run(() => void done.set(name, done.get(name)! + 1), { signal: ending.signal }),
    )
  }
  const slowest = () => Math.min(...done.values())
  console.log(
    '| events | live rows of events | table | index of ids | index of transactions | positions | RSS | heap |\n| --- | --- | --- | --- | --- | --- | --- | --- |',
  )
  const first: number[] = []
  const last: number[] = []
  for (let published = 0; published < events;) {
    for (let row = 0; row < ROW && published < events; row += STEP) {
      await pool.execute(
        "SELECT count(pglisten.publish('events', rpad(n::text, 100, '.'), (n % 1000)::text)) FROM generate_series($1::int8, $2::int8) AS n",
        [BigInt(published + 1), BigInt(published + STEP)],
      )
      published += STEP
      await waitFor(() => slowest() >= published, {
        timeoutMs: 120_000,
        what: `${published} events`,
      })
      if (published % TRIM_EVERY !== 0) continue
      await pool.durable.trim()
      if (isVacuumedEach) await vacuum()
    }
    await vacuum()
    globalThis.gc?.()
    const sizes = await pool.fetchRow<Record<string, bigint>>(
      `SELECT (SELECT count(*) FROM pglisten.event) AS live, pg_relation_size('pglisten.event') AS "table", pg_relation_size('pglisten.event_pkey') AS ids,
         pg_relation_size('pglisten.event_xact') AS xact, pg_total_relation_size('pglisten.position') AS positions`,
    )
    const { rss, heapUsed } = process.memoryUsage()
    const bytes = [
      ...['table', 'ids', 'xact', 'positions'].map((name) => Number(sizes[name])),
      rss,
      heapUsed,
    ]
    if (first.length === 0) first.push(...bytes)
    last.splice(0, last.length, ...bytes)
    console.log(`| ${[published, sizes['live'], ...bytes.map(mib)].join(' | ')} |`)
  }
  const growth = last.map((size, index) => (size === 0 ? 0 : size / first[index]!))
  console.log(
    `last / first: ${growth.map((ratio) => ratio.toFixed(2)).join(', ')} (at most ${MAX_GROWTH})`,
  )
  if ([...done.values()].some((count) => count !== events)) {
    console.error(
      `expected ${events} events in each subscription, got ${[...done.values()].join(', ')}`,
    )
    isRight = false
  }
  isRight &&= last.every(
    (size, index) => size <= first[index]! * MAX_GROWTH || size - first[index]! <= NOISE_BYTES,
  )
} finally {
  ending.abort()
  await Promise.allSettled(runs)
  await pool.close()
  await server.stop()
}
process.exitCode = isRight ? 0 : 1

function vacuum() {
  return pool.execute('VACUUM pglisten.event, pglisten.position')
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}
