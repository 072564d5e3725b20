// A worker for a table of jobs. Notifications only wake it up: what there is to do stands in the table.

import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, ConnectionPool, type Transaction } from 'pglisten'

/** A job may be waiting without a notification: its worker died, or it failed and is due again. */
const SWEEP_MS = Number(process.env['SWEEP_MS'] ?? 30_000)
const RETRY_MS = 500
/** How long the work of this example takes, in milliseconds. */
const WORK_MS = Number(process.env['WORK_MS'] ?? 5)

const pool = new ConnectionPool(process.env['DATABASE_URL'])
const listener = pool.listener()
let wanted = false
let working: Promise<void> | undefined
const stop = new AbortController()

/** Whoever calls this gets all jobs done that are in the table now. Many calls at once cost one more look. */
function wake(): Promise<void> {
  wanted = true
  working ??= work().finally(() => (working = undefined))
  return working
}

async function work(): Promise<void> {
  while (wanted && !stop.signal.aborted) {
    wanted = false
    try {
      await using connection = await pool.connection()
      while (!stop.signal.aborted && (await takeOne(connection)));
    } catch (error) {
      // The jobs are still in the table.
      console.error(`will try again: ${String(error)}`)
      wanted = true
      await sleep(RETRY_MS)
    }
  }
}

interface Job {
  id: number
  task: string
  attempts: number
}

/** The row stays locked while the job runs. When the worker dies, its transaction ends and the job is there again. */
async function takeOne(connection: Connection): Promise<boolean> {
  let job: Job | undefined
  try {
    await connection.transaction(async (tx) => {
      ;[job] = await tx.execute<Job>(
        `SELECT id, task, attempts FROM jobs WHERE done_at IS NULL AND due_at <= now()
          ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED`,
      )
      if (job === undefined) return
      await handle(job, tx)
      await tx.execute('UPDATE jobs SET done_at = now() WHERE id = $1', [job.id])
    })
    if (job !== undefined) console.log(`job ${job.id}: ${job.task}`)
    return job !== undefined
  } catch (error) {
    if (job === undefined) throw error
    console.error(`job ${job.id} failed: ${String(error)}`)
    // Later, so that a job that always fails does not hold up the others.
    await connection.execute(
      `UPDATE jobs SET attempts = attempts + 1, due_at = now() + interval '1 s' * 2 ^ least(attempts, 10)
        WHERE id = $1`,
      [job.id],
    )
    return true
  }
}

/** The work itself. What it does with `tx` is committed together with the mark that the job is done. */
async function handle({ task, attempts }: Job, _tx: Transaction): Promise<void> {
  await sleep(WORK_MS)
  if (task === 'fail at first' && attempts === 0) throw new Error('as it was asked to')
}

{
  await using connection = await pool.connection()
  await connection.executeBatch(`
    SELECT pg_advisory_xact_lock(hashtext('jobs'));
    CREATE TABLE IF NOT EXISTS jobs (
      id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      task text NOT NULL,
      due_at timestamptz NOT NULL DEFAULT now(),
      attempts int NOT NULL DEFAULT 0,
      done_at timestamptz
    );
    CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (due_at, id) WHERE done_at IS NULL;
    CREATE OR REPLACE FUNCTION jobs_wake() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_notify(''jobs'', ''''); RETURN NULL; END';
    CREATE OR REPLACE TRIGGER jobs_wake AFTER INSERT ON jobs
      FOR EACH STATEMENT EXECUTE FUNCTION jobs_wake()`)
}

await listener.addCallback('jobs', () => void wake())
listener.addGapCallback(() => wake())
await listener.startup()
listener.listen()
const sweep = setInterval(() => void wake(), SWEEP_MS)

async function shutDown(): Promise<void> {
  stop.abort()
  clearInterval(sweep)
  await working
  await pool.close()
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void shutDown())
console.log(`worker ${process.pid} is ready`)
await wake()
