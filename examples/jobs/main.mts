// A worker for jobs that are events of a durable subscription: each is done once, whatever happens to its worker.

import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, type DurableEvent, type Transaction } from 'pglisten'

const CHANNEL = 'jobs'
/** All processes of one name share the jobs. */
const NAME = 'job worker'
/** So many jobs are worked at the same time, by all processes together; those of one customer one after the other. */
const PARTITIONS = 4
/** A job that was published without a bell, such as one of a restored table, is found within this time. */
const SAFETY_NET_MS = Number(process.env['SAFETY_NET_MS'] ?? 30_000)
/** How long the work of this example takes, in milliseconds. */
const WORK_MS = Number(process.env['WORK_MS'] ?? 5)

const TABLE = `CREATE TABLE IF NOT EXISTS job_log (
  event bigint NOT NULL, task text NOT NULL, attempt int NOT NULL, worker int NOT NULL, at timestamptz NOT NULL DEFAULT now())`

interface Job {
  task: string
}

const pool = new ConnectionPool(process.env['DATABASE_URL'])
const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort())

/** Makes what the worker needs, if it may. Returns whether it is there. */
async function isReady(): Promise<boolean> {
  if (process.argv.includes('--install')) {
    await pool.durable.install()
    const connection = await pool.connection()
    await connection.transaction(async (tx) => {
      // Two workers that begin at the same time would both make it.
      await tx.execute("SELECT pg_advisory_xact_lock(hashtext('job_log'))")
      await tx.execute(TABLE)
    })
    await connection.close()
    return true
  }
  const { version } = await pool.durable.status()
  const table = await pool.fetchVal<string | null>("SELECT to_regclass('job_log')::text")
  return version > 0 && table !== null
}

/** The work itself. What it does on `tx` is committed together with the fact that the job is done. */
async function work(tx: Transaction, { id, payload, attempt }: DurableEvent): Promise<void> {
  const { task } = JSON.parse(payload) as Job
  await sleep(WORK_MS)
  if (task === 'fail at first' && attempt === 1) throw new Error('as it was asked to')
  await tx.execute('INSERT INTO job_log (event, task, attempt, worker) VALUES ($1, $2, $3, $4)', [
    id,
    task,
    attempt,
    process.pid,
  ])
}

try {
  if (await isReady()) {
    const jobs = pool.subscription(NAME, {
      channels: [CHANNEL],
      from: 'beginning',
      partitions: PARTITIONS,
      batchSize: 10,
      safetyNetMs: SAFETY_NET_MS,
      // A job that always fails does not hold up the others: `npx pglisten durable failed 'job worker'` shows it.
      onFailure: 'skip',
    })
    jobs.on('failure', ({ event, error }) => {
      console.error(`job ${event.id} failed, attempt ${event.attempt}: ${String(error)}`)
    })
    jobs.on('givenUp', ({ event }) => console.error(`job ${event.id} was given up`))
    jobs.on('warning', ({ message }) => console.error(message))
    console.log(`worker ${process.pid} is ready`)
    // Until a signal comes: then the job at hand is finished, and what is done is committed.
    await jobs.run(work, { signal: ending.signal })
  } else {
    console.error(
      'this database has no durable subscriptions, or no table `job_log`: --install creates both',
    )
    process.exitCode = 1
  }
} finally {
  await pool.close()
}
