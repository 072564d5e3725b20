// Moves many listeners from the session that they share to sessions of their own, while notifications come in, and checks what each
// has heard: every number once, in order, and no gap. Prints what it saw.
//
//     node lab/move-under-load.mjs [--listeners 200] [--rate 20000]

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ConnectionPool } from 'pglisten'
import { startServer } from './server/dev-server.mjs'

const { values } = parseArgs({
  options: {
    listeners: { type: 'string', default: '200' },
    rate: { type: 'string', default: '20000' },
  },
})
const count = Number(values.listeners)
const rate = Number(values.rate)
/** How often notifications are sent, in milliseconds: each commit wakes every session. */
const INTERVAL_MS = 50

const server = await startServer({ settings: { max_connections: count + 50 } })
const pool = new ConnectionPool({ dsn: server.dsn, maxDbPoolSize: 4 })
/** The last number of each, and what was wrong. */
const last = new Int32Array(count)
let wrong = 0
let gaps = 0
let delivered = 0
const listeners = Array.from({ length: count }, () => pool.listener())
for (const [index, listener] of listeners.entries()) {
  await listener.addCallback(`move_${index}`, (_, payload) => {
    delivered += 1
    if (Number(payload) !== (last[index] ?? 0) + 1) wrong += 1
    last[index] = Number(payload)
  })
  listener.on('gap', () => (gaps += 1))
}
await Promise.all(listeners.map((listener) => listener.startup()))
for (const listener of listeners) listener.listen()
const sessions = () => new Set(listeners.map((it) => it.stats().session?.processId)).size
const before = sessions()

let sent = 0
const sending = new AbortController()
const from = performance.now()
const sender = (async () => {
  const connection = await pool.connection()
  while (!sending.signal.aborted) {
    // A whole round over all channels, so that each number is one for every listener.
    const due = Math.floor(((performance.now() - from) / 1000) * (rate / count))
    if (due > sent) {
      await connection.execute(
        `SELECT pg_notify('move_' || listener, number::text)
         FROM generate_series($1::int, $2::int) AS number, generate_series(0, $3::int) AS listener`,
        [sent + 1, due, count - 1],
      )
      sent = due
    }
    await sleep(INTERVAL_MS)
  }
  await connection.close()
})()

await sleep(1000)
const began = performance.now()
const atBegin = sent
// As many at a time as a program would.
const queue = [...listeners]
await Promise.all(
  Array.from({ length: 8 }, async () => {
    for (let one = queue.pop(); one; one = queue.pop()) await one.connection.fetchVal('SELECT 1')
  }),
)
const tookMs = performance.now() - began
const during = ((sent - atBegin) * count) / (tookMs / 1000)
await sleep(1000)
sending.abort()
await sender
await Promise.all(listeners.map((listener) => listener.sync()))
const missing = last.reduce((total, number) => total + (sent - number), 0)
console.log(
  `${count} listeners moved from ${before} to ${sessions()} sessions in ${tookMs.toFixed(0)} ms, while ${during.toFixed(0)} ` +
    `notifications a second came in: ${delivered} of ${sent * count} delivered, ${missing} missing, ${wrong} out of order or twice, ${gaps} gaps`,
)
const isExact = delivered === sent * count && missing === 0 && wrong === 0 && gaps === 0
await pool.close()
await server.stop()
process.exit(isExact ? 0 : 1)
