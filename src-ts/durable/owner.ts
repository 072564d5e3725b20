// What durable subscriptions ask of the pool that they belong to.
import type { Listener } from '../listen/listener.js'
import type { ListenerOptions } from '../options/listener.js'
import type { ResolvedObservation } from '../options/observation.js'
import { PLAIN_TYPES } from '../options/types.js'
import { countdown, resolveCallOptions, type CallOptions } from '../query/bounds.js'
import type { Connection } from '../query/connection.js'
import { alone, type Companion } from '../query/transaction/flight.js'
import type { QueryResult } from '../query/result.js'

/** The pool that made a subscription. */
export interface DurableOwner {
  /** Throws when the pool is closed. */
  checkOpen(): void
  /** The most connections that the pool may have. */
  maxConnections(): number
  /** Leases a connection. */
  connection(options?: CallOptions): Promise<Connection>
  /** Makes a listener. */
  listener(options: ListenerOptions<string>): Listener
  /** Tells of something that somebody should know: a warning of the process, and of the pool's logger. */
  warn(fields: object, message: string): void
  /** How the pool is observed. */
  readonly observation: ResolvedObservation
  /** Makes the value of a payload, where the pool has schemas. */
  readonly parse: ((text: string, channel: never) => unknown) | undefined
}

/** The options of the package's own statements. */
export const PLAIN = { types: PLAIN_TYPES } as const

/** Lets `work` use a connection of the pool. `options` bound the wait for it. */
export async function withConnection<Result>(
  owner: DurableOwner,
  work: (connection: Connection) => Promise<Result>,
  options?: CallOptions,
): Promise<Result> {
  const connection = await owner.connection(options)
  try {
    return await work(connection)
  } finally {
    await connection.close()
  }
}

/** Lets `work` use a connection of the pool. `options` bound all that it does: `left` tells what is left of them. */
export async function withinBounds<Result>(
  owner: DurableOwner,
  options: CallOptions | undefined,
  work: (connection: Connection, left: () => CallOptions) => Promise<Result>,
): Promise<Result> {
  const left = countdown(resolveCallOptions(options))
  return withConnection(owner, (connection) => work(connection, left), left())
}

/**
 * Runs a statement of the package's own that waits for others, as a READ COMMITTED transaction and in one round trip. By another default of
 * the session it would go on with what there was before it waited: it would fail, or not see a position that was made meanwhile.
 *
 * @param following - A statement that follows in the same transaction: then the rows are those of that one.
 */
export async function readCommitted<Row>(
  connection: Connection,
  statement: Companion,
  bounds: CallOptions,
  following?: Companion,
): Promise<QueryResult<Row>> {
  // What is sent together is one transaction, for which alone the parameter is set.
  const together = ["SET transaction_isolation = 'read committed'", statement]
  if (following) together.push(following)
  try {
    const results = await connection.pipeline(together, { ...PLAIN, ...bounds })
    return results.at(-1) as QueryResult<Row>
  } catch (error) {
    throw alone(error)
  }
}
