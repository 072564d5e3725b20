// Operations of all kinds by chance: `mixed-main.ts DSN OPERATIONS SEED`. Each judges its own outcome. Afterwards memory, handles, the
// server's sessions and the pool must be as they were after a fifth of them. The process ends by itself.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { inspect } from 'node:util'
import { connect, ConnectionPool } from 'pglisten'
import { randomNumbers } from '../random.mjs'
import { waitFor } from '../wait.js'
import { IDS, type Turn, WORKS } from './mixed-operations.js'

const [dsn = '', operations = '100000', seed = '1'] = process.argv.slice(2)
const total = Number(operations)

/** Operations at a time, and the connections that they share. Some need two. */
const AT_ONCE = 6
const CONNECTIONS = 8
/** By how much memory may have grown since a fifth of the operations was over. */
const MOST_GROWTH = { rss: 64 * 2 ** 20, heap: 4 * 2 ** 20 }
/** How many statements a connection keeps prepared. */
const MOST_PREPARED = 512

const wrong: string[] = []
process.on('unhandledRejection', (error) => wrong.push(`unhandled: ${String(error)}`))
process.on('warning', (warning) => wrong.push(`warning: ${String(warning)}`))

const applicationName = `mixed_${process.pid}`
const pool = new ConnectionPool({ dsn, applicationName, maxDbPoolSize: CONNECTIONS })
const lasting = await connect({ dsn, applicationName })
const counts = new Map<string, number>()
const weights = Object.entries(WORKS).flatMap(([name, { weight }]) =>
  Array.from({ length: weight }, () => name),
)

async function operation(number: number): Promise<void> {
  const random = randomNumbers(Number(seed) * 1_000_003 + number)
  const below = (limit: number) => Math.floor(random() * limit)
  const name = weights[below(weights.length)]!
  const turn: Turn = { pool, lasting, number, first: BigInt(number) * IDS, below }
  try {
    const connection = await pool.connection()
    try {
      await WORKS[name]!.work(turn, connection)
    } finally {
      await connection.close()
    }
    counts.set(name, (counts.get(name) ?? 0) + 1)
  } catch (error) {
    wrong.push(`operation ${number}, ${name}: ${inspect(error)}`)
  }
}

/** Runs the operations from one number to another. */
async function run(from: number, to: number): Promise<void> {
  let next = from
  const worker = async () => {
    while (next < to && wrong.length < 10) await operation(next++)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

/** Takes all connections at the same time, so that each is there. Gives the most statements that one keeps prepared. */
async function fill(): Promise<number> {
  const all = await Promise.all(Array.from({ length: CONNECTIONS }, () => pool.connection()))
  const sql = 'SELECT count(*)::int4 FROM pg_prepared_statements'
  const prepared = await Promise.all(all.map((connection) => connection.fetchVal<number>(sql)))
  await Promise.all(all.map((connection) => connection.close()))
  return Math.max(...prepared, await lasting.fetchVal<number>(sql))
}

/** How much of everything there is while nothing runs. */
async function look() {
  const prepared = await fill()
  const count = (folder: string) =>
    process.platform === 'linux' ? readdirSync(`/proc/self/${folder}`).length : 0
  const resources = () =>
    process
      .getActiveResourcesInfo()
      .filter((name) => name !== 'Immediate')
      .toSorted()
      .join(' ')
  // Timers of signals, and sockets of cancellations, may outlive their operations for a moment.
  let fds = count('fd')
  await waitFor(() => {
    const before = fds
    fds = count('fd')
    return before === fds && !resources().includes('Timeout')
  })
  for (let round = 0; round < 3; round += 1) globalThis.gc?.()
  const { rss, heapUsed: heap } = process.memoryUsage()
  return { rss, heap, fds, threads: count('task'), resources: resources(), prepared }
}

const setUp = await pool.connection()
await setUp.executeBatch(
  'DROP TABLE IF EXISTS mixed; CREATE TABLE mixed (id int8 PRIMARY KEY, t text)',
)
await setUp.close()
const began = performance.now()
await run(0, Math.floor(total / 5))
const early = await look()
await run(Math.floor(total / 5), total)
const late = await look()
const seconds = (performance.now() - began) / 1000

function check(what: string, isRight: boolean): void {
  if (!isRight) wrong.push(what)
}
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`
for (const of of ['rss', 'heap'] as const) {
  const growth = late[of] - early[of]
  const text = `${of}: ${mib(early[of])} after a fifth, ${mib(late[of])} at the end (at most ${mib(MOST_GROWTH[of])} more)`
  console.log(text)
  check(text, growth <= MOST_GROWTH[of])
}
console.log(
  `file descriptors ${early.fds}, ${late.fds}; threads ${early.threads}, ${late.threads}; resources ${late.resources}`,
)
// A connection that the event loop waits for has one more.
check('more file descriptors', late.fds <= early.fds + CONNECTIONS + 1)
check('more threads', late.threads <= early.threads)
check(`other resources: ${early.resources}; ${late.resources}`, late.resources === early.resources)
console.log(`prepared statements of a connection: at most ${late.prepared}`)
check('more statements prepared than are kept', late.prepared <= MOST_PREPARED)
const { size, available, waiting } = pool.status()
check(
  `a pool that is not idle: ${size}, ${available}, ${waiting}`,
  size === available && waiting === 0,
)
const busy = `SELECT count(*)::int4 FROM pg_stat_activity
  WHERE application_name = $1 AND state <> 'idle' AND pid <> pg_backend_pid()`
check('backends at work', (await pool.fetchVal(busy, [applicationName])) === 0)
check('rows left', (await pool.fetchVal('SELECT count(*) FROM mixed')) === 0n)
await pool.execute('DROP TABLE mixed')
await lasting.close()
await pool.close()
assert.deepEqual(
  [...counts.keys()].filter((name) => !(name in WORKS)),
  [],
)
console.log(
  [...counts]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([name, count]) => `${name} ${count}`)
    .join(', '),
)
console.log(`seed ${seed}: ${total} operations in ${seconds.toFixed(1)} s, ${wrong.length} wrong`)
for (const text of wrong.slice(0, 10)) console.log(text)
process.exitCode = wrong.length === 0 ? 0 : 1
