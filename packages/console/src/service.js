// The console without its web server: one listener, what is remembered of it, and what open pages are told.

import { ConnectionPool, Gap, PglistenError } from 'pglisten'
import { ActivityWatch } from './activity.js'
import { MAX_CHANNELS } from './options.js'
import { Record, SECONDS } from './record.js'
import { Sampler } from './sampler.js'
import { Streams } from './streams.js'

const APPLICATION_NAME = 'pglisten-console'
const TICK_MS = 250
const SECOND_MS = 1000
/** How long a page waits until the server listens to a channel, or has taken a notification. */
const ANSWER_MS = 3000
/** What waits while this process is busy. Beyond that the oldest goes, and a gap says how many. */
const BUFFER = { maxMessages: 65_536, maxBytes: 32 * 1024 * 1024 }

/** A request that cannot be fulfilled: the status of HTTP, and why. */
export class Refusal extends Error {
  status

  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** @typedef {import('./wire.js').ServerState} ServerState */

export class ConsoleService {
  allowSend
  #rate
  #pool
  #listener
  /** Tells a page that comes back whether it comes back to the same console. */
  #startedAt = Date.now()
  #record = new Record(Date.now())
  #sampler
  /** How many messages were shown and how many there were since the last second ended. */
  #shown = 0
  #seen = 0
  /** @type {Streams} */
  #streams
  /** @type {ActivityWatch} */
  #activity
  /** @type {ServerState} */
  #server
  /** @type {number | undefined} */
  #processId
  /** @type {NodeJS.Timeout[]} */
  #timers = []
  #isClosed = false
  #report

  /**
   * @param {import('./options.js').ConsoleOptions} options
   * @param {(line: string) => void} report Gets a line for each change of the server's state.
   */
  constructor({ channels, dsn, allowSend, rate }, report) {
    checkCount(channels.length)
    this.allowSend = allowSend
    this.#rate = rate
    this.#report = report
    this.#sampler = new Sampler({ perSecond: rate, now: Date.now() })
    this.#pool = new ConnectionPool({
      ...(dsn === undefined ? {} : { dsn }),
      applicationName: APPLICATION_NAME,
      maxDbPoolSize: 2,
    })
    this.#listener = this.#pool.listener({ channels, buffer: BUFFER })
    for (const channel of channels) this.#record.open(channel)
    this.#server = { state: 'connecting', since: Date.now(), reason: null, address: '' }
    this.#streams = new Streams(() => this.#snapshot())
    this.#activity = new ActivityWatch({
      pool: this.#pool,
      isWatched: () => this.#streams.count > 0,
      ownProcessId: () => this.#processId,
      tell: (activity) => this.#streams.send('activity', activity),
    })
    this.#follow()
  }

  /** How many pages are open. */
  get pages() {
    return this.#streams.count
  }

  /** Connects, however long the server is away, and reads until the listener ends. Rejects when it cannot go on. */
  async run() {
    this.#timers.push(
      setInterval(() => this.#tick(), TICK_MS),
      setInterval(() => this.#endSecond(), SECOND_MS),
    )
    this.#activity.start()
    try {
      await this.#listener.startup({ retry: true })
      for await (const item of this.#listener.batches({ shape: 'columns', gaps: 'include' })) {
        if (item instanceof Gap) this.#addGap(item)
        else this.#addMessages(item)
      }
    } catch (error) {
      // A console that is closed while it connects has not failed.
      if (!this.#isClosed) throw error
    }
  }

  async close() {
    this.#isClosed = true
    for (const timer of this.#timers) clearInterval(timer)
    this.#activity.stop()
    this.#streams.close()
    await this.#pool.close()
  }

  /** @param {import('node:http').ServerResponse} response Gets everything from now on. */
  connectPage(response) {
    this.#streams.add(response)
    void this.#activity.ask()
  }

  /** Resolves when the server listens to the channel. @param {unknown} name */
  async addChannel(name) {
    const channel = /** @type {string} */ (name)
    if (!this.#record.channels.has(channel)) checkCount(this.#record.channels.size + 1)
    const added = this.#listener.addChannel(channel, { timeoutMs: ANSWER_MS })
    // Before the server listens, so that the first message counts.
    this.#record.open(channel)
    try {
      await answered(added)
    } finally {
      if (!this.#listener.channels.includes(channel)) this.#record.drop(channel)
    }
    this.#tellEverything()
  }

  /** @param {unknown} name */
  async removeChannel(name) {
    if (typeof name !== 'string' || !this.#record.channels.has(name)) return
    this.#record.drop(name)
    await answered(this.#listener.removeChannel(name))
    this.#tellEverything()
  }

  /** @param {unknown} channel @param {unknown} payload */
  async send(channel, payload) {
    if (!this.allowSend) {
      throw new Refusal(403, 'Sending is off: start the console with --allow-send')
    }
    // The library checks both, and says what it expected.
    const [name, text] = /** @type {[string, string]} */ ([channel, payload])
    await answered(this.#pool.notify(name, text, { timeoutMs: ANSWER_MS }))
  }

  #follow() {
    this.#listener.on('connected', ({ processId }) => {
      this.#processId = processId
      this.#setServer('connected', null)
      void this.#learnAddress()
    })
    this.#listener.on('disconnected', ({ error }) => this.#setServer('away', error.message))
    this.#listener.on('warning', ({ error }) => {
      if (error !== undefined) this.#setReason(error.message)
    })
    this.#listener.on('error', (error) => this.#setReason(error.message))
  }

  /** @param {ServerState['state']} state @param {string | null} reason */
  #setServer(state, reason) {
    this.#server = { ...this.#server, state, since: Date.now(), reason }
    this.#streams.send('server', this.#server)
    this.#report(state === 'connected' ? 'listening' : `the server is away: ${reason}`)
  }

  /** The newest reason why the server is not back. @param {string} reason */
  #setReason(reason) {
    if (this.#server.state === 'connected' || this.#server.reason === reason) return
    this.#server = { ...this.#server, reason }
    this.#streams.send('server', this.#server)
    this.#report(`still trying to connect: ${reason}`)
  }

  async #learnAddress() {
    try {
      const connection = await this.#pool.connection({ timeoutMs: ANSWER_MS })
      try {
        const address = await connection.fetchVal(
          `SELECT pg_catalog.format('%s on %s, PostgreSQL %s', pg_catalog.current_database(),
             COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()) OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) pg_catalog.inet_server_port(), 'a local socket'),
             pg_catalog.current_setting('server_version'))`,
          [],
          { timeoutMs: ANSWER_MS },
        )
        this.#server = { ...this.#server, address: String(address) }
        this.#streams.send('server', this.#server)
      } finally {
        await connection.close()
      }
    } catch {
      // The address is for reading only; the listener says what is wrong with the server.
    }
  }

  /** @param {import('pglisten').NotificationColumns} columns */
  #addMessages({ channels, payloads, processIds, length }) {
    const now = Date.now()
    for (let index = 0; index < length; index += 1) {
      const channel = /** @type {string} */ (channels[index])
      const record = this.#record.channels.get(channel)
      // A channel that was removed meanwhile.
      if (record === undefined) continue
      record.total += 1
      record.current += 1
      const payload = /** @type {string} */ (payloads[index])
      this.#sampler.add(channel, payload, Number(processIds[index]), now)
    }
  }

  /** @param {Gap} gap */
  #addGap(gap) {
    // What came before the gap is shown before it.
    this.#tick()
    this.#streams.send('gap', this.#record.keepGap(gap, this.#sampler.count))
  }

  #tick() {
    const { messages, seen } = this.#sampler.take(Date.now())
    if (seen === 0) return
    this.#shown += messages.length
    this.#seen += seen
    this.#record.keep(messages)
    const totals = [...this.#record.channels].map(([name, { total }]) => [name, total])
    this.#streams.send('messages', { totals, messages })
  }

  #endSecond() {
    this.#tick()
    const at = Date.now()
    const counts = Object.entries(this.#record.endSecond(at))
    this.#streams.send('second', { at, counts, shown: this.#shown, seen: this.#seen })
    this.#shown = 0
    this.#seen = 0
  }

  #tellEverything() {
    this.#streams.send('snapshot', this.#snapshot())
  }

  /** @returns {import('./wire.js').Snapshot} */
  #snapshot() {
    return {
      startedAt: this.#startedAt,
      ...this.#record.snapshot(),
      server: this.#server,
      activity: this.#activity.last,
      settings: { allowSend: this.allowSend, rate: this.#rate, seconds: SECONDS },
    }
  }
}

/** @param {number} count */
function checkCount(count) {
  if (count > MAX_CHANNELS) {
    throw new Refusal(409, `Expected at most ${MAX_CHANNELS} channels, got ${count}`)
  }
}

/** The promise, whose errors say what whoever asked has to know. @param {Promise<unknown>} promise */
async function answered(promise) {
  try {
    await promise
  } catch (error) {
    if (!(error instanceof PglistenError)) throw error
    const isArgument = error.code.startsWith('ERR_PGLISTEN_ARGUMENT')
    throw new Refusal(isArgument ? 400 : 503, error.message)
  }
}
