// Short statements on the JavaScript thread: it sends and reads itself, and what it has borrowed comes back whenever that matters.

import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import {
  ConnectionClosedError,
  ConnectionPool,
  ConnectionTimeoutError,
  DatabaseError,
} from 'pglisten'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { leastOf } from '../../lab/stalls.js'
import { block, waitFor, within } from '../../lab/wait.js'
import { ask } from '../support/listener.js'

async function connect(t: ExecutionContext) {
  const pool = new ConnectionPool(await serverDsn())
  t.teardown(() => pool.close())
  const connection = await pool.connection()
  t.teardown(() => connection.close())
  return { pool, connection }
}

/** How often the thread that reads for everybody else has slept. */
function sleeps(): number {
  const tasks = readdirSync('/proc/self/task').map((id) => `/proc/self/task/${id}`)
  const thread = tasks.find(
    (task) => readFileSync(`${task}/comm`, 'utf8').trim() === 'pglisten-query',
  )
  const status = readFileSync(`${thread}/status`, 'utf8')
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1])
}

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip

onLinux('a short statement wakes no other thread', async (t) => {
  const { connection } = await connect(t)
  for (let turn = 0; turn < 20; turn += 1) await connection.fetchVal('SELECT $1::int4', [turn])
  const slept = await leastOf(50, async () => {
    const before = sleeps()
    for (let turn = 0; turn < 500; turn += 1) {
      t.is(await connection.fetchVal('SELECT $1::int4', [turn]), turn)
    }
    return sleeps() - before
  })
  t.true(slept < 50, `${slept}`)
})

onLinux('a short transaction wakes no other thread, and its end opens no file', async (t) => {
  const { connection } = await connect(t)
  const files = () => readdirSync('/proc/self/fd').length
  const short = (turn: number) =>
    connection.transaction(async (tx) => {
      const inner = await tx.transaction((nested) => nested.fetchVal('SELECT $1::int4', [turn]))
      return [inner, await tx.fetchVal('SELECT $1::int4', [-turn])]
    })
  const undone = (turn: number) =>
    t.throwsAsync(
      connection.transaction(async (tx) => {
        await tx.fetchVal('SELECT $1::int4', [turn])
        throw new RangeError('mine')
      }),
      { instanceOf: RangeError },
    )
  for (let turn = 0; turn < 20; turn += 1) await short(turn)
  const opened = files()
  const slept = await leastOf(50, async () => {
    const before = sleeps()
    for (let turn = 1; turn <= 200; turn += 1) {
      t.deepEqual(await short(turn), [turn, -turn])
      await undone(turn)
    }
    return sleeps() - before
  })
  t.true(slept < 50, `${slept}`)
  t.true(files() <= opened + 1, `${opened}, ${files()}`)
})

onLinux('a connection that was taken back is waited for no longer', async (t) => {
  const { connection } = await connect(t)
  const files = () => readdirSync('/proc/self/fd').length
  const short = () => connection.fetchVal('SELECT 1')
  for (const _ of [1, 2]) await short()
  const before = files()
  for (let turn = 0; turn < 300; turn += 1) {
    const other = connection.executeBatch('SELECT 1')
    // Its answer is read before the event loop sees it.
    block(3)
    await other
    await short()
  }
  t.true(files() <= before + 1, `${before}, ${files()}`)
})

onLinux('however a loan ends, no descriptor stays behind', async (t) => {
  const { connection } = await connect(t)
  const files = () => readdirSync('/proc/self/fd').length
  const long = ['x'.repeat(20_000)]
  const microtasks = async () => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
  }
  const ways = {
    // Too long to be sent by this thread, which has borrowed the connection by then.
    'a long parameter': () => connection.fetchVal('SELECT length($1::text)', long),
    'a long parameter in a pipeline': () =>
      connection.pipeline([['SELECT length($1::text)', long], ['SELECT 1']]),
    'two side by side': () =>
      Promise.all([connection.fetchVal('SELECT 1'), connection.fetchVal('SELECT 2')]),
    'a copy behind a statement': () =>
      Promise.all([connection.fetchVal('SELECT 1'), connection.copyRecordsToTable('few', [[1]])]),
  }
  await connection.execute('CREATE TEMPORARY TABLE few (n int4)')
  for (const [way, once] of Object.entries(ways)) {
    await once()
    const before = files()
    let most = 0
    for (let turn = 0; turn < 40; turn += 1) {
      const under = once()
      await microtasks()
      // The driver reads the answer before the event loop looks.
      block(2)
      await under
      most = Math.max(most, files())
    }
    t.true(most <= before + 3, `${way}: ${before}, ${most}`)
  }
})

test('short statements, long answers and copies take turns on one connection', async (t) => {
  const { connection } = await connect(t)
  const copied = async () => {
    let bytes = 0
    for await (const chunk of connection.copyTo('COPY (SELECT 1) TO STDOUT')) bytes += chunk.length
    return bytes
  }
  for (let round = 0; round < 10; round += 1) {
    const results = await Promise.all([
      connection.fetchVal('SELECT 1'),
      connection.fetch('SELECT n, repeat($1, 100) AS t FROM generate_series(1, 20000) n', ['x']),
      connection.fetchVal('SELECT length($1)', ['y'.repeat(100_000)]),
      connection.fetchVal('SELECT repeat($1, 1000000)', ['z']),
      connection.fetchVal('SELECT 3'),
    ])
    t.is(results[0], 1)
    t.is(results[1].length, 20_000)
    t.is(results[1][19_999]!['n'], 20_000)
    t.is(results[2], 100_000)
    t.is((results[3] as string).length, 1_000_000)
    t.is(results[4], 3)
    t.is(await connection.transaction((tx) => tx.fetchVal('SELECT 2')), 2)
    t.is(await copied(), 2)
  }
})

// By themselves, as the tests before: whoever blocks the event loop holds up the proxies of others.
test.serial(
  'a bound that is reached while the loop is blocked cancels what runs, and keeps what has ended',
  async (t) => {
    const { connection } = await connect(t)
    t.is(await connection.fetchVal('SELECT 7'), 7)
    const quick = connection.fetchVal('SELECT 7', [], { timeoutMs: 2000 })
    const slow = t.throwsAsync(connection.execute('SELECT pg_sleep(60)', [], { timeoutMs: 200 }), {
      instanceOf: ConnectionTimeoutError,
    })
    block(3000)
    t.is(await quick, 7)
    await within(slow)
    // Nothing was given up: it is the same session.
    const backend = await connection.fetchVal('SELECT pg_backend_pid()')
    t.is(await ask('SELECT count(*)::int FROM pg_stat_activity WHERE pid = $1', [backend]), 1)
  },
)

test('a statement that raises warnings is answered, and the next ones too', async (t) => {
  const { connection } = await connect(t)
  await connection.execute(`CREATE FUNCTION pg_temp.raises(n int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN FOR turn IN 1..n LOOP RAISE WARNING 'warning %', turn; END LOOP; RETURN n; END $$`)
  for (let turn = 0; turn < 50; turn += 1) {
    t.is(await within(connection.fetchVal('SELECT pg_temp.raises($1)', [turn % 4])), turn % 4)
    t.is(await within(connection.fetchVal('SELECT lower($1)', [`A${turn}`])), `a${turn}`)
  }
})

test.serial('statements that follow each other do so while the loop is blocked', async (t) => {
  const { connection } = await connect(t)
  const clock = 'SELECT clock_timestamp() FROM pg_sleep($1)'
  for (const seconds of [0, 0]) await connection.fetchVal(clock, [seconds])
  const running = [0.01, 0.02, 0.01].map((seconds) => connection.fetchVal<Date>(clock, [seconds]))
  const first = connection.fetchVal<Date>('SELECT clock_timestamp()')
  block(4000)
  const turned = Date.now()
  for (const ended of await Promise.all([...running, first])) {
    t.true(Number(ended) < turned - 500, `${Number(ended) - turned}`)
  }
})

test('a connection that the server ends while it is borrowed is told, idle or not', async (t) => {
  const { pool, connection } = await connect(t)
  const backend = await connection.fetchVal('SELECT pg_backend_pid()')
  const running = t.throwsAsync(connection.execute('SELECT pg_sleep(60)'), {
    instanceOf: DatabaseError,
  })
  await waitFor(() =>
    ask<boolean>(
      "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')",
      [backend],
    ),
  )
  await ask('SELECT pg_terminate_backend($1)', [backend])
  t.is((await within(running))?.sqlState, '57P01')
  await connection.close()

  const idle = await pool.fetchVal('SELECT pg_backend_pid()')
  t.is(await pool.fetchVal('SELECT pg_backend_pid()'), idle)
  await ask('SELECT pg_terminate_backend($1)', [idle])
  await waitFor(
    async () =>
      pool.status().size === 0 ||
      (await pool.fetchVal('SELECT pg_backend_pid()').catch(() => idle)) !== idle,
  )
  t.not(await pool.fetchVal('SELECT pg_backend_pid()'), idle)
})

test('a connection that is reset behind the beginning of an answer ends the statement', async (t) => {
  const proxy = await FaultProxy.start(Number(new URL(await serverDsn()).port))
  t.teardown(() => proxy.stop())
  const pool = new ConnectionPool(proxy.dsn(await serverDsn()))
  t.teardown(() => pool.close({ timeoutMs: 100 }))
  for (let round = 0; round < 20; round += 1) {
    const sql = `SELECT repeat('x', ${1 + 50 * round})`
    // The first one prepares, the second one is borrowed for.
    for (const _ of [1, 2]) await within(pool.fetchVal(sql))
    proxy.cutNextMessage()
    await t.throwsAsync(within(pool.fetchVal(sql)), { instanceOf: ConnectionClosedError })
  }
})

test('a server that sends more than is asked for, and a pool that is closed, end what is borrowed', async (t) => {
  const pool = new ConnectionPool(await serverDsn())
  const backend = await pool.fetchVal<number>('SELECT pg_backend_pid()')
  t.is(await pool.fetchVal('SELECT pg_backend_pid()'), backend)
  await within(pool.close())
  t.is(await ask('SELECT count(*)::int FROM pg_stat_activity WHERE pid = $1', [backend]), 0)
})

const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { ConnectionPool } = require('pglisten')
  const pools = Array.from({ length: 5 }, () => new ConnectionPool(workerData.dsn))
  ;(async () => {
    for (const pool of pools) for (let i = 0; i < 5; i++) await pool.fetchVal('SELECT 1')
    for (const pool of pools) pool.execute('SELECT pg_sleep(60)').catch(() => {})
    parentPort.postMessage('borrowed')
    if (workerData.end === 'exit') {
      await pools[0].fetchVal('SELECT 1')
      process.exit(0)
    }
    if (workerData.end === 'throw') {
      await pools[0].fetchVal('SELECT 1')
      setImmediate(() => { throw new Error('on purpose') })
    }
  })()
`

for (const end of ['terminate', 'exit', 'throw']) {
  test(`a worker that ends with borrowed connections leaves nothing (${end})`, async (t) => {
    for (let round = 0; round < 3; round += 1) {
      const worker = new Worker(WORKER, { eval: true, workerData: { dsn: await serverDsn(), end } })
      worker.on('error', (error) => t.is(error.message, 'on purpose'))
      const exited = new Promise((resolve) => worker.once('exit', resolve))
      await within(new Promise((resolve) => worker.once('message', resolve)))
      if (end === 'terminate') {
        await sleep(round)
        await worker.terminate()
      }
      await within(exited)
    }
    t.pass()
  })
}

onLinux('a rollback whose answer waits while JavaScript is busy loses no connection', async (t) => {
  const { connection } = await connect(t)
  const backend = () => connection.fetchVal<number>('SELECT pg_backend_pid()')
  const before = await backend()
  const outer = await connection.begin()
  const nested = outer.transaction(async (tx) => {
    await tx.fetchVal('SELECT 1')
    setImmediate(() => block(5500))
    throw new RangeError('mine')
  })
  await t.throwsAsync(nested, { instanceOf: RangeError })
  const rolledBack = outer.rollback()
  block(5500)
  await rolledBack
  t.is(await backend(), before)
})
