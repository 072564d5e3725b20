// The relay: its life, and what it tells of itself.
import { EventEmitter } from 'node:events'
import type { Listener } from 'pglisten'
import type { RelayRole } from './diagnostics.js'
import { RelayError } from './errors.js'
import { Link } from './nats/link.js'
import { checkSignal } from './options/checks.js'
import { resolveOptions, type RelayOptions, type ResolvedOptions } from './options/options.js'
import { runChannels } from './run/channels.js'
import { runDurable } from './run/durable.js'
import { askDatabase, makeListener, makePool } from './run/postgres.js'
import { Status } from './run/status.js'

/** The events of a {@link Relay}. */
export interface RelayEvents {
  /** The role has changed, or an epoch of a relay that leads begins. */
  role: [role: RelayRole, reason: string | undefined]
  /** Something failed that the relay gets over by itself. */
  warning: [warning: RelayWarning]
}

/** What the relay gets over by itself. */
export interface RelayWarning {
  /** What it is, in words. */
  message: string
  /** The cause; `undefined` without one. */
  error: unknown
}

/** The result of {@link Relay.stats}: totals since the relay was made, and its present state. */
export interface RelayStats {
  /** Whether it leads. */
  role: RelayRole
  /** The epoch in which it leads; `undefined` when it does not, and with a durable source before its first event. */
  epoch: string | undefined
  /** Messages that are in the stream, gaps included. */
  stored: number
  /** Those of them that went in atomic batches. */
  storedInBatches: number
  /** Gaps that are in the stream. */
  gaps: number
  /** Notifications that the stream does not take, and in whose place a gap is. */
  unpublishable: number
  /** Attempts to store or to read that have failed, and were repeated. */
  failures: number
  /** How many epochs it has begun. */
  terms: number
  /** Sessions of silent leaders that it has ended. */
  evicted: number
  /** Notifications that wait to be stored; `undefined` with a durable source, whose events wait in PostgreSQL: `stats()` of the subscription has its lag. */
  backlog: number | undefined
  /** How long the oldest of them has been waiting, in milliseconds; `undefined` when none waits, and with a durable source. */
  oldestAgeMs: number | undefined
  /** How long ago the stream last confirmed a message, in milliseconds; `undefined` before the first. */
  lastStoredAgeMs: number | undefined
  /** Whether NATS is connected. */
  isNatsConnected: boolean
  /** The state of the listening session, which also holds the lock of the leader: that of a durable source listens to nothing. */
  postgres: 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'
}

/** The options of {@link Relay.run}. */
export interface RelayRunOptions {
  /** Ends the relay: what it has read is stored, for at most `graceMs`. */
  signal?: AbortSignal | undefined
}

/**
 * Stores what PostgreSQL notifies in a stream of NATS JetStream: in order, once, and with gaps as messages of the same stream.
 * Several relays of one stream may run: one leads, and the others stand by.
 */
export class Relay extends EventEmitter<RelayEvents> {
  readonly #options: ResolvedOptions
  readonly #status: Status
  #isRunning = false
  #listener: Listener | undefined
  #link: Link | undefined

  /**
   * Makes a relay. Nothing is connected before {@link Relay.run}.
   *
   * @throws {@link RelayOptionError} when an option is wrong. What `postgres` says is looked at by {@link Relay.run}.
   */
  constructor(options: RelayOptions) {
    super()
    this.#options = resolveOptions(options)
    this.#status = new Status(this.#options.stream, {
      onRole: (role, reason) => this.emit('role', role, reason),
      onWarning: (message, error) => this.emit('warning', { message, error }),
    })
  }

  /**
   * Runs until `signal` is aborted, however often PostgreSQL and NATS go away. Rejects with {@link RelayError} when it runs already, with
   * {@link RelayOptionError} when the signal or `postgres` is wrong, or a file of credentials cannot be read, with {@link RelayError} when the stream
   * of a durable source drops messages from its middle (`max_msgs_per_subject`, another retention than `limits`), with pglisten's `DurableError`
   * when durable subscriptions are not installed or the role may not use them, and with the errors of pglisten when its listener gives up or the
   * server asks for a password that there is none of.
   */
  async run({ signal }: RelayRunOptions = {}): Promise<void> {
    if (this.#isRunning)
      throw new RelayError('Expected a relay that does not run, got one that does')
    // Before anything is begun, because these throw when they are wrong.
    checkSignal(signal)
    const pool = makePool(this.#options)
    this.#isRunning = true
    const options = this.#options
    const status = this.#status
    status.become('connecting')
    // A signal of its own: Node warns of a leak when one that several relays share has more than ten listeners.
    const soft = AbortSignal.any(signal ? [signal] : [])
    const hard = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const onEnd = () => {
      const abort = () => hard.abort(new Error('the time to end was over'))
      timer = setTimeout(abort, options.graceMs)
    }
    // Whatever waits for a server that is cut off in silence ends by that.
    hard.signal.addEventListener('abort', () => void pool.close({ timeoutMs: 0 }), { once: true })
    if (soft.aborted) onEnd()
    else soft.addEventListener('abort', onEnd, { once: true })
    try {
      const link = await Link.open(options.nats, this.#linkEvents(), soft)
      this.#link = link
      const database = options.database ?? (await askDatabase(pool, status, soft))
      const scene = { options, status, pool, link, database, soft, hard: hard.signal }
      this.#listener = makeListener(scene)
      await (options.durable ? runDurable : runChannels)(scene, this.#listener)
    } catch (error) {
      if (!soft.aborted) throw error
    } finally {
      clearTimeout(timer)
      soft.removeEventListener('abort', onEnd)
      await pool.close()
      await this.#link?.close()
      this.#link = undefined
      this.#listener = undefined
      status.endTerm()
      status.become('stopped')
      this.#isRunning = false
    }
  }

  /** Returns the counters and the present state. */
  stats(): RelayStats {
    const listened = this.#listener?.stats()
    const { role, epoch, counts, lastStoredAgeMs } = this.#status
    return {
      role,
      epoch,
      ...counts,
      backlog: this.#options.durable ? undefined : (listened?.buffered ?? 0),
      oldestAgeMs: listened?.oldestBufferedAgeMs,
      lastStoredAgeMs,
      isNatsConnected: this.#link?.isConnected ?? false,
      postgres: this.#listener?.state ?? 'idle',
    }
  }

  #linkEvents() {
    const status = this.#status
    return {
      onConnected: () => {},
      onDisconnected: () => status.warn('the connection to NATS was lost'),
      onWarning: (message: string, error: unknown) => status.warn(message, error),
    }
  }
}
