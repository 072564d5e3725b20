// The options of a pool: their documentation.
import type { DiagnosticsOptions, Logger } from './observation.js'
import type { QueueWatchOptions } from './queue-watch.js'
import type { ChannelSchemas, NoSchemas } from './schemas.js'
import type { TypeOptions } from './types.js'

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
