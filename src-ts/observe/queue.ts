// What is told of the server's queue of notifications: a documented API.

/** A backend that may hold the server's queue of notifications back. */
export interface QueueSuspect {
  /** The process id of the backend. */
  processId: number
  /** When the backend began, in seconds since 1970, as the server writes it: with the process id it names one backend for all time. */
  backendStart: string
  /** Its state, as in `pg_stat_activity`, such as `idle in transaction`. */
  state: string
  /** How long its transaction has been open, in milliseconds. */
  transactionAgeMs: number
  /** Its `application_name`. */
  applicationName: string
  /** The name of its database. */
  database: string
  /** Whether it belongs to this pool: one of its connections, or the session of one of its listeners. */
  isOwn: boolean
  /**
   * Whether it is certain that it listens: its client does not read the notifications that it sends. Of others the server does
   * not tell whether they listen.
   */
  isCertain: boolean
}

/** What a `warning` event of the kind `queue` tells. */
export interface QueueReport {
  /** How much of the queue is in use, from 0 to 1. When it is full, each NOTIFY fails. */
  usage: number
  /**
   * The backends with the oldest open transactions, at most five: those first that certainly listen, then those of this pool's
   * listeners, then the oldest. Empty when the role may not see other roles' transactions (`pg_read_all_stats`).
   */
  suspects: QueueSuspect[]
}
