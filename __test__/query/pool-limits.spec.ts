// How long a pool keeps its connections: `idleTimeoutSec` and `maxLifetimeSec`.

import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, ConnectionPoolConfigurationError } from 'pglisten'
import { waitFor } from '../../lab/wait.js'
import { openListener, sessionCount } from '../support/listener.js'

/** Opens so many connections at once, and gives them back. */
async function open(pool: ConnectionPool, count: number): Promise<void> {
  const opening = Array.from({ length: count }, () => pool.connection())
  const connections = await Promise.all(opening)
  await Promise.all(connections.map((connection) => connection.close()))
}

const backend = async (pool: ConnectionPool) => {
  await using connection = await pool.connection()
  return connection.fetchVal<number>('SELECT pg_backend_pid()')
}

test('without limits connections stay', async (t) => {
  const { pool } = await openListener(t)
  await open(pool, 3)
  await sleep(1200)
  t.is(pool.status().size, 3)
})

test('idle connections are closed although nobody asks for one, and those in use stay', async (t) => {
  const { pool, applicationName } = await openListener(t, {}, { idleTimeoutSec: 0.8 })
  await open(pool, 4)
  await using leased = await pool.connection()
  await waitFor(async () => (await sessionCount(applicationName)) === 1)
  t.is(pool.status().size, 1)
  await sleep(1000)
  t.is(await leased.fetchVal('SELECT 1'), 1)
})

test('a connection that is used now and then stays, while those beside it are closed', async (t) => {
  const { pool } = await openListener(t, {}, { idleTimeoutSec: 1 })
  await open(pool, 3)
  const used = await backend(pool)
  for (let round = 0; round < 8; round += 1) {
    await sleep(200)
    t.is(await backend(pool), used)
  }
  t.is(pool.status().size, 1)
})

test('a connection that is too old is closed: at once when idle, when it comes back when leased', async (t) => {
  const { pool, applicationName } = await openListener(t, {}, { maxLifetimeSec: 0.8 })
  await open(pool, 3)
  const leased = await pool.connection()
  const old = await leased.fetchVal<number>('SELECT pg_backend_pid()')
  await waitFor(async () => (await sessionCount(applicationName)) === 1)
  t.is(await leased.fetchVal('SELECT pg_backend_pid()'), old)
  await leased.close()
  await waitFor(async () => (await sessionCount(applicationName)) === 0)
  t.not(await backend(pool), old)
})

test('a connection that comes back shortly before its end is closed then', async (t) => {
  const { pool, applicationName } = await openListener(t, {}, { maxLifetimeSec: 3 })
  const leased = await Promise.all(Array.from({ length: 8 }, () => pool.connection()))
  // Their lives end between 2.7 and 3 s after they began, and what is free is looked through after 2.7 s.
  await sleep(2750)
  await Promise.all(leased.map((connection) => connection.close()))
  await sleep(1000)
  t.is(await sessionCount(applicationName), 0)
})

test('connections that were opened together do not all end together', async (t) => {
  const { pool } = await openListener(t, {}, { maxLifetimeSec: 4 })
  await open(pool, 10)
  const sizes = new Set<number>()
  await waitFor(() => {
    const { size } = pool.status()
    sizes.add(size)
    return size === 0
  })
  t.true(sizes.size > 4, `sizes ${[...sizes].join(' ')}`)
})

test('a listener keeps its session', async (t) => {
  const { listener } = await openListener(t, {}, { maxLifetimeSec: 0.2, idleTimeoutSec: 0.2 })
  await listener.startup()
  const { reconnects } = listener.stats()
  await sleep(600)
  t.is(listener.stats().reconnects, reconnects)
  t.is(listener.state, 'connected')
})

test('wrong limits are refused', (t) => {
  for (const option of ['idleTimeoutSec', 'maxLifetimeSec'] as const) {
    for (const value of [0, -1, Number.NaN, Infinity, '1', 2 ** 31]) {
      const error = t.throws(() => new ConnectionPool({ [option]: value as never }), {
        instanceOf: ConnectionPoolConfigurationError,
      })
      t.is(error.option, option)
    }
  }
})
