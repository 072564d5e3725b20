// A connection without a pool, as a user sees it: a pool of one stands behind it, and ends with it.
import { ConnectionPoolConfigurationError } from './errors.js'
import type { ConnectionPoolOptions } from './options/pool.js'
import { configurationErrors } from './options/pool/readers.js'
import { checkObject } from './options/validate.js'
import { ConnectionPool } from './pool.js'
import type { CallOptions } from './query/bounds.js'
import { Connection } from './query/connection.js'

/**
 * The options of {@link connect}: how to connect. Those of {@link ConnectionPoolOptions} that are about pools or their listeners are
 * left out.
 */
export type ConnectOptions = Omit<
  ConnectionPoolOptions,
  | 'maxDbPoolSize'
  | 'acquireTimeoutSec'
  | 'idleTimeoutSec'
  | 'maxLifetimeSec'
  | 'maxBufferedBytes'
  | 'connRecyclingMethod'
  | 'listenDsn'
  | 'schemas'
  | 'logger'
  | 'queueWatch'
>

/** The options that only pools have a use for, or their listeners. */
const OF_POOLS = Object.keys({
  maxDbPoolSize: true,
  acquireTimeoutSec: true,
  idleTimeoutSec: true,
  maxLifetimeSec: true,
  maxBufferedBytes: true,
  connRecyclingMethod: true,
  listenDsn: true,
  schemas: true,
  logger: true,
  queueWatch: true,
} satisfies Record<
  Exclude<keyof ConnectionPoolOptions, keyof ConnectOptions>,
  true
>) as (keyof ConnectionPoolOptions)[]

/**
 * Opens a connection that belongs to no pool. {@link Connection.close} ends its session: when it resolves, the server's
 * backend is gone. So does the garbage collector, at some time, for a connection that nobody has closed.
 *
 * A connection that is lost stays so; a pool replaces it. Rejects as {@link ConnectionPool.connection} does, and with
 * {@link ConnectionPoolConfigurationError} when an option is wrong. Nothing is left open then.
 *
 * @param options - How to connect: options, or a DSN. Without it libpq's environment variables and the defaults apply.
 * @param callOptions - Bounds of the attempt. @default 30 s
 */
export async function connect(
  options?: ConnectOptions | string,
  callOptions?: CallOptions,
): Promise<Connection> {
  if (options !== undefined && typeof options !== 'string') {
    checkObject('options', options, 'an object of options', configurationErrors('options'))
    refuseOptionsOfPools(options)
  }
  const one = typeof options === 'string' ? { dsn: options } : options
  const pool = new ConnectionPool({ ...one, maxDbPoolSize: 1 })
  try {
    return Connection.owning(await pool.connection(callOptions), () => pool.close())
  } catch (error) {
    await pool.close()
    throw error
  }
}

function refuseOptionsOfPools(options: ConnectionPoolOptions): void {
  const option = OF_POOLS.find((name) => options[name] !== undefined)
  if (option === undefined) return
  throw new ConnectionPoolConfigurationError(
    `\`${option}\` is an option of pools, and \`connect()\` opens one connection: use \`new ConnectionPool()\``,
    { option },
  )
}
