// What `console.log()` prints of the package's objects: their state, and no secret at any depth.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { inspect } from 'node:util'
import { DatabaseError, type ListenerCallbackError } from 'pglisten'
import { connect } from '../support/connect.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { within } from '../../lab/wait.js'

async function expectNoSecret(t: ExecutionContext, value: object): Promise<void> {
  const dsn = await serverDsn()
  const { password } = new URL(dsn)
  t.true(password.length > 4)
  for (const nested of [value, [value], { a: { b: { c: { value } } } }, new Map([[value, value]])])
    for (const customInspect of [true, false])
      for (const showHidden of [true, false]) {
        const how = { depth: Infinity, getters: true, customInspect, showHidden }
        const text = inspect(nested, how)
        t.false(text.includes(password) || text.includes(dsn), text)
      }
}

test('a pool prints its servers and its sizes', async (t) => {
  const { pool } = await openListener(t, {}, { maxDbPoolSize: 3 })
  const { host } = new URL(await serverDsn())
  const expected = (state: object) =>
    `ConnectionPool ${inspect({ hosts: [host], ...state }, { breakLength: Infinity })}`
  const text = () => inspect(pool, { breakLength: Infinity })
  const idle = { isClosed: false, maxSize: 3, size: 0, available: 0, waiting: 0 }
  t.is(text(), expected(idle))
  const connection = await pool.connection()
  t.is(text(), expected({ ...idle, size: 1 }))
  await expectNoSecret(t, pool)
  await connection.close()
  await pool.close()
  t.regex(text(), /isClosed: true/)
  await expectNoSecret(t, pool)
  t.is(inspect({ a: { pool } }, { depth: 1 }), '{ a: { pool: [ConnectionPool] } }')
})

test('a listener prints its state and how many channels it has', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel(), uniqueChannel()] })
  t.regex(inspect(listener), /^Listener \{\s+state: 'idle',[^]*channels: 2,[^]*\}$/)
  await listener.startup()
  t.regex(inspect(listener), /^Listener \{\s+state: 'connected',/)
  await expectNoSecret(t, listener)
  await expectNoSecret(t, listener.messages())
  await listener.shutdown()
  t.regex(inspect(listener), /^Listener \{\s+state: 'closed',/)
})

test('a connection and a transaction print their state', async (t) => {
  const { listener, pool } = await openListener(t)
  await listener.startup()
  const text = (value: object) => inspect(value, { breakLength: Infinity })
  const connection = await pool.connection()
  const state = (change: string) => `Connection { of: 'pool', ${change} }`
  t.is(text(connection), state('isLeased: true, isClosed: false, inTransaction: false'))
  await connection.transaction(async (tx) => {
    t.is(text(connection), state('isLeased: true, isClosed: false, inTransaction: true'))
    t.is(text(tx), 'Transaction { isEnded: false }')
    await expectNoSecret(t, tx)
  })
  await expectNoSecret(t, connection)
  await connection.close()
  t.is(text(connection), state('isLeased: false, isClosed: true, inTransaction: false'))
  t.regex(text(listener.connection), /^Connection \{ of: 'listener', isLeased: false, /)
  await expectNoSecret(t, listener.connection)
})

/** What whoever logs an error without naming a property shows of it. */
const shown = (error: Error) =>
  [
    inspect(error, { depth: Infinity }),
    JSON.stringify(error),
    JSON.stringify(Object.entries(error)),
  ].join()

test('an error of the server prints no value of a row, and no parameter', async (t) => {
  const connection = await connect(t)
  await connection.executeBatch(`CREATE TEMPORARY TABLE people (email text PRIMARY KEY);
    CREATE FUNCTION pg_temp.fail(value text) RETURNS int LANGUAGE plpgsql AS
      'BEGIN EXECUTE format(''SELECT %L, 1 / 0'', value); RETURN 1; END'`)
  const insert = () => connection.execute('INSERT INTO people VALUES ($1)', ['marked@secret'])
  await insert()
  const duplicate = await t.throwsAsync(insert(), { instanceOf: DatabaseError })
  t.is(duplicate.detail, 'Key (email)=(marked@secret) already exists.')
  t.notRegex(shown(duplicate), /marked@secret/)
  t.regex(shown(duplicate), /23505/)
  const failed = await t.throwsAsync(
    connection.execute('SELECT pg_temp.fail($1)', ['marked@secret']),
    { instanceOf: DatabaseError },
  )
  t.regex(failed.context!, /SELECT 'marked@secret'/)
  t.notRegex(shown(failed), /marked@secret/)
})

test('an error of a callback prints no payload', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t)
  const failed = once(listener, 'error') as Promise<[ListenerCallbackError]>
  await listener.addCallback(channel, () => {
    throw new Error('of the callback')
  })
  await listener.startup()
  listener.listen()
  await notify(channel, 'a marked payload')
  const [error] = await within(failed)
  t.is(error.payload, 'a marked payload')
  t.notRegex(shown(error), /marked/)
  t.regex(shown(error), /of the callback/)
})
