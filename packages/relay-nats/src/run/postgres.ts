// The way to PostgreSQL of a run: its pool, and the listener whose session holds the lock of the leader.
import { ConnectionPool, type ConnectionPoolOptions, type Listener } from 'pglisten'
import { RelayError, RelayOptionError, textOf } from '../errors.js'
import { Backoff } from '../nats/sleep.js'
import type { ResolvedOptions } from '../options/options.js'
import { Leader, lockKeyOf } from '../postgres/leader.js'
import type { Scene } from './scene.js'
import type { Status } from './status.js'

export function makePool(options: ResolvedOptions): ConnectionPool {
  return poolOf(options, {
    applicationName: 'pglisten-relay-nats',
    maxDbPoolSize: options.durable ? 4 : 2,
  })
}

/** Makes a pool by the option `postgres`, and by `otherwise` where that says nothing. */
export function poolOf(
  { postgres }: ResolvedOptions,
  otherwise: ConnectionPoolOptions,
): ConnectionPool {
  const given = typeof postgres === 'string' ? { dsn: postgres } : postgres
  try {
    return new ConnectionPool({ ...otherwise, ...given })
  } catch (error) {
    throw new RelayOptionError(`\`postgres\` is refused: ${textOf(error)}`, { cause: error })
  }
}

/** Asks for the name of the database, however long PostgreSQL is away. */
export async function askDatabase(
  pool: ConnectionPool,
  status: Status,
  signal: AbortSignal,
): Promise<string> {
  const backoff = new Backoff(100, 2000)
  for (;;) {
    signal.throwIfAborted()
    try {
      return await pool.fetchVal<string>('SELECT pg_catalog.current_database()::text', [], {
        signal,
      })
    } catch (error) {
      if (signal.aborted || isMisconfigured(error)) throw error
      status.warn('PostgreSQL cannot be reached', error)
      await backoff.wait(signal)
    }
  }
}

/** Makes the listener whose session holds the lock of the leader. */
export function makeListener({ options, status, pool }: Scene): Listener {
  const { heartbeatMs, buffer } = options
  const listener = pool.listener({
    session: 'own',
    name: 'pglisten-relay-nats',
    heartbeat: { intervalMs: heartbeatMs, timeoutMs: Math.max(2000, heartbeatMs) },
    buffer: { ...buffer, overflow: 'dropOldest' },
    reconnect: { maxDelayMs: 2000 },
  })
  listener.on('error', (error) => status.warn('the listener reports an error', error))
  listener.on('warning', ({ message, error }) => status.warn(message, error))
  listener.on('disconnected', ({ error }) => status.warn('PostgreSQL is away', error))
  return listener
}

export function makeLeader({ options, status }: Scene, listener: Listener): Leader {
  const { heartbeatMs, standbyPollMs, stream } = options
  return new Leader(
    listener,
    { key: lockKeyOf(stream), pollMs: standbyPollMs, silenceMs: 2 * heartbeatMs },
    {
      onStandby: () => status.become('standby'),
      onEvicted: (processId, silentMs) => {
        status.counts.evicted += 1
        const time = `${Math.round(silentMs)} ms`
        status.warn(`the leader's session ${processId} was silent for ${time} and was ended`)
      },
      onWarning: (message, error) => status.warn(message, error),
    },
  )
}

const codeOf = (error: unknown) => (error as { code?: unknown } | null)?.code

const isMisconfigured = (error: unknown) => codeOf(error) === 'ERR_PGLISTEN_POOL_CONFIGURATION'

/** PostgreSQL's SQLSTATE on a standby. */
const READ_ONLY = '25006'

/**
 * What going on would not mend: durable subscriptions that are not installed, a pool that is closed, or a stream that is none for them. A standby is none of it: in a
 * failover the way to PostgreSQL leads to one for a while.
 */
export const isFinal = (error: unknown) =>
  isMisconfigured(error) ||
  error instanceof RelayError ||
  (codeOf(error) === 'ERR_PGLISTEN_DURABLE' &&
    (error as { cause?: { sqlState?: unknown } }).cause?.sqlState !== READ_ONLY)
