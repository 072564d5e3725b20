// Sending through a pooler that gives each transaction another session of the server, while the listener goes past it.

import test, { type ExecutionContext } from 'ava'
import { ConnectionPool, type ConnectionPoolOptions, ConnectionTimeoutError } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { POOLER, POOLER_VERSION, type Pooler, startPooler } from '../../lab/server/pooler.js'
import { uniqueName } from '../../lab/unique-name.js'
import { collect, waitFor, within } from '../../lab/wait.js'

const pooled = POOLER ? test.serial : test.serial.skip

let arena: Arena
let pooler: Pooler

test.before(async () => {
  // Nobody waits for that standby but a session that asks for it.
  arena = await Arena.open({ synchronous_commit: 'off', synchronous_standby_names: 'nobody' })
  if (POOLER) pooler = await startPooler(arena.directDsn, 'transaction')
})

test.after.always(async () => {
  pooler?.stop()
  await arena?.close()
})

/** A pool through the pooler, whose listeners go to the server itself. */
function openPool(t: ExecutionContext, options: ConnectionPoolOptions = {}): ConnectionPool {
  const url = new URL(arena.directDsn)
  if (options.dsn === undefined) url.port = `${pooler.port}`
  const pool = new ConnectionPool({ dsn: url.href, listenDsn: arena.directDsn, ...options })
  t.teardown(() => pool.close())
  return pool
}

async function openStream(t: ExecutionContext, pool: ConnectionPool, channel: string) {
  const listener = pool.listener({ channels: [channel] })
  t.teardown(() => listener.shutdown())
  await within(listener.startup())
  return listener.messages()
}

pooled('notify() and notifyMany() of several pools side by side are all heard', async (t) => {
  const pools = [openPool(t), openPool(t), openPool(t)]
  const channel = uniqueName('channel')
  const stream = await openStream(t, pools[0]!, channel)
  const sent: string[] = []
  const payload = (...parts: unknown[]) => {
    sent.push(parts.join(' '))
    return sent.at(-1)!
  }
  const calls = pools.flatMap((pool, sender) =>
    Array.from({ length: 200 }, (_, n) => [
      () => pool.notify(channel, payload(sender, n)),
      () => pool.notifyMany(channel, [payload(sender, n, 'a'), payload(sender, n, 'b')]),
    ]),
  )
  await within(Promise.all(calls.flat().map((call) => call())))
  const heard = await collect(stream, sent.length)
  t.deepEqual(heard.map((message) => message.payload).toSorted(), sent.toSorted())
  // The calls came from more connections of clients than there were sessions of the server.
  const sessions = new Set(heard.map(({ processId }) => processId))
  const connections = pools.reduce((sum, pool) => sum + pool.status().size, 0)
  t.log(`${connections} connections, ${sessions.size} sessions`)
  t.true(connections > sessions.size)
  await stream.return?.()
})

pooled('what a pool sends reaches its callbacks, and their connections can answer', async (t) => {
  const pool = openPool(t)
  const [asked, answered] = [uniqueName('asked'), uniqueName('answered')]
  const stream = await openStream(t, pool, answered)
  const listener = await pool.listen({
    [asked]: async (connection, payload) => {
      await connection.executeBatch(`NOTIFY ${answered}, 'by the connection'`)
      await pool.notify(answered, `by the pool: ${payload}`)
    },
  })
  t.teardown(() => listener.shutdown())
  await pool.notify(asked, 'x')
  t.deepEqual(
    (await collect(stream, 2)).map(({ payload }) => payload),
    ['by the connection', 'by the pool: x'],
  )
  await stream.return?.()
})

/** PgBouncer 1.18 crashes when a statement is cancelled through it. */
const cancelling = POOLER_VERSION >= 1.19 ? test.serial : test.serial.skip

for (const [where, run] of [
  ['at the server', test.serial],
  ['through the pooler', cancelling],
] as const) {
  run(`notifying ${where} is cancelled by its time and by its signal`, async (t) => {
    const dsn = where === 'at the server' ? { dsn: arena.directDsn } : {}
    const pool = openPool(t, { maxDbPoolSize: 1, ...dsn })
    const channel = uniqueName('channel')
    const stream = await openStream(t, pool, channel)
    const unblock = await blockNotifications(t)
    for (const call of [
      () => pool.notify(channel, 'late', { timeoutMs: 100 }),
      () => pool.notifyMany(channel, ['late', 'later'], { timeoutMs: 100 }),
    ]) {
      await t.throwsAsync(within(call()), { instanceOf: ConnectionTimeoutError })
    }
    const abort = new AbortController()
    const aborted = pool.notify(channel, 'aborted', { signal: abort.signal })
    await waitFor(async () => (await notifying(false)) === 1n, { what: 'a blocked notification' })
    const reason = new Error('no longer wanted')
    abort.abort(reason)
    t.is(await t.throwsAsync(within(aborted)), reason)
    // Nothing of them waits on the server, nor is the connection lost.
    t.is(await notifying(false), 0n)
    t.is(pool.status().size, 1)
    await unblock()
    await pool.notify(channel, 'after')
    t.deepEqual(
      (await collect(stream, 1)).map(({ payload }) => payload),
      ['after'],
    )
    await stream.return?.()
  })
}

/** How many transactions hold the lock under which notifications are committed, or wait for it. */
function notifying(isHeld: boolean): Promise<bigint> {
  return arena.ask(
    `SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND database = 0
     AND classid = 'pg_database'::regclass AND objid = 0 AND granted = $1`,
    [isHeld],
  )
}

/**
 * Keeps all other transactions that notify from being committed: one is, and waits for a standby that is not there.
 * Returns what ends that.
 */
async function blockNotifications(t: ExecutionContext): Promise<() => Promise<void>> {
  const session = await arena.session()
  t.teardown(() => session[Symbol.asyncDispose]())
  await session.run('SET synchronous_commit = on')
  // What writes nothing does not wait.
  const blocked = session.run(
    `BEGIN; SELECT pg_logical_emit_message(true, '', ''); NOTIFY ${uniqueName('blocking')}; COMMIT`,
  )
  // What is cancelled is the wait alone.
  const unblock = async () => {
    await arena.ask('SELECT pg_cancel_backend($1)', [session.processId])
    await blocked
  }
  t.teardown(unblock)
  await waitFor(async () => (await notifying(true)) === 1n, { what: 'the lock' })
  return unblock
}
