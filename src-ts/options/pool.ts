// The options of a pool: their documentation, their defaults, and their checks.
import { checkConnectOptions, type NativeConnectOptions, type NativeSettings } from '#native'
import { ConnectionPoolConfigurationError } from '../errors.js'
import {
  MAX_DELAY_MS,
  checkBoolean,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkString,
  expected,
  type CheckErrors,
  type NumberBounds,
} from './validate.js'
import { fromNativeError } from '../native/native-errors.js'

/**
 * The role that a server must have, with [libpq's
 * meaning](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS): whether a
 * session may write by default (`read-write`, `read-only`), or whether the server is a standby. `prefer-standby` tries all
 * hosts for a standby, then for any. LISTEN needs a primary.
 */
export type TargetSessionAttrs =
  'any' | 'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby'
/** The order in which several hosts are tried. */
export type LoadBalanceHosts = 'disable' | 'random'
/**
 * What is done to a pooled connection before it is used again: `fast` looks whether it is closed, `verified` also
 * makes a round trip, `clean` also resets the session (settings, LISTENs, temporary tables, advisory locks).
 */
export type ConnRecyclingMethod = 'fast' | 'verified' | 'clean'
/**
 * How much encryption is asked for, with [libpq's meaning](https://www.postgresql.org/docs/current/libpq-ssl.html):
 *
 * | mode          | connection                                            | certificate of the server                             |
 * | ------------- | ----------------------------------------------------- | ----------------------------------------------------- |
 * | `disable`     | plain                                                 | –                                                     |
 * | `allow`       | plain; encrypted if the server refuses that           | as `require`                                          |
 * | `prefer`      | encrypted; plain if the server refuses or has no TLS  | as `require`                                          |
 * | `require`     | encrypted                                             | as `verify-ca` if there is a `caFile`, else any       |
 * | `verify-ca`   | encrypted                                             | issued by an authority in `caFile`                    |
 * | `verify-full` | encrypted                                             | and for the host that was asked for                   |
 *
 * Only the last one protects from somebody in between. A Unix-domain socket is never encrypted.
 */
export type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'
/** How TLS begins: the server is asked first, or (`direct`) at once, which PostgreSQL 17 and later take. */
export type SslNegotiation = 'postgres' | 'direct'
/** Whether SCRAM proves that the server that knows the password is the one at the end of the encrypted connection. */
export type ChannelBinding = 'disable' | 'prefer' | 'require'

/**
 * How to connect. Each setting comes from the first place that has it: the option, the `dsn`, libpq's environment
 * variable, the default.
 */
export interface ConnectionPoolOptions {
  /**
   * A URL (`postgres://user:password@host:5432/database`) or key/value pairs (`host=localhost user=postgres`), read by
   * [libpq's rules](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). What is not supported is
   * refused by name.
   */
  dsn?: string
  /** @default `PGUSER`, or the user who runs the process */
  username?: string
  /** @default `PGPASSWORD`, or what a password file (`PGPASSFILE`, or `~/.pgpass`) has for the host */
  password?: string
  /** A name, an address, or the folder of a Unix-domain socket. @default `PGHOST`, or `localhost` */
  host?: string
  /** Several hosts, to be tried in turn; not together with `host`. */
  hosts?: readonly string[]
  /** @default `PGPORT`, or 5432 */
  port?: number
  /** One port for all hosts, or one for each; not together with `port`. */
  ports?: readonly number[]
  /** @default `PGDATABASE`, or the name of the user */
  dbName?: string
  /** Command-line options for the session, such as `-c statement_timeout=5s`. @default `PGOPTIONS`, or none */
  options?: string
  /** @default `PGAPPNAME`, or `pglisten` */
  applicationName?: string
  /** @default `PGTARGETSESSIONATTRS`, or `any` */
  targetSessionAttrs?: TargetSessionAttrs
  /** @default `PGLOADBALANCEHOSTS`, or `disable` */
  loadBalanceHosts?: LoadBalanceHosts
  /**
   * The bound for each host, in seconds, from name resolution over encryption to the last answer of start-up. Fractions
   * are allowed.
   * @default `PGCONNECT_TIMEOUT`, or 10
   */
  connectTimeoutSec?: number
  /** How long sent data may stay unacknowledged, in seconds; Linux only. @default the operating system's */
  tcpUserTimeoutSec?: number
  /** Whether TCP keepalive is on. @default true */
  keepalives?: boolean
  /** Idle time before the first keepalive probe, in seconds. @default 60 */
  keepalivesIdleSec?: number
  /** Time between keepalive probes, in seconds. @default the operating system's */
  keepalivesIntervalSec?: number
  /** Keepalive probes without an answer before the connection is given up. @default the operating system's */
  keepalivesRetries?: number
  /** The most connections of the pool. A listener's own session does not count. @default 10 */
  maxDbPoolSize?: number
  /** @default `fast` */
  connRecyclingMethod?: ConnRecyclingMethod
  /** @default `PGSSLMODE`, or `verify-full` when `caFile` is `system`, or `prefer` */
  sslMode?: SslMode
  /**
   * A file with the certificates of the authorities to trust, in PEM, or `system` for those that the operating system
   * trusts, which needs `sslMode: 'verify-full'`. This file and the next two are read for each new connection; what is
   * wrong with one is a {@link ConnectionPoolConfigurationError} then.
   * @default `PGSSLROOTCERT`, or `~/.postgresql/root.crt` if it is there
   */
  caFile?: string
  /**
   * A file with a certificate for the server to know us by, in PEM, followed by those of its issuers.
   * @default `PGSSLCERT`, or `~/.postgresql/postgresql.crt` if it is there
   */
  certFile?: string
  /**
   * A file with the key of `certFile`, in PEM or DER: RSA (2048 bits or more), P-256, P-384 or Ed25519, not encrypted.
   * Nobody else may have access to it (0600, or 0640 if it belongs to root).
   * @default `PGSSLKEY`, or `~/.postgresql/postgresql.key`
   */
  keyFile?: string
  /** `direct` needs `sslMode: 'require'` or more. @default `PGSSLNEGOTIATION`, or `postgres` */
  sslNegotiation?: SslNegotiation
  /**
   * `prefer` binds where the server offers it; with `require` a server that does not is refused, and so is every
   * authentication without SCRAM. @default `PGCHANNELBINDING`, or `prefer`
   */
  channelBinding?: ChannelBinding
}

/** Checks the value of one option and returns it as it crosses to Rust. `name` is the place that an error names. */
type Read<Value> = (value: unknown, option: OptionName, name?: string) => Value

type OptionName = keyof ConnectionPoolOptions
type SettingName = keyof NativeSettings

/** An option: the setting as which it crosses to Rust, and how its value is read. */
type Option =
  | {
      [Key in SettingName]: { setting: Key; read: Read<NonNullable<NativeSettings[Key]>> }
    }[SettingName]
  | { setting: null; read: Read<string | number> }

/** Beyond this a pool is a mistake: PostgreSQL's own limit of `max_connections` is 262143. */
const MAX_POOL_SIZE = 262_143
const POOL_SIZE: NumberBounds = { min: 1, max: MAX_POOL_SIZE, integer: true }
const DEFAULT_POOL_SIZE = 10
const PORT: NumberBounds = { min: 1, max: 65_535, integer: true }
const SECONDS: NumberBounds = { min: 0.001, max: MAX_DELAY_MS / 1000 }

/** What a failed check of a pool's option throws. */
function configurationErrors(option: string): CheckErrors {
  const error = (message: string) => new ConnectionPoolConfigurationError(message, { option })
  return { type: error, range: error }
}

const text: Read<string> = (value, option, name = option) => {
  checkString(name, value, configurationErrors(option))
  if (value === '' || value.includes('\0')) {
    throw new ConnectionPoolConfigurationError(
      expected(name, 'a string that is not empty and has no NUL', value),
      { option },
    )
  }
  return value
}

/** A text that no error shows. */
const secret =
  (what: string, mayBeEmpty: boolean): Read<string> =>
  (value, option) => {
    if (typeof value === 'string' && !value.includes('\0') && (mayBeEmpty || value !== '')) {
      return value
    }
    const got =
      typeof value === 'string'
        ? 'one that is not (not shown)'
        : `a value of type ${typeof value} (not shown)`
    throw new ConnectionPoolConfigurationError(
      `Expected \`${option}\` to be a string ${what}, got ${got}`,
      { option },
    )
  }

const flag: Read<boolean> = (value, option) => {
  checkBoolean(option, value, configurationErrors(option))
  return value
}

const number =
  (bounds: NumberBounds): Read<number> =>
  (value, option, name = option) => {
    checkNumber(name, value, bounds, configurationErrors(option))
    return value
  }

/** A number of seconds, which crosses in milliseconds. */
const seconds: Read<number> = (value, option) => number(SECONDS)(value, option) * 1000

const oneOf =
  <Value extends string>(...accepted: readonly Value[]): Read<Value> =>
  (value, option) => {
    checkOneOf(option, value, accepted, configurationErrors(option))
    return value
  }

/** A single value, which crosses as a list. */
const only =
  <Value>(read: Read<Value>): Read<Value[]> =>
  (value, option) => [read(value, option)]

const list =
  <Value>(read: Read<Value>): Read<Value[]> =>
  (values, option) => {
    if (!Array.isArray(values) || values.length === 0) {
      throw new ConnectionPoolConfigurationError(
        expected(option, 'an array that is not empty', values),
        { option },
      )
    }
    return values.map((value, index) => read(value, option, `${option}[${index}]`))
  }

const loadBalanceHosts = oneOf<LoadBalanceHosts>('disable', 'random')

/**
 * Every option of a pool, in the order in which errors list them. An option that is missing here, or is not in
 * {@link ConnectionPoolOptions}, does not compile, and neither does a setting of Rust's that no option sets.
 */
const OPTIONS = {
  dsn: { setting: null, read: secret('that is not empty and has no NUL', false) },
  username: { setting: 'user', read: text },
  password: { setting: 'password', read: secret('without NUL', true) },
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
  connRecyclingMethod: {
    setting: null,
    read: oneOf<ConnRecyclingMethod>('fast', 'verified', 'clean'),
  },
  sslMode: {
    setting: 'sslMode',
    read: oneOf<SslMode>('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'),
  },
  caFile: { setting: 'caFile', read: text },
  certFile: { setting: 'certFile', read: text },
  keyFile: { setting: 'keyFile', read: text },
  sslNegotiation: { setting: 'sslNegotiation', read: oneOf<SslNegotiation>('postgres', 'direct') },
  channelBinding: {
    setting: 'channelBinding',
    read: oneOf<ChannelBinding>('disable', 'prefer', 'require'),
  },
} as const satisfies { readonly [Name in OptionName]-?: Option }

const NAMES = Object.keys(OPTIONS) as OptionName[]

/** The settings that the options set, by the table: assignable to `NativeSettings` only if none is missing. */
type TableSettings = {
  [
    Row in (typeof OPTIONS)[OptionName] as Row['setting'] & SettingName
  ]: NativeSettings[Row['setting'] & SettingName]
}

/** @internal Checked and complete. */
export interface ResolvedPoolOptions {
  connect: NativeConnectOptions
  maxDbPoolSize: number
  connRecyclingMethod: ConnRecyclingMethod
}

/** @internal Checks the options of a pool. Throws {@link ConnectionPoolConfigurationError}. */
export function resolvePoolOptions(
  input: ConnectionPoolOptions | string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ResolvedPoolOptions {
  const options: ConnectionPoolOptions = typeof input === 'string' ? { dsn: input } : (input ?? {})
  checkOptions('options', options, NAMES, configurationErrors('options'))
  exclusive(options, 'host', 'hosts')
  exclusive(options, 'port', 'ports')
  const connect: NativeConnectOptions = {
    dsn: read(options, 'dsn') ?? null,
    settings: settingsOf(options),
    environment: environment(env),
  }
  const error = checkConnectOptions(connect)
  if (error) throw fromNativeError(error)
  return {
    connect,
    maxDbPoolSize: read(options, 'maxDbPoolSize') ?? DEFAULT_POOL_SIZE,
    connRecyclingMethod: read(options, 'connRecyclingMethod') ?? 'fast',
  }
}

/** @internal Checks a pool's size. */
export function checkPoolSize(value: unknown): asserts value is number {
  checkNumber('size', value, POOL_SIZE)
}

/** Reads one option by the table; `undefined` when it is not given. */
function read<Name extends OptionName>(
  options: ConnectionPoolOptions,
  name: Name,
): ReturnType<(typeof OPTIONS)[Name]['read']> | undefined {
  const value: unknown = options[name]
  if (value === undefined) return undefined
  return OPTIONS[name].read(value, name) as ReturnType<(typeof OPTIONS)[Name]['read']>
}

/** The settings that cross to Rust. Rust gets every field: `null` stands for "not given". */
function settingsOf(options: ConnectionPoolOptions): NativeSettings {
  const settings: Partial<Record<SettingName, unknown>> = {}
  for (const name of NAMES) {
    const { setting } = OPTIONS[name]
    if (setting !== null) settings[setting] = read(options, name) ?? settings[setting] ?? null
  }
  return settings as TableSettings
}

/** Returns the environment variables that may be libpq's; Rust knows which of them are. */
function environment(env: NodeJS.ProcessEnv): Record<string, string> {
  const variables = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[0].startsWith('PG') && entry[1] !== undefined,
  )
  return Object.fromEntries(variables)
}

function exclusive(options: ConnectionPoolOptions, one: OptionName, other: OptionName): void {
  if (options[one] !== undefined && options[other] !== undefined) {
    throw new ConnectionPoolConfigurationError(`Expected \`${one}\` or \`${other}\`, got both`, {
      option: one,
    })
  }
}
