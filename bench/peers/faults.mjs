// The faults, each struck once at all clients together, and how long each is watched.

import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * @typedef {import('../../lab/faults/arena.js').Arena} Arena
 * @typedef {import('../../lab/server/dev-server.mjs').DevServer} DevServer
 *
 * @typedef {object} Scene
 * @property {Arena} arena
 * @property {DevServer | undefined} standby What was prepared.
 * @property {() => Promise<number[]>} backends The clients' server processes.
 * @property {(payload: unknown) => Promise<void>} notify
 * @property {(dsn: string) => void} redirect Notifications go to that server from now on.
 * @property {() => void} struck The fault begins.
 * @property {() => void} gone Its cause is gone.
 *
 * @typedef {object} Fault
 * @property {string} name
 * @property {number} watchSec From when the cause is gone.
 * @property {string} [channel]
 * @property {boolean} [survives]
 * @property {boolean} [throws] A handler throws at one notification; what becomes of the other handler?
 * @property {(arena: Arena) => Promise<DevServer>} [prepare] Before the clients come.
 * @property {(scene: Scene) => Promise<void>} strike
 */

const NAME_TOO_LONG = 'long_'.repeat(14)

/** @param {number[]} processIds @param {NodeJS.Signals} signal */
const signalAll = (processIds, signal) => {
  for (const processId of processIds) process.kill(processId, signal)
}

/** @type {Fault[]} */
export const FAULTS = [
  {
    name: 'the server ends the session (`pg_terminate_backend`)',
    watchSec: 8,
    strike: async ({ arena, backends, struck }) => {
      const processIds = await backends()
      struck()
      for (const processId of processIds) await arena.terminate(processId)
    },
  },
  {
    name: 'the server is away for 6 s',
    watchSec: 15,
    strike: async ({ arena, struck, gone }) => {
      struck()
      await arena.server.halt('fast')
      await sleep(6000)
      await arena.server.start()
      gone()
    },
  },
  {
    name: 'failover: the first server to answer is a standby, which refuses LISTEN and is promoted 4 s later',
    watchSec: 20,
    prepare: async (arena) => {
      const standby = await arena.makeStandby()
      await standby.start()
      return standby
    },
    strike: async ({ arena, standby, redirect, struck, gone }) => {
      if (standby?.pid === undefined) throw new Error('No standby was prepared.')
      struck()
      arena.proxy.retarget(standby.port)
      await arena.server.kill()
      await sleep(4000)
      // As `pg_ctl promote` does.
      fs.writeFileSync(`${standby.dataDir}/promote`, '')
      process.kill(standby.pid, 'SIGUSR1')
      redirect(arena.directDsn.replace(/:\d+\//, `:${standby.port}/`))
      gone()
    },
  },
  {
    name: 'the network forgets the connections (a NAT or firewall), and lets no new ones in for 20 s',
    watchSec: 15,
    strike: async ({ arena, struck, gone }) => {
      struck()
      arena.proxy.swallow('both')
      await sleep(20_000)
      arena.proxy.clear()
      gone()
    },
  },
  {
    name: 'the backend is frozen (SIGSTOP)',
    watchSec: 25,
    strike: async ({ backends, struck }) => {
      const processIds = await backends()
      struck()
      signalAll(processIds, 'SIGSTOP')
    },
  },
  {
    name: 'a handler throws',
    throws: true,
    watchSec: 4,
    strike: async ({ notify, struck }) => {
      struck()
      await notify('throw')
    },
  },
  {
    name: 'a handler throws, and the application outlives uncaught exceptions',
    survives: true,
    throws: true,
    watchSec: 4,
    strike: async ({ notify, struck }) => {
      struck()
      await notify('throw')
    },
  },
  {
    name: `a channel of ${NAME_TOO_LONG.length} bytes (PostgreSQL cuts names at 63)`,
    channel: NAME_TOO_LONG,
    watchSec: 3,
    strike: async ({ struck }) => struck(),
  },
]
