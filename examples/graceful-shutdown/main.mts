// A consumer that a deployment may end at any time: it finishes what it has been given, within a deadline.

import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool } from 'pglisten'

/** A supervisor kills after its own grace period (Kubernetes: 30 s), so be done before. */
const DEADLINE_MS = Number(process.env['DEADLINE_MS'] ?? 10_000)
/** How long the work of this example takes for each notification, in milliseconds. */
const WORK_MS = Number(process.env['WORK_MS'] ?? 50)

const pool = new ConnectionPool(process.env['DATABASE_URL'])
const listener = pool.listener()
let handled = 0
let isEnding = false

await listener.addCallback('work', async (_connection, payload) => {
  await sleep(WORK_MS)
  handled += 1
  console.log(`handled ${payload}`)
})

async function shutDown(): Promise<void> {
  isEnding = true
  console.log('shutting down')
  // From here on nothing new is taken; what was received before is still handed out.
  await listener.shutdown({ drain: true, timeoutMs: DEADLINE_MS })
  const left = listener.stats().received - handled
  console.log(`handled ${handled} in all, ${left} left`)
  await pool.close()
  // What is left was in time to be known, not to be done. A supervisor may want to know too.
  process.exit(left === 0 ? 0 : 1)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    // Who asks twice does not want to wait.
    process.once(signal, () => process.exit(1))
    void shutDown()
  })
}

try {
  await listener.startup()
  listener.listen()
  console.log('ready')
} catch (error) {
  // The end that came while it was connecting.
  if (!isEnding) throw error
}
