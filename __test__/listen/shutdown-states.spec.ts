// shutdown(), whatever the listener is doing: it resolves within its time, ends every consumer, and leaves nothing.

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { ConnectionPool, type Listener, ListenerClosedError, type ListenerOptions } from 'pglisten'
import { Arena, signal } from '../../lab/faults/arena.js'
import { timely } from '../../lab/stalls.js'
import { uniqueName } from '../../lab/unique-name.js'
import { deferred, waitFor, within } from '../../lab/wait.js'
import { LONG } from '../../lab/witness.js'

/** Longer than a test waits: what resolves was not just given up. */
const PATIENT = { timeoutMs: 60_000 }
/** For the other load of the machine, as long as it does not stall. */
const SLACK_MS = 1500

let arena: Arena

test.before(async () => {
  arena = await Arena.open()
})

test.beforeEach(() => arena.proxy.clear())
test.after.always(() => arena?.close())

interface Scene {
  pool: ConnectionPool
  listener: Listener
  channel: string
  applicationName: string
  /** What must not be collected as garbage. */
  kept?: unknown
}

function open(t: ExecutionContext, options: ListenerOptions = {}): Scene {
  const applicationName = uniqueName('shutdown')
  const pool = new ConnectionPool({ dsn: arena.dsn, applicationName, connectTimeoutSec: 60 })
  t.teardown(() => pool.close())
  const channel = uniqueName('channel')
  const listener = pool.listener({ channels: [channel], ...(options as object) })
  listener.on('error', () => {})
  return { pool, listener, channel, applicationName }
}

const flood = (channel: string, count: number) =>
  arena.direct.flood(channel, 1, count, { width: LONG })

/** A state in which a listener is to be shut down. */
interface State {
  name: string
  options?: ListenerOptions
  /** Brings it about. */
  enter(scene: Scene, t: ExecutionContext): Promise<void>
  /** What has to go on, for a drained shutdown not to wait for it until its time is up. */
  waits?: boolean
  /** There is no session to be closed, but a server that has yet to learn that one is lost. */
  isAway?: boolean
}

const startUp = ({ listener }: Scene): Promise<void> => listener.startup()

const full = (overflow: 'dropOldest' | 'dropNewest' | 'pause'): State => ({
  name: `a buffer is full (${overflow})`,
  options: { buffer: { maxMessages: 10, overflow, maxPauseMs: 60_000 } },
  async enter(scene) {
    await startUp(scene)
    scene.kept = scene.listener.messages()
    await flood(scene.channel, 3000)
    await waitFor(() => scene.listener.stats().buffered >= 10)
  },
  waits: true,
})

const STATES: State[] = [
  { name: 'it is connected, and nothing goes on', enter: startUp },
  {
    name: 'it is dialling for the first time',
    isAway: true,
    async enter({ listener }, t) {
      arena.proxy.set({ hang: true })
      const before = arena.proxy.connections
      void t.throwsAsync(listener.startup(), { instanceOf: ListenerClosedError })
      await waitFor(() => arena.proxy.connections > before)
    },
  },
  {
    name: 'the postmaster does not answer',
    isAway: true,
    async enter({ listener }, t) {
      const { pid } = arena.server
      signal(pid!, 'SIGSTOP')
      t.teardown(() => signal(pid!, 'SIGCONT'))
      const before = arena.proxy.connections
      void t.throwsAsync(listener.startup(), { instanceOf: ListenerClosedError })
      await waitFor(() => arena.proxy.connections > before)
    },
  },
  {
    name: 'it is dialling again',
    isAway: true,
    options: { reconnect: { initialDelayMs: 1, maxDelayMs: 1 } },
    async enter(scene) {
      await startUp(scene)
      arena.proxy.set({ hang: true })
      const before = arena.proxy.connections
      arena.proxy.reset()
      await waitFor(() => arena.proxy.connections > before)
    },
  },
  {
    name: 'it is backing off',
    isAway: true,
    options: { reconnect: { initialDelayMs: 3_600_000, maxDelayMs: 3_600_000 } },
    async enter(scene) {
      await startUp(scene)
      const lost = once(scene.listener, 'disconnected')
      arena.proxy.reset()
      await within(lost)
    },
  },
  full('dropOldest'),
  full('dropNewest'),
  full('pause'),
  {
    name: 'it was closed by an overflow',
    options: { buffer: { maxMessages: 10, overflow: 'error' } },
    async enter(scene) {
      await startUp(scene)
      const closed = once(scene.listener, 'closed')
      await flood(scene.channel, 100)
      await within(closed)
    },
  },
  {
    name: 'a callback is running',
    async enter({ listener, channel }) {
      const running = deferred()
      await listener.addCallback(channel, () => {
        running.resolve()
        return new Promise(() => {})
      })
      await listener.startup()
      listener.listen()
      await flood(channel, 100)
      await within(running.promise)
    },
    waits: true,
  },
  {
    name: 'a gap callback is running',
    isAway: true,
    options: { reconnect: { initialDelayMs: 1, maxDelayMs: 1 } },
    async enter({ listener }) {
      const running = deferred()
      listener.addGapCallback(() => {
        running.resolve()
        return new Promise(() => {})
      })
      await listener.startup()
      listener.listen()
      arena.proxy.reset()
      await within(running.promise)
    },
    waits: true,
  },
  {
    name: 'callbacks are paused, with a full buffer',
    options: { buffer: { maxMessages: 10 } },
    async enter({ listener, channel }) {
      await listener.addCallback(channel, () => {})
      await listener.startup()
      listener.listen()
      listener.abortListen()
      await flood(channel, 100)
      // What comes later would also be for the iterator that is asked for one message alone.
      await waitFor(() => listener.stats().received === 100)
    },
  },
]

const KINDS = {
  'shutdown()': ({ listener }: Scene) => listener.shutdown(PATIENT),
  'shutdown({ drain: true })': ({ listener }: Scene, { waits = false }: State) =>
    listener.shutdown({ drain: true, ...(waits ? { timeoutMs: 1200 } : PATIENT) }),
  'pool.close()': ({ pool }: Scene) => pool.close(PATIENT),
}

for (const state of STATES) {
  for (const [kind, end] of Object.entries(KINDS)) {
    test.serial(`${kind} while ${state.name}`, async (t) => {
      const scene = open(t, state.options)
      const { listener } = scene
      await state.enter(scene, t)
      const next = listener.isStarted ? listener.messages().next() : undefined
      const synced =
        listener.isStarted && t.throwsAsync(listener.sync(), { instanceOf: ListenerClosedError })
      const drains = kind.includes('drain')
      if (drains && state.waits) await timely(t, kind, 1200 + SLACK_MS, () => end(scene, state))
      else await within(end(scene, state), { what: kind })
      t.false(listener.isStarted)
      t.true(['closed', 'idle'].includes(listener.state), listener.state)
      // An iteration ends normally, wherever it was.
      if (next) await within(next)
      if (synced && !drains) await within(synced)
      signal(arena.server.pid!, 'SIGCONT')
      await waitFor(() => arena.proxy.open === 0, { what: 'the last connection to end' })
      const sessions = () => arena.sessions(scene.applicationName)
      if (state.isAway) await waitFor(async () => (await sessions()) === 0)
      else t.is(await sessions(), 0)
    })
  }
}

for (const inside of ['a callback', 'a gap callback', 'an event', 'a loop'] as const) {
  test.serial(`shutdown() inside of ${inside}`, async (t) => {
    const scene = open(t, { reconnect: { initialDelayMs: 1, maxDelayMs: 1 } })
    const { listener, channel } = scene
    const ended = deferred()
    const end = async () => {
      await listener.shutdown(PATIENT)
      ended.resolve()
    }
    if (inside === 'a callback') await listener.addCallback(channel, end)
    if (inside === 'a gap callback') listener.addGapCallback(end)
    if (inside === 'an event') listener.on('disconnected', () => void end())
    await listener.startup()
    listener.listen()
    if (inside === 'a loop') {
      void (async () => {
        for await (const _ of listener) await end()
      })()
    }
    if (inside === 'a callback' || inside === 'a loop') await arena.direct.notify(channel)
    else arena.proxy.reset()
    await within(ended.promise)
    t.is(listener.state, 'closed')
    await waitFor(() => arena.proxy.open === 0)
    await waitFor(async () => (await arena.sessions(scene.applicationName)) === 0)
  })
}

for (const what of ['a LISTEN', 'a heartbeat', 'a fence', 'closing'] as const) {
  test.serial(`shutdown() while the backend, frozen, does not answer ${what}`, async (t) => {
    const scene = open(t, {
      heartbeat: what === 'a heartbeat' ? { intervalMs: 50, timeoutMs: 60_000 } : false,
    })
    const { listener } = scene
    await listener.startup()
    const processId = await listener.connection.fetchVal<number>('SELECT pg_backend_pid()')
    signal(processId, 'SIGSTOP')
    t.teardown(() => signal(processId, 'SIGCONT'))
    let asked: Promise<unknown> | undefined
    if (what === 'a LISTEN') asked = listener.addChannel(uniqueName('late'))
    if (what === 'a fence') asked = listener.sync()
    const refused = asked && t.throwsAsync(asked, { instanceOf: ListenerClosedError })
    if (what === 'a heartbeat') {
      const since = performance.now()
      await waitFor(() => performance.now() - since > 200)
    }
    await timely(t, 'the shutdown', 400 + SLACK_MS, () => listener.shutdown({ timeoutMs: 400 }))
    if (refused) await within(refused)
    t.is(listener.state, 'closed')
    signal(processId, 'SIGCONT')
    await arena.isGone(processId)
    t.is(await arena.sessions(scene.applicationName), 0)
  })
}

test.serial(
  'a drained shutdown gives a callback that never settles its time, and no more',
  async (t) => {
    const scene = open(t)
    const { listener, channel } = scene
    const running = deferred()
    await listener.addCallback(channel, () => {
      running.resolve()
      return new Promise(() => {})
    })
    await listener.startup()
    listener.listen()
    await arena.direct.notify(channel)
    await running.promise
    const timeoutMs = 600
    const from = performance.now()
    await timely(t, 'the shutdown', timeoutMs + SLACK_MS, () =>
      listener.shutdown({ drain: true, timeoutMs }),
    )
    const tookMs = performance.now() - from
    t.true(tookMs >= timeoutMs / 2, `${tookMs} ms`)
    t.is(await arena.sessions(scene.applicationName), 0)
  },
)
