// Where an error comes from: the stack of what a method rejects with leads to the function that called it.

import test, { type ExecutionContext } from 'ava'
import {
  ConnectionExecuteError,
  ConnectionFailedError,
  DatabaseError,
  type PglistenError,
} from 'pglisten'
import { connect, openPool } from '../support/connect.js'
import { createDatabase } from '../support/database.js'
import { notify, openListener, uniqueChannel } from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'
import { deferred, within } from '../../lab/wait.js'

type ErrorClass = new (...args: never[]) => PglistenError

/** `work` rejects with an error of that class, whose stack names the function that awaits it. */
async function leadsHere(
  t: ExecutionContext,
  errorClass: ErrorClass,
  work: () => Promise<unknown>,
): Promise<void> {
  async function callerOfWork(): Promise<void> {
    await work()
  }
  const error = await t.throwsAsync(callerOfWork(), { instanceOf: errorClass })
  t.regex(error.stack, /at async callerOfWork /, work.toString())
}

test('of statements', async (t) => {
  const connection = await connect(t)
  await leadsHere(t, DatabaseError, () => connection.execute('SELECT bad'))
  await leadsHere(t, ConnectionExecuteError, () => connection.execute('SELECT 1', [1]))
  await leadsHere(t, DatabaseError, () => connection.fetch('SELECT bad'))
  await leadsHere(t, DatabaseError, () => connection.fetchRow('SELECT bad'))
  await leadsHere(t, DatabaseError, () => connection.fetchVal('SELECT bad'))
  await leadsHere(t, DatabaseError, () => connection.executeMany('SELECT bad', [[]]))
  await leadsHere(t, DatabaseError, () => connection.executeBatch('SELECT bad'))
})

test('of transactions', async (t) => {
  const connection = await connect(t)
  await connection.execute(
    'CREATE TEMPORARY TABLE entries (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)',
  )
  await leadsHere(t, DatabaseError, () =>
    connection.transaction(async (tx) => {
      await tx.execute('SELECT bad')
    }),
  )
  // Refused by the COMMIT.
  await leadsHere(t, DatabaseError, () =>
    connection.transaction((tx) => tx.execute('INSERT INTO entries VALUES (1), (1)')),
  )
  await leadsHere(t, DatabaseError, async () => {
    const tx = await connection.begin()
    await tx.execute('INSERT INTO entries VALUES (1), (1)')
    await tx.commit()
  })
  await leadsHere(t, DatabaseError, () =>
    connection.transaction((tx) => tx.transaction((inner) => inner.execute('SELECT bad'))),
  )
})

test('of COPYs', async (t) => {
  const connection = await connect(t)
  await connection.execute('CREATE TEMPORARY TABLE copied (n int4)')
  const refused = ['COPY none FROM STDIN', 'COPY copied FROM STDIN']
  for (const sql of refused)
    await leadsHere(t, DatabaseError, () => connection.copyFrom(sql, ['x\n']))
  await leadsHere(t, DatabaseError, () => connection.binaryCopyToTable('copied', Buffer.from('x')))
})

test('of pools', async (t) => {
  const proxy = await startProxy(t)
  const pool = await openPool(t, { dsn: proxy.dsn })
  proxy.cut()
  await leadsHere(t, ConnectionFailedError, () => pool.connection())
  await leadsHere(t, ConnectionFailedError, () => pool.notify('channel'))
})

test('of listeners', async (t) => {
  const database = await createDatabase(t, "ENCODING 'LATIN1' LOCALE 'C'")
  // A name that the database cannot write.
  const refused = 'smile 😀'
  const { listener } = await openListener(t, {}, { dbName: database })
  await listener.addChannel(refused)
  await leadsHere(t, DatabaseError, () => listener.startup())
  await listener.removeChannel(refused)
  await listener.startup()
  await leadsHere(t, DatabaseError, () => listener.addChannel(refused))
  await leadsHere(t, DatabaseError, () => listener.addCallback(refused, () => {}))
  await leadsHere(t, DatabaseError, () => listener.connection.execute('SELECT bad'))
})

test('of the connection that a callback is given, which is leased at its first use', async (t) => {
  const channel = uniqueChannel()
  const proxy = await startProxy(t)
  const { listener } = await openListener(t, {}, { dsn: proxy.dsn })
  const causes: unknown[] = []
  const both = deferred()
  listener.on('error', ({ cause }) => {
    if (causes.push(cause) === 2) both.resolve()
  })
  await listener.addCallback(channel, async function first(connection) {
    proxy.cut()
    await connection.execute('SELECT 1')
  })
  await listener.addCallback(channel, async function second(connection) {
    proxy.open()
    await connection.execute('SELECT bad')
  })
  await listener.startup()
  listener.listen()
  await notify(channel)
  await within(both.promise)
  const [unreachable, refused] = causes
  t.true(unreachable instanceof ConnectionFailedError)
  t.regex((unreachable as ConnectionFailedError).stack!, /at async first /)
  t.true(refused instanceof DatabaseError)
  t.regex((refused as DatabaseError).stack!, /at async second /)
})
