// `queueWatch`: who holds the server's queue of notifications back is named, and ended on request.

import test, { type ExecutionContext } from 'ava'
import { Client } from 'pg'
import {
  ConnectionPool,
  type ConnectionPoolOptions,
  type ListenerWarning,
  type WarningMessage,
} from 'pglisten'
import { startServer, type DevServer } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'
import { told } from '../support/told.js'

/** Pages of 8 KiB, each with one notification of nearly that size. Enough for more than the sockets of a client take. */
const PAGES = 2048

let shared: Promise<DevServer> | undefined

/** A server whose queue of notifications is small. PostgreSQL has the setting since version 17. */
const smallQueue = () => (shared ??= startServer({ settings: { max_notify_queue_pages: PAGES } }))

test.after.always(async () => {
  await (await shared)?.stop('immediate')
})

/** A client that is not the package under test. */
async function client(t: ExecutionContext, dsn: string, name: string): Promise<Client> {
  const opened = new Client({ connectionString: dsn, application_name: name })
  // It may be ended by the server, on purpose.
  opened.on('error', () => {})
  await opened.connect()
  t.teardown(() => opened.end())
  return opened
}

const pidOf = async (of: Client): Promise<number> =>
  ((await of.query('SELECT pg_backend_pid() AS pid')).rows[0] as { pid: number }).pid

async function fill(by: Client, channel: string, pages: number): Promise<void> {
  await by.query(
    `SELECT count(pg_notify($1, rpad(n::text, 7900, 'x'))) FROM generate_series(1, $2::int) AS n`,
    [channel, Math.floor(pages)],
  )
}

const usage = async (by: Client): Promise<number> =>
  ((await by.query('SELECT pg_notification_queue_usage() AS used')).rows[0] as { used: number })
    .used

/** A pool that watches the queue, and the warnings of its listener. */
async function watching(t: ExecutionContext, options: ConnectionPoolOptions = {}) {
  const { dsn } = await smallQueue()
  const applicationName = uniqueName('watch')
  const queueWatch = { intervalMs: 50, threshold: 0.2 }
  // The types of the pool are for the user's statements.
  const spoilt = () => 'spoilt'
  const types = {
    decoders: { bool: spoilt, float8: spoilt, int4: spoilt, text: spoilt },
    encoders: { int4: spoilt, text: spoilt },
  }
  const pool = new ConnectionPool({ dsn, applicationName, queueWatch, types, ...options })
  t.teardown(() => pool.close())
  const listener = pool.listener({ name: applicationName })
  const warnings: ListenerWarning[] = []
  listener.on('warning', (warning) => {
    if (warning.kind === 'queue') warnings.push(warning)
  })
  return { dsn, pool, listener, warnings, applicationName }
}

test.serial(
  'a listening session that stays in a transaction is named, and ended on request',
  async (t) => {
    const messages = told<WarningMessage>(t, 'pglisten:warning')
    const { dsn, pool, listener, warnings, applicationName } = await watching(t)
    const admin = await client(t, dsn, 'admin')
    const holder = await client(t, dsn, 'billing')
    const processId = await pidOf(holder)
    await holder.query('LISTEN held')
    await holder.query('BEGIN')
    await listener.startup()
    await fill(admin, 'held', PAGES / 10)
    await waitFor(async () => (await usage(admin)) > 0.09)
    t.deepEqual(warnings, [])
    await fill(admin, 'held', PAGES / 5)
    // The look behind the next warning may have begun while it was filled, when its filler was a suspect too.
    const next = warnings.length
    const { message, queue } = await waitFor(() => warnings[next + 1])
    const [suspect, ...others] = queue!.suspects
    t.true(queue!.usage > 0.2 && queue!.usage < 0.5, String(queue!.usage))
    t.deepEqual(others, [])
    t.like(suspect, {
      processId,
      state: 'idle in transaction',
      applicationName: 'billing',
      database: 'postgres',
      isOwn: false,
      isCertain: false,
    })
    t.true(suspect!.transactionAgeMs > 0 && suspect!.transactionAgeMs < 60_000)
    t.regex(message, /^the server's queue of notifications is (2|3)\d\.\d % full/)
    // However long the machine has taken.
    t.is(
      message.replace(/^.*?: the likeliest/, 'the likeliest').replace(/for \d+ s/, 'for 0 s'),
      `the likeliest to hold it back is process ${processId} (\`idle in transaction\`, for 0 s; application \`billing\`, ` +
        `database \`postgres\`; not one of this pool's). This ends it: SELECT pg_terminate_backend(${processId})`,
    )
    const diagnosed = messages.filter((one) => one.listener === applicationName)[next + 1]!
    t.like(diagnosed, { kind: 'queue', usage: queue!.usage, processId })

    // Another backend with this process id is left alone.
    t.false(await pool.endQueueHolder({ processId, backendStart: '1.5' }))
    t.is(await pidOf(holder), processId)
    t.true(await pool.endQueueHolder(suspect!))
    await waitFor(async () => (await usage(admin)) === 0)
    t.false(await pool.endQueueHolder(suspect!))
    const before = warnings.length
    await fill(admin, 'held', 10)
    await waitFor(async () => (await usage(admin)) === 0)
    // A look may have been under way, and tells of what was there then.
    const late = warnings.slice(before).map((one) => one.queue!.usage)
    t.true(late.length <= 1 && late.every((one) => one > 0.1), String(late))
  },
)

test.serial(
  'one of the pool’s own is told as such, before older transactions of others',
  async (t) => {
    const { dsn, listener, warnings } = await watching(t)
    const admin = await client(t, dsn, 'admin')
    const bystander = await client(t, dsn, 'bystander')
    await bystander.query('BEGIN')
    await bystander.query('SELECT 1')
    await listener.addChannel('own')
    await listener.startup()
    // A channel of its own session, on which nothing else runs.
    const { connection } = listener
    await connection.executeBatch('BEGIN')
    await fill(admin, 'own', PAGES / 4)
    await waitFor(() => warnings.length > 0)
    const { suspects } = warnings[0]!.queue!
    t.like(suspects[0], { processId: connection.info.processId, isOwn: true, isCertain: false })
    t.like(suspects[1], { processId: await pidOf(bystander), isOwn: false })
    // The one that fills the queue may have been looked at too.
    t.regex(
      warnings[0]!.message,
      /of [12] others? with open transactions, is .* one of this pool's\)/,
    )
    await connection.executeBatch('COMMIT')
    await waitFor(async () => (await usage(admin)) === 0)
  },
)

test.serial('a client that reads nothing is certain to be it', async (t) => {
  const { dsn, listener, warnings } = await watching(t)
  const admin = await client(t, dsn, 'admin')
  const bystander = await client(t, dsn, 'bystander')
  await bystander.query('BEGIN')
  await bystander.query('SELECT 1')
  const deaf = await client(t, dsn, 'deaf')
  const processId = await pidOf(deaf)
  await deaf.query('LISTEN unread')
  await listener.startup()
  const { stream } = (deaf as unknown as { connection: { stream: NodeJS.ReadStream } }).connection
  stream.pause()
  t.teardown(() => stream.resume())
  // The sockets take some of it.
  await waitFor(async () => {
    await fill(admin, 'unread', PAGES / 8)
    return warnings.length > 0
  })
  const [suspect] = warnings[0]!.queue!.suspects
  t.like(suspect, { processId, state: 'idle', isCertain: true, isOwn: false })
  t.regex(
    warnings[0]!.message,
    /it is held back by process \d+ \(its client reads no notifications,/,
  )
  stream.resume()
  await waitFor(async () => (await usage(admin)) === 0)
})

test.serial('a role that may not see others is told so', async (t) => {
  const { dsn } = await smallQueue()
  const admin = await client(t, dsn, 'admin')
  const role = uniqueName('role')
  await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD 'plain'`)
  const holder = await client(t, dsn, 'holder')
  await holder.query('LISTEN hidden')
  await holder.query('BEGIN')
  const { listener, warnings, pool } = await watching(t, { username: role, password: 'plain' })
  await listener.startup()
  await fill(admin, 'hidden', PAGES / 4)
  await waitFor(() => warnings.length > 0)
  t.deepEqual(warnings[0]!.queue!.suspects, [])
  t.regex(warnings[0]!.message, /this role can see none \(`pg_read_all_stats`/)
  const suspect = { processId: await pidOf(holder), backendStart: '1' }
  t.false(await pool.endQueueHolder(suspect))
  await holder.query('COMMIT')
  await waitFor(async () => (await usage(admin)) === 0)
})

test.serial(
  'nobody looks while no listener is started, nor after the pool was closed',
  async (t) => {
    const { dsn, pool, listener, applicationName } = await watching(t)
    const admin = await client(t, dsn, 'admin')
    const looks = async () => {
      const { rows } = await admin.query<{ count: number }>(
        `SELECT count(*)::int AS count FROM pg_stat_activity
       WHERE application_name = $1 AND query LIKE '%pg_notification_queue_usage%'`,
        [applicationName],
      )
      return rows[0]!.count
    }
    // Several looks' time, by the server's clock.
    await admin.query('SELECT pg_sleep(0.3)')
    t.is(await looks(), 0)
    await listener.startup()
    await waitFor(async () => (await looks()) === 1)
    await pool.close()
    t.is(await looks(), 0)
  },
)

test('what is no watch is refused', async (t) => {
  const { dsn } = await smallQueue()
  for (const queueWatch of [
    true,
    { interval: 1 },
    { intervalMs: 0 },
    { threshold: 0 },
    { threshold: 1.1 },
  ]) {
    t.throws(() => new ConnectionPool({ dsn, queueWatch: queueWatch as never }), {
      code: 'ERR_PGLISTEN_POOL_CONFIGURATION',
      message: /queueWatch/,
    })
  }
  const pool = new ConnectionPool({ dsn, queueWatch: false })
  for (const suspect of [{}, { processId: '1', backendStart: '1' }, { processId: 1 }, null]) {
    await t.throwsAsync(pool.endQueueHolder(suspect as never), { message: /^Expected `suspect/ })
  }
  await pool.close()
})
