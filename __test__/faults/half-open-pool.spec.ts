// A network that goes silent for the connections that exist, without closing them: nothing waits on such a connection for long.

import test, { type ExecutionContext } from 'ava'
import { ConnectionPool, type ConnectionPoolOptions, ConnectionTimeoutError } from 'pglisten'
import { startProxy, type Proxy } from '../../lab/network/proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { timely } from '../../lab/stalls.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor } from '../../lab/wait.js'

/** The longest that a caller waits on a machine that does not stall: one check of 2 s for all silent connections, and one dial. */
const BOUND_MS = 3500
/** After this long without a word a connection is asked before it is used. */
const TRUSTED_MS = 10_000

async function open(t: ExecutionContext, options: ConnectionPoolOptions = {}) {
  const proxy = await startProxy(t)
  const pool = new ConnectionPool({ dsn: proxy.dsn, ...options })
  t.teardown(() => pool.close({ timeoutMs: 100 }))
  return { proxy, pool }
}

/** Opens connections and gives them back. */
async function fill(pool: ConnectionPool, count: number): Promise<void> {
  const leased = await Promise.all(Array.from({ length: count }, () => pool.connection()))
  await Promise.all(leased.map((connection) => connection.execute('SELECT 1')))
  await Promise.all(leased.map((connection) => connection.close()))
}

async function idle(ms: number): Promise<void> {
  const began = performance.now()
  await waitFor(() => performance.now() - began > ms, { what: 'silence', timeoutMs: 2 * ms })
}

test.serial(
  'silent connections of the pool cost a caller one check and one dial, however many there are',
  async (t) => {
    const { proxy, pool } = await open(t, { maxDbPoolSize: 8 })
    await fill(pool, 8)
    await idle(TRUSTED_MS)
    proxy.silence()
    await timely(t, 'the first caller', BOUND_MS, () => pool.notify(uniqueName('half_open')))
    // Each was asked once, and one was opened in their place.
    t.deepEqual(proxy.unheard, Array<number>(8).fill(1))
    t.is(proxy.connections, 9)
    await timely(t, 'eight callers after it', BOUND_MS, () =>
      Promise.all(Array.from({ length: 8 }, () => pool.notify('x'))),
    )
    t.deepEqual(proxy.unheard, Array<number>(8).fill(1))
    t.true(proxy.connections <= 16, `${proxy.connections}`)
  },
)

test.serial('connections that still answer after a long silence are kept', async (t) => {
  const { pool } = await open(t)
  await using first = await pool.connection()
  const processId = await first.fetchVal('SELECT pg_backend_pid()')
  await first.close()
  await idle(TRUSTED_MS)
  await using second = await pool.connection()
  t.is(await second.fetchVal('SELECT pg_backend_pid()'), processId)
})

/** Silences a network with a listener whose callbacks use their connection, and waits for one before and after the gap. */
async function surviving(t: ExecutionContext, proxy: Proxy, pool: ConnectionPool): Promise<void> {
  const channel = uniqueName('half_open')
  const beside = new ConnectionPool({ dsn: await serverDsn() })
  t.teardown(() => beside.close())
  const listener = pool.listener({
    heartbeat: { intervalMs: 500, timeoutMs: 1000 },
    reconnect: { initialDelayMs: 10 },
  })
  const handled: string[] = []
  let gaps = 0
  await listener.addCallback(channel, async (connection, payload) => {
    await connection.fetchVal('SELECT 1')
    handled.push(payload)
  })
  listener.addGapCallback(async (connection) => {
    await connection.fetchVal('SELECT 1')
    gaps += 1
  })
  await listener.startup()
  listener.listen()
  await fill(pool, 5)
  await beside.notify(channel, 'before')
  await waitFor(() => handled.length === 1, { what: 'the first notification' })
  proxy.silence()
  // The heartbeat's bound, a moment to reconnect, and a check of the pool's connections.
  await timely(t, 'the gap callback', 500 + 1000 + 500 + BOUND_MS, () =>
    waitFor(() => gaps === 1, { what: 'the gap callback', timeoutMs: 30_000 }),
  )
  await beside.notify(channel, 'after')
  await waitFor(() => handled.length === 2, { what: 'a callback after the gap', timeoutMs: 30_000 })
  await listener.shutdown()
}

test.serial(
  'a listener that finds its session dead doubts the pool too: callbacks get connections that work',
  async (t) => {
    const { proxy, pool } = await open(t)
    await surviving(t, proxy, pool)
  },
)

test.serial(
  'a cancellation that no server confirms makes the other connections suspect',
  async (t) => {
    const { proxy, pool } = await open(t, { maxDbPoolSize: 4 })
    await fill(pool, 4)
    proxy.silence()
    // The connections were heard a moment ago, so the first is used without a question.
    await using first = await pool.connection()
    await timely(t, 'the cancellation', 100 + 2000 + 1000, () =>
      t.throwsAsync(first.execute('SELECT 1', [], { timeoutMs: 100 }), {
        instanceOf: ConnectionTimeoutError,
        message: /whether it took effect is not known/,
      }),
    )
    await timely(t, 'four callers after it', BOUND_MS, () =>
      Promise.all(Array.from({ length: 4 }, () => pool.notify('x'))),
    )
  },
)
