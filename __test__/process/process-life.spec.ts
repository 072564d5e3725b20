// The life of a process, of its worker threads and of forgotten listeners: whoever ends takes its sessions along.
//
// PGLISTEN_ROUNDS=100 makes it thorough.

import test, { type ExecutionContext } from 'ava'
import { runFixture } from '../support/child.js'
import { uniqueName } from '../../lab/unique-name.js'
import { flood } from '../support/flood.js'
import { sessionCount, uniqueChannel } from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

const ROUNDS = Number(process.env['PGLISTEN_ROUNDS'] ?? 10)
const WAYS = [
  'callback',
  'loop',
  'batches',
  'statement',
  'fence',
  'shutdown',
  'lost session',
  'dialling',
] as const

/** Floods a channel until the end of the test. */
function keepFlooding(t: ExecutionContext, channel: string): void {
  const abort = new AbortController()
  const done = (async () => {
    while (!abort.signal.aborted) await flood(channel, 1, 2000, { width: 100 })
  })()
  t.teardown(async () => {
    abort.abort()
    await done
  })
}

async function isGone(applicationName: string): Promise<void> {
  await waitFor(async () => (await sessionCount(applicationName)) === 0, {
    what: `the sessions of ${applicationName} to end`,
  })
}

test(`process.exit() under flood, ${ROUNDS} times: no crash, no hang, no session left`, async (t) => {
  t.timeout(ROUNDS * 10_000)
  const channel = uniqueChannel()
  keepFlooding(t, channel)
  const applicationName = uniqueName('exit')
  for (let round = 0; round < ROUNDS; round += 1) {
    const way = WAYS[round % WAYS.length]!
    const count = 1 + ((round * 2477) % 10_000)
    const outcome = await runFixture(
      'exit-under-flood.mjs',
      [way, channel, applicationName, `${count}`],
      { timeoutMs: 10_000 },
    )
    if (!['dialling', 'lost session'].includes(way))
      t.true((outcome as { seen: number }).seen >= count, way)
  }
  await isGone(applicationName)
})

test(`worker.terminate() under flood, ${ROUNDS} times: no crash, no hang, no session left`, async (t) => {
  t.timeout(ROUNDS * 10_000)
  const channel = uniqueChannel()
  keepFlooding(t, channel)
  const applicationName = uniqueName('worker')
  const outcome = await runFixture(
    'workers-terminated.mjs',
    [channel, applicationName, `${ROUNDS}`],
    { timeoutMs: ROUNDS * 3000 },
  )
  t.deepEqual(outcome, { rounds: ROUNDS })
  await isGone(applicationName)
})

test('of two workers with listeners one ends, and the other goes on, as does the main thread', async (t) => {
  const outcome = await runFixture('two-workers.mjs', [uniqueChannel(), uniqueName('two')], {
    timeoutMs: 15_000,
  })
  t.deepEqual(outcome, { code: 1, second: 1, main: 'marker' })
})

test('listeners that nobody knows any more are collected and end their sessions; others are not', async (t) => {
  const outcome = await runFixture('abandoned.mjs', [uniqueChannel(), uniqueName('abandoned')], {
    node: ['--expose-gc'],
    timeoutMs: 30_000,
  })
  t.deepEqual(outcome, {
    left: { started: 0, stopped: 0, iterated: 0, events: 0 },
    kept: { called: 1, looped: 1 },
    delivered: 2,
  })
})
