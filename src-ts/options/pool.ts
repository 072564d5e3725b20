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

const TARGET_SESSION_ATTRS: readonly TargetSessionAttrs[] = [
  'any',
  'read-write',
  'read-only',
  'primary',
  'standby',
  'prefer-standby',
]
const LOAD_BALANCE_HOSTS: readonly LoadBalanceHosts[] = ['disable', 'random']
const CONN_RECYCLING_METHODS: readonly ConnRecyclingMethod[] = ['fast', 'verified', 'clean']
const SSL_MODES: readonly SslMode[] = [
  'disable',
  'allow',
  'prefer',
  'require',
  'verify-ca',
  'verify-full',
]
const SSL_NEGOTIATIONS: readonly SslNegotiation[] = ['postgres', 'direct']
const CHANNEL_BINDINGS: readonly ChannelBinding[] = ['disable', 'prefer', 'require']

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

const POOL_OPTIONS = [
  'dsn',
  'username',
  'password',
  'host',
  'hosts',
  'port',
  'ports',
  'dbName',
  'options',
  'applicationName',
  'targetSessionAttrs',
  'loadBalanceHosts',
  'connectTimeoutSec',
  'tcpUserTimeoutSec',
  'keepalives',
  'keepalivesIdleSec',
  'keepalivesIntervalSec',
  'keepalivesRetries',
  'maxDbPoolSize',
  'connRecyclingMethod',
  'sslMode',
  'caFile',
  'certFile',
  'keyFile',
  'sslNegotiation',
  'channelBinding',
] as const satisfies readonly (keyof ConnectionPoolOptions)[]

/** @internal Checked and complete. */
export interface ResolvedPoolOptions {
  connect: NativeConnectOptions
  maxDbPoolSize: number
  connRecyclingMethod: ConnRecyclingMethod
}

const DEFAULT_POOL_SIZE = 10
/** Beyond this a pool is a mistake: PostgreSQL's own limit of `max_connections` is 262143. */
const MAX_POOL_SIZE = 262_143
const PORT: NumberBounds = { min: 1, max: 65_535, integer: true }
const SECONDS: NumberBounds = { min: 0.001, max: MAX_DELAY_MS / 1000 }

/** What a failed check of a pool's option throws. */
function configurationErrors(option: string): CheckErrors {
  const error = (message: string) => new ConnectionPoolConfigurationError(message, { option })
  return { type: error, range: error }
}

/** @internal Checks the options of a pool. Throws {@link ConnectionPoolConfigurationError}. */
export function resolvePoolOptions(
  input: ConnectionPoolOptions | string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): ResolvedPoolOptions {
  const options: ConnectionPoolOptions = typeof input === 'string' ? { dsn: input } : (input ?? {})
  checkOptions('options', options, POOL_OPTIONS, configurationErrors('options'))
  const settings = optionSettings(options)
  const connect: NativeConnectOptions = {
    dsn: options.dsn ?? null,
    settings,
    environment: environment(env),
  }
  const error = checkConnectOptions(connect)
  if (error) throw fromNativeError(error)
  return {
    connect,
    maxDbPoolSize:
      numberOption(options, 'maxDbPoolSize', { min: 1, max: MAX_POOL_SIZE, integer: true }) ??
      DEFAULT_POOL_SIZE,
    connRecyclingMethod:
      choiceOption(options, 'connRecyclingMethod', CONN_RECYCLING_METHODS) ?? 'fast',
  }
}

/** @internal Checks a pool's size. */
export function checkPoolSize(value: unknown): asserts value is number {
  checkNumber('size', value, { min: 1, max: MAX_POOL_SIZE, integer: true })
}

function optionSettings(options: ConnectionPoolOptions): NativeSettings {
  // The values of these two are never shown.
  secretOption(options, 'dsn')
  exclusive(options, 'host', 'hosts')
  exclusive(options, 'port', 'ports')
  const host = textOption(options, 'host')
  const port = numberOption(options, 'port', PORT)
  const loadBalance = choiceOption(options, 'loadBalanceHosts', LOAD_BALANCE_HOSTS)
  return complete({
    user: textOption(options, 'username'),
    password: secretOption(options, 'password'),
    hosts:
      host === undefined
        ? listOption(options, 'hosts', (name, value) => checkText(name, value, 'hosts'))
        : [host],
    ports:
      port === undefined
        ? listOption(options, 'ports', (name, value) =>
            checkNumber(name, value, PORT, configurationErrors('ports')),
          )
        : [port],
    dbName: textOption(options, 'dbName'),
    options: textOption(options, 'options'),
    applicationName: textOption(options, 'applicationName'),
    targetSessionAttrs: choiceOption(options, 'targetSessionAttrs', TARGET_SESSION_ATTRS),
    loadBalance: loadBalance === undefined ? undefined : loadBalance === 'random',
    connectTimeoutMs: secondsOption(options, 'connectTimeoutSec'),
    tcpUserTimeoutMs: secondsOption(options, 'tcpUserTimeoutSec'),
    keepalives: booleanOption(options, 'keepalives'),
    keepalivesIdleMs: secondsOption(options, 'keepalivesIdleSec'),
    keepalivesIntervalMs: secondsOption(options, 'keepalivesIntervalSec'),
    keepalivesRetries: numberOption(options, 'keepalivesRetries', {
      min: 1,
      max: 1000,
      integer: true,
    }),
    sslMode: choiceOption(options, 'sslMode', SSL_MODES),
    sslNegotiation: choiceOption(options, 'sslNegotiation', SSL_NEGOTIATIONS),
    channelBinding: choiceOption(options, 'channelBinding', CHANNEL_BINDINGS),
    caFile: textOption(options, 'caFile'),
    certFile: textOption(options, 'certFile'),
    keyFile: textOption(options, 'keyFile'),
  })
}

/** Where libpq's variables are; the native half knows them (`src-rs/core/connect/parameters.rs`). */
function environment(env: NodeJS.ProcessEnv): Record<string, string> {
  const variables = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[0].startsWith('PG') && entry[1] !== undefined,
  )
  return Object.fromEntries(variables)
}

type Settings = { [Key in keyof NativeSettings]: Exclude<NativeSettings[Key], null> | undefined }

/** Options cross complete: what is not given is `null`, so that a forgotten field is an error. */
function complete(settings: Settings): NativeSettings {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [key, value ?? null]),
  ) as unknown as NativeSettings
}

function exclusive(
  options: ConnectionPoolOptions,
  one: keyof ConnectionPoolOptions,
  other: keyof ConnectionPoolOptions,
): void {
  if (options[one] !== undefined && options[other] !== undefined) {
    throw new ConnectionPoolConfigurationError(`Expected \`${one}\` or \`${other}\`, got both`, {
      option: one,
    })
  }
}

function checkText(name: string, value: unknown, option: string): asserts value is string {
  checkString(name, value, configurationErrors(option))
  if (value === '' || value.includes('\0')) {
    throw new ConnectionPoolConfigurationError(
      expected(name, 'a string that is not empty and has no NUL', value),
      { option },
    )
  }
}

function textOption(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
): string | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  checkText(name, value, name)
  return value
}

function secretOption(
  options: ConnectionPoolOptions,
  name: 'password' | 'dsn',
): string | undefined {
  const value = options[name] as unknown
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value.includes('\0') || (name === 'dsn' && value === '')) {
    throw new ConnectionPoolConfigurationError(
      `Expected \`${name}\` to be a string ${name === 'dsn' ? 'that is not empty and has no NUL' : 'without NUL'}, got ${
        typeof value === 'string'
          ? 'one that is not (not shown)'
          : `a value of type ${typeof value} (not shown)`
      }`,
      { option: name },
    )
  }
  return value
}

function booleanOption(options: ConnectionPoolOptions, name: 'keepalives'): boolean | undefined {
  const value = options[name]
  if (value !== undefined) checkBoolean(name, value, configurationErrors(name))
  return value
}

function numberOption(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
  bounds: NumberBounds,
): number | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  checkNumber(name, value, bounds, configurationErrors(name))
  return value
}

function secondsOption(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
): number | undefined {
  const value = numberOption(options, name, SECONDS)
  return value === undefined ? undefined : value * 1000
}

function choiceOption<Value extends string>(
  options: ConnectionPoolOptions,
  name: keyof ConnectionPoolOptions,
  accepted: readonly Value[],
): Value | undefined {
  const value = options[name]
  if (value === undefined) return undefined
  checkOneOf(name, value, accepted, configurationErrors(name))
  return value
}

function listOption<Value>(
  options: ConnectionPoolOptions,
  option: 'hosts' | 'ports',
  check: (name: string, value: unknown) => asserts value is Value,
): Value[] | undefined {
  const values: readonly unknown[] | undefined = options[option]
  if (values === undefined) return undefined
  if (!Array.isArray(values) || values.length === 0) {
    throw new ConnectionPoolConfigurationError(
      expected(option, 'an array that is not empty', values),
      { option },
    )
  }
  return values.map((value, index) => {
    check(`${option}[${index}]`, value)
    return value
  })
}
