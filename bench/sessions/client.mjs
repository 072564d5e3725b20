// One contestant with many listeners in one process, each on a channel of its own or all on one. Told what to do by its parent.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

/** How long V8 takes to see that the process rests: then it gives back most of what its young generation grew to. */
const SETTLING_MS = 10_000

const { kind, dsn, count, channels, folder } = JSON.parse(process.argv[2] ?? '{}')
const require = createRequire(folder ?? import.meta.url)

const cpuNs = () =>
  Number(
    fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/schedstat`, 'latin1').split(' ')[0],
  )

/** @returns {number} Bytes, after all garbage was collected. */
function resident() {
  for (let round = 0; round < 3; round += 1) globalThis.gc?.()
  return process.memoryUsage.rss()
}

let delivered = 0
let wrong = 0

/** @param {number} number @returns {(payload: string) => void} */
const handler = (number) => {
  const expected = channels === 1 ? 'all' : `${number}`
  return (payload) => {
    delivered += 1
    if (payload !== expected) wrong += 1
  }
}

/** @param {number} number */
const channelOf = (number) => `sessions_${channels === 1 ? 0 : number}`

const start = {
  async pglisten(/** @type {Record<string, unknown>} */ options) {
    const { ConnectionPool } = require('pglisten')
    const pool = new ConnectionPool({ dsn, applicationName: 'sessions' })
    // One listener before memory is looked at: what the process needs once is not a listener's.
    const first = pool.listener({ channels: ['sessions_first'], ...options })
    await first.startup()
    first.listen()
    return async () => {
      const listeners = Array.from({ length: count }, () => pool.listener(options))
      const callback = (
        /** @type {unknown} */ _,
        /** @type {string} */ payload,
        /** @type {string} */ channel,
      ) => {
        delivered += 1
        if (payload !== (channels === 1 ? 'all' : channel.slice('sessions_'.length))) wrong += 1
      }
      await Promise.all(listeners.map((it, number) => it.addCallback(channelOf(number), callback)))
      await Promise.all(listeners.map((it) => it.startup()))
      for (const listener of listeners) listener.listen()
      return () => listeners.at(-1)?.sync() ?? Promise.resolve()
    }
  },
  async postgres() {
    const postgres = require('postgres')
    const sql = postgres(dsn, { max: 1, connection: { application_name: 'sessions' } })
    await sql.listen('sessions_first', () => {})
    return async () => {
      await Promise.all(
        Array.from({ length: count }, (_, number) =>
          sql.listen(channelOf(number), handler(number)),
        ),
      )
      return async () => {}
    }
  },
}

const begin =
  kind === 'postgres'
    ? await start.postgres()
    : await start.pglisten(kind === 'pglisten own' ? { session: 'own' } : {})
const before = resident()
const began = performance.now()
const sync = await begin()
const startMs = performance.now() - began
const memory = (resident() - before) / count
if (channels > 1) await sleep(SETTLING_MS)
const settled = (resident() - before) / count
process.send?.({ startMs, memory, settled })

let cpuBefore = 0
/** @param {unknown} message */
async function obey(message) {
  if (message === 'begin') {
    delivered = 0
    cpuBefore = cpuNs()
    process.send?.('begun')
  } else if (message === 'end') {
    const asked = performance.now()
    await sync()
    process.send?.({
      delivered,
      wrong,
      cpuNs: cpuNs() - cpuBefore,
      syncMs: performance.now() - asked,
    })
  } else if (message === 'loop') {
    // What calling as many functions in a loop costs, for comparison.
    const functions = Array.from({ length: count }, (_, number) => handler(number))
    const rounds = Math.ceil(2_000_000 / count)
    for (let warm = 0; warm < 2; warm += 1)
      for (let round = 0; round < rounds; round += 1) for (const call of functions) call('all')
    const from = cpuNs()
    for (let round = 0; round < rounds; round += 1) for (const call of functions) call('all')
    process.send?.({ loopNs: (cpuNs() - from) / (rounds * count) })
  } else {
    process.exit(0)
  }
}

process.on('message', (message) => void obey(message))
