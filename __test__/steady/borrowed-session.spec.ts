// A session that the JavaScript thread reads itself while notifications come steadily, and what takes it back.

import { readdirSync, readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import type { Gap, ListenerOptions } from 'pglisten'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { leastOf } from '../../lab/stalls.js'
import { block, waitFor, within } from '../../lab/wait.js'
import { notifyWhileBlocked } from '../support/flood.js'
import {
  backendOf,
  notify,
  openListener,
  run,
  terminate,
  uniqueChannel,
} from '../support/listener.js'

/** The numbers from 1 to `count`, as payloads. */
const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index + 1))

/** Notifies the numbers from 1 to `count`, each in a transaction of its own, all of it in the server. */
const notifySteadily = (channel: string, count: number, pauseMs = 1) =>
  run(`DO $$ BEGIN FOR n IN 1..${count} LOOP
    PERFORM pg_notify('${channel}', n::text); COMMIT; PERFORM pg_sleep(${pauseMs / 1000});
  END LOOP; END $$`)

/** A listener with a callback that keeps what it gets. */
async function openScene(t: ExecutionContext, options: ListenerOptions = {}, dsn?: string) {
  const channel = uniqueChannel()
  const opened = await openListener(t, options as ListenerOptions<string>, dsn ? { dsn } : {})
  const { listener } = opened
  const got: (string | Gap)[] = []
  await listener.addCallback(channel, (_, payload) => void got.push(payload))
  listener.addGapCallback((_, gap) => void got.push(gap))
  await listener.startup()
  listener.listen()
  return { ...opened, channel, got }
}

/** How often the thread has slept that reads sessions for everybody else. */
function sleeps(): number {
  const tasks = readdirSync('/proc/self/task').map((id) => `/proc/self/task/${id}`)
  const thread = tasks.find(
    (task) => readFileSync(`${task}/comm`, 'utf8').trim() === 'pglisten-listen',
  )
  const status = readFileSync(`${thread}/status`, 'utf8')
  return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1])
}

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip

for (const session of ['own', 'shared'] as const) {
  onLinux(`notifications that come steadily wake no other thread (${session})`, async (t) => {
    const { channel, got } = await openScene(t, { session })
    const slept = await leastOf(300, async () => {
      got.length = 0
      await notifySteadily(channel, 100)
      const before = sleeps()
      await notifySteadily(channel, 1000)
      await waitFor(() => got.length === 1100)
      t.deepEqual(got, [...numbers(100), ...numbers(1000)])
      return sleeps() - before
    })
    // It looks now and then whether they are read.
    t.true(slept < 300, `${slept}`)
  })
}

onLinux('a session that is lent and taken back again and again opens no descriptor', async (t) => {
  const { channel, got } = await openScene(t, { heartbeat: false })
  const files = () => readdirSync('/proc/self/fd').length
  const seen: number[] = []
  // Two in a row have the session lent, and a pause has it taken back.
  const inPairs = run(`DO $$ BEGIN FOR n IN 1..30 LOOP
    PERFORM pg_notify('${channel}', n || 'a'); COMMIT; PERFORM pg_sleep(0.003);
    PERFORM pg_notify('${channel}', n || 'b'); COMMIT; PERFORM pg_sleep(0.055);
  END LOOP; END $$`)
  for (let pairs = 1; pairs <= 30; pairs += 1) {
    await waitFor(() => got.length >= 2 * pairs)
    seen.push(files())
  }
  await inPairs
  t.true(Math.max(...seen) <= Math.min(...seen) + 4, seen.join(' '))
})

onLinux('a session that is quiet wakes nobody', async (t) => {
  const { channel, got } = await openScene(t, { heartbeat: false })
  const slept = await leastOf(10, async () => {
    got.length = 0
    await notifySteadily(channel, 100)
    await waitFor(() => got.length === 100)
    const before = sleeps()
    await new Promise((resolve) => setTimeout(resolve, 1000))
    return sleeps() - before
  })
  // The loan ends within that second, and nothing looks after it then.
  t.true(slept < 10, `${slept}`)
})

test.serial('while JavaScript is busy the session is read all the same', async (t) => {
  const { channel, listener, got } = await openScene(t)
  const beside: string[] = []
  const other = uniqueChannel()
  await listener.addCallback(other, (_, payload) => void beside.push(payload))
  const sending = notifySteadily(channel, 2000)
  await waitFor(() => got.length >= 200)
  // Nothing is delivered until they have been read.
  await notifyWhileBlocked(other, 500, () => listener.stats().received > got.length + 500)
  await sending
  await waitFor(() => got.length === 2000 && beside.length === 500)
  t.deepEqual(got, numbers(2000))
  t.deepEqual(beside, numbers(500))
})

test.serial('a buffer has its bounds while JavaScript is busy, and the gap is exact', async (t) => {
  const { channel, listener, got } = await openScene(t, { buffer: { maxMessages: 100 } })
  const other = uniqueChannel()
  await listener.addCallback(other, (_, payload) => void got.push(payload))
  const sending = notifySteadily(channel, 2000)
  await waitFor(() => got.length >= 200)
  const { received } = listener.stats()
  await notifyWhileBlocked(other, 500, () => listener.stats().received >= received + 500)
  await sending
  await listener.sync()
  const gaps = got.filter((entry) => typeof entry !== 'string')
  const dropped = gaps.reduce((sum, gap) => sum + (gap.dropped ?? Number.NaN), 0)
  t.true(dropped > 0)
  t.is(got.length - gaps.length + dropped, 2500)
})

test.serial('a consumer that pauses the session keeps it from being read', async (t) => {
  const { channel, listener, got } = await openScene(t, {
    buffer: { maxMessages: 100, overflow: 'pause' },
  })
  await listener.addCallback(channel, () => {
    if (got.length === 200) listener.abortListen()
  })
  const sending = notifySteadily(channel, 2000)
  await waitFor(() => listener.stats().buffered > 100)
  t.is(got.length, 200)
  await sending
  // Nobody has read the more than a thousand that were still to come.
  const { buffered } = listener.stats()
  t.true(buffered < 200, `${buffered}`)
  listener.listen()
  await waitFor(() => got.length === 2000)
  t.deepEqual(got, numbers(2000))
})

test.serial(
  'a session that the server ends while it is borrowed has a gap with the reason',
  async (t) => {
    const { channel, listener, got } = await openScene(t, { session: 'own' })
    const backend = await backendOf(listener)
    const sending = notifySteadily(channel, 1000)
    await waitFor(() => got.length >= 200)
    await terminate(backend)
    await sending
    await listener.sync()
    const gap = got.find((entry) => typeof entry !== 'string')
    t.is(gap?.reason, 'disconnect')
    t.is(gap?.sqlState, '57P01')
    t.is(gap?.oldProcessId, backend)
    t.is(got.filter((entry) => typeof entry !== 'string').length, 1)
    const before = got.slice(0, got.indexOf(gap!))
    t.deepEqual(before, numbers(before.length))
    const after = got.slice(before.length + 1)
    t.deepEqual(after, numbers(1000).slice(1000 - after.length))
  },
)

test.serial('a session whose socket is cut while it is borrowed has a gap', async (t) => {
  const direct = await serverDsn()
  const proxy = await FaultProxy.start(Number(new URL(direct).port))
  t.teardown(() => proxy.stop())
  const { channel, listener, got } = await openScene(t, {}, proxy.dsn(direct))
  for (let round = 1; round <= 2; round += 1) {
    got.length = 0
    const sending = notifySteadily(channel, 300)
    await waitFor(() => got.length >= 50)
    proxy.cutNextMessage()
    await sending
    await within(listener.sync())
    await notify(channel, 'end')
    await waitFor(() => got.at(-1) === 'end')
    const gaps = got.filter((entry) => typeof entry !== 'string')
    t.deepEqual(
      gaps.map(({ reason }) => reason),
      ['disconnect'],
    )
  }
})

test.serial('what else the server says is told', async (t) => {
  const { channel, listener, got } = await openScene(t, { session: 'own' })
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  const sending = notifySteadily(channel, 600)
  for (let turn = 1; turn <= 3; turn += 1) {
    await waitFor(() => got.length >= 100 * turn)
    await listener.connection.execute(`DO $$ BEGIN RAISE WARNING 'warning ${turn}'; END $$`)
  }
  await sending
  await listener.sync()
  t.deepEqual(warnings, ['warning 1', 'warning 2', 'warning 3'])
  t.deepEqual(got, numbers(600))
})

test.serial('fences, heartbeats, subscriptions and statements go between', async (t) => {
  const { channel, listener, got } = await openScene(t, {
    session: 'own',
    heartbeat: { intervalMs: 20, timeoutMs: 5000 },
  })
  const other = uniqueChannel()
  let batches = 0
  const over = new AbortController()
  const sending = (async () => {
    for (; !over.signal.aborted; batches += 1) await notifySteadily(channel, 500)
  })()
  let rounds = 0
  while (got.length < 1400 || rounds <= 3) {
    await listener.sync()
    await listener.addChannel(other)
    t.is(await listener.connection.fetchVal('SELECT $1::int4', [rounds]), rounds)
    await listener.removeChannel(other)
    rounds += 1
  }
  over.abort()
  await sending
  await listener.sync()
  t.deepEqual(got, Array.from({ length: batches }, () => numbers(500)).flat())
  t.is(listener.stats().gaps, 0)
})

const WORKER = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { ConnectionPool } = require('pglisten')
  const listener = new ConnectionPool(workerData.pool).listener(workerData.options)
  ;(async () => {
    let got = 0
    await listener.addCallback(workerData.channel, () => {
      got += 1
      if (got === 100) parentPort.postMessage('steady')
      if (got === 200 && workerData.end === 'exit') process.exit(0)
      if (got === 200 && workerData.end === 'throw') throw new Error('told, and no more')
      if (got === workerData.all) parentPort.postMessage('all')
    })
    listener.on('error', () => process.exit(0))
    await listener.startup()
    listener.listen()
    parentPort.postMessage('started')
  })()
`

const message = (worker: Worker, wanted: string) =>
  within(
    new Promise<void>((resolve) => {
      worker.on('message', (said) => said === wanted && resolve())
    }),
    { what: wanted },
  )

for (const end of ['terminate', 'exit', 'throw']) {
  for (const session of ['own', 'shared']) {
    test.serial(
      `a worker that ends while it reads leaves nothing (${end}, ${session})`,
      async (t) => {
        const channel = uniqueChannel()
        const workerData = { pool: { dsn: await serverDsn() }, channel, end, options: { session } }
        const worker = new Worker(WORKER, { eval: true, workerData })
        const exited = new Promise((resolve) => worker.once('exit', resolve))
        const [steady] = [message(worker, 'steady'), await message(worker, 'started')]
        const sending = notifySteadily(channel, 500)
        await steady
        if (end === 'terminate') await worker.terminate()
        await within(exited)
        await sending
        t.pass()
      },
    )
  }
}

/** A second thread that shares the session of a scene, once it listens. */
async function openBeside(
  { listener, applicationName, channel }: Awaited<ReturnType<typeof openScene>>,
  data: { all?: number; end?: string },
) {
  const workerData = {
    pool: { dsn: await serverDsn(), applicationName },
    channel,
    options: {},
    ...data,
  }
  const worker = new Worker(WORKER, { eval: true, workerData })
  const exited = new Promise((resolve) => worker.once('exit', resolve))
  const all = message(worker, 'all')
  await message(worker, 'started')
  await waitFor(() => listener.stats().session?.listeners === 2)
  return { worker, exited, all }
}

onLinux('a session that two threads share is read by neither of them', async (t) => {
  const scene = await openScene(t)
  const { channel, got } = scene
  const { worker, all } = await openBeside(scene, { all: 1000 })
  t.teardown(() => worker.terminate())
  // The thread that reads is woken for nearly each, unless it is late; were the session lent, for none.
  const rest = await leastOf(500, async () => {
    got.length = 0
    const before = sleeps()
    await notifySteadily(channel, 1000)
    await waitFor(() => got.length === 1000)
    t.deepEqual(got, numbers(1000))
    return 1000 - (sleeps() - before)
  })
  t.true(rest < 500, `${rest}`)
  await all
})

onLinux('a thread that is alone again with a session reads it', async (t) => {
  const scene = await openScene(t)
  const { channel, got } = scene
  const { exited } = await openBeside(scene, { end: 'exit' })
  await notifySteadily(channel, 300)
  await within(exited)
  const slept = await leastOf(300, async () => {
    got.length = 0
    await notifySteadily(channel, 100)
    const before = sleeps()
    await notifySteadily(channel, 1000)
    await waitFor(() => got.length === 1100)
    return sleeps() - before
  })
  t.true(slept < 300, `${slept}`)
})

test.serial(
  'two threads that share a session hear all of it, although one of them is busy',
  async (t) => {
    const scene = await openScene(t)
    const { channel, got } = scene
    const sending = notifySteadily(channel, 200)
    await waitFor(() => got.length >= 100)
    const { worker, all } = await openBeside(scene, { all: 1000 })
    t.teardown(() => worker.terminate())
    await sending
    await waitFor(() => got.length === 200)
    const more = notifySteadily(channel, 1000)
    await waitFor(() => got.length >= 300)
    block(1500)
    await more
    await all
    await waitFor(() => got.length === 1200)
    t.deepEqual(got.slice(200), numbers(1000))
  },
)
