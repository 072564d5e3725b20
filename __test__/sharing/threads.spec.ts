// Listeners of worker threads share the sessions of their process, and the end of a thread harms no other.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import type { Gap, Listener, SessionStats } from 'pglisten'
import { flood, range } from '../support/flood.js'
import { notify, openListener, sessionCount, uniqueChannel } from '../support/listener.js'
import { randomNumbers } from '../../lab/random.mjs'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'

interface Told {
  session: SessionStats
  heard: number[]
  gaps: number
}

interface WorkerTask {
  applicationName: string
  channel: string
  exitAfter?: number
  asksPassword?: boolean
}

/** Starts a thread with a listener; the end of the test ends it. */
async function startWorker(t: ExecutionContext, task: WorkerTask): Promise<Worker> {
  const worker = new Worker(new URL('../fixtures/sharing-worker.mjs', import.meta.url), {
    workerData: { dsn: await serverDsn(), ...task },
    // Of what runs the tests, a thread needs nothing.
    execArgv: [],
  })
  t.teardown(() => worker.terminate())
  worker.on('error', (error) => t.fail(`a worker failed: ${String(error)}`))
  return worker
}

/** What a worker says next, or after it was asked. */
async function told(worker: Worker, isAsked = false): Promise<Told> {
  const answer = once(worker, 'message')
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  if (isAsked) worker.postMessage('tell')
  return ((await within(answer, { what: 'a word of a worker' })) as [Told])[0]
}

/** A listener of the main thread that keeps the numbers it hears. */
async function startMain(t: ExecutionContext) {
  const { listener, applicationName } = await openListener(t)
  const channel = uniqueChannel()
  const heard: number[] = []
  const gaps: Gap[] = []
  listener.on('gap', (gap) => gaps.push(gap))
  await listener.addCallback(channel, (_connection, payload) => void heard.push(Number(payload)))
  await listener.startup()
  listener.listen()
  return { listener, applicationName, channel, heard, gaps }
}

/** Notifies ascending numbers without an end, a hundred in each transaction. */
function flooding(channel: string) {
  const stopping = new AbortController()
  const written = (async () => {
    let last = 0
    while (!stopping.signal.aborted) {
      await flood(channel, last + 1, last + 100)
      last += 100
      await sleep(1)
    }
    return last
  })()
  return {
    /** Gives the last number. */
    stop: () => {
      stopping.abort()
      return written
    },
  }
}

async function isAlone(listener: Listener): Promise<void> {
  await waitFor(() => listener.stats().session?.listeners === 1, {
    what: `the others' end at ${JSON.stringify(listener.stats().session)}`,
  })
}

/** Each number once and in order, no gap, and the session of the beginning. */
function isUnharmed(
  t: ExecutionContext,
  main: Awaited<ReturnType<typeof startMain>>,
  last: number,
  processId: number,
) {
  t.is(main.heard.length, last)
  t.true(main.heard.every((number, index) => number === index + 1))
  t.is(main.gaps.length, 0)
  t.deepEqual(main.listener.stats().session, { processId, listeners: 1, channels: 1 })
}

test('eight threads that listen are one session, and each hears everything', async (t) => {
  const applicationName = uniqueChannel()
  const channel = uniqueChannel()
  const workers = await Promise.all(
    range(1, 8).map(() => startWorker(t, { applicationName, channel })),
  )
  const started = await Promise.all(workers.map((worker) => told(worker)))
  t.is(new Set(started.map(({ session }) => session.processId)).size, 1)
  t.is(await sessionCount(applicationName), 1)

  await flood(channel, 1, 5000)
  await notify(channel, '5001')
  for (const { session, heard, gaps } of await Promise.all(workers.map((it) => told(it, true)))) {
    t.deepEqual(heard, range(1, 5001))
    t.is(gaps, 0)
    t.deepEqual(session, { processId: started[0]!.session.processId, listeners: 8, channels: 1 })
  }

  await Promise.all(workers.slice(1).map((worker) => worker.terminate()))
  await waitFor(async () => (await told(workers[0]!, true)).session.listeners === 1)
  t.is(await sessionCount(applicationName), 1)
  await workers[0]!.terminate()
  await waitFor(async () => (await sessionCount(applicationName)) === 0)
})

test('threads that are terminated in a flood, at any moment, harm nobody', async (t) => {
  t.timeout(120_000)
  const main = await startMain(t)
  const { listener, applicationName, channel } = main
  const { processId } = listener.stats().session!
  const sessions = new Set<number | undefined>()
  const random = randomNumbers(8)
  const flooded = flooding(channel)
  // Some end while they start, some while they join, some when they have heard a lot.
  const slot = async (rounds: number) => {
    for (let round = 0; round < rounds; round += 1) {
      const worker = await startWorker(t, { applicationName, channel })
      if (random() < 0.7) await told(worker)
      await sleep(random() * 150)
      sessions.add(listener.stats().session?.processId)
      await worker.terminate()
      sessions.add(listener.stats().session?.processId)
    }
  }
  await Promise.all([slot(25), slot(25), slot(25), slot(25)])
  const last = await flooded.stop()
  await listener.sync()
  await isAlone(listener)
  t.deepEqual([...sessions], [processId])
  isUnharmed(t, main, last, processId)
  t.is(await sessionCount(applicationName), 1)
})

test('threads that end themselves in a flood, in a callback, harm nobody', async (t) => {
  const main = await startMain(t)
  const { listener, applicationName, channel } = main
  const { processId } = listener.stats().session!
  const flooded = flooding(channel)
  await Promise.all(
    range(1, 12).map(async (number) => {
      const exitAfter = (number * 397) % 1500
      const worker = await startWorker(t, { applicationName, channel, exitAfter })
      const [code] = await within(once(worker, 'exit'), { what: 'a worker to end itself' })
      t.is(code, 3)
    }),
  )
  const last = await flooded.stop()
  await listener.sync()
  await isAlone(listener)
  isUnharmed(t, main, last, processId)
})

test('a function for the password belongs to its thread: nobody else shares, and its session ends with the thread', async (t) => {
  const main = await startMain(t)
  const { listener, applicationName, channel } = main
  const { processId } = listener.stats().session!
  const task = { applicationName, channel, asksPassword: true }
  const workers = await Promise.all([startWorker(t, task), startWorker(t, task)])
  const [first, second] = workers
  const started = await Promise.all(workers.map((worker) => told(worker)))
  t.is(await sessionCount(applicationName), 3)
  t.is(new Set([processId, ...started.map(({ session }) => session.processId)]).size, 3)
  t.is(listener.stats().session!.listeners, 1)

  await flood(channel, 1, 1000)
  for (const { session, heard } of await Promise.all(workers.map((it) => told(it, true)))) {
    t.deepEqual(heard, range(1, 1000))
    t.is(session.listeners, 2, 'the two of its pool')
  }
  await first.terminate()
  await waitFor(async () => (await sessionCount(applicationName)) === 2)
  await flood(channel, 1001, 2000)
  t.deepEqual((await told(second, true)).heard, range(1, 2000))
  await second.terminate()
  await waitFor(async () => (await sessionCount(applicationName)) === 1)
  await listener.sync()
  isUnharmed(t, main, 2000, processId)
})
