// What strikes a listener's session during a soak: each fault with what causes and what ends it.

import { setTimeout as sleep } from 'node:timers/promises'
import type { ConnectionPool } from 'pglisten'
import type { Direction, FaultProxy } from '../network/fault-proxy.js'
import type { DevServer } from '../server/test-server.js'
import { waitFor } from '../wait.js'

/** What a fault can lay hands on. */
export interface Field {
  server: DevServer
  proxy: FaultProxy
  /** Reaches the server whatever the proxy does. */
  admin: ConnectionPool
  /** The backend of the listening session. */
  backend: () => number
  /** The fault begins only now; what was before prepared it. */
  begins: () => void
  /** The cause is gone already; what follows only waits. */
  ends: () => void
  /** Resolves when the listener has noticed that its session is lost. */
  noticed: () => Promise<void>
  /** Resolves when the listener has a session again. */
  recovered: () => Promise<void>
  /** So many rows are written as fast as can be. */
  burst: (rows: number) => void
  /** Lets the slow consumer rest until what it gives is called. */
  rest: () => () => void
  /** Resolves when a callback that asks from now on was answered on its connection. */
  answered: () => Promise<void>
  /** How many notifications were dropped so far. */
  dropped: () => number
  /** From `min` to `max`, by the seed. */
  between: (min: number, max: number) => number
}

/** `false`: the session need not be lost. */
interface Fault {
  breaks: boolean
  /** Resolves when the cause is gone. */
  strike: (field: Field) => Promise<void>
}

/** More than the consumers' bounds: see `soak.ts`. */
const OVERFLOWING_BURST = 9000

const breaking = (strike: Fault['strike']): Fault => ({ breaks: true, strike })

function swallowing(direction: Direction): Fault {
  return breaking(async ({ proxy, noticed, between }) => {
    proxy.swallow(direction)
    await noticed()
    await sleep(between(0, 1000))
    proxy.clear()
  })
}

export const FAULTS = {
  'terminate backend': breaking(async ({ admin, backend, begins }) => {
    await using connection = await admin.connection()
    begins()
    await connection.execute('SELECT pg_terminate_backend($1)', [backend()])
  }),
  'kill -9 backend': breaking(async ({ backend }) => {
    process.kill(backend(), 'SIGKILL')
  }),
  'frozen backend': breaking(async ({ backend, noticed }) => {
    const frozen = backend()
    process.kill(frozen, 'SIGSTOP')
    try {
      await noticed()
    } finally {
      process.kill(frozen, 'SIGCONT')
    }
  }),
  'frozen postmaster': breaking(async ({ server, proxy, between }) => {
    const postmaster = server.pid!
    process.kill(postmaster, 'SIGSTOP')
    try {
      proxy.reset()
      await sleep(between(300, 2500))
    } finally {
      process.kill(postmaster, 'SIGCONT')
    }
  }),
  'server crash': breaking(async ({ server, between }) => {
    await server.kill()
    await sleep(between(0, 1000))
    await server.start()
  }),
  'immediate restart': breaking(async ({ server }) => {
    await server.restart('immediate')
  }),
  'graceful restart': breaking(async ({ server }) => {
    await server.restart('fast')
  }),
  'connection reset': breaking(async ({ proxy }) => {
    proxy.reset()
  }),
  'cut in a message': breaking(async ({ proxy, noticed }) => {
    proxy.cutNextMessage()
    await noticed()
  }),
  'corrupt text': breaking(async ({ proxy, noticed }) => {
    proxy.corruptNextMessage()
    await noticed()
  }),
  'black hole both ways': swallowing('both'),
  'black hole to client': swallowing('toClient'),
  'black hole to server': swallowing('toServer'),
  'hole in the network': breaking(async ({ proxy, between }) => {
    proxy.beginHole()
    await sleep(between(1000, 3000))
    proxy.endHole()
  }),
  'short hole': {
    breaks: false,
    strike: async ({ proxy, between }) => {
      proxy.beginHole()
      await sleep(between(50, 250))
      proxy.endHole()
    },
  },
  'half-open connections': breaking(async ({ proxy, noticed }) => {
    proxy.silenceOthersThan(undefined)
    await noticed()
  }),
  'half-open pool': {
    breaks: false,
    strike: async ({ proxy, admin, backend, answered }) => {
      await using connection = await admin.connection()
      const port = await connection.fetchVal<number>(
        'SELECT client_port FROM pg_stat_activity WHERE pid = $1',
        [backend()],
      )
      proxy.silenceOthersThan(port)
      await answered()
    },
  },
  'refused for a while': breaking(async ({ proxy, between }) => {
    proxy.set({ refuse: true })
    proxy.reset()
    await sleep(between(200, 2000))
    proxy.clear()
  }),
  'unanswered for a while': breaking(async ({ proxy, between }) => {
    proxy.set({ hang: true })
    proxy.reset()
    await sleep(between(200, 2500))
    proxy.clear()
  }),
  'start-up cut short': breaking(async ({ proxy, recovered, ends, between }) => {
    // The server says some fifteen messages before it is ready, then answers the set-up and the LISTENs.
    const last = Math.round(between(1, 6))
    proxy.setEach((connection) =>
      connection > last ? {} : { maxMessages: Math.round(between(1, 30)) },
    )
    proxy.reset()
    ends()
    await recovered()
    proxy.clear()
  }),
  'lost with a backlog': breaking(async ({ proxy, noticed, recovered, begins, ends, ...field }) => {
    // The network delivers ever later, so that what is lost was committed long before the loss.
    proxy.set({ bytesPerSecond: 60_000 })
    proxy.reset()
    await recovered()
    field.burst(1000)
    await sleep(field.between(500, 1500))
    proxy.clear()
    begins()
    proxy.reset()
    ends()
    await Promise.all([noticed(), recovered()])
  }),
  'slow network': {
    breaks: false,
    strike: async ({ proxy, noticed, recovered, begins, ends, between }) => {
      proxy.set({ delayMs: between(20, 60) })
      proxy.reset()
      await recovered()
      await sleep(between(200, 800))
      proxy.clear()
      begins()
      proxy.reset()
      ends()
      await Promise.all([noticed(), recovered()])
    },
  },
  'slow consumer': {
    breaks: false,
    strike: async ({ rest, burst, dropped, between }) => {
      const before = dropped()
      const goOn = rest()
      try {
        burst(OVERFLOWING_BURST)
        await waitFor(() => dropped() > before, { what: 'a full buffer' })
        await sleep(between(0, 500))
      } finally {
        goOn()
      }
    },
  },
} satisfies Record<string, Fault>

export type FaultName = keyof typeof FAULTS
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[]
