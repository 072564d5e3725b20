// The same faults for several clients at once, and the outcome of each side by side, as Markdown.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ConnectionPool } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { waitFor } from '../../lab/wait.js'
import { FAULTS } from './faults.mjs'
import { outcome } from './outcome.mjs'

/**
 * @typedef {object} Seen What the application of a client saw, with times from the strike on, in milliseconds.
 * @property {string | undefined} refused Why it was not let in.
 * @property {Map<unknown, number>} got The first handler's.
 * @property {Map<unknown, number>} second The second handler's.
 * @property {{ how: string, at: number }[]} told
 * @property {{ how: string, at: number } | undefined} ended
 *
 * @typedef {object} Sent
 * @property {number} number
 * @property {number} at From the strike on, in milliseconds.
 */

const CLIENTS = ['pglisten', 'pg-listen', 'postgres', 'pg']
const CLIENT_FILE = fileURLToPath(new URL('client.mjs', import.meta.url))
const EVERY_MS = 50
const NOTIFIER = 'peers notifier'

class Client {
  /** @type {Seen} */
  seen = { refused: undefined, got: new Map(), second: new Map(), told: [], ended: undefined }
  #child
  #exited
  #isUp = false
  #clock

  /** @param {string} name @param {() => number} clock */
  constructor(name, clock) {
    this.#clock = clock
    this.#child = fork(CLIENT_FILE, [name], { silent: true, execArgv: [] })
    this.#exited = once(this.#child, 'exit')
    this.#child.on('message', (/** @type {any} */ report) => this.#take(report))
    this.#child.once('exit', (code, signal) => {
      this.seen.ended = { how: signal ?? `exit code ${code}`, at: clock() }
    })
  }

  /** @param {import('./client.mjs').Task} task */
  async start(task) {
    this.#child.send(task)
    await waitFor(() => this.#isUp || this.seen.refused !== undefined || this.seen.ended)
  }

  async stop() {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  /** @param {any} report */
  #take(report) {
    const at = this.#clock()
    if (report.up) this.#isUp = true
    else if (report.refused !== undefined) this.seen.refused = report.refused
    else if (report.told !== undefined) this.seen.told.push({ how: report.told, at })
    else if (report.second !== undefined) this.seen.second.set(report.second, at)
    else this.seen.got.set(report.got, at)
  }
}

/** @param {import('./faults.mjs').Fault} fault */
async function run(fault) {
  const arena = await Arena.open()
  const standby = await fault.prepare?.(arena)
  const channel = fault.channel ?? 'news'
  let struckAt = Infinity
  const clock = () => (struckAt === Infinity ? -1 : performance.now() - struckAt)
  const clients = new Map(CLIENTS.map((name) => [name, new Client(name, clock)]))
  const task = { dsn: arena.dsn, channel, survives: fault.survives ?? false }
  await Promise.all([...clients.values()].map((client) => client.start(task)))

  const connect = (/** @type {string} */ dsn) =>
    new ConnectionPool({ dsn, maxDbPoolSize: 1, applicationName: NOTIFIER })
  let pool = connect(arena.directDsn)
  /** @param {unknown} payload */
  const notify = async (payload) => {
    const connection = await pool.connection()
    try {
      // As a statement, so that the server treats a long name as it treats it in LISTEN.
      await connection.executeBatch(`NOTIFY "${channel}", '${JSON.stringify(payload)}'`)
    } finally {
      await connection.close()
    }
  }
  /** @type {Sent[]} */
  const sent = []
  const watched = new AbortController()
  const traffic = (async () => {
    for (let number = 1; !watched.signal.aborted; number += 1) {
      const at = clock()
      await notify(number).then(
        () => sent.push({ number, at }),
        () => {},
      )
      await sleep(EVERY_MS)
    }
  })()
  await waitFor(() => sent.length >= 5)
  let goneAt = 0
  await fault.strike({
    arena,
    standby,
    notify,
    backends: async () => {
      const list = await arena.ask(
        `SELECT array_agg(pid) FROM pg_stat_activity
          WHERE usename = 'victim' AND application_name <> '${NOTIFIER}'`,
      )
      return /** @type {number[]} */ (list)
    },
    redirect: (dsn) => {
      void pool.close()
      pool = connect(dsn)
    },
    struck: () => {
      struckAt = performance.now()
    },
    gone: () => {
      goneAt = clock()
    },
  })
  await sleep(fault.watchSec * 1000)
  const endAt = clock()
  watched.abort()
  await traffic
  const cells = CLIENTS.map((name) => {
    const client = /** @type {Client} */ (clients.get(name))
    return outcome(client.seen, sent, { goneAt, endAt, throws: fault.throws ?? false })
  })
  await Promise.all([...clients.values()].map((client) => client.stop()))
  await pool.close()
  await standby?.stop('immediate')
  await arena.close()
  return cells
}

const version = (/** @type {string} */ name) =>
  name === 'pglisten'
    ? name
    : `${name} ${JSON.parse(fs.readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8')).version}`
const row = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |`
console.log(row(['fault', ...CLIENTS.map(version)]))
console.log(row(Array.from({ length: CLIENTS.length + 1 }, () => '---')))
for (const fault of FAULTS) console.log(row([fault.name, ...(await run(fault))]))
