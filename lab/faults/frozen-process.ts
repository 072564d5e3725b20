// A listener's process that is frozen (SIGSTOP) with notifications under way: after how long the server is rid of it.
//
//   node --import=tsx lab/faults/frozen-process.ts

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ConnectionPool, type Gap } from 'pglisten'
import { tied } from '../child.js'
import { startServer } from '../server/dev-server.mjs'
import { waitFor } from '../wait.js'
import { LONG, ServerWitness } from '../witness.js'

const SELF = fileURLToPath(import.meta.url)
const NAME = 'frozen'
const DEADLINE_MS = 120_000

async function runChild(dsn: string): Promise<void> {
  const pool = new ConnectionPool({ dsn, applicationName: NAME })
  const listener = pool.listener({ channels: ['flood'] })
  await listener.startup()
  listener.on('gap', (gap) => process.send!(gap))
  process.send!('ready')
}

async function main(): Promise<void> {
  const server = await startServer()
  const witness = new ServerWitness(server.dsn)
  const child = tied(fork(SELF, [server.dsn], { execArgv: ['--import=tsx'] }))
  try {
    const look = () =>
      witness.row<{ sessions: number; blocked: number; pinned: number; usage: number }>(
        `SELECT count(*)::int4 AS sessions,
           count(*) FILTER (WHERE wait_event = 'ClientWrite')::int4 AS blocked,
           count(backend_xmin)::int4 AS pinned, pg_notification_queue_usage() AS usage
         FROM pg_stat_activity WHERE application_name = '${NAME}'`,
      )
    await once(child, 'message')
    child.kill('SIGSTOP')
    // More than the buffers of both sockets take.
    await witness.flood('flood', 1, 4000, { width: LONG })
    const blocked = await waitFor(async () => {
      const seen = await look()
      return seen.blocked > 0 && seen
    })
    const from = performance.now()
    console.log('the session of the frozen process', blocked)
    await waitFor(
      async () => {
        await sleep(100)
        return (await look()).sessions === 0
      },
      { timeoutMs: DEADLINE_MS, what: 'the server to give the session up' },
    )
    console.log(`given up after ${((performance.now() - from) / 1000).toFixed(1)} s`)
    console.log('what is left of it', await look())
    child.kill('SIGCONT')
    const continued = performance.now()
    const [gap] = (await once(child, 'message')) as [Gap]
    console.log(`back ${Math.round(performance.now() - continued)} ms after it went on, with`, gap)
  } finally {
    child.kill('SIGKILL')
    await witness.close()
    await server.stop('immediate')
  }
}

const [, , dsn] = process.argv
await (dsn === undefined ? main() : runChild(dsn))
