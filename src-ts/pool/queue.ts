// The server's queue of notifications, as a pool asks for it and tells its listeners of it.
import type { NativePool } from '#native'
import { queueChannel, type QueueMessage } from '../observe/channels.js'
import {
  END_BACKEND,
  SUSPECTS,
  USAGE,
  type QueueOwner,
  type SuspectRow,
} from '../observe/queue-watch.js'
import type { QueueSuspect } from '../observe/queue.js'
import { PLAIN_TYPES } from '../options/types.js'
import { checkNumber, checkOptions, checkString } from '../options/validate.js'
import type { CallOptions } from '../query/bounds.js'
import type { Connection } from '../query/connection.js'
import type { QueryOptions } from '../query/options.js'
import type { PoolLeases } from './leases.js'
import type { PoolListeners } from './listeners.js'

/** How long a look at the server's queue of notifications may take, in milliseconds. */
const LOOK_TIMEOUT_MS = 5000

/** @internal What the watch of the server's queue needs of a pool. */
export function queueOwner(
  pool: QueueMessage['pool'],
  native: NativePool,
  leases: PoolLeases,
  listeners: PoolListeners,
): QueueOwner {
  const bounds = { timeoutMs: LOOK_TIMEOUT_MS }
  const ask = <Result>(work: (connection: Connection, within: QueryOptions) => Promise<Result>) =>
    leases.use('`queueWatch`', bounds, (connection, within) =>
      work(connection, { ...within, types: PLAIN_TYPES }),
    )
  return {
    isNeeded: () => listeners.present().some((listener) => listener.isStarted),
    usage: async () => {
      const look = (connection: Connection, within: QueryOptions) =>
        connection.fetchVal<number>(USAGE, [], within)
      const usage = await ask(look)
      if (queueChannel.hasSubscribers) queueChannel.publish({ pool, usage } satisfies QueueMessage)
      return usage
    },
    suspects: async () => [
      ...(await ask((connection, within) => connection.fetch<SuspectRow>(SUSPECTS, [], within))),
    ],
    owns: (processId) => {
      const present = listeners.present()
      const listens = present.some((one) => one.stats().session?.processId === processId)
      return { isOwn: listens || native.owns(processId), listens }
    },
    warn: (message, queue) => {
      for (const listener of listeners.present())
        if (listener.isStarted) listener.report('warning', { kind: 'queue', message, queue })
    },
  }
}

/** @internal Ends a backend that holds the server's queue back, if it is still the same. Tells whether it was ended. */
export async function endQueueHolder(
  leases: PoolLeases,
  suspect: Pick<QueueSuspect, 'processId' | 'backendStart'>,
  options: CallOptions | undefined,
): Promise<boolean> {
  checkOptions('suspect', suspect, Object.keys(suspect ?? {}))
  const { processId, backendStart } = suspect
  checkNumber('suspect.processId', processId, { min: 1, max: 2 ** 31 - 1, integer: true })
  checkString('suspect.backendStart', backendStart)
  const row = await leases.use('`pool.endQueueHolder()`', options, (connection, bounds) =>
    connection.fetchRowOrNull<{ ended: boolean }>(END_BACKEND, [processId, backendStart], {
      ...bounds,
      types: PLAIN_TYPES,
    }),
  )
  return row?.ended ?? false
}
