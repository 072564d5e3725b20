// connect(): a connection with a session of its own.

import test from 'ava'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import {
  connect,
  ConnectionClosedError,
  ConnectionFailedError,
  ConnectionPoolConfigurationError,
  ConnectionTimeoutError,
  DatabaseError,
  type ConnectOptions,
} from 'pglisten'
import { openPool } from '../support/connect.js'
import { sessionCount } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'

test('a DSN is enough, and closing ends the session', async (t) => {
  const applicationName = uniqueName('alone')
  const dsn = `${await serverDsn()}?application_name=${applicationName}`
  const connection = await connect(dsn)
  t.is(await connection.fetchVal('SELECT 1'), 1)
  t.is(await sessionCount(applicationName), 1)
  t.true(connection.info.processId > 0)
  await connection.close()
  t.is(await sessionCount(applicationName), 0)
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  await connection.close()
})

test('closing waits for the statements before, and rolls back', async (t) => {
  const applicationName = uniqueName('closing')
  const connection = await connect({ dsn: await serverDsn(), applicationName })
  await connection.execute('BEGIN')
  const running = connection.fetchVal('SELECT 7 FROM pg_sleep(0.2)')
  await connection.close()
  t.is(await running, 7)
  t.is(await sessionCount(applicationName), 0)
})

test('an attempt that fails leaves nothing open', async (t) => {
  const applicationName = uniqueName('failed')
  const dsn = await serverDsn()
  const missing = { dsn, applicationName, dbName: 'no_such_database' }
  await t.throwsAsync(connect(missing), { instanceOf: DatabaseError })
  await t.throwsAsync(connect({ dsn, applicationName }, { timeout: 1 } as never), {
    code: 'ERR_PGLISTEN_ARGUMENT_TYPE',
  })
  const abort = AbortSignal.abort()
  await t.throwsAsync(connect({ dsn, applicationName }, { signal: abort }), {
    any: true,
    name: 'AbortError',
  })
  t.is(await sessionCount(applicationName), 0)
  await t.throwsAsync(connect('postgres://user@127.0.0.1:1/x'), {
    instanceOf: ConnectionFailedError,
  })
})

test('the attempt has its bounds', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo
  const options: ConnectOptions = { host: '127.0.0.1', port, username: 'nobody' }
  await t.throwsAsync(connect(options, { timeoutMs: 100 }), { instanceOf: ConnectionTimeoutError })
})

test('what only pools have is refused by its name', async (t) => {
  for (const option of [
    { maxDbPoolSize: 2 },
    { idleTimeoutSec: 1 },
    { maxBufferedBytes: 16_384 },
    { schemas: {} },
  ]) {
    const refused = await t.throwsAsync(connect({ dsn: await serverDsn(), ...option }), {
      instanceOf: ConnectionPoolConfigurationError,
      message: /is an option of pools/,
    })
    t.is(refused.option, Object.keys(option)[0])
  }
  await t.throwsAsync(connect({ portt: 1 } as never), {
    instanceOf: ConnectionPoolConfigurationError,
  })
  for (const wrong of [42, true, null, () => {}, ['postgres://localhost']]) {
    await t.throwsAsync(connect(wrong as never), {
      instanceOf: ConnectionPoolConfigurationError,
      message: /`options` to be an object/,
    })
  }
})

test('a connection that nobody closes ends with its object', async (t) => {
  const applicationName = uniqueName('collected')
  await (async () => {
    const connection = await connect({ dsn: await serverDsn(), applicationName })
    await connection.execute('BEGIN')
  })()
  t.is(await sessionCount(applicationName), 1)
  await waitFor(
    async () => {
      globalThis.gc!()
      return (await sessionCount(applicationName)) === 0
    },
    { what: 'the end of its session' },
  )
})

test('acquire() is the name that psqlpy has for connection()', async (t) => {
  const pool = await openPool(t, { maxDbPoolSize: 1 })
  await using connection = await pool.acquire()
  t.is(await connection.fetchVal('SELECT 1'), 1)
  await t.throwsAsync(pool.acquire({ timeoutMs: 10 }))
})
