// What a delivery costs the JavaScript thread when many listeners of one process listen to one channel, beside calling the same
// functions in a loop. Prints a table. `node bench/sessions/fan-out.mjs [--listeners 1000] [--folder OF_ANOTHER_BUILD]`

import { fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { startServer } from '../../lab/server/dev-server.mjs'

const CHANNEL = 'fan_out'
const MEASURED_MS = 3000
const ROUNDS = 5
/** Fewer than a buffer holds: nothing is dropped. */
const MOST_SENT = 100_000

/** How the notifications of each case are committed: so many in a transaction, and then a pause. */
const CASES = /** @type {const} */ ([
  { title: 'one a transaction', size: 1, pauseMs: 0 },
  { title: '10 a transaction', size: 10, pauseMs: 0 },
  { title: '100 a transaction', size: 100, pauseMs: 0 },
  { title: '10,000 a transaction', size: 10_000, pauseMs: 0 },
  { title: 'one in 20 ms', size: 1, pauseMs: 20 },
])

if (process.send) await notify(process.argv[2] ?? '')
else await measure()

/** Notifies as it is told. @param {string} dsn */
async function notify(dsn) {
  const client = new Client({ connectionString: dsn })
  await client.connect()
  /** @param {{ size: number, pauseMs: number, forMs: number }} told */
  const obey = async (told) => {
    const until = performance.now() + told.forMs
    let sent = 0
    while (performance.now() < until && sent < MOST_SENT) {
      await client.query(
        `SELECT pg_notify('${CHANNEL}', '{"number": ' || n || '}') FROM generate_series($1::int, $2) n`,
        [sent + 1, sent + told.size],
      )
      sent += told.size
      if (told.pauseMs > 0) await sleep(told.pauseMs)
    }
    process.send?.(sent)
  }
  process.on('message', (/** @type {Parameters<typeof obey>[0]} */ told) => void obey(told))
  process.on('disconnect', () => process.exit())
}

/** Processor time of this thread, in nanoseconds. */
function cpuNs() {
  const stat = fs.readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1')
  return Number(stat.split(' ')[0])
}

async function measure() {
  const { values } = parseArgs({
    options: {
      listeners: { type: 'string', default: '1000' },
      folder: { type: 'string' },
      only: { type: 'string', default: '' },
    },
  })
  const count = Number(values.listeners)
  const server = await startServer({ settings: { max_connections: count + 50 } })
  const require = createRequire(values.folder ?? import.meta.url)
  const { ConnectionPool } = require('pglisten')
  const pool = new ConnectionPool({ dsn: server.dsn })
  const counts = Array.from({ length: count }, () => 0)
  /** @type {((connection: unknown, payload: string, channel: string, processId: number) => void)[]} */
  const functions = counts.map((_, number) => (_connection, payload) => {
    counts[number] = (counts[number] ?? 0) + (payload.length > 0 ? 1 : 0)
  })
  const listeners = functions.map(() => pool.listener())
  for (const [number, call] of functions.entries())
    await listeners[number]?.addCallback(CHANNEL, call)
  for (let at = 0; at < count; at += 100)
    await Promise.all(listeners.slice(at, at + 100).map((it) => it.startup()))
  for (const listener of listeners) listener.listen()
  const notifier = fork(fileURLToPath(import.meta.url), [server.dsn])
  const delivered = () => counts.reduce((sum, one) => sum + one, 0)

  /** The cost of a call of the same functions in a loop, in nanoseconds: the least of some rounds. */
  const looped = () => {
    const payload = '{"number": 1}'
    const rounds = Math.ceil(2_000_000 / count)
    let least = Infinity
    for (let round = 0; round < ROUNDS; round += 1) {
      const from = cpuNs()
      for (let again = 0; again < rounds; again += 1)
        for (const call of functions) call(undefined, payload, CHANNEL, 1)
      least = Math.min(least, (cpuNs() - from) / (rounds * count))
    }
    return least
  }

  /** @param {{ size: number, pauseMs: number }} how @param {number} forMs */
  const measured = async (how, forMs) => {
    counts.fill(0)
    const from = cpuNs()
    const began = performance.now()
    notifier.send({ ...how, forMs })
    const [sent] = await once(notifier, 'message')
    while (delivered() < sent * count) {
      if (performance.now() - began > 30_000)
        throw new Error(`${delivered()} of ${sent * count} came`)
      await sleep(20)
    }
    if (delivered() !== sent * count) throw new Error(`${delivered()} of ${sent * count} came`)
    return {
      sent,
      perDelivery: (cpuNs() - from) / (sent * count),
      tookMs: performance.now() - began,
    }
  }

  console.log(`| ${count} listeners | notifications/s | ns a delivery | the loop, ns | times |`)
  console.log('| --- | --- | --- | --- | --- |')
  for (const how of CASES) {
    if (!how.title.includes(values.only)) continue
    await measured(how, 1000)
    const { sent, perDelivery, tookMs } = await measured(how, MEASURED_MS)
    const loop = looped()
    const cells = [
      how.title,
      Math.round(sent / (tookMs / 1000)).toLocaleString('en-US'),
      perDelivery.toFixed(1),
      loop.toFixed(2),
      (perDelivery / loop).toFixed(1),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  }
  notifier.disconnect()
  await pool.close()
  await server.stop()
  process.exit()
}
