// The delivery contract, "close": a listener that was shut down has left nothing, neither here nor in the server.

import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { runFixture } from '../support/child.js'
import { uniqueName } from '../../lab/unique-name.js'
import { createDatabase } from '../support/database.js'
import { flood, range } from '../support/flood.js'
import { openListener, run, sessionCount, sessionsAre, uniqueChannel } from '../support/listener.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'

interface Mark {
  rss: number
  heap: number
  handles: number
  files: number
  threads: number
  sessions: number
}

const KIB = 1024
const MIB = 1024 * KIB

/** The memory in use once nothing of the past is left to collect: what is finalised is collected a turn later. */
async function usedHeap(): Promise<number> {
  let least = Infinity
  for (let settled = 0; settled < 5;) {
    globalThis.gc!()
    await new Promise((resolve) => setTimeout(resolve, 10))
    const { heapUsed } = process.memoryUsage()
    settled = heapUsed < least ? 0 : settled + 1
    least = Math.min(least, heapUsed)
  }
  return least
}

// Serial, for nothing else to use memory meanwhile.
test.serial('iterators that were closed leave no memory', async (t) => {
  const { listener } = await openListener(t, { channels: [uniqueChannel()] })
  await listener.startup()
  const openAndClose = async (count: number) => {
    for (let n = 0; n < count; n += 1) await listener.messages().return()
  }
  const count = 10_000
  await openAndClose(count)
  const before = await usedHeap()
  await openAndClose(count)
  const grown = ((await usedHeap()) - before) / count
  t.true(grown < 30, `${grown.toFixed(0)} bytes for each`)
})

test.serial('callbacks that come and go leave no memory, on a channel that stays', async (t) => {
  const channel = uniqueChannel()
  const { listener } = await openListener(t, { channels: [channel, uniqueChannel()] })
  const comeAndGo = async (times: number) => {
    for (let time = 0; time < times; time += 1) {
      const remove = await listener.addCallback(channel, () => {})
      await remove()
    }
    return usedHeap()
  }
  const count = 100_000
  for (const isStarted of [false, true]) {
    if (isStarted) await listener.startup()
    const before = await comeAndGo(1000)
    const each = ((await comeAndGo(count)) - before) / count
    t.true(each < 5, `${each} bytes each`)
  }
})

test('500 rounds of startup and shutdown leave no memory, no handles and no sessions', async (t) => {
  t.timeout(180_000)
  const rounds = 500
  const outcome = await runFixture('rounds.mjs', [uniqueName('rounds'), String(rounds)], {
    node: ['--expose-gc'],
    // Freed memory that other arenas hold back would look like growth.
    env: { MALLOC_ARENA_MAX: '1' },
    timeoutMs: 170_000,
  })
  const { marks, end } = outcome as { marks: Mark[]; end: Mark }
  const [, warm, ...later] = marks
  t.is(later.length, 3)
  for (const mark of later) {
    t.like(mark, { handles: warm!.handles, threads: warm!.threads })
    // The connections that the pool keeps, and no more.
    t.true(mark.sessions <= 5)
    t.true(Math.abs(mark.files - warm!.files) <= 2)
  }
  const heap = later.at(-1)!.heap - warm!.heap
  const rss = later.at(-1)!.rss - warm!.rss
  t.log(
    `in the last 300 rounds: heap ${(heap / KIB).toFixed(0)} KiB, all memory ${(rss / KIB).toFixed(0)} KiB more`,
  )
  t.true(heap < 300 * KIB, `the heap grew by ${heap} bytes`)
  t.true(rss < 10 * MIB, `the process grew by ${rss} bytes`)
  t.is(end.sessions, 0)
  t.is(end.handles, warm!.handles)
  t.true(end.files < warm!.files)
})

test('once shutdown and close have resolved, the database can be dropped', async (t) => {
  for (const round of range(1, 4)) {
    const database = await createDatabase(t)
    const pool = new ConnectionPool({ dsn: await serverDsn(), dbName: database })
    const listeners = range(1, 3).map(() => pool.listener({ channels: ['channel'] }))
    listeners[0]!.on('error', () => {})
    for (const listener of listeners) await listener.startup()
    await listeners[0]!.addCallback('channel', (connection) => connection.execute('SELECT 1'))
    listeners[0]!.listen()
    await using connection = await pool.connection()
    await connection.execute(
      "SELECT count(pg_notify('channel', n::text)) FROM generate_series(1, 1000) AS n",
    )
    await connection.close()
    // By their shutdown, or by that of their pool.
    if (round % 2 === 0) await Promise.all(listeners.map((listener) => listener.shutdown()))
    await pool.close()
    await t.notThrowsAsync(run(`DROP DATABASE ${database}`), `round ${round}`)
  }
})

test('once shutdown has resolved, the session of the listener is gone', async (t) => {
  const { listener, applicationName } = await openListener(t, { channels: [uniqueChannel()] })
  for (const round of range(1, 20)) {
    await listener.startup()
    await sessionsAre(applicationName, 1)
    await listener.shutdown()
    t.is(await sessionCount(applicationName), 0, `round ${round}`)
  }
})

test('a shutdown in the middle of a flood is quick, ends every loop, and leaves no session', async (t) => {
  const { listener, applicationName } = await openListener(t)
  const channel = uniqueChannel()
  await listener.addCallback(channel, () => new Promise(() => {}))
  await listener.startup()
  listener.listen()
  const loops = range(1, 3).map(async () => {
    let count = 0
    for await (const message of listener) if (message.channel === channel) count += 1
    return count
  })
  const busy = listener.batches({ maxSize: 10, maxWaitMs: 60_000 })
  const pending = busy.next()
  await flood(channel, 1, 100_000)
  await waitFor(() => listener.stats().received > 0)
  // It would give up after its time, which is longer than is waited here.
  await within(listener.shutdown({ timeoutMs: 60_000 }))
  t.is(await sessionCount(applicationName), 0)
  const counts = await within(Promise.all(loops))
  t.true(counts.every((count) => count <= 100_000))
  t.truthy(await within(pending))
  t.is(listener.stats().buffered, 0)
})
