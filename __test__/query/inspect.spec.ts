// What `console.log()` prints of the package's objects: their state, and no secret at any depth.

import test, { type ExecutionContext } from 'ava'
import { inspect } from 'node:util'
import { openListener, uniqueChannel } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'

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
