// How soon each client delivers again after a hole in the network, as Markdown: `npm run peers -- --holes`.
//
// When a hole begins, the connections are reset; those that are made in it are taken and never answered, also after its end. So an
// attempt to connect that falls into the hole is lost, and only another one finds the way.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { Arena } from '../../lab/faults/arena.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'

const CLIENTS = ['pglisten', 'pg-listen', 'postgres']
const CLIENT_FILE = fileURLToPath(new URL('client.mjs', import.meta.url))
const LENGTHS_MS = [500, 2500, 8000, 20_000]
/** How many holes of each length at the same time, each with a network and clients of its own. */
const LANES = 5
const ROUNDS = 4
/** A client that has not delivered by then is given up. */
const GIVEN_UP_MS = 60_000
/** The times between two notifications after a hole. */
const EVERY_MS = 5

class Subject {
  /** Since when the client has been delivering again. @type {number | undefined} */
  deliveredAt
  #child
  #hasEnded = false

  /** @param {string} name @param {string} dsn @param {string} channel */
  constructor(name, dsn, channel) {
    this.name = name
    this.#child = fork(CLIENT_FILE, [name], { silent: true, execArgv: [] })
    this.#child.once('exit', () => {
      this.#hasEnded = true
    })
    this.#child.on('message', (/** @type {any} */ report) => {
      if (report.got !== undefined) this.deliveredAt ??= performance.now()
    })
    this.#child.send({ dsn, channel, survives: false })
  }

  get hasEnded() {
    return this.#hasEnded
  }

  async stop() {
    if (this.#hasEnded) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

/** @typedef {Map<string, number[]>} Times By client; `Infinity` for one that did not come back. */

/** @param {Arena} arena @param {number} lengthMs @param {number} lane @param {Times} times */
async function run(arena, lengthMs, lane, times) {
  const proxy = await FaultProxy.start(arena.server.port)
  const channel = `hole_${lengthMs}_${lane}`
  const beside = new Client({ connectionString: arena.directDsn })
  await beside.connect()
  const notify = () => beside.query(`NOTIFY ${channel}, '1'`)
  /** Notifies until each client has delivered, or ended, or is given up. @param {Subject[]} subjects */
  const reach = async (subjects) => {
    const began = performance.now()
    while (subjects.some((it) => it.deliveredAt === undefined && !it.hasEnded)) {
      if (performance.now() - began > GIVEN_UP_MS) break
      await notify()
      await sleep(EVERY_MS)
    }
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const subjects = CLIENTS.map((name) => new Subject(name, proxy.dsn(arena.directDsn), channel))
    await reach(subjects)
    proxy.set({ hang: true })
    proxy.reset()
    // What was notified before is under way no longer.
    await sleep(Math.min(200, lengthMs / 2))
    for (const subject of subjects) subject.deliveredAt = undefined
    await sleep(lengthMs - Math.min(200, lengthMs / 2))
    proxy.clear()
    const ended = performance.now()
    await reach(subjects)
    for (const { name, deliveredAt } of subjects) {
      const took = deliveredAt === undefined ? Infinity : deliveredAt - ended
      times.set(name, [...(times.get(name) ?? []), took])
    }
    await Promise.all(subjects.map((subject) => subject.stop()))
    proxy.reset()
  }
  await beside.end()
  proxy.stop()
}

const arena = await Arena.open()
try {
  /** @type {Map<number, Times>} */
  const table = new Map(LENGTHS_MS.map((length) => [length, new Map()]))
  await Promise.all(
    [...table].flatMap(([length, times]) =>
      Array.from({ length: LANES }, (_, lane) => run(arena, length, lane, times)),
    ),
  )
  const shown = (/** @type {number} */ ms) =>
    ms === Infinity ? `not within ${GIVEN_UP_MS / 1000} s` : `${Math.round(ms)} ms`
  console.log(`| hole | ${CLIENTS.join(' | ')} |`)
  console.log(`| ---- | ${CLIENTS.map(() => '----').join(' | ')} |`)
  for (const [length, times] of table) {
    const cells = CLIENTS.map((name) => {
      const sorted = [...(times.get(name) ?? [])].sort((a, b) => a - b)
      const median = sorted[Math.floor(sorted.length / 2)] ?? Infinity
      return `${shown(median)} (≤ ${shown(sorted.at(-1) ?? Infinity)})`
    })
    console.log(`| ${length / 1000} s | ${cells.join(' | ')} |`)
  }
  console.log(
    `\nTime from the end of the hole to the next delivery: median (longest) of ${LANES * ROUNDS}.`,
  )
} finally {
  await arena.close()
}
