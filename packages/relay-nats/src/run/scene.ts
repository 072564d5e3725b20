// What a run of a relay works with.
import type { ConnectionPool } from 'pglisten'
import type { Link } from '../nats/link.js'
import type { ResolvedOptions } from '../options/options.js'
import type { Status } from './status.js'

/** What a run works with, and the signals that end it. */
export interface Scene {
  options: ResolvedOptions
  status: Status
  pool: ConnectionPool
  link: Link
  /** The name of the database in subjects. */
  database: string
  /** Ends the run: what it has read is still stored. */
  soft: AbortSignal
  /** Ends the storing too. */
  hard: AbortSignal
}
