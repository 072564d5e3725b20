// What a listener does while it has no session, and when it gives up.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import {
  ConnectionClosedError,
  DatabaseError,
  Gap,
  ListenerClosedError,
  type ListenerOptions,
} from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { uniqueName } from '../../lab/unique-name.js'
import { Witness } from '../../lab/faults/witness.js'
import { collect, waitFor, within } from '../../lab/wait.js'

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.beforeEach(() => arena.proxy.clear())
test.after.always(() => arena?.close())

async function start(t: ExecutionContext, options: ListenerOptions = {}): Promise<Witness> {
  const witness = new Witness(arena.dsn, options, 10)
  t.teardown(() => witness.stop().catch(() => {}))
  await witness.start()
  return witness
}

/** Takes the network away, and resolves when at least one attempt to come back has failed. */
async function takeAway(witness: Witness): Promise<void> {
  arena.proxy.set({ refuse: true })
  arena.proxy.reset()
  await waitFor(() => witness.attempts.length > 0, { what: 'a failed attempt' })
}

async function giveBack(witness: Witness): Promise<Gap> {
  const back = once(witness.listener, 'gap')
  arena.proxy.clear()
  const [gap] = (await within(back)) as [Gap]
  return gap
}

test.serial('channels that come and go during an outage are as wanted after it', async (t) => {
  const witness = await start(t)
  const { listener } = witness
  const [kept, dropped, alsoKept] = witness.channels as [string, string, string]
  await takeAway(witness)
  const [added, called, brief] = [uniqueName('d'), uniqueName('e'), uniqueName('f')]
  const payloads: string[] = []
  let ready = 0
  const subscribed = [
    listener.addChannel(added),
    listener.addCallback(called, (_, payload) => payloads.push(payload)),
  ].map((promise) => promise.then(() => (ready += 1)))
  const gone = t.throwsAsync(listener.addChannel(brief), { instanceOf: ListenerClosedError })
  // What the server need not be told is done at once.
  await within(listener.removeChannel(brief))
  await within(listener.removeChannel(dropped))
  await within(listener.clearChannelCallbacks(dropped))
  t.is(ready, 0)
  await giveBack(witness)
  await within(Promise.all(subscribed))
  await within(gone)
  t.deepEqual((await witness.serverChannels()).sort(), [kept, alsoKept, added, called].sort())
  t.deepEqual(listener.channels.sort(), [kept, alsoKept, added, called].sort())
  for (const channel of [called, added, dropped, brief]) await arena.direct.notify(channel, 'x')
  await listener.sync()
  t.deepEqual(payloads, ['x'])
})

test.serial('a fence set up during an outage is passed after it', async (t) => {
  const witness = await start(t)
  await takeAway(witness)
  let passed = false
  const synced = witness.listener.sync().then(() => (passed = true))
  await arena.direct.notify(witness.channels[0]!, '1')
  t.false(passed)
  await giveBack(witness)
  await within(synced)
  t.is(witness.iterated.filter((item) => item instanceof Gap).length, 1)
})

test.serial('during an outage the session’s connection says that it is closed', async (t) => {
  const witness = await start(t)
  const { connection } = witness.listener
  await takeAway(witness)
  t.is(witness.listener.state, 'reconnecting')
  t.true(witness.listener.isStarted)
  await t.throwsAsync(connection.fetchVal('SELECT 1'), { instanceOf: ConnectionClosedError })
  await t.throwsAsync(async () => witness.listener.connection.fetchVal('SELECT 1'), {
    instanceOf: ConnectionClosedError,
  })
  await giveBack(witness)
  t.is(typeof (await witness.processId()), 'number')
})

test.serial('an iteration that begins during an outage begins with its gap', async (t) => {
  const witness = await start(t)
  await takeAway(witness)
  const late = witness.listener.messages({ gaps: 'include' })
  const strict = witness.listener.messages({ gaps: 'throw' })
  const gap = await giveBack(witness)
  await arena.direct.notify(witness.channels[0]!, '1')
  const [first, second] = await collect(late, 2)
  t.deepEqual(first, gap)
  t.like(second, { payload: '1' })
  await t.throwsAsync(strict.next(), { code: 'ERR_PGLISTEN_LISTENER_GAP' })
})

test.serial('an outage is one gap, however many attempts it takes', async (t) => {
  const witness = await start(t, { reconnect: { initialDelayMs: 1, maxDelayMs: 20 } })
  const lostBefore = Date.now()
  await takeAway(witness)
  await waitFor(() => witness.attempts.length >= 30)
  const gap = await giveBack(witness)
  t.is(gap.attempts, witness.attempts.length + 1)
  t.true(gap.lostAt.getTime() <= lostBefore)
  t.true(gap.resumedAt.getTime() <= Date.now())
  await witness.listener.sync()
  t.deepEqual(witness.iterated, [gap])
  t.deepEqual(witness.called, [gap])
  t.is(witness.listener.stats().reconnects, 1)
})

test.serial('after the last attempt the listener is closed: iterations throw why', async (t) => {
  const options = { reconnect: { initialDelayMs: 1, maxDelayMs: 5, maxAttempts: 7 } }
  const witness = new Witness(arena.dsn, options, 10)
  t.teardown(() => witness.pool.close())
  await witness.start()
  const { listener } = witness
  await arena.direct.notify(witness.channels[0]!, '1')
  await listener.sync()
  const batches = listener.batches()
  const closed = once(listener, 'closed')
  const pending = listener.addChannel(uniqueName('never'))
  await within(pending)
  arena.proxy.set({ refuse: true })
  arena.proxy.reset()
  const [error] = (await within(closed)) as [Error]
  t.true(error instanceof ListenerClosedError)
  t.regex(error.message, /gave up/)
  t.is(witness.attempts.length, 7)
  t.is(listener.state, 'closed')
  t.false(listener.isStarted)
  const thrown = await t.throwsAsync(batches.next(), { instanceOf: ListenerClosedError })
  t.is(thrown.message, error.message)
  await t.throwsAsync(witness.stop(), { instanceOf: ListenerClosedError })
  t.deepEqual(witness.called, [1])
  t.deepEqual(witness.iterated, [1])
})

test.serial('a listener that gave up can be started again', async (t) => {
  const witness = new Witness(arena.dsn, { reconnect: false }, 10)
  t.teardown(() => witness.pool.close())
  await witness.start()
  const { listener } = witness
  const iteration = listener.messages()
  const closed = once(listener, 'closed')
  arena.proxy.reset()
  const [error] = (await within(closed)) as [Error]
  t.true(error instanceof ListenerClosedError)
  await t.throwsAsync(iteration.next(), { instanceOf: ListenerClosedError })
  await waitFor(() => arena.proxy.open === 0)
  await listener.startup()
  listener.listen()
  await arena.direct.notify(witness.channels[0]!, '2')
  await listener.sync()
  t.deepEqual(witness.called, [2])
  await listener.shutdown()
  await t.throwsAsync(witness.stop(), { instanceOf: ListenerClosedError })
})

test.serial(
  'a refused login is an error event, and is tried again at the slowest pace',
  async (t) => {
    const maxDelayMs = 1600
    const witness = await start(t, { reconnect: { initialDelayMs: 1, maxDelayMs } })
    const { listener } = witness
    const delays: number[] = []
    listener.on('reconnecting', ({ delayMs, error }) => {
      if (error instanceof DatabaseError && error.sqlState === '28P01') delays.push(delayMs)
    })
    await arena.revokeLogin()
    const from = performance.now()
    await arena.terminate(await witness.processId())
    await waitFor(() => witness.errors.length >= 3 && delays.length >= 3)
    const tookMs = performance.now() - from
    await arena.restoreLogin()
    for (const error of witness.errors) {
      t.true(error instanceof DatabaseError)
      t.is((error as DatabaseError).sqlState, '28P01')
      t.false(error.message.includes('as before'))
    }
    t.true(
      delays.every((delayMs) => delayMs >= maxDelayMs / 2 && delayMs <= maxDelayMs),
      delays.join(),
    )
    t.true(tookMs >= delays[0]! + delays[1]!, `${delays.join()}, ${tookMs} ms`)
    await waitFor(() => listener.state === 'connected')
  },
)

test.serial('a server that ends each session at once is not asked without end', async (t) => {
  const witness = await start(t, { reconnect: { initialDelayMs: 50, maxDelayMs: 400 } })
  const { listener } = witness
  const delays: number[] = []
  listener.on('reconnecting', ({ delayMs }) => delays.push(delayMs))
  listener.on('connected', () => arena.proxy.reset())
  const from = performance.now()
  arena.proxy.reset()
  await waitFor(() => delays.length >= 24, { timeoutMs: 60_000 })
  const tookMs = performance.now() - from
  listener.removeAllListeners('connected')
  const sum = (some: number[]) => some.reduce((all, delayMs) => all + delayMs, 0)
  const told = `${delays.map(Math.round).join(' ')}, ${tookMs} ms`
  // Each is a number by chance up to a bound that grows from 50 to 400 ms. Under the shortest bound these would be 400 ms on average,
  // and 800 at most.
  t.true(sum(delays.slice(8, 24)) > 1200, told)
  t.true(Math.max(...delays) <= 400, told)
  // The listener keeps to them.
  t.true(tookMs >= sum(delays.slice(0, 23)), told)
})

test.serial('after a session that lasted, the first attempt is quick again', async (t) => {
  const witness = await start(t, {
    reconnect: { initialDelayMs: 4, maxDelayMs: 8000, stableAfterMs: 300 },
  })
  const { listener } = witness
  arena.proxy.set({ refuse: true })
  arena.proxy.reset()
  await waitFor(() => witness.attempts.length >= 11, { timeoutMs: 30_000 })
  arena.proxy.clear()
  await waitFor(() => listener.state === 'connected')
  const since = performance.now()
  await waitFor(() => performance.now() - since > 350)
  const back = once(listener, 'reconnected')
  const delays: number[] = []
  listener.on('reconnecting', ({ delayMs }) => delays.push(delayMs))
  arena.proxy.reset()
  await within(back)
  t.true(delays[0]! <= 4, delays.join())
})
