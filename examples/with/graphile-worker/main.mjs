// graphile-worker without a loop of its own: it runs what is due when pglisten hears of a job, and once a minute.

import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, makeWorkerUtils, runOnce } from 'graphile-worker'
import pg from 'pg'
import { ConnectionPool } from 'pglisten'

/** Finds what no notification tells of: jobs that fall due later, and those that are tried again. */
const POLL_MS = Number(process.env.POLL_MS ?? 60_000)

const RETRY_MS = 1000

const pgPool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
// Both are asked for by graphile-worker: connections that are lost while idle, and while it has them.
pgPool.on('error', (error) => console.error(error.message))
pgPool.on('connect', (client) => client.on('error', (error) => console.error(error.message)))
const logger = new Logger(() => (level, message) => {
  if (level === 'error') console.error(message)
})
const options = {
  ...{ pgPool, logger, noHandleSignals: true, concurrency: 5 },
  taskList: {
    mail: async ({ to }) => console.log(`mail to ${to}`),
  },
}
const utils = await makeWorkerUtils({ pgPool, logger })
await utils.migrate() // makes its schema, unless it is there

let isEnding = false
let isWanted = false
let working = Promise.resolve()
let isWorking = false
/** One run at a time; whatever comes during it is another run, whose jobs it may not have seen. */
function wake() {
  isWanted = true
  if (isWorking) return
  isWorking = true
  working = work().finally(() => (isWorking = false))
}
async function work() {
  while (isWanted) {
    isWanted = false
    try {
      await runOnce(options)
    } catch (error) {
      // The session may be lost. Whoever was woken for a job does not forget it.
      console.error(error.message)
      await sleep(RETRY_MS)
      isWanted = !isEnding
    }
  }
}

const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = await pool.listen({ 'jobs:insert': wake }, { retry: true })
listener.addGapCallback(wake) // jobs may have been added that nobody told of
const poll = setInterval(wake, POLL_MS)
wake()
console.log('ready')

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    isEnding = true
    clearInterval(poll)
    await pool.close()
    await working // the jobs at hand are finished
    await utils.release()
    await pgPool.end()
  })
