// The table of a pool's options: how each is checked, and as which setting it crosses to Rust.
import type { NativeSettings } from '#native'
import {
  checkLogger,
  resolveDiagnostics,
  type Logger,
  type ResolvedObservation,
} from '../observation.js'
import type {
  ChannelBinding,
  ConnRecyclingMethod,
  ConnectionPoolOptions,
  LoadBalanceHosts,
  SslMode,
  SslNegotiation,
  TargetSessionAttrs,
} from '../pool.js'
import { resolveQueueWatch, type ResolvedQueueWatch } from '../queue-watch.js'
import { type ChannelSchemas, Schemas as SchemaTable } from '../schemas.js'
import type { ResolvedTypes } from '../types.js'
import { BUFFER_BYTES, checkNumber, type NumberBounds } from '../validate.js'
import {
  SECONDS,
  configurationErrors,
  dsnText,
  flag,
  list,
  number,
  oneOf,
  only,
  password,
  pem,
  seconds,
  text,
  typeOptions,
  type OptionName,
  type Read,
} from './readers.js'

type SettingName = keyof NativeSettings

/** An option: the setting as which it crosses to Rust, and how its value is read. */
type Option =
  | {
      [Key in SettingName]: { setting: Key; read: Read<NonNullable<NativeSettings[Key]>> }
    }[SettingName]
  | {
      setting: null
      read: Read<
        | string
        | number
        | SchemaTable
        | ResolvedTypes
        | Logger
        | Omit<ResolvedObservation, 'logger'>
        | ResolvedQueueWatch
        | undefined
      >
    }

/** The largest pool: PostgreSQL allows no more connections (`max_connections`). */
const MAX_POOL_SIZE = 262_143
const POOL_SIZE: NumberBounds = { min: 1, max: MAX_POOL_SIZE, integer: true }
const PORT: NumberBounds = { min: 1, max: 65_535, integer: true }

const loadBalanceHosts = oneOf<LoadBalanceHosts>('disable', 'random')

/**
 * Every option of a pool, in the order in which errors list them. An option that is missing here, or is not in
 * {@link ConnectionPoolOptions}, does not compile, and neither does a setting of Rust's that no option sets.
 */
const OPTIONS = {
  dsn: { setting: null, read: dsnText },
  username: { setting: 'user', read: text },
  password: { setting: 'password', read: password },
  host: { setting: 'hosts', read: only(text) },
  hosts: { setting: 'hosts', read: list(text) },
  port: { setting: 'ports', read: only(number(PORT)) },
  ports: { setting: 'ports', read: list(number(PORT)) },
  dbName: { setting: 'dbName', read: text },
  options: { setting: 'options', read: text },
  applicationName: { setting: 'applicationName', read: text },
  targetSessionAttrs: {
    setting: 'targetSessionAttrs',
    read: oneOf<TargetSessionAttrs>(
      'any',
      'read-write',
      'read-only',
      'primary',
      'standby',
      'prefer-standby',
    ),
  },
  loadBalanceHosts: {
    setting: 'loadBalance',
    read: (value, option) => loadBalanceHosts(value, option) === 'random',
  },
  primaryCheckSec: {
    setting: 'primaryCheckMs',
    // Zero stands for none.
    read: (value, option) =>
      value === false ? 0 : number({ ...SECONDS, or: '`false`' })(value, option) * 1000,
  },
  connectTimeoutSec: { setting: 'connectTimeoutMs', read: seconds },
  tcpUserTimeoutSec: { setting: 'tcpUserTimeoutMs', read: seconds },
  keepalives: { setting: 'keepalives', read: flag },
  keepalivesIdleSec: { setting: 'keepalivesIdleMs', read: seconds },
  keepalivesIntervalSec: { setting: 'keepalivesIntervalMs', read: seconds },
  keepalivesRetries: {
    setting: 'keepalivesRetries',
    read: number({ min: 1, max: 1000, integer: true }),
  },
  maxDbPoolSize: { setting: null, read: number(POOL_SIZE) },
  acquireTimeoutSec: { setting: null, read: seconds },
  idleTimeoutSec: { setting: null, read: seconds },
  maxLifetimeSec: { setting: null, read: seconds },
  maxBufferedBytes: { setting: null, read: number(BUFFER_BYTES) },
  connRecyclingMethod: {
    setting: null,
    read: oneOf<ConnRecyclingMethod>('fast', 'verified', 'clean'),
  },
  sslMode: {
    setting: 'sslMode',
    read: oneOf<SslMode>('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'),
  },
  caFile: { setting: 'caFile', read: text },
  ca: { setting: 'ca', read: pem },
  certFile: { setting: 'certFile', read: text },
  cert: { setting: 'cert', read: pem },
  keyFile: { setting: 'keyFile', read: text },
  key: { setting: 'key', read: pem },
  sslNegotiation: { setting: 'sslNegotiation', read: oneOf<SslNegotiation>('postgres', 'direct') },
  channelBinding: {
    setting: 'channelBinding',
    read: oneOf<ChannelBinding>('disable', 'prefer', 'require'),
  },
  listenDsn: { setting: null, read: dsnText },
  schemas: {
    setting: null,
    read: (value) => new SchemaTable(value, configurationErrors('schemas')),
  },
  types: { setting: null, read: typeOptions },
  logger: {
    setting: null,
    read: (value) => {
      checkLogger(value, configurationErrors('logger'))
      return value
    },
  },
  diagnostics: {
    setting: null,
    read: (value) => resolveDiagnostics(value, configurationErrors('diagnostics')),
  },
  queueWatch: {
    setting: null,
    read: (value) => resolveQueueWatch(value, configurationErrors('queueWatch')),
  },
} as const satisfies { readonly [Name in OptionName]-?: Option }

/** @internal The names of all options. */
export const NAMES = Object.keys(OPTIONS) as OptionName[]

/** The settings that the options set, by the table: assignable to `NativeSettings` only if none is missing. */
type TableSettings = {
  [
    Row in (typeof OPTIONS)[OptionName] as Row['setting'] & SettingName
  ]: NativeSettings[Row['setting'] & SettingName]
}

/** @internal Checks a pool's size. */
export function checkPoolSize(value: unknown): asserts value is number {
  checkNumber('size', value, POOL_SIZE)
}

/** @internal Reads one option by the table; `undefined` when it is not given. */
export function read<Name extends OptionName>(
  options: ConnectionPoolOptions<ChannelSchemas>,
  name: Name,
): ReturnType<(typeof OPTIONS)[Name]['read']> | undefined {
  const value: unknown = options[name]
  if (value === undefined) return undefined
  return OPTIONS[name].read(value, name) as ReturnType<(typeof OPTIONS)[Name]['read']>
}

/** @internal The settings that cross to Rust. Rust gets every field: `null` stands for "not given". */
export function settingsOf(options: ConnectionPoolOptions<ChannelSchemas>): NativeSettings {
  const settings: Partial<Record<SettingName, unknown>> = {}
  for (const name of NAMES) {
    const { setting } = OPTIONS[name]
    if (setting !== null) settings[setting] = read(options, name) ?? settings[setting] ?? null
  }
  return settings as TableSettings
}
