// What the listeners of a soak have in common. All settings that reach the server are equal, so that they share a session.

import type { ConnectionPoolOptions, ListenerOptions } from 'pglisten'

/** Short, so that many faults fit into a run. */
export const HEARTBEAT = { intervalMs: 300, timeoutMs: 300 }
const RECONNECT = { initialDelayMs: 50, maxDelayMs: 400 }
export const SESSION = { heartbeat: HEARTBEAT, reconnect: RECONNECT } satisfies ListenerOptions
export const poolOptions = (dsn: string): ConnectionPoolOptions => ({ dsn, connectTimeoutSec: 1.5 })

/** Names that have to be quoted, too. A number goes to the channel that its remainder says. */
export const CHANNELS = ['oracle a', 'oracle B', 'oracle "c"', 'oracle/d', 'oracle é']
