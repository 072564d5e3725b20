// A service as a container runs it: probes, and an end within the time that Kubernetes gives.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { ConnectionPool } from 'pglisten'

/** Less than `terminationGracePeriodSeconds`. */
const DEADLINE_MS = 20_000
/** A session that has answered nothing for longer than this is believed to be dead; heartbeats go out every 10 s. */
const SILENT_MS = 15_000

const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = pool.listener({ name: 'orders' })
await listener.addCallback('orders', async (connection, id) => {
  const now = await connection.fetchVal('SELECT now()')
  console.log(`order ${id} at ${now.toISOString()}`)
})

const server = createServer(({ url }, response) => {
  const { state, lastAnswerAgeMs = Infinity } = listener.health()
  const isReady = state === 'connected' && lastAnswerAgeMs < SILENT_MS
  // Not live would mean a restart, which helps nobody while the database is away.
  const codes = { '/live': 200, '/ready': isReady ? 200 : 503 }
  response.writeHead(codes[url] ?? 404).end(`${state}\n`)
})
server.listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${server.address().port}`)

const ending = new AbortController()
async function stop() {
  ending.abort()
  server.close()
  // What was received is handled; what comes later is for the pods that stay.
  await listener.shutdown({ drain: true, timeoutMs: DEADLINE_MS })
  await pool.close()
}
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void stop())

try {
  // The probes answer before the database does.
  await listener.startup({ retry: true, signal: ending.signal })
  listener.listen()
} catch (error) {
  if (!ending.signal.aborted) throw error
}
