// What strikes a worker in each phase of its work: each event is done once all the same, by the one that stands by, and the worker is of
// use again when it lives.

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Transaction } from 'pglisten'
import { forked, tell } from '../../lab/child.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { root } from '../../scripts/lib/run.mjs'
import { openGates, type Gate } from './gates.js'
import { QUICK } from './scene.js'

/** A worker that is frozen or cut off is followed after this time. */
const MAX_HANDLER_MS = 1000
/** The same, where the work itself may take long on a machine that is busy. */
const LONG_HANDLER_MS = 4000

/** A worker in a process of its own, which reaches the server by a proxy. */
interface Victim {
  name: string
  child: ChildProcess
  proxy: FaultProxy
  /** Resolves when its handler waits for `go`. */
  handling: Promise<unknown>
}

type Opened = Awaited<ReturnType<typeof openGates>>

/** What a phase does: resolves when the worker is in it, and gives what lets it go on. */
type Phase = (opened: Opened, victim: Victim) => Promise<() => void | Promise<void>>

const atGate =
  (gate: Gate): Phase =>
  async ({ close, owner }, { name }) => {
    const held = await close(name, gate)
    await publish(owner)
    await held.reached()
    return held.open
  }

const PHASES: Record<string, { phase: Phase; asks?: 'pause' }> = {
  'while it sleeps': {
    phase: async ({ owner, witness }) => {
      await waitFor(() => witness.ask('SELECT count(*)::int FROM pglisten.sleeper'))
      return () => publish(owner)
    },
  },
  'while it takes events': { phase: atGate('event') },
  'while its handler waits for something else': {
    asks: 'pause',
    phase: async ({ owner }, { child, handling }) => {
      await publish(owner)
      // The process may still be starting.
      await within(handling, { what: 'a handler', timeoutMs: 60_000 })
      return () => {
        tell(child, 'go')
      }
    },
  },
  'when it has sent the COMMIT': { phase: atGate('advance') },
  'while the server commits': { phase: atGate('commit') },
}

/** What happens to the worker; gives what ends it, where the worker lives on. */
type Fault = (victim: Victim, opened: Opened) => Promise<(() => void) | undefined>

const FAULTS: Record<string, Fault> = {
  killed: async ({ child }) => {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
    return undefined
  },
  terminated: async ({ name }, { witness }) => {
    await witness.ask(
      'SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()',
      [name],
    )
    return () => {}
  },
  'cut off, which it is told': async ({ proxy }) => {
    proxy.reset()
    return () => {}
  },
  'cut off in silence': async ({ proxy }) => {
    proxy.swallow('both')
    return () => proxy.clear()
  },
  frozen: async ({ child }) => {
    child.kill('SIGSTOP')
    return () => child.kill('SIGCONT')
  },
}

const publish = async (owner: Opened['owner']) => {
  for (const payload of ['1', '2', '3']) await owner.publish('a', payload)
}

const program = path.join(root, 'lab', 'durable', 'subscriber.mjs')

const options = (most = {}) => ({
  channels: ['a'],
  from: 'beginning' as const,
  ...QUICK,
  maxHandlerMs: MAX_HANDLER_MS,
  // A bell that is cut off in silence is noticed by its heartbeat; an event is found sooner.
  safetyNetMs: 500,
  maxAttempts: 2,
  ...most,
})

async function startVictim(
  t: ExecutionContext,
  { ownerDsn }: Opened,
  asks: 'pause' | undefined,
  proxy: FaultProxy,
  most = {},
): Promise<Victim> {
  const name = 'victim'
  const settings = {
    dsn: proxy.dsn(ownerDsn),
    name: 's',
    applicationName: name,
    done: 'done',
    asks,
    options: options(most),
  }
  const child = forked(program, settings)
  t.teardown(() => child.kill('SIGKILL'))
  const handling = new Promise((resolve) => {
    child.on('message', (message: object) => {
      if ('handling' in message) resolve(message)
    })
  })
  return { name, child, proxy, handling }
}

/** Works the subscription in this process, as the one that stands by. */
function runHeir(t: ExecutionContext, { as, ownerDsn }: Opened, most = {}) {
  const pool = as(new URL(ownerDsn).username, undefined, { applicationName: 'heir' })
  const ending = new AbortController()
  const run = pool.subscription('s', options(most)).run(
    async (tx: Transaction, { id, payload }) => {
      await tx.execute('INSERT INTO done (event, payload) VALUES ($1, $2)', [id, payload])
    },
    { signal: ending.signal },
  )
  run.catch(() => {})
  const stop = async () => {
    ending.abort()
    await within(run)
  }
  t.teardown(() => stop().catch(() => {}))
  return stop
}

for (const [when, { phase, asks }] of Object.entries(PHASES)) {
  test(`a worker is killed, cut off or frozen ${when}: each event is done once`, async (t) => {
    t.timeout(120_000)
    for (const [what, fault] of Object.entries(FAULTS)) {
      const opened = await openGates(t)
      const { owner, witness } = opened
      const proxy = await FaultProxy.start(Number(new URL(opened.ownerDsn).port))
      t.teardown(() => proxy.stop())
      const done = () =>
        witness.ask<string[] | null>('SELECT array_agg(payload ORDER BY seq) FROM done')
      const victim = await startVictim(t, opened, asks, proxy)
      const { child } = victim
      const exited = once(child, 'exit')
      const goOn = await phase(opened, victim)
      const end = await fault(victim, opened)
      const stop = runHeir(t, opened)
      await goOn()
      await waitFor(async () => ((await done()) ?? []).length >= 3, {
        what: `the heir of one ${what}`,
      })
      // A worker that lives finds out what has become of it, and goes on when nobody else does.
      end?.()
      if (end) await stop()
      await owner.publish('a', 'last')
      await waitFor(async () => ((await done()) ?? []).length >= 4, { what: `the last, ${what}` })
      if (end) {
        child.kill('SIGTERM')
        t.deepEqual(await within(exited, { what: `the end of one ${what}` }), [0, null], what)
      }
      t.deepEqual(await done(), ['1', '2', '3', 'last'], what)
      t.is(await witness.ask('SELECT count(*)::int FROM pglisten.failed'), 0, what)
    }
  })
}

for (const batch of [1, 3]) {
  test(`when the answer to a COMMIT is lost the position tells that its events are done (${batch})`, async (t) => {
    const opened = await openGates(t)
    const { owner, as, ownerDsn, witness } = opened
    const proxy = await FaultProxy.start(Number(new URL(ownerDsn).port))
    t.teardown(() => proxy.stop())
    await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
    const payloads = ['1', '2', '3'].slice(0, batch)
    for (const payload of payloads) await owner.publish('a', payload)
    // What moves the position is sent together with the COMMIT.
    proxy.set({ silentAfterRequest: '"xact":' })
    const pool = as(new URL(ownerDsn).username, undefined, {
      port: proxy.port,
      applicationName: 'deaf',
    })
    const got: string[] = []
    const failures: unknown[] = []
    const subscription = pool.subscription(
      's',
      options({ maxAttempts: 1, maxHandlerMs: LONG_HANDLER_MS }),
    )
    subscription.on('failure', ({ error }) => failures.push(error))
    const ending = new AbortController()
    const run = subscription.run(
      async (tx: Transaction, { id, payload }) => {
        got.push(payload)
        await tx.execute('INSERT INTO done (event, payload) VALUES ($1, $2)', [id, payload])
      },
      { signal: ending.signal },
    )
    run.catch(() => {})
    t.teardown(() => ending.abort())
    // Of a batch that takes long only a part may be committed.
    await waitFor(() => witness.ask('SELECT count(*)::int FROM done'))
    t.true(proxy.silent > 0)
    // The other connections, and those that are made from now on, are good.
    proxy.clear()
    await owner.publish('a', 'last')
    await waitFor(() => got.includes('last'))
    t.deepEqual(got, [...payloads, 'last'])
    // The server has committed the last one before this process hears of it.
    await waitFor(async () => (await subscription.stats()).done >= batch + 1)
    t.like(await subscription.stats(), { done: batch + 1, lag: { events: 0 } })
    t.deepEqual(failures, [])
    t.is(await witness.ask('SELECT count(*)::int FROM pglisten.attempt'), 0)
    ending.abort()
    await within(run)
  })

  test(`when the answer to the COMMIT of a loop is lost its events are counted as done (${batch})`, async (t) => {
    const opened = await openGates(t)
    const { owner, as, ownerDsn, witness } = opened
    const proxy = await FaultProxy.start(Number(new URL(ownerDsn).port))
    t.teardown(() => proxy.stop())
    await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
    for (let number = 1; number <= batch; number += 1) await owner.publish('a', `${number}`)
    proxy.set({ silentAfterRequest: '"xact":' })
    const pool = as(new URL(ownerDsn).username, undefined, { port: proxy.port })
    const subscription = pool.subscription('s', options({ maxHandlerMs: LONG_HANDLER_MS }))
    subscription.on('warning', () => {})
    const batches = subscription.batches()
    t.teardown(() => batches.return())
    const first = (await within(batches.next())).value!
    const lost = t.throwsAsync(first.ack())
    await waitFor(() => witness.ask('SELECT count(*)::int FROM pglisten.position WHERE high > 0'))
    proxy.clear()
    await lost
    await owner.publish('a', 'last')
    const last = (await within(batches.next())).value!
    t.deepEqual(
      last.events.map(({ payload }) => payload),
      ['last'],
    )
    await last.ack()
    t.like(await subscription.stats(), { done: batch + 1, failures: 0 })
  })
}

/** What a worker is at when its way to the server is cut off in silence. */
const SILENCES: Record<string, { safetyNetMs: number; isHandling: boolean }> = {
  'while it sleeps': { safetyNetMs: 30_000, isHandling: false },
  'while it looks for events': { safetyNetMs: 100, isHandling: false },
  'while its handler fails': { safetyNetMs: 30_000, isHandling: true },
}

for (const [when, { safetyNetMs, isHandling }] of Object.entries(SILENCES)) {
  test(`a run that was cut off in silence ${when} ends soon when it is aborted`, async (t) => {
    const opened = await openGates(t)
    const { owner, as, ownerDsn, witness } = opened
    const proxy = await FaultProxy.start(Number(new URL(ownerDsn).port))
    t.teardown(() => proxy.stop())
    const pool = as(new URL(ownerDsn).username, undefined, { port: proxy.port })
    const subscription = pool.subscription('s', {
      ...QUICK,
      channels: ['a'],
      from: 'beginning',
      safetyNetMs,
    })
    subscription.on('warning', () => {})
    const [hasBegun, fail] = [deferred(), deferred()]
    const ending = new AbortController()
    const run = subscription.run(
      async () => {
        hasBegun.resolve()
        await fail.promise
        throw new Error('no')
      },
      { signal: ending.signal },
    )
    run.catch(() => {})
    if (isHandling) {
      await owner.publish('a', '1')
      await within(hasBegun.promise)
    } else await waitFor(() => witness.ask('SELECT count(*)::int FROM pglisten.sleeper'))
    proxy.swallow('both')
    fail.resolve()
    const isAtWork = () => pool.status().available < pool.status().size
    if (when !== 'while it sleeps') await waitFor(isAtWork, { what: 'a statement under way' })
    ending.abort()
    await within(run, { what: 'the end of the run', timeoutMs: 10_000 })
    t.pass()
  })
}

test('an event is told to be given up once, also when the answer to the COMMIT by which it was is lost', async (t) => {
  const opened = await openGates(t)
  const { owner, as, ownerDsn, witness } = opened
  const proxy = await FaultProxy.start(Number(new URL(ownerDsn).port))
  t.teardown(() => proxy.stop())
  await owner.publish('a', 'bad')
  proxy.set({ silentAfterRequest: '"xact":' })
  const pool = as(new URL(ownerDsn).username, undefined, { port: proxy.port })
  let isMended = false
  const got: string[] = []
  const givenUp: unknown[] = []
  const subscription = pool.subscription(
    's',
    options({ maxAttempts: 1, onFailure: 'skip', maxHandlerMs: LONG_HANDLER_MS }),
  )
  subscription.on('givenUp', ({ event, error }) => givenUp.push([event.payload, String(error)]))
  subscription.on('warning', () => {})
  const ending = new AbortController()
  const run = subscription.run(
    (_: Transaction, { payload }) => {
      if (!isMended) throw new Error('no')
      got.push(payload)
    },
    { signal: ending.signal },
  )
  run.catch(() => {})
  t.teardown(() => ending.abort())
  await waitFor(() => witness.ask('SELECT count(*)::int FROM pglisten.failed'))
  t.true(proxy.silent > 0)
  proxy.clear()
  await waitFor(() => givenUp.length > 0)
  isMended = true
  t.is(await owner.durable.retry('s'), 1)
  await waitFor(() => got.length > 0)
  await waitFor(async () => (await subscription.stats()).done > 0)
  t.deepEqual(await owner.durable.failed('s'), [])
  t.deepEqual(got, ['bad'])
  t.deepEqual(givenUp, [['bad', 'Error: no']])
  t.like(await subscription.stats(), { done: 1, failures: 1, givenUp: 1 })
  ending.abort()
  await within(run)
})

test('while the server commits, a connection that is lost is no failure of the event', async (t) => {
  const opened = await openGates(t)
  const { owner, as, close, ownerDsn, witness } = opened
  const proxy = await FaultProxy.start(Number(new URL(ownerDsn).port))
  t.teardown(() => proxy.stop())
  await owner.publish('a', '1')
  const gate = await close('cut', 'commit')
  const pool = as(new URL(ownerDsn).username, undefined, {
    port: proxy.port,
    applicationName: 'cut',
  })
  const failures: unknown[] = []
  const subscription = pool.subscription('s', options({ maxAttempts: 1, maxHandlerMs: 20_000 }))
  subscription.on('failure', ({ error }) => failures.push(error))
  subscription.on('warning', () => {})
  const ending = new AbortController()
  const run = subscription.run(
    async (tx: Transaction, { id, payload }) => {
      await tx.execute('INSERT INTO done (event, payload) VALUES ($1, $2)', [id, payload])
    },
    { signal: ending.signal },
  )
  run.catch(() => {})
  t.teardown(() => ending.abort())
  await gate.reached()
  proxy.reset()
  // Its new connection finds that somebody is at work.
  await waitFor(() =>
    witness.ask(
      `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%count_attempt%'
         AND pid <> pg_backend_pid()`,
    ),
  )
  await gate.open()
  await owner.publish('a', '2')
  const done = () =>
    witness.ask<string[] | null>('SELECT array_agg(payload ORDER BY seq) FROM done')
  await waitFor(async () => (await done())?.length === 2)
  t.deepEqual(await done(), ['1', '2'])
  t.deepEqual(failures, [])
  t.is(await witness.ask('SELECT count(*)::int FROM pglisten.attempt'), 0)
  ending.abort()
  await within(run)
})

for (const [what, strike] of [
  ['frozen', ({ child }: Victim) => void child.kill('SIGSTOP')],
  ['behind a hole in the network', ({ proxy }: Victim) => proxy.beginHole()],
] as const) {
  test(`a worker that is ${what} while the server sends it a batch is followed`, async (t) => {
    const opened = await openGates(t)
    const { owner, ownerDsn, witness, close } = opened
    const proxy = await FaultProxy.start(Number(new URL(ownerDsn).port))
    t.teardown(() => proxy.stop())
    const gate = await close('victim', 'event')
    // More than the buffers of the sockets hold.
    await owner.execute(
      "SELECT pglisten.publish('a', lpad(n::text, 5000000, '0')) FROM generate_series(1, 3) AS n",
    )
    const most = { maxHandlerMs: LONG_HANDLER_MS }
    const victim = await startVictim(t, opened, undefined, proxy, most)
    await gate.reached()
    strike(victim)
    await gate.open()
    const blocked = () =>
      witness.ask(
        "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'victim' AND wait_event = 'ClientWrite'",
      )
    await waitFor(blocked, { what: 'a server that waits for its client to read' })
    const stop = runHeir(t, opened, most)
    const done = () => witness.ask<number>('SELECT count(*)::int FROM done')
    await waitFor(async () => (await done()) === 3, { what: 'the heir', timeoutMs: 30_000 })
    await stop()
    t.pass()
  })
}

test('what fails behind the commit of a batch, together with which it is sent, undoes nothing of it', async (t) => {
  const { owner, witness } = await openGates(t)
  for (const payload of ['1', '2', '3']) await owner.publish('a', payload)
  const rights = (what: string) => `${what} EXECUTE ON FUNCTION pglisten.take`
  const subscription = owner.subscription('s', options({ batchSize: 1 }))
  const done = () => witness.ask<string[]>('SELECT array_agg(payload ORDER BY seq) FROM done')
  const refused = subscription.run(async (tx: Transaction, { id, payload }) => {
    await tx.execute('INSERT INTO done (event, payload) VALUES ($1, $2)', [id, payload])
    if (payload === '2') await tx.execute(`${rights('REVOKE')} FROM CURRENT_USER`)
  })
  await within(t.throwsAsync(refused, { message: /this role has no right/ }))
  t.deepEqual(await done(), ['1', '2'])
  const { done: count, failures } = await subscription.stats()
  t.deepEqual([count, failures], [2, 0])
  await owner.execute(`${rights('GRANT')} TO CURRENT_USER`)
  const ending = new AbortController()
  const run = subscription.run(
    async (tx: Transaction, { id, payload }) => {
      await tx.execute('INSERT INTO done (event, payload) VALUES ($1, $2)', [id, payload])
    },
    { signal: ending.signal },
  )
  t.teardown(() => ending.abort())
  await waitFor(async () => (await done()).length > 2)
  t.deepEqual(await done(), ['1', '2', '3'])
  ending.abort()
  await within(run)
})

test('what is told to be done is what was committed, also where the next batch cannot be prepared', async (t) => {
  const { owner, witness } = await openGates(t)
  for (const payload of ['1', '2', '3']) await owner.publish('a', payload)
  const subscription = owner.subscription('s', options({ batchSize: 1 }))
  const committed = () => witness.ask<number>('SELECT count(*)::int FROM done')
  const take = 'pglisten.take(text, int, int, int, text)'
  const ending = new AbortController()
  let isGone = false
  let hasEnded = false
  const run = subscription.run(
    async (tx: Transaction, { id, payload }) => {
      await tx.execute('INSERT INTO done (event, payload) VALUES ($1, $2)', [id, payload])
      if (payload !== '2' || isGone) return
      isGone = true
      // A connection keeps 512 statements: those of the package may have to be prepared anew.
      for (let n = 0; n < 600; n += 1) await tx.execute(`SELECT 1 AS other_${n}`)
      await witness.run(`ALTER FUNCTION ${take} RENAME TO gone`)
      // The session learns of that before the next batch is taken, so that preparing it fails, and nothing is executed.
      await tx.fetchVal('SELECT count(*) FROM pg_prepared_statements')
    },
    { signal: ending.signal },
  )
  const ended = run.catch(() => {}).finally(() => (hasEnded = true))
  t.teardown(() => ending.abort())
  await waitFor(async () => hasEnded || (await committed()) === 3)
  ending.abort()
  await within(ended)
  t.is((await subscription.stats()).done, await committed())
})
