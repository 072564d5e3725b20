// One pool and one listener for the process. `globalThis` outlives the reloads of `next dev`; a variable of this module would not.

import { ConnectionPool } from 'pglisten'

/** @returns {ConnectionPool} */
export const pool = () => (globalThis.orders ??= new ConnectionPool(process.env.DATABASE_URL))

/** @returns {Promise<import('pglisten').Listener>} */
export const listening = () =>
  // Waits for a database that is not there yet.
  (globalThis.ordersListening ??= pool().listen({}, { retry: true }))
