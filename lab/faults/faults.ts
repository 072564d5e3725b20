// The faults that a listener has to survive, by name: how each is caused, how it is known to be noticed, how it ends.

import type { ListenerOptions } from 'pglisten'
import { type Arena, signal } from './arena.js'
import { waitFor } from '../wait.js'

/** The listener that a fault strikes. */
export interface Victim {
  /** The backend of its session. */
  processId: number
  /** A channel that it listens to. */
  channel: string
}

/** A fault that ends a session. */
export interface Fault {
  name: string
  /** Nobody says anything: only the heartbeat can notice it. */
  isSilent: boolean
  /** The reason that the server gives, or `null`. */
  sqlState: string | null
  /** Whether it shows only once nothing arrives any more: nothing is sent until the listener is back. */
  isQuiet?: boolean
  /** Whether it takes the postmaster, and so every session, with it. */
  restarts?: boolean
  options?: Partial<ListenerOptions>
  strike(arena: Arena, victim: Victim): Promise<void> | void
  /** Takes the fault away, if it does not end by itself: before, the listener cannot be back. */
  heal?(arena: Arena, victim: Victim): Promise<void> | void
  /** Removes what is left of it, after the listener is back. */
  cleanUp?(arena: Arena, victim: Victim): Promise<void> | void
}

/** How often a round trip is made in the tests of silent faults, and how long it may take. */
export const HEARTBEAT = { intervalMs: 400, timeoutMs: 600 }

const MEGABYTE = 1024 * 1024

/** Notifies so much that a server whose bytes are not taken blocks in sending them. */
async function block(arena: Arena, { channel, processId }: Victim): Promise<void> {
  arena.proxy.stall()
  await arena.direct.ask(
    `SELECT count(pg_notify($1, 'flood ' || n || repeat('x', 7900))) FROM generate_series(1, $2::int4) AS n`,
    [channel, Math.ceil((24 * MEGABYTE) / 7900)],
  )
  await waitFor(
    () =>
      arena.ask<boolean>("SELECT wait_event = 'ClientWrite' FROM pg_stat_activity WHERE pid = $1", [
        processId,
      ]),
    { what: 'the backend to block in sending' },
  )
}

function blackHole(direction: 'toServer' | 'toClient' | 'both', name: string): Fault {
  return {
    name,
    isSilent: true,
    sqlState: null,
    strike: ({ proxy }) => proxy.swallow(direction),
    heal: ({ proxy }) => proxy.clear(),
    cleanUp: (arena, { processId }) => arena.terminate(processId),
  }
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'backend terminated',
    isSilent: false,
    sqlState: '57P01',
    strike: (arena, { processId }) => arena.terminate(processId),
  },
  {
    name: 'backend terminated while it is blocked in sending',
    isSilent: false,
    sqlState: null,
    async strike(arena, victim) {
      await block(arena, victim)
      await arena.terminate(victim.processId)
      await arena.isGone(victim.processId)
      arena.proxy.unstall()
    },
  },
  {
    name: 'backend killed (SIGKILL)',
    isSilent: false,
    sqlState: '57P02',
    // Another one: the postmaster ends every session because of it, also this one.
    async strike(arena) {
      await using other = await arena.session()
      signal(other.processId, 'SIGKILL')
    },
  },
  {
    name: 'own backend killed (SIGKILL)',
    isSilent: false,
    sqlState: null,
    strike: (_, { processId }) => signal(processId, 'SIGKILL'),
  },
  {
    name: 'postmaster killed (SIGKILL), started again',
    isSilent: false,
    sqlState: '57P01',
    restarts: true,
    strike: ({ server }) => server.kill(),
    heal: ({ server }) => server.start(),
  },
  {
    name: 'server restarted (fast)',
    isSilent: false,
    sqlState: '57P01',
    restarts: true,
    strike: ({ server }) => server.halt('fast'),
    heal: ({ server }) => server.start(),
  },
  {
    name: 'server restarted (immediate)',
    isSilent: false,
    sqlState: '57P01',
    restarts: true,
    strike: ({ server }) => server.halt('immediate'),
    heal: ({ server }) => server.start(),
  },
  {
    name: 'connection reset',
    isSilent: false,
    sqlState: null,
    strike: ({ proxy }) => proxy.reset(),
  },
  {
    name: 'connection reset in the middle of a message',
    isSilent: false,
    sqlState: null,
    strike: ({ proxy }) => proxy.cutNextMessage(),
  },
  {
    name: 'connection reset, new ones refused for a while',
    isSilent: false,
    sqlState: null,
    strike({ proxy }) {
      proxy.set({ refuse: true })
      proxy.reset()
    },
    heal: ({ proxy }) => proxy.clear(),
  },
  {
    name: 'connection reset, new ones not answered for a while',
    isSilent: false,
    sqlState: null,
    strike({ proxy }) {
      proxy.set({ hang: true })
      proxy.reset()
    },
    heal: ({ proxy }) => proxy.clear(),
  },
  { ...blackHole('toServer', 'black hole towards the server'), isQuiet: true },
  blackHole('toClient', 'black hole towards the client'),
  blackHole('both', 'black hole in both directions'),
  {
    name: 'backend frozen (SIGSTOP)',
    isSilent: true,
    sqlState: null,
    strike: (_, { processId }) => signal(processId, 'SIGSTOP'),
    cleanUp: (_, { processId }) => signal(processId, 'SIGCONT'),
  },
  {
    name: 'postmaster frozen (SIGSTOP), backend terminated',
    isSilent: false,
    sqlState: '57P01',
    strike({ server }, { processId }) {
      signal(server.pid!, 'SIGSTOP')
      signal(processId, 'SIGTERM')
    },
    heal: ({ server }) => signal(server.pid!, 'SIGCONT'),
  },
  {
    name: 'password changed, and changed back',
    isSilent: false,
    sqlState: '57P01',
    async strike(arena, { processId }) {
      await arena.revokeLogin()
      await arena.terminate(processId)
    },
    heal: (arena) => arena.restoreLogin(),
  },
  {
    name: 'no connection left for it, for a while',
    isSilent: false,
    sqlState: '57P01',
    async strike(arena, { processId }) {
      await arena.limitConnections(0)
      await arena.terminate(processId)
    },
    heal: (arena) => arena.limitConnections(-1),
  },
  {
    name: 'database dropped, and created again',
    isSilent: false,
    sqlState: '57P01',
    strike: (arena) => arena.dropDatabase(),
    heal: (arena) => arena.createDatabase(),
  },
]

/** A fault by its name. */
export function fault(name: string): Fault {
  const found = FAULTS.find((one) => one.name === name)
  if (!found) throw new TypeError(`No fault is called ${name}`)
  return found
}
