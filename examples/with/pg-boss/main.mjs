// pg-boss woken by pglisten: the listening session that the process has anyway tells of new jobs, and pg-boss polls rarely.

import { createHash } from 'node:crypto'
import { PgBoss } from 'pg-boss'
import { ConnectionPool } from 'pglisten'

const QUEUE = 'mail'
/** pg-boss names its channel after its schema, `pgboss`; the payload is the name of the queue. */
const CHANNEL = `pgboss_${createHash('sha224').update('pgboss').digest('hex').slice(0, 24)}`
/** Finds what no notification tells of: jobs that fall due later, and those that are tried again. */
const POLL_SECONDS = Number(process.env.POLL_SECONDS ?? 60)

const RETRY_MS = 1000

const boss = new PgBoss(process.env.DATABASE_URL)
/** @type {string | undefined} */
let worker
const wake = () => worker && boss.notifyWorker(worker)
boss.on('error', (error) => {
  console.error(String(error))
  // The session may be lost. Whoever was woken for a job does not forget it.
  setTimeout(wake, RETRY_MS).unref()
})
await boss.start()
// Whoever sends to a queue with `notify` notifies in the same transaction.
await boss.createQueue(QUEUE, { notify: true })

worker = await boss.work(QUEUE, { pollingIntervalSeconds: POLL_SECONDS }, async ([job]) => {
  console.log(`mail to ${job.data.to}`)
})

const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = await pool.listen(
  {
    [CHANNEL]: (connection, queue) => {
      if (queue === QUEUE) wake()
    },
  },
  { retry: true },
)
// Jobs may have been added that nobody told of.
listener.addGapCallback(() => wake())
console.log('ready')

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    await pool.close()
    await boss.stop() // the job at hand is finished
  })
