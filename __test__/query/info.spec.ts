// connection.info, inTransaction and transactionStatus: what both sides know without asking.

import test from 'ava'
import {
  ConnectionClosedError,
  ConnectionExecuteError,
  type Connection,
  type ConnectionInfo,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { openListener, uniqueChannel } from '../support/listener.js'
import { since } from '../support/since.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { freePort } from '../../lab/server/ports.mjs'
import { ServerWitness } from '../../lab/witness.js'
import { waitFor, within } from '../../lab/wait.js'

test('the facts of a connection are known without a statement', async (t) => {
  const dsn = new URL(await serverDsn())
  const pool = await openPool(t, { applicationName: 'the facts' })
  await using connection = await pool.connection()
  const { info } = connection
  t.is(info.host, dsn.hostname)
  t.is(info.port, Number(dsn.port))
  t.is(info.user, decodeURIComponent(dsn.username))
  t.is(info.database, dsn.pathname.slice(1))
  t.is(info.processId, await connection.fetchVal<number>('SELECT pg_backend_pid()'))
  t.is(
    info.serverVersion,
    await connection.fetchVal<string>("SELECT current_setting('server_version')"),
  )
  t.is(info.parameters['application_name'], 'the facts')
  t.is(info.parameters['server_encoding'], 'UTF8')
  t.is(info.parameters['no such parameter'], undefined)
  t.is(info.parameters['constructor'], undefined)
  t.true(Object.isFrozen(info) && Object.isFrozen(info.parameters))
})

test('a parameter has the value of its last report, in a new object', async (t) => {
  const pool = await openPool(t, { connRecyclingMethod: 'clean', maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const before = connection.info
  await connection.execute("SET TimeZone = 'Asia/Kathmandu'")
  t.is(connection.info.parameters['TimeZone'], 'Asia/Kathmandu')
  t.not(before.parameters['TimeZone'], 'Asia/Kathmandu')
  await connection.close()
  // The pool resets the session before it is leased again.
  await using next = await pool.connection()
  t.is(next.info.parameters['TimeZone'], before.parameters['TimeZone'])
})

since(18)('a value of any length is cut at 1 KiB, between two characters', async (t) => {
  const connection = await connect(t)
  await connection.execute(
    `SET search_path = "${'é'.repeat(31)}"${`, "${'é'.repeat(31)}"`.repeat(40)}`,
  )
  const { search_path: reported } = connection.info.parameters
  const whole = await connection.fetchVal<string>("SELECT current_setting('search_path')")
  t.true(Buffer.byteLength(whole) > 2000)
  t.true(whole.startsWith(reported!))
  t.true(Buffer.byteLength(reported!) >= 1022 && Buffer.byteLength(reported!) <= 1024)
})

test('of several hosts it is the one that answered', async (t) => {
  const { hostname, port } = new URL(await serverDsn())
  const closed = await freePort()
  const url = new URL(await serverDsn())
  const { username, password, pathname } = url
  const pool = await openPool(t, {
    dsn: `postgres://${username}:${password}@${hostname}:${closed},localhost:${port}${pathname}`,
  })
  await using connection = await pool.connection()
  t.is(connection.info.host, 'localhost')
  t.is(connection.info.port, Number(port))
})

test('the status follows the server, also for transactions that statements begin and end', async (t) => {
  const connection = await connect(t)
  const statuses: [string, boolean][] = []
  const look = () => statuses.push([connection.transactionStatus, connection.inTransaction])
  look()
  await connection.executeBatch('BEGIN')
  look()
  await t.throwsAsync(connection.execute('SELECT 1/0'))
  look()
  await connection.execute('ROLLBACK')
  look()
  await connection.transaction(async () => look())
  look()
  t.deepEqual(statuses, [
    ['idle', false],
    ['active', true],
    ['failed', true],
    ['idle', false],
    ['active', true],
    ['idle', false],
  ])
})

test('the status can be asked while a statement runs, and nothing waits for it', async (t) => {
  const connection = await connect(t)
  await connection.execute('BEGIN')
  const sleeping = connection.execute('SELECT pg_sleep(0.2)')
  t.is(connection.transactionStatus, 'active')
  t.true(connection.info.processId > 0)
  await sleeping
  await connection.execute('COMMIT')
  t.is(connection.transactionStatus, 'idle')
})

test('a connection that is closed has no facts and no transaction', async (t) => {
  const pool = await openPool(t)
  const connection = await pool.connection()
  await connection.execute('BEGIN')
  await connection.close()
  t.throws(() => connection.info, { instanceOf: ConnectionClosedError })
  t.is(connection.transactionStatus, 'idle')
  t.false(connection.inTransaction)
})

test('a connection that is lost has no facts and no transaction', async (t) => {
  const pool = await openPool(t)
  await using connection = await pool.connection()
  await using witness = new ServerWitness(await serverDsn())
  await connection.execute('BEGIN')
  await witness.terminate(connection.info.processId)
  await waitFor(() => connection.transactionStatus === 'idle', { what: 'the end of the session' })
  t.throws(() => connection.info, { instanceOf: ConnectionClosedError })
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
})

test('a connection of a callback has its facts once its first statement has run', async (t) => {
  const { listener, pool } = await openListener(t)
  const channel = uniqueChannel()
  const seen = new Promise<{ early: unknown; info: ConnectionInfo; kept: Connection }>(
    (resolve) => {
      void listener.addCallback(channel, async (connection) => {
        const early = t.throws(() => connection.info, { any: true })
        t.is(connection.transactionStatus, 'idle')
        await connection.execute('SELECT 1')
        resolve({ early, info: connection.info, kept: connection })
      })
    },
  )
  await listener.startup()
  listener.listen()
  await pool.notify(channel)
  const { early, info, kept } = await within(seen)
  t.true(early instanceof ConnectionExecuteError, String(early))
  t.true(info.processId > 0)
  await waitFor(() => kept.isClosed)
  t.throws(() => kept.info, { instanceOf: ConnectionClosedError })
})

test('the connection of a listener tells the facts of its session', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const { connection } = listener
  t.throws(() => connection.info, { instanceOf: ConnectionExecuteError })
  const processId = await connection.fetchVal<number>('SELECT pg_backend_pid()')
  t.is(connection.info.processId, processId)
  await listener.shutdown()
  t.throws(() => connection.info, { instanceOf: ConnectionClosedError })
})
