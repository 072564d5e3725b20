// The pool: who gets a connection and when, and what is left when it is closed.

import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import {
  ArgumentRangeError,
  ArgumentTypeError,
  ConnectionClosedError,
  ConnectionExecuteError,
  ConnectionFailedError,
  ConnectionPool,
  ConnectionPoolExecuteError,
  DatabaseError,
  type QueryParameter,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { uniqueName } from '../../lab/unique-name.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { ask, notify, openListener, sessionCount } from '../support/listener.js'
import { isPending } from '../support/occupy.js'
import { waitFor, within } from '../../lab/wait.js'

test('the constructor opens nothing, and connections are kept', async (t) => {
  const applicationName = uniqueName('kept')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 3 })
  t.like(pool.status(), { maxSize: 3, size: 0, available: 0, waiting: 0 })
  const first = await pool.connection()
  t.like(pool.status(), { size: 1, available: 0 })
  const processId = await first.fetchVal('SELECT pg_backend_pid()')
  await first.close()
  t.like(pool.status(), { size: 1, available: 1 })
  const second = await pool.connection()
  t.is(await second.fetchVal('SELECT pg_backend_pid()'), processId)
  t.is(await sessionCount(applicationName), 1)
  await second.close()
})

test('an exhausted pool gives connections in the order of the calls, as they come back', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const first = await pool.connection()
  const served: number[] = []
  const calls = Array.from({ length: 20 }, async (_, n) => {
    const connection = await pool.connection()
    served.push(n)
    await connection.close()
  })
  await waitFor(() => pool.status().waiting === 20, { what: 'all of them wait' })
  t.deepEqual(served, [])
  await first.close()
  await Promise.all(calls)
  t.deepEqual(
    served,
    Array.from({ length: 20 }, (_, n) => n),
  )
  t.like(pool.status(), { size: 1, available: 1, waiting: 0 })
})

test('a pool made larger serves who waits; made smaller, it closes what is too many', async (t) => {
  const applicationName = uniqueName('resized')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 1 })
  const first = await pool.connection()
  const waiting = pool.connection()
  t.true(await isPending(waiting))
  pool.resize(3)
  const [second, third] = await Promise.all([waiting, pool.connection()])
  t.like(pool.status(), { maxSize: 3, size: 3 })
  await second.close()
  pool.resize(1)
  await waitFor(async () => (await sessionCount(applicationName)) === 2, {
    what: 'the idle connection is closed',
  })
  await third.close()
  await waitFor(async () => (await sessionCount(applicationName)) === 1, {
    what: 'the next is closed',
  })
  const next = pool.connection()
  t.true(await isPending(next))
  await first.close()
  await (await next).close()
  t.like(pool.status(), { maxSize: 1, size: 1 })
})

test('a pool made smaller before it was used keeps to its new size', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 5 })
  pool.resize(1)
  const first = await pool.connection()
  const second = pool.connection()
  t.true(await isPending(second))
  await first.close()
  await (await second).close()
})

test('once closed, no session is left and nothing is given', async (t) => {
  const applicationName = uniqueName('closed')
  const pool = await openPool(t, { applicationName })
  const all = await Promise.all([pool.connection(), pool.connection(), pool.connection()])
  await Promise.all(all.map((connection) => connection.close()))
  t.is(await sessionCount(applicationName), 3)
  await pool.close()
  t.is(await sessionCount(applicationName), 0)
  const refused = await t.throwsAsync(pool.connection(), { instanceOf: ConnectionPoolExecuteError })
  t.regex(refused.message, /pool is closed/)
  await pool.close()
})

test('closing with a wrong option rejects, and closes nothing', async (t) => {
  const pool = await openPool(t)
  for (const [timeoutMs, instanceOf] of [
    [-1, ArgumentRangeError],
    ['5', ArgumentTypeError],
  ] as const) {
    const closing = pool.close({ timeoutMs: timeoutMs as number })
    await t.throwsAsync(closing, { instanceOf, message: /timeoutMs/ })
  }
  t.is(await pool.fetchVal('SELECT 1'), 1)
})

test('closing waits for who has a connection and refuses who waits for one', async (t) => {
  const applicationName = uniqueName('closing')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 1 })
  const connection = await pool.connection()
  const statement = connection.fetchVal('SELECT 1 FROM pg_sleep(0.3)')
  const waiting = pool.connection()
  t.true(await isPending(waiting))
  const closing = pool.close()
  await t.throwsAsync(waiting, { instanceOf: ConnectionPoolExecuteError })
  t.is(await statement, 1)
  t.is(await connection.fetchVal('SELECT 2'), 2)
  await connection.close()
  await closing
  t.is(await sessionCount(applicationName), 0)
})

test('closing does not wait for ever for who never gives a connection back', async (t) => {
  const applicationName = uniqueName('stubborn')
  const pool = await openPool(t, { applicationName })
  const connection = await pool.connection()
  await connection.execute('BEGIN')
  await within(pool.close())
  await waitFor(async () => (await sessionCount(applicationName)) === 0, {
    what: 'the session is gone',
  })
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  await connection.close()
})

test('closing cancels what goes on for longer than it waits', async (t) => {
  const applicationName = uniqueName('sleeping')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 3 })
  const [one, many, idle] = await Promise.all([
    pool.connection(),
    pool.connection(),
    pool.connection(),
  ])
  const ended = [
    one.execute('SELECT pg_sleep(60)'),
    // Sent all at once: the server is not to go on with the next.
    many.executeMany('SELECT pg_sleep($1::float8)', [[60], [60]]),
  ].map((sleeping) => t.throwsAsync(sleeping, { instanceOf: ConnectionClosedError }))
  await waitFor(
    async () => {
      const sleeping = await ask<bigint>(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'PgSleep'",
        [applicationName],
      )
      return sleeping === 2n
    },
    { what: 'they sleep' },
  )
  await within(pool.close())
  await waitFor(async () => (await sessionCount(applicationName)) === 0, { what: 'all are gone' })
  await Promise.all(ended)
  await idle.close()
})

test('a connection that dies while nobody has it is replaced', async (t) => {
  const applicationName = uniqueName('dying')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 1 })
  await (await pool.connection()).close()
  await ask('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
    applicationName,
  ])
  await waitFor(async () => (await sessionCount(applicationName)) === 0, { what: 'it is gone' })
  const next = await pool.connection()
  t.is(await next.fetchVal('SELECT 1'), 1)
  await next.close()
})

test('a connection that was lost in use is not given out again', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  for (let round = 0; round < 20; round += 1) {
    const connection = await pool.connection()
    await t.throwsAsync(connection.execute('SELECT pg_terminate_backend(pg_backend_pid())'))
    await connection.close()
    const next = await pool.connection()
    t.is(await next.fetchVal('SELECT 1'), 1)
    await next.close()
  }
})

for (const way of [
  'with idle connections',
  'with a connection in use',
  'while a statement runs',
  'while connections are opened and waited for',
  'under load',
]) {
  test(`a worker that is ended ${way} takes its sessions with it`, async (t) => {
    const applicationName = uniqueName('worker')
    const dsn = await serverDsn()
    const worker = new Worker(new URL('../fixtures/pool-in-worker.mjs', import.meta.url), {
      workerData: { dsn, applicationName, way },
    })
    const [message] = await once(worker, 'message')
    t.is(message, 'ready')
    await worker.terminate()
    // One that was being opened may still come, and must go again: none for a while is what counts.
    let quiet = 0
    await waitFor(
      async () => {
        quiet = (await sessionCount(applicationName)) === 0 ? quiet + 1 : 0
        return quiet === 50
      },
      { what: 'its sessions are gone' },
    )
  })
}

test('clean recycling resets the session', async (t) => {
  for (const [connRecyclingMethod, expected] of [
    ['fast', 'changed'],
    ['verified', 'changed'],
    ['clean', 'pglisten'],
  ] as const) {
    const pool = await openPool(t, { maxDbPoolSize: 1, connRecyclingMethod })
    const first = await pool.connection()
    await first.execute("SET application_name = 'changed'")
    await first.close()
    const second = await pool.connection()
    t.is(await second.fetchVal("SELECT current_setting('application_name')"), expected)
    await second.close()
  }
})

const PASSWORD = 'not-the-password-31415'

/** The errors of every way to fail, told apart; and no secret in any of them. */
async function failure(pool: ConnectionPool): Promise<Error> {
  try {
    await pool.connection()
  } catch (error) {
    return error as Error
  } finally {
    await pool.close()
  }
  throw new Error('Expected the connection to fail')
}

test('a wrong password is the error of the server, and is not shown', async (t) => {
  const dsn = new URL(await serverDsn())
  const secret = decodeURIComponent(dsn.password)
  dsn.password = PASSWORD
  const pool = new ConnectionPool({ dsn: dsn.href })
  const error = await failure(pool)
  t.true(error instanceof DatabaseError)
  t.is((error as DatabaseError).sqlState, '28P01')
  for (const text of [
    error.message,
    inspect(error, { depth: 10 }),
    inspect(pool, { depth: 10, showHidden: true }),
  ]) {
    t.false(text.includes(PASSWORD))
    t.false(text.includes(secret))
  }
})

test('a database that does not exist is the error of the server', async (t) => {
  const pool = new ConnectionPool({ dsn: await serverDsn(), dbName: 'no_such_database' })
  const error = await failure(pool)
  t.true(error instanceof DatabaseError)
  t.is((error as DatabaseError).sqlState, '3D000')
})

test('a port where nobody listens is named', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const pool = new ConnectionPool({
    dsn: `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`,
  })
  const error = await failure(pool)
  t.true(error instanceof ConnectionFailedError)
  t.true(error.message.includes(`127.0.0.1:${port}`), error.message)
  t.regex(error.message, /refused/i)
  t.false(inspect(error).includes(PASSWORD))
})

test('a server that never answers is given up in time, and closing interrupts the wait', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo
  const dsn = `postgres://postgres@127.0.0.1:${port}/postgres`
  const impatient = new ConnectionPool({ dsn, connectTimeoutSec: 0.2 })
  const error = await failure(impatient)
  t.true(error instanceof ConnectionFailedError)
  t.regex(error.message, /no answer within 0\.2 s/)

  const patient = new ConnectionPool({ dsn, connectTimeoutSec: 60 })
  const connecting = patient.connection()
  t.true(await isPending(connecting))
  const refused = t.throwsAsync(connecting, { instanceOf: ConnectionPoolExecuteError })
  await within(patient.close({ timeoutMs: 60_000 }))
  await within(refused)
})

test('a failed attempt does not use up the pool', async (t) => {
  const pool = new ConnectionPool({
    dsn: await serverDsn(),
    dbName: 'no_such_database',
    maxDbPoolSize: 1,
  })
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await t.throwsAsync(pool.connection(), { instanceOf: DatabaseError })
  }
  t.like(pool.status(), { size: 0, available: 0, waiting: 0 })
  await pool.close()
})

test('two hundred callers share three connections', async (t) => {
  const applicationName = uniqueName('shared')
  const pool = await openPool(t, { applicationName, maxDbPoolSize: 3 })
  const calls = Array.from({ length: 200 }, async (_, n) => {
    const connection = await pool.connection()
    const got = await connection.fetchVal('SELECT $1::int4', [n])
    await connection.close()
    return got
  })
  const watching = sessionCount(applicationName)
  t.deepEqual(
    await Promise.all(calls),
    Array.from({ length: 200 }, (_, n) => n),
  )
  t.true((await watching) <= 3)
  t.true(pool.status().size <= 3)
})

test('a call that waits for a connection has the parameters that it was given', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const held = await pool.connection()
  const bytes = Buffer.from('then')
  const list = [1, 2]
  const object = { a: { b: 'then' } }
  const at = new Date(0)
  class Parameters extends Array<QueryParameter> {}
  const sql =
    'SELECT $1::bytea AS bytes, $2::int4[] AS list, $3::jsonb AS object, $4::timestamptz AS at'
  const given = Parameters.from([bytes, list, object, at])
  const row = {
    bytes: Buffer.from('then'),
    list: [1, 2],
    object: { a: { b: 'then' } },
    at: new Date(0),
  }
  const calls = [
    pool.execute(sql, given).then(([first]) => first),
    pool.fetch(sql, given).then(([first]) => first),
    pool.fetchRow(sql, given),
    pool.fetchRowOrNull(sql, given),
  ]
  const value = pool.fetchVal(
    'SELECT $3::jsonb FROM (SELECT $1::bytea, $2::int4[], $4::timestamptz) x',
    given,
  )
  bytes.fill(0)
  list.push(3)
  object.a.b = 'now'
  at.setTime(1)
  given.length = 0
  await held.close()
  for (const call of calls) t.deepEqual(await call, row)
  t.deepEqual(await value, { a: { b: 'then' } })
})

for (const encoding of ['LATIN1', 'SQL_ASCII']) {
  test(`text is not exchanged while the session has ${encoding}, and nobody else gets that session`, async (t) => {
    const pool = await openPool(t, { maxDbPoolSize: 1 })
    const first = await pool.connection()
    await first.execute('CREATE TEMPORARY TABLE words (word text)')
    const insert = () => first.execute('INSERT INTO words VALUES ($1)', ['é'])
    await insert()
    // As a dump begins. The text behind it is of the message that the server has read already.
    await first.executeBatch(`SET client_encoding = '${encoding}'; INSERT INTO words VALUES ('é')`)
    const refused = {
      instanceOf: ConnectionExecuteError,
      message: new RegExp(`\`client_encoding\` to be \`UTF8\`, got \`${encoding}\``),
    }
    await t.throwsAsync(insert(), refused)
    await t.throwsAsync(first.fetchVal('SELECT 1'), refused)
    await t.throwsAsync(first.pipeline(['SELECT 1']), refused)
    await t.throwsAsync(first.executeBatch("INSERT INTO words VALUES ('é')"), refused)
    await t.throwsAsync(first.copyFrom('COPY words FROM STDIN', ['é']), refused)
    await first.executeBatch("SET client_encoding = 'UTF8'")
    await insert()
    const words = await first.fetch('SELECT DISTINCT word FROM words')
    t.deepEqual([...words], [{ word: 'é' }])
    await first.executeBatch(`SET client_encoding = '${encoding}'`)
    const processId = first.info.processId
    await first.close()
    await using second = await pool.connection()
    t.not(second.info.processId, processId)
    t.is(await second.fetchVal('SELECT $1::text', ['é']), 'é')
  })
}

test('a session with another encoding is used on once it is reset', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1, connRecyclingMethod: 'clean' })
  const first = await pool.connection()
  const processId = first.info.processId
  await first.executeBatch("SET client_encoding = 'LATIN1'")
  await first.close()
  await using second = await pool.connection()
  t.is(second.info.processId, processId)
  t.is(await second.fetchVal('SELECT $1::text', ['é']), 'é')
})

test('a transaction that ends takes its encoding with it', async (t) => {
  const connection = await connect(t)
  await t.throwsAsync(
    connection.transaction(async (tx) => {
      await tx.executeBatch("SET client_encoding = 'LATIN1'")
      await tx.execute('SELECT 1')
    }),
    { instanceOf: ConnectionExecuteError, message: /client_encoding/ },
  )
  t.is(await connection.fetchVal('SELECT $1::text', ['é']), 'é')
})

test('a listener hears payloads as they were sent also when its session was given another encoding', async (t) => {
  const { listener } = await openListener(t)
  const channel = uniqueName('encoded')
  await listener.startup()
  const heard = listener.once(channel, { timeoutMs: 20_000 })
  await listener.connection.executeBatch("SET client_encoding = 'LATIN1'")
  await listener.sync()
  await notify(channel, 'é')
  t.is((await heard).payload, 'é')
})
