// A server that crashes and forgets commits that nobody waited for, a standby, and a standby that is promoted.

import test from 'ava'
import { ConnectionPool, DurableError, type DurableEvent } from 'pglisten'
import { Arena, promote, signal } from '../../lab/faults/arena.js'
import { startServer } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'
import { QUICK } from './scene.js'
import type { ExecutionContext } from 'ava'

/** Runs subscription `s` of channel `a`, whose work is a row of the table `done`. */
function runs(t: ExecutionContext, pool: ConnectionPool, synchronousCommit: 'on' | 'off') {
  const outside: DurableEvent[] = []
  const ending = new AbortController()
  const subscription = pool.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    ...QUICK,
    safetyNetMs: 200,
    synchronousCommit,
    maxAttempts: 1000,
  })
  subscription.on('warning', () => {})
  const run = subscription.run(
    async (tx, event) => {
      outside.push(event)
      await tx.execute('INSERT INTO done VALUES ($1, $2)', [event.id, event.payload])
    },
    { signal: ending.signal },
  )
  run.catch(() => {})
  const stop = async () => {
    ending.abort()
    await within(run)
  }
  t.teardown(() => stop().catch(() => {}))
  return { outside, stop }
}

for (const synchronousCommit of ['off', 'on'] as const) {
  test(`a crash takes the event, its work and the position together, or nothing (synchronousCommit: '${synchronousCommit}')`, async (t) => {
    const server = await startServer({
      settings: {
        fsync: true,
        full_page_writes: true,
        synchronous_commit: true,
        // What nobody waits for stays in memory.
        wal_writer_delay: '10s',
        wal_writer_flush_after: 100_000,
        bgwriter_lru_maxpages: 0,
        autovacuum: false,
      },
    })
    t.teardown(() => server.stop('immediate'))
    // Any commit that is waited for writes all that is before it, those of a worker that falls asleep as well.
    const pool = new ConnectionPool({
      dsn: server.dsn,
      options: `-c synchronous_commit=${synchronousCommit}`,
    })
    const patient = new ConnectionPool(server.dsn)
    t.teardown(() => Promise.all([pool.close(), patient.close()]))
    await pool.durable.install()
    await pool.execute('CREATE TABLE done (event bigint, payload text)')
    const { outside, stop } = runs(t, pool, synchronousCommit)
    await pool.publish('a', 'kept')
    await waitFor(() => outside.length === 1)
    await waitFor(async () => (await pool.fetchVal<bigint>('SELECT count(*) FROM done')) === 1n)
    await patient.execute('CREATE TABLE written ()')
    // It would write what nobody waits for, sooner or later.
    const writer = await patient.fetchVal<number>(
      "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'",
    )
    if (synchronousCommit === 'off') signal(writer, 'SIGSTOP')
    const connection = await pool.connection()
    await connection.transaction(async (tx) => {
      await tx.execute("SET LOCAL synchronous_commit = 'off'")
      await tx.publish('a', 'unsafe')
    })
    await waitFor(() => outside.length === 2)
    if (synchronousCommit === 'on')
      await waitFor(async () => (await pool.fetchVal<bigint>('SELECT count(*) FROM done')) === 2n)
    await server.kill()
    // One that stands still does not notice that the postmaster is gone.
    if (synchronousCommit === 'off') signal(writer, 'SIGKILL')
    await server.start()
    await connection.close().catch(() => {})
    const events = () =>
      pool.fetchVal<string>("SELECT string_agg(payload, ' ' ORDER BY id) FROM pglisten.event")
    const survived = await waitFor(() => events().catch(() => undefined))
    // Who commits and waits has everything before it written too.
    t.is(survived, synchronousCommit === 'on' ? 'kept unsafe' : 'kept')
    await pool.publish('a', 'new')
    await waitFor(() => outside.some(({ payload }) => payload === 'new'))
    await waitFor(
      async () =>
        (await pool.fetchVal<string>(
          "SELECT string_agg(payload, ' ' ORDER BY event) FROM done",
        )) === `${survived} new`,
    )
    await stop()
    const uids = new Map(outside.map(({ payload, uid }) => [payload, uid]))
    t.is(uids.size, 3)
    t.is(new Set(uids.values()).size, 3)
  })
}

test('a standby is refused with the reason, and a worker goes on where one is promoted', async (t) => {
  t.timeout(60_000)
  const arena = await Arena.open({ wal_level: 'replica' })
  t.teardown(() => arena.close())
  const standby = await arena.makeStandby()
  t.teardown(() => standby.stop('immediate'))
  await standby.start()
  await arena.run('GRANT CREATE ON DATABASE victim TO victim')
  await arena.direct.run('GRANT CREATE ON SCHEMA public TO victim')
  const hosts = `@127.0.0.1:${arena.server.port},127.0.0.1:${standby.port}/`
  const pool = new ConnectionPool({
    dsn: arena.directDsn.replace(/@[^/]+\//, hosts),
    targetSessionAttrs: 'read-write',
  })
  t.teardown(() => pool.close())
  await pool.durable.install()
  await pool.execute('CREATE TABLE done (event bigint, payload text)')
  await pool.publish('a', 'before')
  const { outside, stop } = runs(t, pool, 'on')
  await waitFor(() => outside.length === 1)

  const url = new URL(arena.directDsn)
  url.port = String(standby.port)
  const reader = new ConnectionPool(url.href)
  t.teardown(() => reader.close())
  const there = async () => {
    const sql = "SELECT count(*) FROM done WHERE payload = 'before'"
    return (await reader.fetchVal<bigint>(sql).catch(() => 0n)) === 1n
  }
  await waitFor(there)
  const refused = { instanceOf: DurableError, message: /standby, or read-only/ }
  await t.throwsAsync(
    reader.subscription('s', { channels: ['a'] }).run(() => {}),
    refused,
  )
  await t.throwsAsync(reader.durable.trim(), refused)
  await arena.server.kill()
  promote(standby)
  await waitFor(() =>
    pool.publish('a', 'after').then(
      () => true,
      () => false,
    ),
  )
  await waitFor(() => outside.some(({ payload }) => payload === 'after'))
  await stop()
  t.is(
    await reader.fetchVal("SELECT string_agg(payload, ' ' ORDER BY event) FROM done"),
    'before after',
  )
})

test('an event by which the server crashes is counted each time, and given up', async (t) => {
  t.timeout(120_000)
  const server = await startServer({
    settings: { fsync: true, full_page_writes: true, synchronous_commit: true },
  })
  t.teardown(() => server.stop('immediate'))
  const pool = new ConnectionPool(server.dsn)
  t.teardown(() => pool.close())
  await pool.durable.install()
  for (const payload of ['bad', 'good']) await pool.publish('a', payload)
  const subscription = pool.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    ...QUICK,
    maxAttempts: 2,
    onFailure: 'skip',
  })
  subscription.on('warning', () => {})
  let crashes = 0
  const handled: string[] = []
  const ending = new AbortController()
  const run = subscription.run(
    async (tx, { payload }) => {
      if (payload === 'bad') {
        crashes += 1
        // The server ends every session, and recovers for a while.
        process.kill(await tx.fetchVal<number>('SELECT pg_backend_pid()'), 'SIGKILL')
        await tx.execute('SELECT pg_sleep(10)')
      }
      handled.push(payload)
    },
    { signal: ending.signal },
  )
  run.catch(() => {})
  t.teardown(() => ending.abort())
  await waitFor(() => handled.includes('good'), {
    what: 'the event behind it',
    timeoutMs: 60_000,
  })
  t.is(crashes, 2)
  const failed = await waitFor(() => pool.durable.failed('s').catch(() => undefined))
  t.deepEqual(
    failed.map(({ payload, attempt }) => [payload, attempt]),
    [['bad', 2]],
  )
  ending.abort()
  await within(run)
})
