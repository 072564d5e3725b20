// How a listener starts: what has happened when `startup()` has resolved or rejected, and what it then is.

import test from 'ava'
import { once } from 'node:events'
import {
  ConnectionClosedError,
  ConnectionFailedError,
  DatabaseError,
  ListenerStartError,
} from 'pglisten'
import {
  openListener,
  serverChannels,
  sessionCount,
  sessionsAre,
  uniqueChannel,
} from '../support/listener.js'
import { startProxy } from '../../lab/network/proxy.js'

test('startup subscribes to every channel known so far', async (t) => {
  const [first, second, third] = [uniqueChannel(), uniqueChannel(), uniqueChannel()]
  const { listener } = await openListener(t, { channels: [first] })
  await listener.addChannel(second)
  await listener.addCallback(third, () => {})
  t.deepEqual(listener.channels, [first, second, third])
  await listener.startup()
  t.deepEqual(await serverChannels(listener), [first, second, third].sort())
})

test('a listener tells what it is doing', async (t) => {
  const proxy = await startProxy(t)
  const { listener } = await openListener(
    t,
    { reconnect: { initialDelayMs: 1, maxDelayMs: 10 } },
    { dsn: proxy.dsn },
  )
  const told: [string, boolean][] = []
  const tell = () => told.push([listener.state, listener.isStarted])
  tell()
  const starting = listener.startup()
  tell()
  await starting
  tell()
  proxy.cut()
  await once(listener, 'disconnected')
  tell()
  proxy.open()
  await once(listener, 'reconnected')
  tell()
  const ending = listener.shutdown()
  t.false(listener.isStarted)
  await ending
  tell()
  await listener.startup()
  tell()
  t.deepEqual(told, [
    ['idle', false],
    ['connecting', false],
    ['connected', true],
    ['reconnecting', true],
    ['connected', true],
    ['closed', false],
    ['connected', true],
  ])
})

test('a first connection that fails leaves nothing running, and startup may be tried again', async (t) => {
  const proxy = await startProxy(t)
  const { listener, applicationName } = await openListener(t, {}, { dsn: proxy.dsn })
  proxy.cut()
  await t.throwsAsync(listener.startup(), { instanceOf: ConnectionFailedError })
  t.false(listener.isStarted)
  t.throws(() => listener.listen(), { instanceOf: ListenerStartError })
  // Something that went on would try again and be refused again.
  const { refused } = proxy
  proxy.open()
  await listener.startup()
  t.is(proxy.refused, refused)
  await sessionsAre(applicationName, 1)
})

test('a server that refuses rejects startup with what it said', async (t) => {
  const { listener } = await openListener(t, {}, { dbName: 'no_such_database' })
  const error = await t.throwsAsync(listener.startup(), { instanceOf: DatabaseError })
  t.is(error.sqlState, '3D000')
  t.is(listener.state, 'idle')
})

test('startup while the last run is being shut down is refused', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const ending = listener.shutdown()
  await t.throwsAsync(listener.startup(), { instanceOf: ListenerStartError })
  await ending
  await listener.startup()
  t.true(listener.isStarted)
})

test('the connection is that of the listening session', async (t) => {
  const { listener, pool } = await openListener(t)
  t.throws(() => listener.connection, { instanceOf: ListenerStartError })
  await listener.startup()
  const { connection } = listener
  t.is(listener.connection, connection)
  await connection.execute('SET application_name = $$renamed$$')
  t.is(await sessionCount('renamed'), 1)
  t.is(pool.status().size, 0)
  await listener.shutdown()
  t.throws(() => listener.connection, { instanceOf: ListenerStartError })
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
})

test('the server’s limit on idle sessions does not apply to a listener', async (t) => {
  const { listener } = await openListener(t, {}, { options: '-c idle_session_timeout=1min' })
  await listener.startup()
  t.is(await listener.connection.fetchVal("SELECT current_setting('idle_session_timeout')"), '0')
})

test('starting twice at the same time starts once', async (t) => {
  const { listener, applicationName } = await openListener(t)
  const results = await Promise.allSettled([listener.startup(), listener.startup()])
  await sessionsAre(applicationName, 1)
  t.is(results[0].status, 'fulfilled')
  const [, second] = results
  t.true(second.status === 'rejected' && second.reason instanceof ListenerStartError)
  await listener.shutdown()
  t.is(await sessionCount(applicationName), 0)
})

test('a connection of the listening session that was closed is replaced', async (t) => {
  const { listener } = await openListener(t)
  await listener.startup()
  const { connection } = listener
  const backend = await connection.fetchVal('SELECT pg_backend_pid()')
  await connection.close()
  await t.throwsAsync(connection.execute('SELECT 1'), { instanceOf: ConnectionClosedError })
  t.is(await listener.connection.fetchVal('SELECT pg_backend_pid()'), backend)
})

test('what needs a started listener is refused by one that is not', async (t) => {
  const { listener } = await openListener(t)
  const expectRefusals = async (when: string) => {
    const options = { instanceOf: ListenerStartError, code: 'ERR_PGLISTEN_LISTENER_START' }
    t.throws(() => listener.listen(), options, when)
    t.throws(() => listener.connection, options, when)
    t.throws(() => listener.messages(), options, when)
    t.throws(() => listener.batches(), options, when)
    t.throws(() => listener[Symbol.asyncIterator](), options, when)
    await t.throwsAsync(listener.sync(), options, when)
    // There is nothing to stop.
    listener.abortListen()
  }
  await expectRefusals('before')
  const starting = listener.startup()
  await expectRefusals('meanwhile')
  await starting
  await listener.shutdown()
  await expectRefusals('after')
})
