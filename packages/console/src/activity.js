// What the server tells of its sessions and its queue of notifications, asked only while a page is open.

/** How often the server is asked, in milliseconds. */
const INTERVAL_MS = 5000
const TIMEOUT_MS = 4000
const MAX_SESSIONS = 200

/**
 * Of sessions of other users, the server tells a user without `pg_read_all_stats` the names only: the type of the backend is NULL then.
 *
 * PostgreSQL does not tell who listens to what. The last statement of a session is a hint, and it is not passed on: it may hold
 * what its author wants nobody to see.
 */
const SESSIONS = `
  SELECT pid, application_name, usename::pg_catalog.text AS user_name, datname::pg_catalog.text AS database,
    state, wait_event, pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AS is_own,
    EXTRACT(EPOCH FROM pg_catalog.now() OPERATOR(pg_catalog.-) state_change)::pg_catalog.float8 AS seconds,
    EXTRACT(EPOCH FROM backend_start)::pg_catalog.float8 OPERATOR(pg_catalog.*) 1000 AS started_at,
    pg_catalog.substring(query, '^/\\* pglisten: (?:.*; )?(\\d+ listeners, \\d+ channels) \\*/') AS pglisten,
    query OPERATOR(pg_catalog.~*) '^\\s*LISTEN\\M' AS listen,
    pg_catalog.count(*) OVER () AS total
  FROM pg_catalog.pg_stat_activity
  WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
    AND COALESCE(backend_type, 'client backend') OPERATOR(pg_catalog.=) 'client backend'
    AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
  ORDER BY (query OPERATOR(pg_catalog.~*) '^\\s*(LISTEN\\M|/\\* pglisten: )') DESC NULLS LAST, backend_start
  LIMIT ${MAX_SESSIONS}`

/**
 * @typedef {import('./wire.js').Session} Session
 * @typedef {import('./wire.js').Activity} Activity
 */

export class ActivityWatch {
  /** The last answer. @type {Activity | null} */
  last = null
  #pool
  #isWatched
  #ownProcessId
  #tell
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  #isAsking = false

  /**
   * @param {object} options
   * @param {import('pglisten').ConnectionPool} options.pool
   * @param {() => boolean} options.isWatched Whether a page is open.
   * @param {() => number | undefined} options.ownProcessId The backend of the console's listening session.
   * @param {(activity: Activity) => void} options.tell
   */
  constructor({ pool, isWatched, ownProcessId, tell }) {
    this.#pool = pool
    this.#isWatched = isWatched
    this.#ownProcessId = ownProcessId
    this.#tell = tell
  }

  start() {
    this.#timer = setInterval(() => void this.ask(), INTERVAL_MS)
  }

  stop() {
    clearInterval(this.#timer)
  }

  /** Asks, if a page is open and no question is under way. */
  async ask() {
    if (this.#isAsking || !this.#isWatched()) return
    this.#isAsking = true
    try {
      this.last = await this.#activity()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      this.last = { at: Date.now(), sessions: [], total: 0, queueUsage: null, error: message }
    } finally {
      this.#isAsking = false
    }
    this.#tell(this.last)
  }

  /** @returns {Promise<Activity>} */
  async #activity() {
    const connection = await this.#pool.connection({ timeoutMs: TIMEOUT_MS })
    try {
      const options = { timeoutMs: TIMEOUT_MS }
      const usage = await connection.fetchVal(
        'SELECT pg_catalog.pg_notification_queue_usage()',
        [],
        options,
      )
      const rows = await connection.execute(SESSIONS, [], options)
      return {
        at: Date.now(),
        sessions: [...rows].map((row) => this.#session(row)),
        total: Number(rows[0]?.['total'] ?? 0),
        queueUsage: Number(usage),
        error: null,
      }
    } finally {
      await connection.close()
    }
  }

  /** @param {{ [column: string]: unknown }} row @returns {Session} */
  #session(row) {
    const isOwn = row['pid'] === this.#ownProcessId()
    const text = (/** @type {string} */ name) => /** @type {string | null} */ (row[name]) ?? ''
    return {
      processId: Number(row['pid']),
      application: text('application_name'),
      user: text('user_name'),
      state: text('state'),
      seconds: row['seconds'] === null ? null : Number(row['seconds']),
      seen: isOwn ? 'console' : row['pglisten'] ? 'pglisten' : row['listen'] ? 'listen' : 'unknown',
      serves: row['pglisten'] ? text('pglisten') : null,
    }
  }
}
