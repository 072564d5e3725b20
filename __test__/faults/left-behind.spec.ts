// A cluster that has promoted another node while the old primary still answers: a listener does not stay behind in silence.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { ConnectionPool, type ConnectionPoolOptions, type Gap } from 'pglisten'
import { Arena, promote } from '../../lab/faults/arena.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { Stalls } from '../../lab/stalls.js'
import { uniqueName } from '../../lab/unique-name.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'

const LOOK_MS = 1000

async function openCluster(t: ExecutionContext) {
  const arena = await Arena.open()
  t.teardown(() => arena.close())
  const standby = await arena.makeStandby()
  t.teardown(() => standby.stop('immediate'))
  await standby.start()
  const { username, password, pathname } = new URL(arena.directDsn)
  const reach = (servers: { port: number }[], options: ConnectionPoolOptions = {}) => {
    const pool = new ConnectionPool({
      hosts: servers.map(() => '127.0.0.1'),
      ports: servers.map(({ port }) => port),
      username,
      password: decodeURIComponent(password),
      dbName: pathname.slice(1),
      ...options,
    })
    t.teardown(() => pool.close({ timeoutMs: 100 }))
    return pool
  }
  return { old: arena.server, standby, reach }
}

/** The port of the server that a connection of the pool goes to. */
async function portOf(pool: ConnectionPool): Promise<number> {
  await using connection = await pool.connection()
  return Number(await connection.fetchVal<string>("SELECT current_setting('port')"))
}

for (const targetSessionAttrs of ['primary', 'read-write'] as const) {
  test.serial(
    `with ${targetSessionAttrs} listeners and pool move to a primary that was promoted beside the old one`,
    async (t) => {
      const { old, standby, reach } = await openCluster(t)
      const servers = [old, standby]
      const pool = reach(servers, { targetSessionAttrs, primaryCheckSec: LOOK_MS / 1000 })
      const channel = uniqueName('left_behind')
      const listener = pool.listener({ channels: [channel], heartbeat: { intervalMs: 100 } })
      // It never looks, and hears of it from its neighbour.
      const neighbour = pool.listener({ channels: [channel] })
      await Promise.all([listener.startup(), neighbour.startup()])
      t.is(await portOf(pool), old.port)
      const promoted = new ServerWitness(standby.dsn)
      t.teardown(() => promoted.close())
      t.false(await promoted.ask('SELECT NOT pg_is_in_recovery()'))

      const gaps = [listener, neighbour].map(async (it) => {
        const [gap] = (await once(it, 'gap')) as [Gap]
        return gap
      })
      using stalls = new Stalls()
      const promotedAt = Date.now()
      promote(standby)
      await waitFor(() => promoted.ask('SELECT NOT pg_is_in_recovery()'))
      const primaryBy = Date.now()
      for (const gap of await within(Promise.all(gaps), { what: 'gaps', timeoutMs: 20_000 })) {
        t.log(`moved ${gap.resumedAt.getTime() - promotedAt} ms after the promotion`)
        t.like(gap, { reason: 'disconnect', serverRestarted: true })
        // The old primary was confirmed ever since, but the new one may have notified from its promotion on.
        t.true(gap.lostAt.getTime() <= primaryBy, 'the gap begins with the promotion')
        // The look before it came late on a machine that stalled.
        const isTimely = gap.lostAt.getTime() > promotedAt - 2 * LOOK_MS - 1000
        t.true(isTimely || stalls.hasStalled, gap.lostAt.toISOString())
        t.regex(
          gap.message,
          /127\.0\.0\.1:\d+ is a primary that its cluster has left behind: it is on timeline 1, and 127\.0\.0\.1:\d+ was promoted to timeline 2/,
        )
      }
      // The old primary is there, and comes first.
      t.is(await portOf(reach([old], {})), old.port)
      t.is(await portOf(pool), standby.port)
      const heard = [listener, neighbour].map((it) => collect(it, 1))
      await reach([standby]).notify(channel, 'from the new primary')
      for (const messages of await Promise.all(heard))
        t.is(messages[0]?.payload, 'from the new primary')

      // Whatever begins from now on goes there too.
      const late = pool.listener({ channels: [channel] })
      await late.startup()
      t.is(
        Number(await late.connection.fetchVal<string>("SELECT current_setting('port')")),
        standby.port,
      )
    },
  )
}

test.serial(
  'what one listener learns of a promotion holds for every pool with these hosts',
  async (t) => {
    const { old, standby, reach } = await openCluster(t)
    const servers = [old, standby]
    const options = { targetSessionAttrs: 'primary', primaryCheckSec: LOOK_MS / 1000 } as const
    const looking = reach(servers, options)
    const equal = reach(servers, options)
    // Its sessions are its own, and it looks itself long after the test.
    const other = reach(servers, { ...options, applicationName: 'other', primaryCheckSec: 600 })
    const channel = uniqueName('left_behind')
    const listeners = [looking, equal, other].map((pool) => pool.listener({ channels: [channel] }))
    await Promise.all(listeners.map((listener) => listener.startup()))
    t.is(listeners[1]!.stats().session!.listeners, 2)
    for (const pool of [equal, other]) t.is(await portOf(pool), old.port)
    const gaps = listeners.map((listener) => once(listener, 'gap'))
    promote(standby)
    await within(Promise.all(gaps), { what: 'gaps', timeoutMs: 20_000 })
    for (const pool of [looking, equal, other]) t.is(await portOf(pool), standby.port)
  },
)

test.serial('what a listener learns past a pooler holds for the pool behind it', async (t) => {
  const { old, standby, reach } = await openCluster(t)
  // Proxies, which have other ports, as poolers have.
  const proxies = await Promise.all([old, standby].map(({ port }) => FaultProxy.start(port)))
  for (const proxy of proxies) t.teardown(() => proxy.stop())
  const { username, password, pathname } = new URL(old.dsn)
  const dsn = (ports: number[]) =>
    `postgres://${username}:${password}@${ports.map((port) => `127.0.0.1:${port}`).join()}${pathname}`
  const pool = reach(proxies, {
    username,
    password: decodeURIComponent(password),
    dbName: pathname.slice(1),
    listenDsn: dsn([old.port, standby.port]),
    targetSessionAttrs: 'primary',
    primaryCheckSec: LOOK_MS / 1000,
  })
  const listener = pool.listener({ channels: [uniqueName('left_behind')] })
  await listener.startup()
  t.is(await portOf(pool), old.port)
  const gap = once(listener, 'gap')
  promote(standby)
  await within(gap, { what: 'the gap', timeoutMs: 20_000 })
  t.is(await portOf(pool), standby.port)
})

test.serial('a promotion after the loss does not make the gap longer', async (t) => {
  const { old, standby, reach } = await openCluster(t)
  const pool = reach([old, standby], { targetSessionAttrs: 'primary', primaryCheckSec: 60 })
  const listener = pool.listener({ channels: ['x'], heartbeat: { intervalMs: 100 } })
  await listener.startup()
  const began = performance.now()
  await waitFor(() => performance.now() - began > 3000, { what: 'a session without a look' })
  const refusals: string[] = []
  listener.on('warning', ({ error }) => error && refusals.push(error.message))
  const gap = once(listener, 'gap') as Promise<[Gap]>
  const aliveAt = Date.now()
  // The second heartbeat that is answered from now on was also asked for from now on.
  for (let answered = 0; answered < 2; answered += 1) {
    const before = listener.stats().lastRoundTripMs
    await waitFor(() => listener.stats().lastRoundTripMs !== before, { what: 'a heartbeat' })
  }
  await old.kill()
  await waitFor(() => refusals.some((text) => text.includes('is a standby')), {
    what: 'a standby that is not the primary yet',
  })
  promote(standby)
  const [{ lostAt }] = await within(gap, { what: 'the gap', timeoutMs: 20_000 })
  t.true(
    lostAt.getTime() >= aliveAt,
    `${aliveAt - lostAt.getTime()} ms before the session was alive`,
  )
})

test.serial('nobody looks with `false`, nor where any server will do', async (t) => {
  const { old, standby, reach } = await openCluster(t)
  const servers = [old, standby]
  const pools = [
    reach(servers, { targetSessionAttrs: 'primary', primaryCheckSec: false }),
    reach(servers, { targetSessionAttrs: 'any', primaryCheckSec: 0.2 }),
  ]
  const listeners = pools.map((pool) => pool.listener({ channels: ['x'] }))
  await Promise.all(listeners.map((listener) => listener.startup()))
  promote(standby)
  const began = performance.now()
  await waitFor(() => performance.now() - began > 1500, { what: 'five looks' })
  for (const listener of listeners) {
    t.is(listener.state, 'connected')
    t.is(listener.stats().reconnects, 0)
  }
  for (const pool of pools) t.is(await portOf(pool), old.port)
})
