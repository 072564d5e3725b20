// Watches how full the server's queue of notifications is, and finds out who keeps it from being emptied.
import { clearInterval, setInterval } from '../native/timers.js'
import type { ResolvedQueueWatch } from '../options/queue-watch.js'
import type { QueueReport, QueueSuspect } from './queue.js'

/** A row of {@link SUSPECTS}. */
export type SuspectRow = Omit<QueueSuspect, 'isOwn'>

/** How much of the queue is in use. */
export const USAGE = 'SELECT pg_catalog.pg_notification_queue_usage()'

/** Names a backend for all time, together with its process id. */
const BACKEND_START = `extract(epoch FROM backend_start)::pg_catalog.text`

/**
 * The backends that may hold the queue back. A backend reads the queue between its transactions, so who holds it back has one
 * open; while it sends notifications too, and then its state is `idle` all the same.
 */
export const SUSPECTS = `
  SELECT pid AS "processId", ${BACKEND_START} AS "backendStart", state, application_name AS "applicationName",
    coalesce(datname, '') AS database,
    (extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) xact_start)
      OPERATOR(pg_catalog.*) 1000)::pg_catalog.float8 AS "transactionAgeMs",
    state OPERATOR(pg_catalog.=) 'idle' AS "isCertain"
  FROM pg_catalog.pg_stat_activity
  WHERE backend_type OPERATOR(pg_catalog.=) 'client backend' AND xact_start IS NOT NULL AND state IS NOT NULL
    AND pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
  ORDER BY state OPERATOR(pg_catalog.=) 'idle' DESC, xact_start LIMIT 100`

/** Ends a backend, if it is still the same. */
export const END_BACKEND = `
  SELECT pg_catalog.pg_terminate_backend(pid) AS ended FROM pg_catalog.pg_stat_activity
  WHERE pid OPERATOR(pg_catalog.=) $1 AND ${BACKEND_START} OPERATOR(pg_catalog.=) $2`

/** The most suspects that are told. */
const MOST_SUSPECTS = 5

/** The functions of the pool that a {@link QueueWatch} calls. */
export interface QueueOwner {
  /** Whether somebody is there to be warned. */
  isNeeded(): boolean
  usage(): Promise<number>
  suspects(): Promise<SuspectRow[]>
  /** Whether a backend belongs to the pool, and whether it is the session of one of its listeners. */
  owns(processId: number): { isOwn: boolean; listens: boolean }
  warn(message: string, queue: QueueReport): void
}

/** Looks at the server's queue of notifications every now and then. It does not keep the process or its pool alive. */
export class QueueWatch {
  readonly #owner: QueueOwner
  readonly #options: ResolvedQueueWatch
  #timer: NodeJS.Timeout | undefined
  #isLooking = false

  constructor(owner: QueueOwner, options: ResolvedQueueWatch) {
    this.#owner = owner
    this.#options = options
  }

  /** Begins to watch. A second call has no effect. */
  start(): void {
    if (this.#timer) return
    const self = new WeakRef(this)
    const timer = setInterval(() => {
      const watch = self.deref()
      if (watch) void watch.#look()
      else clearInterval(timer)
    }, this.#options.intervalMs)
    timer.unref()
    this.#timer = timer
  }

  /** Ends watching. */
  stop(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    if (this.#isLooking || !this.#owner.isNeeded()) return
    this.#isLooking = true
    try {
      const usage = await this.#owner.usage()
      if (usage >= this.#options.threshold) this.#report(usage, await this.#owner.suspects())
    } catch {
      // The server is away or refuses: the listeners' own events tell of that, and the next look comes.
    } finally {
      this.#isLooking = false
    }
  }

  #report(usage: number, rows: readonly SuspectRow[]): void {
    const judged = rows.map((row) => {
      const { isOwn, listens } = this.#owner.owns(row.processId)
      return { suspect: { ...row, isOwn }, weight: row.isCertain ? 2 : Number(listens) }
    })
    judged.sort((one, other) => other.weight - one.weight)
    const suspects = judged.slice(0, MOST_SUSPECTS).map(({ suspect }) => suspect)
    this.#owner.warn(describe(usage, suspects, rows.length), { usage, suspects })
  }
}

/** What a user is told. */
function describe(usage: number, [first]: readonly QueueSuspect[], count: number): string {
  const full = `the server's queue of notifications is ${(usage * 100).toFixed(1)} % full, and each NOTIFY fails when it is full`
  if (!first) {
    return (
      `${full}: a backend that listens has a transaction open, and this role can see none ` +
      '(`pg_read_all_stats` lets it see those of others)'
    )
  }
  const { processId, state, transactionAgeMs, applicationName, database, isOwn, isCertain } = first
  const seconds = Math.round(transactionAgeMs / 1000)
  const others = count - 1
  const how = isCertain
    ? 'it is held back by'
    : `the likeliest to hold it back, of ${others} other${others === 1 ? '' : 's'} with open transactions, is`
  const what = isCertain ? 'its client reads no notifications' : `\`${state}\``
  return (
    `${full}: ${others > 0 || isCertain ? how : 'the likeliest to hold it back is'} process ${processId} ` +
    `(${what}, for ${seconds} s; application \`${applicationName}\`, database \`${database}\`; ` +
    `${isOwn ? "one of this pool's" : "not one of this pool's"}). ` +
    `This ends it: SELECT pg_terminate_backend(${processId})`
  )
}
