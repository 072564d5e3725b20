// The end of prepared statements: it needs nothing that may be gone, or taken, by then.

import test, { type ExecutionContext } from 'ava'
import { ConnectionPool, type Connection } from 'pglisten'
import { serverDsn } from '../../../lab/server/test-server.js'
import { within } from '../../../lab/wait.js'
import { ask } from '../../support/listener.js'
import { openPool } from '../../support/connect.js'

const SQL = 'SELECT n FROM generate_series(1, $1) AS n'

async function alone(t: ExecutionContext): Promise<Connection> {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  const connection = await pool.connection()
  t.teardown(() => connection.close())
  return connection
}

const kept = (connection: Connection) =>
  connection.fetchVal(
    'SELECT count(*)::int4 FROM pg_prepared_statements WHERE statement = $1',
    [SQL],
    { prepared: false },
  )

test('a statement of a transaction can be closed when that has ended, and is forgotten', async (t) => {
  const connection = await alone(t)
  for (const end of ['commit', 'rollback'] as const) {
    const tx = await connection.begin()
    const statement = await tx.prepare(SQL)
    await statement.fetchRow([1])
    await tx[end]()
    t.is(await kept(connection), 1)
    await statement.close()
    t.is(await kept(connection), 0, end)
    await statement.close()
  }
  await t.notThrowsAsync(async () => {
    await using tx = await connection.begin()
    await using statement = await tx.prepare(SQL)
    await statement.fetchRow([1])
    await tx.commit()
  })
  // Also of a nested one, and of one that has failed.
  await connection.transaction(async (tx) => {
    const nested = await tx.transaction((inner) => inner.prepare(SQL))
    await nested.close()
    await tx.createSavepoint('before')
    const failed = await tx.prepare(SQL)
    await t.throwsAsync(tx.execute('SELECT 1 / 0'))
    await failed.close()
    await tx.rollbackToSavepoint('before')
  })
  t.is(await kept(connection), 0)
})

test('a statement can be closed behind the end of its connection, and of its session', async (t) => {
  const connection = await alone(t)
  const statement = await connection.prepare(SQL)
  await connection.close()
  await statement.close()
  const pool = new ConnectionPool({ dsn: await serverDsn(), maxDbPoolSize: 1 })
  const lost = await pool.connection()
  const ofLost = await lost.prepare(SQL)
  await ask('SELECT pg_terminate_backend($1, 5000)', [lost.info.processId])
  await within(ofLost.close())
  await lost.close()
  const listener = pool.listener()
  await listener.startup()
  const ofListener = await listener.connection.prepare(SQL)
  await listener.shutdown()
  await ofListener.close()
  await pool.close()
  await t.throwsAsync(ofListener.execute([1]), { message: 'the prepared statement was closed' })
})

test('a statement is forgotten while a transaction has its connection', async (t) => {
  const connection = await alone(t)
  const statement = await connection.prepare(SQL)
  await connection.transaction(async () => {
    await within(statement.close())
  })
  t.is(await kept(connection), 0)
  await t.throwsAsync(statement.execute([1]), { message: 'the prepared statement was closed' })
})

test('a statement that is closed while a COPY is open is forgotten behind that, which may wait for it', async (t) => {
  const connection = await alone(t)
  await connection.execute('CREATE TEMPORARY TABLE fed (n int4)')
  for (const how of ['connection', 'transaction'] as const) {
    const copy = async (on: Pick<Connection, 'prepare' | 'copyFrom'>) => {
      const statement = await on.prepare(SQL)
      const source = async function* () {
        await statement.close()
        yield '1\n'
      }
      t.is(await within(on.copyFrom('COPY fed FROM STDIN', source())), 1)
    }
    if (how === 'connection') await copy(connection)
    else await connection.transaction((tx) => copy(tx))
    t.is(await kept(connection), 0, how)
  }
})
