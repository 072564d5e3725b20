// The options of a pool: their documentation, and one table of their checks and of how they cross to Rust.
import {
  checkConnectOptions,
  type NativeConnectOptions,
  type NativePoolLimits,
  type NativeSettings,
} from '#native'
import { ConnectionPoolConfigurationError } from '../errors.js'
import {
  BUFFER_BYTES,
  MAX_DELAY_MS,
  checkBoolean,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkString,
  describe,
  expected,
  type CheckErrors,
  type NumberBounds,
} from './validate.js'
import { meant } from './foreign.js'
import {
  checkLogger,
  resolveDiagnostics,
  UNOBSERVED,
  type DiagnosticsOptions,
  type Logger,
  type ResolvedObservation,
} from './observation.js'
import {
  resolveQueueWatch,
  type QueueWatchOptions,
  type ResolvedQueueWatch,
} from './queue-watch.js'
import { type ChannelSchemas, type NoSchemas, Schemas as SchemaTable } from './schemas.js'
import { resolveTypes, type ResolvedTypes, type TypeOptions } from './types.js'
import { fromNativeError } from '../native/native-errors.js'

/**
 * The role that a server must have, with [libpq's
 * meaning](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-TARGET-SESSION-ATTRS). A listener
 * needs a primary, because a standby refuses LISTEN.
 *
 * - `any`: every server.
 * - `read-write`, `read-only`: a server whose sessions may write by default, or may not.
 * - `primary`, `standby`: a primary, or a standby.
 * - `prefer-standby`: a standby if one of the hosts is one, or else every server.
 */
export type TargetSessionAttrs =
  'any' | 'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby'
/**
 * The order in which several hosts are tried: as they are listed (`disable`), or shuffled for each connection
 * (`random`).
 */
export type LoadBalanceHosts = 'disable' | 'random'
/**
 * The treatment of a pooled connection before it is leased again.
 *
 * - `fast`: a connection that is known to be closed is dropped.
 * - `verified`: as `fast`, and a round trip shows that the connection works.
 * - `clean`: as `verified`, and the session is reset: its settings, LISTENs, temporary tables and advisory locks.
 */
export type ConnRecyclingMethod = 'fast' | 'verified' | 'clean'
/**
 * The encryption that is asked for, with [libpq's meaning](https://www.postgresql.org/docs/current/libpq-ssl.html):
 *
 * | mode          | connection                                            | certificate of the server                             |
 * | ------------- | ----------------------------------------------------- | ----------------------------------------------------- |
 * | `disable`     | plain                                                 | –                                                     |
 * | `allow`       | plain; encrypted if the server refuses that           | as `require`                                          |
 * | `prefer`      | encrypted; plain if the server refuses or has no TLS  | as `require`                                          |
 * | `require`     | encrypted                                             | as `verify-ca` if `caFile` or `ca` is there, else any |
 * | `verify-ca`   | encrypted                                             | issued by an authority in `caFile` or `ca`            |
 * | `verify-full` | encrypted                                             | as `verify-ca`, and issued for the host               |
 *
 * Only `verify-full` protects from an attacker between client and server. A Unix-domain socket is never encrypted.
 */
export type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'
/**
 * How TLS begins: after the server was asked for it (`postgres`), or at once (`direct`), which needs PostgreSQL 17 or
 * later.
 */
export type SslNegotiation = 'postgres' | 'direct'
/**
 * Whether SCRAM authentication is bound to the encrypted connection (channel binding). The binding proves that the
 * server at the other end of the encryption is the one that knows the password.
 *
 * - `disable`: it is not.
 * - `prefer`: it is, if the server offers it.
 * - `require`: it is. A server that does not offer it is refused, and so is every other authentication.
 */
export type ChannelBinding = 'disable' | 'prefer' | 'require'

/** Returns the password of a new connection: the type of a `password` that changes. */
export type PasswordFunction = () => string | Promise<string>

/**
 * The options of a {@link ConnectionPool}: how to connect, and how many connections to keep. Each setting comes from
 * the first of these sources that has it: the option, the `dsn`, libpq's environment variable, the default. A wrong
 * option is a {@link ConnectionPoolConfigurationError}.
 */
export interface ConnectionPoolOptions<Schemas extends ChannelSchemas = NoSchemas> {
  /**
   * A URL (`postgres://user:password@host:5432/database`) or key/value pairs (`host=localhost user=postgres`), read by
   * [libpq's rules](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). A parameter that is
   * not supported is refused by its name.
   * @default none
   */
  dsn?: string | undefined
  /**
   * Where the sessions of listeners connect, as a DSN: for a pool behind a transaction pooler, which cannot serve LISTEN.
   * The pool's other options apply to them, but for `dsn`, `host` and `port`. Everything else goes where the pool goes, the
   * connections of callbacks too.
   * @default where the pool connects
   */
  listenDsn?: string | undefined
  /**
   * The schemas of channels: objects of any library that implements [Standard Schema](https://standardschema.dev), such as
   * zod, valibot or arktype. {@link ConnectionPool.notify} takes what fits the schema of its channel, and sends its JSON;
   * callbacks and iterators get what the schema makes of the JSON. A notification that does not fit is not delivered, and an
   * `error` event tells of it. Channels without a schema carry text; to TypeScript they are no channels of this pool, so that a
   * misspelt name is an error, except those in the type argument of a listener: `pool.listener<{ other: string }>()`.
   * @default none
   */
  schemas?: Schemas | undefined
  /**
   * How the values of statements are read and written.
   * @default as `QueryResult` and {@link QueryParameter} say
   */
  types?: TypeOptions | undefined
  /** The name of the user to connect as. @default `PGUSER`, or the user who runs the process */
  username?: string | undefined
  /**
   * The password of the user, or a function that returns it, such as one that asks for a token.
   *
   * The function is called once for each new connection, when a server was reached, and whether or not that server wants a
   * password; `connectTimeoutSec` bounds its answer too. It may be called again while an earlier call is pending. When it
   * throws, rejects, gives something else than a string, or does not answer in time, the attempt to connect fails with a
   * {@link ConnectionFailedError} that says which of these it was, and nothing of what was thrown or given. The first
   * password in a row that the server refuses is followed by another attempt as after any failure: it may just have changed.
   * @default `PGPASSWORD`, or the entry for the host in a password file (`PGPASSFILE`, or `~/.pgpass`)
   */
  password?: string | PasswordFunction | undefined
  /** The server's host, without a port: a name, an address, or the folder of a Unix-domain socket (not on Windows). @default `PGHOST`, or `localhost` */
  host?: string | undefined
  /**
   * Several hosts, which are tried one after the other; the next one also beside a host that has not answered after a quarter of
   * `connectTimeoutSec`. Excludes `host`.
   * @default none
   */
  hosts?: readonly string[] | undefined
  /** The server's port, from 1 to 65535. @default `PGPORT`, or 5432 */
  port?: number | undefined
  /** One port for all hosts, or one port for each host. Excludes `port`. @default none */
  ports?: readonly number[] | undefined
  /** The name of the database. @default `PGDATABASE`, or the name of the user */
  dbName?: string | undefined
  /**
   * The server's command-line options for each session, such as `-c statement_timeout=5s`.
   * @default `PGOPTIONS`, or none
   */
  options?: string | undefined
  /** The name under which each session appears in `pg_stat_activity`. @default `PGAPPNAME`, or `pglisten` */
  applicationName?: string | undefined
  /**
   * The role that a server must have; a host with another role is passed over.
   * @default `PGTARGETSESSIONATTRS`, or `any`
   */
  targetSessionAttrs?: TargetSessionAttrs | undefined
  /**
   * The time between two looks at another host, in seconds from 0.001 (each is up to a tenth longer or shorter), or `false`
   * for none. It applies with several hosts and `targetSessionAttrs` `primary` or `read-write`, while a listener is
   * connected. A primary that its cluster has left behind goes on answering; promotion gives the new one a higher timeline.
   * When a look finds it, listeners move there with a gap, and so do the connections of the pool. One short connection is
   * made to one other host each time. New connections, also those of `connect()`, avoid a primary that a listener of this
   * process has found left behind; with `false` they do not.
   * @default 30
   */
  primaryCheckSec?: number | false | undefined
  /** The order in which several hosts are tried. @default `PGLOADBALANCEHOSTS`, or `disable` */
  loadBalanceHosts?: LoadBalanceHosts | undefined
  /**
   * The longest time for an attempt to connect to one host, in seconds from 0.001; fractions are allowed. It covers
   * name resolution, encryption and start-up.
   * @default `PGCONNECT_TIMEOUT`, or 10
   */
  connectTimeoutSec?: number | undefined
  /**
   * The longest time that sent data may stay unacknowledged, in seconds from 0.001; Linux only. Then the connection is
   * lost.
   * @default 30
   */
  tcpUserTimeoutSec?: number | undefined
  /** Whether TCP keepalive is on. @default true */
  keepalives?: boolean | undefined
  /**
   * The idle time before the first keepalive probe, in seconds from 0.001. Systems take whole seconds: it is rounded up, and no more
   * than 32767 are used, the most that Linux takes.
   * @default 60
   */
  keepalivesIdleSec?: number | undefined
  /**
   * The time between keepalive probes, in seconds from 0.001; rounded and bounded like the idle time.
   * @default the operating system's; 1 on Windows
   */
  keepalivesIntervalSec?: number | undefined
  /**
   * The number of unanswered keepalive probes after which the connection is lost: from 1 to 1000, of which no more than 127 are used,
   * the most that Linux takes. Windows before 10 (1703) has no such setting.
   * @default the operating system's
   */
  keepalivesRetries?: number | undefined
  /**
   * The most connections of the pool: an integer from 1 to 262143. The session of a listener does not count.
   * @default 10
   */
  maxDbPoolSize?: number | undefined
  /**
   * The longest wait for a connection of the pool, in seconds, from 0.001 to 2147483.647: for a free place and, if need be,
   * for a new connection. `timeoutMs` of a call takes its place.
   * @default 30
   */
  acquireTimeoutSec?: number | undefined
  /**
   * The longest time for which a connection of the pool may be idle, in seconds, from 0.001 to 2147483.647. Then it is closed,
   * also while nobody asks for a connection; the connection that was used last is given out first. It does not keep the
   * process alive.
   * @default no limit
   */
  idleTimeoutSec?: number | undefined
  /**
   * The longest life of a connection of the pool, in seconds, from 0.001 to 2147483.647, less a random part of up to a tenth,
   * so that connections do not all end together. An idle connection is closed then, a leased one when its lease ends. The
   * session of a listener is not bounded.
   * @default no limit
   */
  maxLifetimeSec?: number | undefined
  /**
   * The most bytes in the buffers of all consumers of the pool's listeners together: an integer from 16384, counted as
   * `buffer.maxBytes` of a listener counts them. Beyond it the largest buffer overflows first, by its own policy: one that drops its
   * oldest gives way at once, with a `Gap` in the place of what was dropped; one of another policy overflows with its next
   * notification. A buffer that has no more than an equal part of the bound does not overflow for it, so a consumer that keeps up
   * loses nothing to those that do not.
   * @default 536870912 (512 MiB)
   */
  maxBufferedBytes?: number | undefined
  /** The treatment of a connection before it is leased again. @default `fast` */
  connRecyclingMethod?: ConnRecyclingMethod | undefined
  /** The encryption that is asked for. @default `PGSSLMODE`, or `verify-full` when `caFile` is `system`, or `prefer` */
  sslMode?: SslMode | undefined
  /**
   * The path of a file with the certificates of trusted authorities, in PEM. `system` stands for the authorities that
   * the operating system trusts, and needs `sslMode: 'verify-full'`. The file is read for each new connection, which
   * fails with a {@link ConnectionPoolConfigurationError} when the file cannot be used.
   * @default `PGSSLROOTCERT`, or `~/.postgresql/root.crt` if it is there
   */
  caFile?: string | undefined
  /**
   * The certificates of trusted authorities themselves, as text in PEM, one after the other. Excludes `caFile`; the `dsn`
   * and the environment may name a file, which is then not used. A text without a certificate is a
   * {@link ConnectionPoolConfigurationError}, which does not show it.
   * @default none
   */
  ca?: string | undefined
  /**
   * The path of a file with the client's certificate, in PEM, followed by the certificates of its issuers. The file is
   * read for each new connection, which fails with a {@link ConnectionPoolConfigurationError} when the file cannot be
   * used.
   * @default `PGSSLCERT`, or `~/.postgresql/postgresql.crt` if it is there
   */
  certFile?: string | undefined
  /**
   * The client's certificate itself, as text in PEM, followed by the certificates of its issuers. Its key is in `key` or
   * `keyFile`. Excludes `certFile`; the `dsn` and the environment may name a file, which is then not used. A text without
   * a certificate is a {@link ConnectionPoolConfigurationError}, which does not show it.
   * @default none
   */
  cert?: string | undefined
  /**
   * The path of a file with the private key for `certFile`, in PEM or DER: RSA (2048 bits or more), P-256, P-384 or
   * Ed25519, not encrypted. Other users must not have access to the file: its mode is 0600, or 0640 if it belongs to
   * root. The file is read for each new connection, which fails with a {@link ConnectionPoolConfigurationError} when
   * the file cannot be used.
   * @default `PGSSLKEY`, or `~/.postgresql/postgresql.key`
   */
  keyFile?: string | undefined
  /**
   * The private key for the client's certificate itself, as text in PEM, of a kind that `keyFile` may have. Excludes
   * `keyFile`; the `dsn` and the environment may name a file, which is then not used. A text without a key, or with
   * that of another certificate than `cert`, is a {@link ConnectionPoolConfigurationError}. It is shown nowhere.
   * @default none
   */
  key?: string | undefined
  /**
   * How TLS begins. `direct` needs an `sslMode` of `require` or stricter.
   * @default `PGSSLNEGOTIATION`, or `postgres`
   */
  sslNegotiation?: SslNegotiation | undefined
  /** Whether SCRAM authentication is bound to the encrypted connection. @default `PGCHANNELBINDING`, or `prefer` */
  channelBinding?: ChannelBinding | undefined
  /**
   * Gets the life of the pool's listeners in words, with fields: `console`, a logger of pino, or whatever has the methods of
   * {@link Logger}.
   * @default none
   */
  logger?: Logger | undefined
  /**
   * What the messages of `node:diagnostics_channel`, and `logger`, may tell of the user's data.
   * @default nothing
   */
  diagnostics?: DiagnosticsOptions | undefined
  /**
   * How the server's queue of notifications is watched. At or above a threshold each started listener of the pool has a `warning`
   * event that names who is likely to hold the queue back.
   * @default false (it is not)
   */
  queueWatch?: QueueWatchOptions | false | undefined
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
const DEFAULT_POOL_SIZE = 10
const DEFAULT_ACQUIRE_TIMEOUT_MS = 30_000
const DEFAULT_BUFFERED_BYTES = 512 * 2 ** 20
const PORT: NumberBounds = { min: 1, max: 65_535, integer: true }
const SECONDS: NumberBounds = { min: 0.001, max: MAX_DELAY_MS / 1000 }

/** @internal Makes the errors that a failed check of a pool's option throws. */
export function configurationErrors(option: string): CheckErrors {
  const error = (message: string) => new ConnectionPoolConfigurationError(message, { option })
  return { type: error, range: error }
}

/** Reads a text that is not empty. */
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

/** Reads a text that no error message shows. */
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

const passwordText = secret('without NUL, or a function', true)

/** Reads a password. A function crosses to Rust apart, and the empty text in its place keeps other sources out. */
const password: Read<string> = (value, option) =>
  typeof value === 'function' ? '' : passwordText(value, option)

/** Reads certificates or a key; Rust looks into them. */
const pem = secret('in PEM that is not empty and has no NUL', false)

/** Reads a boolean. */
const flag: Read<boolean> = (value, option) => {
  checkBoolean(option, value, configurationErrors(option))
  return value
}

/** Reads a number within bounds. */
const number =
  (bounds: NumberBounds): Read<number> =>
  (value, option, name = option) => {
    checkNumber(name, value, bounds, configurationErrors(option))
    return value
  }

/** Reads a number of seconds, which crosses in milliseconds. */
const seconds: Read<number> = (value, option) => number(SECONDS)(value, option) * 1000

/** Reads one of some names. */
const oneOf =
  <Value extends string>(...accepted: readonly Value[]): Read<Value> =>
  (value, option) => {
    checkOneOf(option, value, accepted, configurationErrors(option))
    return value
  }

/** Reads a single value, which crosses as a list. */
const only =
  <Value>(read: Read<Value>): Read<Value[]> =>
  (value, option) => [read(value, option)]

/** Reads a list that is not empty. */
const list =
  <Value>(read: Read<Value>): Read<Value[]> =>
  (values, option) => {
    if (!Array.isArray(values) || values.length === 0) {
      // A text in the place of a list may be a whole address.
      const got = typeof values === 'string' ? 'a string (not shown)' : describe(values)
      throw new ConnectionPoolConfigurationError(
        `Expected \`${option}\` to be an array that is not empty, got ${got}`,
        { option },
      )
    }
    return values.map((value, index) => read(value, option, `${option}[${index}]`))
  }

/** Reads how values are read and written. */
const typeOptions: Read<ResolvedTypes> = (value, option) => {
  try {
    return resolveTypes(value as TypeOptions)
  } catch (error) {
    throw new ConnectionPoolConfigurationError((error as Error).message, { option, cause: error })
  }
}

const dsnText = secret('that is not empty and has no NUL', false)

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

const NAMES = Object.keys(OPTIONS) as OptionName[]

/** The settings that the options set, by the table: assignable to `NativeSettings` only if none is missing. */
type TableSettings = {
  [
    Row in (typeof OPTIONS)[OptionName] as Row['setting'] & SettingName
  ]: NativeSettings[Row['setting'] & SettingName]
}

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

/** @internal Checks a pool's size. */
export function checkPoolSize(value: unknown): asserts value is number {
  checkNumber('size', value, POOL_SIZE)
}

/** Reads one option by the table; `undefined` when it is not given. */
function read<Name extends OptionName>(
  options: ConnectionPoolOptions<ChannelSchemas>,
  name: Name,
): ReturnType<(typeof OPTIONS)[Name]['read']> | undefined {
  const value: unknown = options[name]
  if (value === undefined) return undefined
  return OPTIONS[name].read(value, name) as ReturnType<(typeof OPTIONS)[Name]['read']>
}

/** The settings that cross to Rust. Rust gets every field: `null` stands for "not given". */
function settingsOf(options: ConnectionPoolOptions<ChannelSchemas>): NativeSettings {
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
