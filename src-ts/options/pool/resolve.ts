// Checks the options of a pool together, and completes them by the defaults.
import { checkConnectOptions, type NativeConnectOptions, type NativePoolLimits } from '#native'
import { ConnectionPoolConfigurationError } from '../../errors.js'
import { fromNativeError } from '../../native/native-errors.js'
import { meant } from '../foreign.js'
import { UNOBSERVED, type ResolvedObservation } from '../observation.js'
import type { ConnRecyclingMethod, ConnectionPoolOptions } from '../pool.js'
import type { ResolvedQueueWatch } from '../queue-watch.js'
import type { ChannelSchemas, Schemas as SchemaTable } from '../schemas.js'
import type { ResolvedTypes } from '../types.js'
import { checkOptions } from '../validate.js'
import { configurationErrors, dsnText, type OptionName } from './readers.js'
import { NAMES, read, settingsOf } from './table.js'

const DEFAULT_POOL_SIZE = 10
const DEFAULT_ACQUIRE_TIMEOUT_MS = 30_000
const DEFAULT_BUFFERED_BYTES = 512 * 2 ** 20

/** @internal The options of a pool, checked and complete. */
export interface ResolvedPoolOptions {
  connect: NativeConnectOptions
  /** Where listening sessions connect, if that differs. */
  listenDsn: string | undefined
  /** How to connect to where another DSN points, with the other options of the pool. */
  connectElsewhere: (dsn: string) => NativeConnectOptions
  schemas: SchemaTable | undefined
  /** How values are read and written. */
  types: ResolvedTypes | undefined
  /** What is told to whom. */
  observation: ResolvedObservation
  queueWatch: ResolvedQueueWatch | undefined
  maxDbPoolSize: number
  maxBufferedBytes: number
  /** The function that is asked for passwords, if there is one. */
  askPassword: (() => unknown) | undefined
  acquireTimeoutMs: number
  limits: NativePoolLimits
  connRecyclingMethod: ConnRecyclingMethod
}

/** @internal Checks the options of a pool. Throws {@link ConnectionPoolConfigurationError}. */
export function resolvePoolOptions(
  input: ConnectionPoolOptions<ChannelSchemas> | string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ResolvedPoolOptions {
  const options: ConnectionPoolOptions<ChannelSchemas> =
    typeof input === 'string' ? { dsn: input } : input === undefined ? {} : input
  checkOptions('options', options, NAMES, configurationErrors('options'), meant)
  exclusive(options, 'host', 'hosts')
  exclusive(options, 'port', 'ports')
  exclusive(options, 'ca', 'caFile')
  exclusive(options, 'cert', 'certFile')
  exclusive(options, 'key', 'keyFile')
  const environmentOf = environment(env)
  const connectElsewhere = (dsn: string, option: DsnOption = 'dsn') =>
    checked(
      {
        dsn: dsnText(dsn, option),
        settings: settingsOf(elsewhere),
        environment: environmentOf,
      },
      option,
    )
  const { host: _host, hosts: _hosts, port: _port, ports: _ports, ...elsewhere } = options
  const connect = checked({
    dsn: read(options, 'dsn') ?? null,
    settings: settingsOf(options),
    environment: environmentOf,
  })
  const listenDsn = read(options, 'listenDsn')
  if (listenDsn !== undefined) connectElsewhere(listenDsn, 'listenDsn')
  return {
    connect,
    listenDsn,
    connectElsewhere,
    schemas: read(options, 'schemas'),
    types: read(options, 'types'),
    observation: {
      ...UNOBSERVED,
      ...read(options, 'diagnostics'),
      logger: read(options, 'logger'),
    },
    queueWatch: read(options, 'queueWatch'),
    maxDbPoolSize: read(options, 'maxDbPoolSize') ?? DEFAULT_POOL_SIZE,
    maxBufferedBytes: read(options, 'maxBufferedBytes') ?? DEFAULT_BUFFERED_BYTES,
    askPassword: typeof options.password === 'function' ? options.password : undefined,
    limits: {
      idleTimeoutMs: read(options, 'idleTimeoutSec') ?? null,
      maxLifetimeMs: read(options, 'maxLifetimeSec') ?? null,
    },
    acquireTimeoutMs: read(options, 'acquireTimeoutSec') ?? DEFAULT_ACQUIRE_TIMEOUT_MS,
    connRecyclingMethod: read(options, 'connRecyclingMethod') ?? 'fast',
  }
}

/** The options that hold a DSN. */
type DsnOption = 'dsn' | 'listenDsn'

function checked(
  connect: NativeConnectOptions,
  dsnOption: DsnOption = 'dsn',
): NativeConnectOptions {
  const error = checkConnectOptions(connect)
  if (error?.option === 'dsn') {
    // Rust does not know in which option it was.
    const message = error.message.replaceAll('`dsn`', `\`${dsnOption}\``)
    throw new ConnectionPoolConfigurationError(message, { option: dsnOption })
  }
  if (error) throw fromNativeError(error)
  return connect
}

/** Returns the environment variables that may be libpq's; Rust knows which of them are. */
function environment(env: NodeJS.ProcessEnv): Record<string, string> {
  const variables = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[0].startsWith('PG') && entry[1] !== undefined,
  )
  return Object.fromEntries(variables)
}

/** Refuses two options that exclude each other. */
function exclusive(
  options: ConnectionPoolOptions<ChannelSchemas>,
  one: OptionName,
  other: OptionName,
): void {
  if (options[one] !== undefined && options[other] !== undefined) {
    throw new ConnectionPoolConfigurationError(`Expected \`${one}\` or \`${other}\`, got both`, {
      option: one,
    })
  }
}
