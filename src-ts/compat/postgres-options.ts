// The options of postgres.js 3.4, and what they are here.
import type { ConnectionPoolOptions } from '../options/pool.js'
import { ignored, port, refused, settings, time, tls, translated } from './settings.js'
import type { Translations } from './settings.js'

/** The options of postgres.js. At run time options of `ConnectionPool` are taken too. */
export interface Options {
  /** The server's host, or several. */
  host?: string | string[] | undefined
  /** The server's port, or one for each host. */
  port?: number | number[] | undefined
  /** The name of the database. */
  database?: string | undefined
  /** The name of the user. */
  user?: string | undefined
  /** The password, or a function that returns it. */
  pass?: string | (() => string | Promise<string>) | undefined
  /** The encryption: `true` and `verify-full` verify with the authorities of the system. */
  ssl?: 'require' | 'allow' | 'prefer' | 'verify-full' | boolean | object | undefined
  /** The most connections for `notify()`. @default 10 */
  max?: number | undefined
  /** The time after which an idle connection of those is closed, in seconds. @default no limit */
  idle_timeout?: number | undefined
  /** The longest life of such a connection, in seconds. @default no limit */
  max_lifetime?: number | null | undefined
  /** The longest time for an attempt to connect, in seconds. @default 10 */
  connect_timeout?: number | undefined
  /** The idle time before the first keepalive probe, in seconds. @default 60 */
  keep_alive?: number | null | undefined
  /** The path of a Unix-domain socket. */
  path?: string | undefined
  /** The role that a server must have. */
  target_session_attrs?:
    'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby' | undefined
  /** Settings of each session; `application_name` is one. One that is `undefined`, `null`, empty, 0 or `false` is left out. */
  connection?: object | undefined
  /** Is not used: delays grow, and are random. A function is refused. */
  backoff?: boolean | ((attempt: number) => number) | undefined
  /** Is not used: it is about queries. */
  types?: unknown
  /** Is not used: it is about queries. */
  transform?: unknown
  /** Is not used: it is about queries. */
  prepare?: unknown
  /** Is not used: it is about queries. */
  fetch_types?: unknown
  /** Is not used: it is about queries. */
  publications?: unknown
  /** Is not used: it is about queries. */
  debug?: unknown
  /** Is not used: it is about queries. */
  onnotice?: unknown
}

const CONFIGURATION = {
  host: (value) => (Array.isArray(value) ? { hosts: value } : { host: value }),
  hostname: 'host',
  port,
  // Of a socket, whose name has the port, or of its folder.
  path: (value) => {
    const found = /^(.*)\/\.s\.PGSQL\.(\d+)$/.exec(String(value))
    return found ? { host: found[1], port: Number(found[2]) } : { host: value }
  },
  ...{ database: 'dbName', db: 'dbName', user: 'username', pass: 'password' },
  ssl: tls,
  sslnegotiation: 'sslNegotiation',
  target_session_attrs: 'targetSessionAttrs',
  max: 'maxDbPoolSize',
  idle_timeout: time('idleTimeoutSec'),
  max_lifetime: time('maxLifetimeSec'),
  connect_timeout: time('connectTimeoutSec'),
  keep_alive: time('keepalivesIdleSec'),
  connection: (value, others) => {
    // postgres.js sends nothing of a setting that is `undefined`, `null`, empty, 0 or `false`.
    const given = Object.entries(value as object).filter(([, setting]) => Boolean(setting))
    const { application_name: applicationName, ...ofServer } = Object.fromEntries(given)
    return {
      ...(applicationName !== undefined && { applicationName }),
      ...(Object.keys(ofServer).length > 0 && settings(ofServer, others)),
    }
  },
  backoff: (value, others, name) =>
    typeof value === 'function'
      ? refused('is not taken as a function: delays grow, and are random')(value, others, name)
      : {},
  onnotify: refused('is not taken: give `listen()` a function'),
  onclose: refused('is not taken: `onlisten` is called after each reconnection'),
  onparameter: refused('is not taken'),
  socket: refused('is not taken: the socket is not one of Node.js'),
  ...{ types: ignored, transform: ignored, prepare: ignored, no_prepare: ignored, debug: ignored },
  ...{ fetch_types: ignored, publications: ignored, no_subscribe: ignored, onnotice: ignored },
  ...{ max_pipeline: ignored },
} satisfies Translations

/** Takes hosts apart: a text names one, or several with commas, each of which may have a port, or has the one beside them. */
function apart(options: Options): Options {
  const { host, port = process.env['PGPORT'] ?? 5432 } = options
  if (typeof host !== 'string') return options
  // More than one colon is an address of IPv6.
  const parts = host.split(',').map((one) => {
    const [name, own, more] = one.split(':')
    return more === undefined && own !== undefined ? { name: name!, own } : { name: one }
  })
  if (parts.length === 1 && parts[0]!.own === undefined) return options
  const names = { ...options, host: parts.map(({ name }) => name) }
  if (Array.isArray(port) || parts.every(({ own }) => own === undefined)) return names
  return { ...names, port: parts.map(({ own }) => Number(own ?? port)) }
}

/** Makes options of a pool of those of postgres.js. */
export const poolOptions = (options: Options): ConnectionPoolOptions =>
  translated(apart(options), CONFIGURATION)
