// A worker of procrastinate that runs only while there is something to do: pglisten hears of a job, and starts it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool } from 'pglisten'

const QUEUE = 'mail'
/** Each queue has a channel; the `#` is a part of its name. */
const CHANNEL = `procrastinate_queue_v1#${QUEUE}`
/** Finds what no notification tells of: jobs that fall due later, and those that are tried again. */
const POLL_MS = Number(process.env.POLL_MS ?? 60_000)
const RETRY_MS = 1000
const PYTHON = process.env.PYTHON ?? 'python3'

/** Runs a command of procrastinate, as in a terminal. @param {string[]} args */
async function procrastinate(...args) {
  const child = spawn(PYTHON, ['-m', 'procrastinate', '--app=app.app', ...args], {
    cwd: import.meta.dirname,
    stdio: 'inherit',
    // In a group of its own, so that Ctrl-C does not end it in the middle of a job.
    detached: true,
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`procrastinate ${args[0]} ended with exit code ${code}`)
}

let isEnding = false
let isWanted = false
let isWorking = false
let working = Promise.resolve()
/** One worker at a time. A job that is added while it runs may come too late for it, so another one looks after it. */
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
      await procrastinate('worker', '--one-shot', `--queues=${QUEUE}`)
    } catch (error) {
      // The server may be away. Whoever was woken for a job does not forget it.
      console.error(error.message)
      await sleep(RETRY_MS)
      isWanted = !isEnding
    }
  }
}

if (process.argv.includes('--install')) await procrastinate('schema', '--apply')
const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = await pool.listen(
  {
    [CHANNEL]: (connection, payload) => {
      if (JSON.parse(payload).type === 'job_inserted') wake()
    },
  },
  { retry: true },
)
listener.addGapCallback(wake) // jobs may have been added that nobody told of
const poll = setInterval(wake, POLL_MS)
wake()
console.log('ready')

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    isEnding = true
    isWanted = false
    clearInterval(poll)
    await pool.close()
    await working // the jobs at hand are finished
  })
