// Which relay leads: the one whose listening session holds an advisory lock. One of a durable subscription has such a session too, which hears
// nothing: the workers of a subscription hold no lock while they sleep, and would take turns.
//
// The lock belongs to the session, so it is free as soon as PostgreSQL has noticed that the leader has gone. A leader that is frozen, or
// whose host is cut off, keeps it: a relay that stands by looks at when the holder's session was last active, and ends it after two
// heartbeats without a sign. The lock is no fence: what a leader that was thrown out still sends is refused by the stream.
import { createHash } from 'node:crypto'
import type { Connection, Listener } from 'pglisten'
import { RelayError } from '../errors.js'
import { sleep } from '../nats/sleep.js'

/** The lock of a stream, in this database. */
export function lockKeyOf(stream: string): bigint {
  return createHash('sha256').update(`pglisten-relay-nats:${stream}`).digest().readBigInt64BE()
}

// Nothing is taken from `search_path`, the operators included.

/** Whether `l` of `pg_locks` is a granted lock of the key. `objsubid = 1` marks locks with one key of 64 bits. */
const IS_LOCK = `
  l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2
    AND (l.classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) l.objid::pg_catalog.int8
      OPERATOR(pg_catalog.=) $1::pg_catalog.int8`

/** A moment in milliseconds. */
const EPOCH = (moment: string) =>
  `(pg_catalog.date_part('epoch', ${moment}) OPERATOR(pg_catalog.*) 1000::pg_catalog.float8)`

/** The session that holds the lock, if it has been idle for too long. */
const SILENT_HOLDER = `
  SELECT pid, silent_ms
    FROM (
      SELECT a.pid, ${EPOCH('pg_catalog.clock_timestamp()')} OPERATOR(pg_catalog.-)
          ${EPOCH('greatest(a.state_change, a.query_start)')} AS silent_ms
        FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
       WHERE ${IS_LOCK} AND l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
         AND l.database OPERATOR(pg_catalog.=)
           (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
         AND a.state OPERATOR(pg_catalog.=) 'idle') AS holder
   WHERE silent_ms OPERATOR(pg_catalog.>) $2::pg_catalog.float8`

/** Whether the session itself holds the lock. */
const IS_HELD = `
  EXISTS (SELECT FROM pg_catalog.pg_locks AS l
           WHERE ${IS_LOCK} AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())`

export interface LeaderOptions {
  key: bigint
  /** How often a relay that stands by asks for the lock, in milliseconds. */
  pollMs: number
  /** After how long without a sign the holder's session is ended, in milliseconds. */
  silenceMs: number
}

export interface LeaderEvents {
  /** Another relay leads; called when that is first noticed. */
  onStandby: () => void
  /** A silent holder's session was ended. */
  onEvicted: (processId: number, silentMs: number) => void
  onWarning: (message: string, error: unknown) => void
}

/** See the file. */
export class Leader {
  readonly #listener: Listener
  readonly #options: LeaderOptions
  readonly #events: LeaderEvents

  constructor(listener: Listener, options: LeaderOptions, events: LeaderEvents) {
    this.#listener = listener
    this.#options = options
    this.#events = events
  }

  /** Resolves once this listener's session holds the lock. Returns whether another relay had it meanwhile. */
  async acquire(signal: AbortSignal): Promise<boolean> {
    let hasStoodBy = false
    let lookedAt = performance.now()
    for (;;) {
      signal.throwIfAborted()
      if (this.#listener.state === 'closed') throw new RelayError('The listener has ended')
      const held = await this.#attempt(async (connection) => {
        if (await this.#lock(connection)) return true
        if (!hasStoodBy) this.#events.onStandby()
        hasStoodBy = true
        if (performance.now() - lookedAt >= this.#options.silenceMs / 4) {
          lookedAt = performance.now()
          await this.#evictSilent(connection)
        }
        return false
      })
      if (held === true) return hasStoodBy
      await sleep(this.#options.pollMs, signal)
    }
  }

  /** Whether the present session holds the lock, which a session that has taken another's place has to ask for. */
  async confirm(signal: AbortSignal): Promise<boolean> {
    for (;;) {
      signal.throwIfAborted()
      const held = await this.#attempt((connection) => this.#lock(connection))
      if (held !== undefined) return held
      await sleep(this.#options.pollMs, signal)
    }
  }

  /**
   * Whether the session that has got the lock by {@link Leader.acquire} is still the present one. A session in its place may get the lock too,
   * but others may have had it in between.
   */
  async keeps(signal: AbortSignal): Promise<boolean> {
    for (;;) {
      signal.throwIfAborted()
      const held = await this.#attempt((connection) =>
        connection.fetchVal<boolean>(`SELECT ${IS_HELD}`, [this.#options.key], {
          timeoutMs: this.#options.silenceMs,
        }),
      )
      if (held !== undefined) return held
      await sleep(this.#options.pollMs, signal)
    }
  }

  /** Lets another relay have the lock, which it may already have. */
  async release(): Promise<void> {
    await this.#attempt((connection) =>
      connection.execute(
        `SELECT CASE WHEN ${IS_HELD} THEN pg_catalog.pg_advisory_unlock($1::bigint) END`,
        [this.#options.key],
        { timeoutMs: this.#options.silenceMs },
      ),
    )
  }

  /** Runs `work` on the listening session; `undefined` when there is none at the moment. */
  async #attempt<Result>(
    work: (connection: Connection) => Promise<Result>,
  ): Promise<Result | undefined> {
    if (this.#listener.state !== 'connected') return undefined
    try {
      return await work(this.#listener.connection)
    } catch (error) {
      // A session that was lost meanwhile is the listener's business, which reports it.
      if (this.#listener.state === 'connected')
        this.#events.onWarning('the lock of the leader cannot be asked for', error)
      return undefined
    }
  }

  /** A session that has the lock gets it again, so it is taken only where it is not held: once is enough. */
  async #lock(connection: Connection): Promise<boolean> {
    return connection.fetchVal<boolean>(
      `SELECT CASE WHEN ${IS_HELD} THEN true ELSE pg_catalog.pg_try_advisory_lock($1::bigint) END`,
      [this.#options.key],
      { timeoutMs: this.#options.silenceMs },
    )
  }

  async #evictSilent(connection: Connection): Promise<void> {
    const timeoutMs = this.#options.silenceMs
    const rows = await connection.execute<{ pid: number; silent_ms: number }>(
      SILENT_HOLDER,
      [this.#options.key, this.#options.silenceMs],
      { timeoutMs },
    )
    for (const { pid, silent_ms: silentMs } of rows) {
      // Asked again in the statement that ends it: the process id may have become another session's.
      const ended = await connection.fetchVal<boolean | null>(
        `SELECT pg_catalog.bool_or(pg_catalog.pg_terminate_backend(pid)) FROM (${SILENT_HOLDER}) AS holder
          WHERE pid OPERATOR(pg_catalog.=) $3::pg_catalog.int4`,
        [this.#options.key, this.#options.silenceMs, pid],
        { timeoutMs },
      )
      if (ended === true) this.#events.onEvicted(pid, silentMs)
    }
  }
}
