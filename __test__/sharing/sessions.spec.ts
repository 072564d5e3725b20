// Who shares a server session with whom, and for how long.

import { once } from 'node:events'
import test from 'ava'
import {
  ConnectionPool,
  type ConnectionPoolOptions,
  DatabaseError,
  type Listener,
  type ListenerOptions,
  ListenerStartError,
} from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { createDatabase } from '../support/database.js'
import {
  ask,
  notify,
  openListener,
  sessionCount,
  terminate,
  uniqueChannel,
} from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

function session(listener: Listener<never> | Listener) {
  return (listener as Listener).stats().session
}

test('listeners of one process share a session, of whatever pool, and it ends with the last of them', async (t) => {
  const { listener, pool, applicationName } = await openListener(t)
  const { listener: other, pool: otherPool } = await openListener(t, {}, { applicationName })
  const [one, two] = [uniqueChannel(), uniqueChannel()]
  const heard: string[] = []
  await listener.addCallback(one, (_connection, payload) => void heard.push(`one ${payload}`))
  await listener.addCallback(two, (_connection, payload) => void heard.push(`two ${payload}`))
  await other.addCallback(two, (_connection, payload) => void heard.push(`other ${payload}`))
  await Promise.all([listener.startup(), other.startup()])
  listener.listen()
  other.listen()
  t.is(await sessionCount(applicationName), 1)
  const { processId } = session(listener)!
  t.deepEqual(session(listener), { processId, listeners: 2, channels: 2 })
  t.deepEqual(session(other), session(listener))

  await notify(one, '1')
  await notify(two, '2')
  await Promise.all([listener.sync(), other.sync()])
  t.deepEqual(heard.toSorted(), ['one 1', 'other 2', 'two 2'])

  // A channel that another listener wants stays.
  await listener.shutdown()
  t.is(session(listener), undefined)
  await waitFor(() => session(other)?.channels === 1, { what: 'one channel to be gone' })
  await notify(two, '3')
  await other.sync()
  t.is(heard.at(-1), 'other 3')
  t.is(await sessionCount(applicationName), 1)

  await other.shutdown()
  t.is(await sessionCount(applicationName), 0)

  // The next one begins anew.
  await listener.startup()
  t.is(session(listener)!.listeners, 1)
  t.not(session(listener)!.processId, processId)
  await pool.close()
  t.is(await sessionCount(applicationName), 0)
  await otherPool.close()
})

test('a listener shares a session only where every setting is equal', async (t) => {
  const { listener, applicationName } = await openListener(t)
  await listener.startup()
  const dsn = await serverDsn()
  const url = new URL(dsn)
  const written = {
    host: url.hostname,
    port: Number(url.port),
    username: url.username,
    password: url.password,
    dbName: url.pathname.slice(1),
  }
  const database = await createDatabase(t)
  const elsewhere = new URL(dsn)
  elsewhere.pathname = `/${database}`
  const cases: [string, ConnectionPoolOptions, ListenerOptions, boolean][] = [
    ['the same address', { dsn }, {}, true],
    ['the same address in other words', written, {}, true],
    ['options that are the default', { dsn }, { heartbeat: { intervalMs: 10_000 } }, true],
    ['options of the delivery', { dsn }, { concurrency: 3, ignoreOwn: true }, true],
    ['a bound of the buffer', { dsn }, { buffer: { maxMessages: 5, overflow: 'error' } }, true],
    ['shared for good', { dsn }, { session: 'shared' }, true],
    ['one of its own', { dsn }, { session: 'own' }, false],
    ['one that pauses', { dsn }, { buffer: { overflow: 'pause' } }, false],
    ['another heartbeat', { dsn }, { heartbeat: { intervalMs: 9999 } }, false],
    ['no heartbeat', { dsn }, { heartbeat: false }, false],
    ['other delays', { dsn }, { reconnect: { maxDelayMs: 5000 } }, false],
    ['no reconnecting', { dsn }, { reconnect: false }, false],
    ['another time-out', { dsn, connectTimeoutSec: 11 }, {}, false],
    ['another TLS mode', { dsn, sslMode: 'disable' }, {}, false],
    ['settings of the server', { dsn, options: '-c work_mem=1MB' }, {}, false],
    ['another database', { dsn: elsewhere.href }, {}, false],
    ['a DSN of its own', { dsn: elsewhere.href }, { dsn }, true],
    ['a function for the password', { ...written, password: () => written.password }, {}, false],
  ]
  for (const [what, poolOptions, options, shares] of cases) {
    const pool = new ConnectionPool({ ...poolOptions, applicationName })
    const other = pool.listener(options as object)
    await other.startup()
    t.is(session(other)!.processId === session(listener)!.processId, shares, what)
    await pool.close()
  }
  t.is(session(listener)!.listeners, 1)
  const named = new ConnectionPool({ dsn, applicationName: `${applicationName}_2` })
  t.teardown(() => named.close())
  const other = named.listener()
  await other.startup()
  t.is(session(other)!.listeners, 1, 'another name')
})

test('a wrong password never joins a session that was opened with the right one', async (t) => {
  const role = uniqueChannel()
  const { pool } = await openListener(t)
  await pool.execute(`CREATE ROLE ${role} LOGIN PASSWORD 'right'`)
  t.teardown(async () => {
    const cleaner = new ConnectionPool(await serverDsn())
    await cleaner.execute(`DROP ROLE ${role}`)
    await cleaner.close()
  })
  const applicationName = uniqueChannel()
  const dsn = new URL(await serverDsn())
  dsn.username = role
  const opened = (password: string) => {
    dsn.password = password
    const own = new ConnectionPool({ dsn: dsn.href, applicationName })
    t.teardown(() => own.close())
    return own.listener()
  }
  const right = opened('right')
  await right.startup()
  const wrong = opened('wrong')
  const error = await t.throwsAsync(wrong.startup(), { instanceOf: DatabaseError })
  t.is(error?.sqlState, '28P01')
  t.false(error?.message.includes('wrong'))
  t.is(session(right)!.listeners, 1)
  const again = opened('right')
  await again.startup()
  t.is(session(again)!.processId, session(right)!.processId)
})

test('a shared session runs nothing of a user’s, and a listener with `shared` has no other', async (t) => {
  const { listener } = await openListener(t, { session: 'shared' })
  await listener.startup()
  const error = await t.throwsAsync(() => listener.connection.execute('SELECT 1'), {
    instanceOf: ListenerStartError,
  })
  t.regex(error?.message ?? '', /session: 'own'/)
  await t.throwsAsync(() => listener.connection.transaction(async () => {}), {
    instanceOf: ListenerStartError,
  })
  t.is(session(listener)!.listeners, 1)
})

test('a thousand that start at once are one session, and hear each their own', async (t) => {
  const { pool, applicationName } = await openListener(t)
  const heard = new Map<number, string>()
  const channels = Array.from({ length: 1000 }, () => uniqueChannel())
  const listeners = await Promise.all(
    channels.map((channel, number) =>
      pool.listen({ [channel]: (_connection, payload) => void heard.set(number, payload) }),
    ),
  )
  t.is(await sessionCount(applicationName), 1)
  t.deepEqual(new Set(listeners.map((it) => session(it)!.processId)).size, 1)
  await ask('SELECT count(pg_notify(c, c)) FROM unnest($1::text[]) AS c', [channels])
  await Promise.all(listeners.map((listener) => listener.sync()))
  t.is(heard.size, 1000)
  t.true(channels.every((channel, number) => heard.get(number) === channel))

  // One loss, one attempt, and a gap for each.
  const gaps: number[] = []
  listeners.forEach((it, number) => it.on('gap', () => gaps.push(number)))
  const back = Promise.all(listeners.map((it) => once(it, 'reconnected')))
  await terminate(session(listeners[0]!)!.processId)
  await back
  t.is(gaps.length, 1000)
  t.is(new Set(gaps).size, 1000)
  t.is(new Set(listeners.map((it) => session(it)!.processId)).size, 1)
  await ask('SELECT count(pg_notify(c, $2)) FROM unnest($1::text[]) AS c', [channels, 'again'])
  await Promise.all(listeners.map((listener) => listener.sync()))
  t.true([...heard.values()].every((payload) => payload === 'again'))
})

test('the heartbeat tells in pg_stat_activity whom a session serves', async (t) => {
  const { listener, pool } = await openListener(t, {
    channels: [uniqueChannel(), uniqueChannel()],
    heartbeat: { intervalMs: 50 },
  })
  await listener.startup()
  const other = pool.listener({ channels: [uniqueChannel()], heartbeat: { intervalMs: 50 } })
  await other.startup()
  await waitFor(async () => {
    const query = await ask<string>('SELECT query FROM pg_stat_activity WHERE pid = $1', [
      session(other)!.processId,
    ])
    return query.startsWith('/* pglisten: 2 listeners, 3 channels */')
  })
  t.pass()
})

test('a listener that is collected as garbage leaves its session to the others', async (t) => {
  const { listener, pool } = await openListener(t)
  const [kept, dropped] = [uniqueChannel(), uniqueChannel()]
  const heard: string[] = []
  await listener.addCallback(kept, (_connection, payload) => void heard.push(payload))
  await listener.startup()
  listener.listen()
  const { processId } = session(listener)!
  await (async () => {
    const abandoned = pool.listener({ channels: [dropped] })
    await abandoned.startup()
    t.is(session(abandoned)!.listeners, 2)
  })()
  await waitFor(
    () => {
      globalThis.gc!()
      return session(listener)!.listeners === 1
    },
    { what: 'the other listener to be collected' },
  )
  await waitFor(() => session(listener)!.channels === 1, { what: 'its channel to be gone' })
  await notify(kept, '1')
  await listener.sync()
  t.deepEqual(heard, ['1'])
  t.is(session(listener)!.processId, processId)
})
