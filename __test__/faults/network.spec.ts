// Networks that are slow, thin, half broken, or break at the worst moment.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { Gap, type ListenerOptions } from 'pglisten'
import { Arena, signal } from '../../lab/faults/arena.js'
import { uniqueName } from '../../lab/unique-name.js'
import { fault } from '../../lab/faults/faults.js'
import { Numbers, Witness, judge, observe } from '../../lab/faults/witness.js'
import { reset } from '../../lab/network/reset.js'
import { waitFor, within } from '../../lab/wait.js'
import { LONG } from '../../lab/witness.js'

/** A heartbeat for what is dead, and what is said of a session that is lost by its time-out. */
const NOTICING = { intervalMs: 400, timeoutMs: 2000 }
const UNANSWERED = /the server did not answer .* within 2 s/
/** A heartbeat for what is alive: no stall of the machine is taken for the end of it. */
const PATIENT = { intervalMs: 400, timeoutMs: 5000 }

/** Each attempt waits for the machine a little. */
const MANY_ATTEMPTS = { timeoutMs: 60_000 }

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.beforeEach(() => arena.proxy.clear())
test.after.always(() => arena?.close())

async function start(t: ExecutionContext, options: ListenerOptions = {}): Promise<Witness> {
  const witness = new Witness(arena.dsn, options, 10)
  t.teardown(() => witness.stop())
  await witness.start()
  return witness
}

/** Resolves once the session is lost; by its heartbeat's time-out, or that of another question with the same one. */
async function lostInTime(t: ExecutionContext, { listener }: Witness): Promise<void> {
  const [{ error }] = (await once(listener, 'disconnected')) as [{ error: Error }]
  t.regex(error.message, UNANSWERED)
}

async function notifyNumbers(witness: Witness, t: ExecutionContext): Promise<Numbers> {
  const numbers = new Numbers(arena.direct, witness.channels)
  t.teardown(() => numbers.stop())
  await waitFor(() => witness.iterated.length >= 20 && witness.called.length >= 20)
  return numbers
}

/** Everything that was sent, but for what lies inside of the gaps, has come. */
async function isComplete(
  t: ExecutionContext,
  witness: Witness,
  numbers: Numbers,
  gaps: number,
): Promise<void> {
  const back = numbers.sent.length
  await waitFor(() => numbers.sent.length > back + 20)
  await numbers.stop()
  await witness.listener.sync()
  t.deepEqual(judge(numbers, witness.called, gaps), [])
  t.deepEqual(judge(numbers, witness.iterated, gaps), [])
}

test.serial('a network that is slow, but within the heartbeat, breaks nothing', async (t) => {
  arena.proxy.set({ delayMs: 100 })
  const witness = await start(t, { heartbeat: PATIENT })
  const numbers = await notifyNumbers(witness, t)
  await waitFor(() => (witness.listener.stats().lastRoundTripMs ?? 0) >= 200)
  await isComplete(t, witness, numbers, 0)
  t.deepEqual(witness.events, ['connected'])
})

test.serial('a thin network that is busy with a flood is not taken for a dead one', async (t) => {
  arena.proxy.set({ bytesPerSecond: 1024 * 1024 })
  const heartbeat = { intervalMs: 100, timeoutMs: 3000 }
  const witness = await start(t, { heartbeat })
  const count = 1000
  const from = performance.now()
  await arena.direct.flood(witness.channels[0]!, 1, count, { width: LONG })
  await waitFor(() => witness.iterated.length >= count, { timeoutMs: 60_000 })
  t.true(performance.now() - from > 2 * (heartbeat.intervalMs + heartbeat.timeoutMs))
  t.deepEqual(
    witness.iterated,
    Array.from({ length: count }, (_, index) => index + 1),
  )
  t.deepEqual(witness.events, ['connected'])
})

test.serial('what was under way in a slow network when it broke lies inside the gap', async (t) => {
  arena.proxy.set({ delayMs: 300 })
  const witness = await start(t)
  const numbers = await notifyNumbers(witness, t)
  const back = once(witness.listener, 'reconnected')
  arena.proxy.clear()
  arena.proxy.reset()
  await within(back)
  await isComplete(t, witness, numbers, 1)
})

test.serial(
  'a session that breaks right after it was made has its own place in time',
  async (t) => {
    const witness = await start(t, { reconnect: { initialDelayMs: 1, maxDelayMs: 5 } })
    const numbers = await notifyNumbers(witness, t)
    const { listener } = witness
    // Each new session is broken as soon as it is told of; the bytes take their time, notifications do not wait.
    arena.proxy.set({ delayMs: 40 })
    const breaks = 6
    for (let number = 0; number < breaks; number += 1) {
      const back = once(listener, 'reconnected')
      arena.proxy.reset()
      await within(back)
    }
    t.is(listener.stats().reconnects, breaks)
    await isComplete(t, witness, numbers, breaks)
  },
)

test.serial('a session that breaks in each place of its start-up is tried again', async (t) => {
  const witness = await start(t, { reconnect: { initialDelayMs: 1, maxDelayMs: 2 } })
  const numbers = await notifyNumbers(witness, t)
  const back = once(witness.listener, 'gap')
  let broken = 0
  arena.proxy.setEach((connection) => {
    broken = connection
    return { maxMessages: connection }
  })
  arena.proxy.reset()
  const [gap] = (await within(back, MANY_ATTEMPTS)) as [Gap]
  // Authentication, settings, LISTENs: every answer of the server was once the last.
  t.true(broken > 25, `${broken}`)
  t.is(gap.attempts, broken)
  t.is(witness.attempts.length, broken - 1)
  arena.proxy.clear()
  await within(once(witness.listener, 'reconnected'))
  await isComplete(t, witness, numbers, 2)
})

test.serial(
  'a session that breaks after each few bytes of its start-up is tried again',
  async (t) => {
    const witness = await start(t, { reconnect: { initialDelayMs: 1, maxDelayMs: 2 } })
    const numbers = await notifyNumbers(witness, t)
    const back = once(witness.listener, 'gap')
    const STEP = 7
    let broken = 0
    arena.proxy.setEach((connection) => {
      broken = connection
      return { maxBytes: connection * STEP }
    })
    arena.proxy.reset()
    const [gap] = (await within(back, MANY_ATTEMPTS)) as [Gap]
    t.true(broken * STEP > 500, `${broken}`)
    t.is(gap.attempts, broken)
    arena.proxy.clear()
    arena.proxy.reset()
    await within(once(witness.listener, 'reconnected'))
    await waitFor(() => witness.listener.state === 'connected')
    await numbers.stop()
    await witness.listener.sync()
    const gaps = witness.iterated.filter((item) => item instanceof Gap).length
    t.deepEqual(judge(numbers, witness.iterated, gaps), [])
    t.deepEqual(judge(numbers, witness.called, gaps), [])
  },
)

test.serial('a black hole towards the server is noticed also while the server talks', async (t) => {
  // What the server says may be a backlog before the answer, so that takes up to ten times as long.
  const heartbeat = { intervalMs: 250, timeoutMs: 500 }
  const seen = await observe(arena, {
    ...fault('black hole towards the server'),
    isQuiet: false,
    options: { heartbeat },
  })
  t.deepEqual(seen.violations, [])
  t.regex(seen.gap.message, /did not answer a heartbeat within 0\.5 s/)
  t.log(`noticed after ${Math.round(seen.noticedMs)} ms`)
})

test.serial(
  'a dead network is noticed in time also while a subscription is under way',
  async (t) => {
    const witness = await start(t, { heartbeat: NOTICING })
    const processId = await witness.processId()
    const lost = lostInTime(t, witness)
    arena.proxy.swallow('both')
    const channel = uniqueName('during')
    const subscribed = witness.listener.addChannel(channel)
    await within(lost)
    arena.proxy.clear()
    await within(subscribed)
    t.true((await witness.serverChannels()).includes(channel))
    await arena.terminate(processId)
  },
)

test.serial('a dead network is noticed in time also while a fence is under way', async (t) => {
  const witness = await start(t, { heartbeat: NOTICING })
  const processId = await witness.processId()
  const lost = lostInTime(t, witness)
  arena.proxy.swallow('both')
  const synced = witness.listener.sync()
  await within(lost)
  arena.proxy.clear()
  await within(synced)
  await arena.terminate(processId)
  t.pass()
})

for (const [what, strike] of [
  ['a dead network', () => arena.proxy.swallow('both')],
  ['a frozen backend', (processId: number) => signal(processId, 'SIGSTOP')],
] as const) {
  test.serial(`${what} is noticed in time also while a statement of the user runs`, async (t) => {
    const witness = await start(t, { session: 'own', heartbeat: NOTICING })
    const { listener } = witness
    const processId = await witness.processId()
    const lost = lostInTime(t, witness)
    strike(processId)
    const asked = t.throwsAsync(listener.connection.fetchVal('SELECT 1'))
    await within(lost)
    arena.proxy.clear()
    await within(asked)
    await waitFor(() => listener.state === 'connected')
    signal(processId, 'SIGCONT')
    await arena.terminate(processId)
  })
}

test.serial(
  'a statement on a session that is silently dead waits for a session that lives',
  async (t) => {
    const witness = await start(t, { heartbeat: NOTICING })
    const { listener } = witness
    const processId = await witness.processId()
    const lost = lostInTime(t, witness)
    signal(processId, 'SIGSTOP')
    // The listener shares its session, and cannot leave it before it is known where in its stream.
    const asked = listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
    await within(lost)
    t.not(await within(asked), processId)
    await listener.sync()
    signal(processId, 'SIGCONT')
    await arena.terminate(processId)
    t.is(witness.iterated.filter((item) => item instanceof Gap).length, 1)
  },
)

test.serial("a user's long statement on the session is not taken for a dead server", async (t) => {
  const witness = await start(t, { session: 'own', heartbeat: PATIENT })
  const { listener } = witness
  await listener.connection.execute('SELECT pg_sleep(8)')
  await listener.sync()
  t.deepEqual(witness.events, ['connected'])
})

test.serial('what a new session brings before it is verified stands behind the gap', async (t) => {
  const witness = await start(t)
  const numbers = await notifyNumbers(witness, t)
  // The answer to the LISTENs comes together with what is notified after them.
  arena.proxy.set({ burstMs: 60 })
  const breaks = 3
  for (let number = 0; number < breaks; number += 1) {
    const back = once(witness.listener, 'reconnected')
    arena.proxy.reset()
    await within(back)
    const { length } = witness.iterated
    await waitFor(() => witness.iterated.length > length + 30)
  }
  await isComplete(t, witness, numbers, breaks)
})

test.serial('text that is none is a gap that says so, and not the end', async (t) => {
  const witness = await start(t)
  const back = once(witness.listener, 'gap')
  arena.proxy.corruptNextMessage()
  await arena.direct.notify(witness.channels[0]!, 'unreadable')
  const [gap] = (await within(back)) as [Gap]
  t.like(gap, { reason: 'decode', dropped: null, sqlState: null, attempts: 1 })
  await arena.direct.notify(witness.channels[0]!, '7')
  await witness.listener.sync()
  t.deepEqual(witness.iterated, [gap, 7])
  t.deepEqual(witness.called, [gap, 7])
})

test('a connection is broken also while its end is being sent, and leaves nothing open', async (t) => {
  const server = createServer((socket) => socket.on('error', () => {}).resume())
  server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  socket.end('the last')
  reset(socket)
  // An error of the reset would reject.
  await within(once(socket, 'close'))
  t.true(socket.destroyed)
})
