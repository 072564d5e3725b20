// A process that consumes, in one of several ways, and says what that came to: node consumer.mjs ASKED, as JSON.
//
// - `pglisten`: a durable subscription.
// - `last`: what is written by hand: `id > last` with the position in a row, which misses events of transactions that overlap.
// - `listen`: LISTEN, which is told the payload itself.

import { ConnectionPool } from 'pglisten'

/**
 * @typedef {object} Asked
 * @property {string} dsn
 * @property {'pglisten' | 'last' | 'listen'} kind
 * @property {string} name The subscription.
 * @property {string} channel
 * @property {number} batchSize
 * @property {'on' | 'off'} synchronousCommit
 * @property {number} count After how many events it is done.
 * @property {number} warmUp How many of them are not measured.
 * @property {boolean} [timed] Whether payloads are moments of `process.hrtime`.
 */

/** @type {Asked} */
const asked = JSON.parse(process.argv[2] ?? '')
const {
  dsn,
  kind,
  name,
  channel,
  batchSize,
  synchronousCommit,
  count,
  warmUp,
  timed = false,
} = asked
const pool = new ConnectionPool({ dsn, maxDbPoolSize: 4 })
const ending = new AbortController()

let seen = 0
let startedAt = 0n
/** @type {NodeJS.CpuUsage} */
let startedCpu = process.cpuUsage()
/** @type {number[]} */
const latencies = []

/** @param {string} payload */
function handled(payload) {
  if (timed) latencies.push(Number(process.hrtime.bigint() - BigInt(payload)) / 1e6)
  if (seen === warmUp) {
    startedAt = process.hrtime.bigint()
    startedCpu = process.cpuUsage()
  }
  seen += 1
  if (seen === count) ending.abort()
}

/** @type {Record<Asked['kind'], () => Promise<unknown>>} */
const WAYS = {
  async pglisten() {
    const subscription = pool.subscription(name, {
      channels: [channel],
      from: 'beginning',
      batchSize,
      synchronousCommit,
    })
    process.send?.('ready')
    await subscription.run((_, event) => handled(event.payload), { signal: ending.signal })
  },

  async last() {
    const connection = await pool.connection()
    process.send?.('ready')
    while (!ending.signal.aborted) {
      await connection.transaction(async (tx) => {
        await tx.execute(`SET LOCAL synchronous_commit = ${synchronousCommit}`)
        /** @type {bigint} */
        const last = await tx.fetchVal('SELECT last FROM by_hand WHERE name = $1 FOR UPDATE', [
          name,
        ])
        /** @type {import('pglisten').QueryResult<{ id: bigint, payload: string }>} */
        const events = await tx.fetch(
          'SELECT id, channel, payload, key, at FROM pglisten.event WHERE id > $1 AND channel = $2 ORDER BY id LIMIT $3',
          [last, channel, batchSize],
        )
        for (const event of events) handled(event.payload)
        await tx.execute('UPDATE by_hand SET last = $2 WHERE name = $1', [
          name,
          [...events].at(-1)?.id ?? last,
        ])
      })
    }
  },

  async listen() {
    const listener = pool.listener()
    await listener.addCallback(channel, (_, payload) => handled(payload))
    await listener.startup()
    listener.listen()
    await listener.sync()
    process.send?.('ready')
    await new Promise((resolve) => ending.signal.addEventListener('abort', resolve))
    await listener.shutdown()
  },
}

await WAYS[kind]()
const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9
const { user, system } = process.cpuUsage(startedCpu)
process.send?.({
  perSecond: (seen - warmUp) / seconds,
  cpuUs: (user + system) / (seen - warmUp),
  latencies: latencies.slice(warmUp),
  rss: process.memoryUsage.rss(),
})
await pool.close()
process.disconnect?.()
