// How long a pool keeps its connections: `idleTimeoutSec` and `maxLifetimeSec`.

import test from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, ConnectionPoolConfigurationError } from 'pglisten'
import { withoutStall } from '../../lab/stalls.js'
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
  for (let trial = 1; trial <= 5; trial += 1) {
    const { pool } = await openListener(t, {}, { idleTimeoutSec: 1 })
    await open(pool, 3)
    const seen = [await backend(pool)]
    let usedAt = performance.now()
    let longestMs = 0
    await waitFor(async () => {
      await sleep(200)
      seen.push(await backend(pool))
      longestMs = Math.max(longestMs, performance.now() - usedAt)
      usedAt = performance.now()
      return seen.length > 8 && pool.status().size <= 1
    })
    // A machine that stalls lets it be idle for longer.
    if (longestMs > 900) continue
    t.is(new Set(seen).size, 1, seen.join(' '))
    t.is(pool.status().size, 1)
    return
  }
  t.pass('the machine stalled in each trial')
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
  const endedMs = await withoutStall(async () => {
    const { pool, applicationName } = await openListener(t, {}, { maxLifetimeSec: 3 })
    const began = performance.now()
    const leased = await Promise.all(Array.from({ length: 8 }, () => pool.connection()))
    // Their lives end between 2.7 and 3 s after they began, and what is free is looked through after 2.7 s.
    await sleep(2750)
    await Promise.all(leased.map((connection) => connection.close()))
    await waitFor(async () => (await sessionCount(applicationName)) === 0)
    return performance.now() - began
  })
  // The next look at all would come after another 2.7 s.
  t.true(endedMs === undefined || endedMs < 4500, `${endedMs} ms`)
})

test('connections that were opened together do not all end together', async (t) => {
  let most: number[] = []
  // A stall hides sizes from who looks, and shows none that was not there.
  for (let round = 0; round < 4 && most.length <= 4; round += 1) {
    const { pool } = await openListener(t, {}, { maxLifetimeSec: 4 })
    await open(pool, 10)
    const sizes = new Set<number>()
    await waitFor(() => {
      const { size } = pool.status()
      sizes.add(size)
      return size === 0
    })
    if (sizes.size > most.length) most = [...sizes]
  }
  t.true(most.length > 4, `sizes ${most.join(' ')}`)
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
