// The names that other clients have for a pool's options, and the names that they have here.
import { alike } from './validate.js'

/** What to write instead, by the other client's name. `docs/configuration.md` has the table for people. */
const INSTEAD: Readonly<Record<string, string>> = {
  connectionString: '`dsn`',
  url: '`dsn`',
  uri: '`dsn`',
  user: '`username`',
  pass: '`password`',
  database: '`dbName`',
  db: '`dbName`',
  hostname: '`host`',
  path: '`host`',
  ssl: '`sslMode`, with `caFile` or `ca`',
  rejectUnauthorized: "`sslMode: 'verify-full'`",
  max: '`maxDbPoolSize`',
  poolSize: '`maxDbPoolSize`',
  connectionLimit: '`maxDbPoolSize`',
  idleTimeoutMillis: '`idleTimeoutSec`, in seconds',
  idle_timeout: '`idleTimeoutSec`, in seconds',
  max_lifetime: '`maxLifetimeSec`',
  maxLifetimeSeconds: '`maxLifetimeSec`',
  maxUses: '`maxLifetimeSec`',
  connectionTimeoutMillis: '`connectTimeoutSec` and `acquireTimeoutSec`, in seconds',
  connect_timeout: '`connectTimeoutSec` and `acquireTimeoutSec`, in seconds',
  application_name: '`applicationName`',
  statement_timeout: "`options: '-c statement_timeout=5000'`, or `timeoutMs` of a call",
  lock_timeout: "`options: '-c lock_timeout=5000'`",
  idle_in_transaction_session_timeout: "`options: '-c idle_in_transaction_session_timeout=5000'`",
  query_timeout: '`timeoutMs` of a call',
  connection: "`options: '-c name=value'`",
  schema: "`options: '-c search_path=name'`",
  keepAlive: '`keepalives`',
  keep_alive: '`keepalives`',
  keepAliveInitialDelayMillis: '`keepalivesIdleSec`, in seconds',
  enableChannelBinding: '`channelBinding`',
  target_session_attrs: '`targetSessionAttrs`',
  onnotice: 'the event `warning` of a listener',
  onnotify: '`pool.listener()`',
}

/** Returns what an unknown option may have been meant to be, if its name is another client's or resembles one of ours. */
export function meant(name: string, known: readonly string[]): string | undefined {
  return Object.hasOwn(INSTEAD, name) ? INSTEAD[name] : alike(name, known)
}
