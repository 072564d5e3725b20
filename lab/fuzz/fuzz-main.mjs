// Sessions with a server one of whose messages is wrong: `fuzz-main.mjs DSN SESSIONS SEED`. Every outcome must be a result or an
// error of the package, in time, and memory must stay as it is.

import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, PglistenError } from 'pglisten'
import { randomNumbers } from '../random.mjs'
import { MemorySamples } from './memory-samples.mjs'
import { mutatingProxy } from './mutating-proxy.mjs'

const [dsn = '', sessions = '10000', seed = '1'] = process.argv.slice(2)
/** Sessions at a time. */
const AT_ONCE = 32
/** The longest that a call may take: its time, a cancellation, and a busy machine. */
const BOUND_MS = 15_000

const CALL = { timeoutMs: 500 }
const TYPE = 'pglisten_fuzz_colour'

/** @type {Map<string, number>} */
const outcomes = new Map()
/** @type {string[]} */
const wrong = []

process.on('unhandledRejection', (error) => wrong.push(`unhandled: ${String(error)}`))
process.on('warning', () => {})

/** @param {number} number @param {string} what @param {() => Promise<unknown>} call */
async function judge(number, what, call) {
  const late = new AbortController()
  const outcome = await Promise.race([
    call().then(
      () => 'result',
      (error) => (error instanceof PglistenError ? error.name : `foreign: ${error}`),
    ),
    sleep(BOUND_MS, 'late', { signal: late.signal }).catch(() => 'result'),
  ])
  late.abort()
  if (outcome === 'late' || outcome.startsWith('foreign')) {
    wrong.push(`session ${number} (seed ${Number(seed) + number}), ${what}: ${outcome}`)
  }
  outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
}

/** @param {number} number */
async function session(number) {
  const proxy = mutatingProxy(dsn, randomNumbers(Number(seed) + number), (way) =>
    changed.set(way, (changed.get(way) ?? 0) + 1),
  )
  const pool = new ConnectionPool({
    dsn: await proxy.start(),
    sslMode: 'disable',
    maxDbPoolSize: 1,
    connectTimeoutSec: 0.5,
    acquireTimeoutSec: 1,
  })
  const listener = pool.listener({
    heartbeat: { intervalMs: 50, timeoutMs: 200 },
    reconnect: { initialDelayMs: 1, maxAttempts: 2 },
  })
  listener.on('error', () => {})
  await listener.addCallback('fuzz', () => {})
  const using = async (/** @type {import('pglisten').Connection} */ c) => {
    await c.fetch("SELECT $1::int4 + 1 AS n, 'x'::text, NULL::text, now()", [1], CALL)
    await c.fetch(`SELECT $1::${TYPE}, ARRAY['red']::${TYPE}[]`, ['red'], CALL)
    await c.fetch('SELECT 1/0', [], CALL).catch(() => {})
    await c.executeBatch("DO $$ BEGIN RAISE NOTICE 'seen' USING DETAIL = 'more'; END $$", [], CALL)
    await c.executeMany('SELECT $1::text', [['a'], ['b']], CALL)
    await c.transaction((tx) => tx.transaction((inner) => inner.fetchVal('SELECT 1')), CALL)
    await c.executeBatch('CREATE TEMPORARY TABLE copied (s text)', [], CALL)
    await c.copyFrom('COPY copied FROM STDIN', ['a\n', 'b\n'], CALL)
    for await (const chunk of c.copyTo('COPY copied TO STDOUT', CALL)) chunk.toString()
    if (c.info.host === '') wrong.push(`session ${number}: a connection without a host`)
  }
  await Promise.all([
    judge(number, 'statements', async () => {
      const connection = await pool.connection()
      try {
        await using(connection)
      } finally {
        await connection.close()
      }
    }),
    judge(number, 'listener', async () => {
      await listener.startup()
      listener.listen()
      await pool.notify('fuzz', 'payload', CALL)
      await listener.sync({ signal: AbortSignal.timeout(300) }).catch(() => {})
    }),
  ])
  await judge(number, 'close', () => pool.close({ timeoutMs: 200 }))
  proxy.stop()
}

/** @type {Map<string, number>} */
const changed = new Map()
const total = Number(sessions)
let next = 0
const memory = new MemorySamples(total)

const setUp = new ConnectionPool({ dsn })
const connection = await setUp.connection()
await connection.executeBatch(
  `DROP TYPE IF EXISTS ${TYPE}; CREATE TYPE ${TYPE} AS ENUM ('red', 'blue')`,
)
await connection.close()
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < total) {
      const number = next++
      await session(number)
      memory.take(number + 1)
      if (number % 1000 === 999) console.log(`${number + 1} sessions`)
    }
  }),
)
await setUp.close()
const table = (/** @type {Map<string, number>} */ counts) =>
  [...counts].map(([name, count]) => `${name} ${count}`).join(', ')
console.log(`seed ${seed}: ${total} sessions; changed: ${table(changed)}`)
console.log(`outcomes: ${table(outcomes)}`)
const { isFlat, text } = memory.judge()
console.log(text)
for (const line of wrong.slice(0, 20)) console.log(`WRONG ${line}`)
process.exitCode = wrong.length > 0 || !isFlat ? 1 : 0
