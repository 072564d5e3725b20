// A server session that does not answer for a while, and promises that must not settle meanwhile.

import type { ConnectionPool } from 'pglisten'
import { ask, otherPool } from './listener.js'
import { waitFor } from '../../lab/wait.js'

/** Keeps a session from answering until what it gives is called. `pool`: of the same database. */
export async function occupy(
  session: { execute(sql: string): Promise<unknown> },
  pool?: ConnectionPool,
): Promise<() => Promise<void>> {
  const key = Math.floor(Math.random() * 2 ** 31)
  const holder = await (pool ?? (await otherPool())).connection()
  await holder.execute('SELECT pg_advisory_lock($1::int8)', [BigInt(key)])
  const busy = session.execute(`SELECT pg_advisory_lock(${key}), pg_advisory_unlock(${key})`)
  await waitFor(() =>
    ask<boolean>(
      "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8 AND NOT granted)",
      [BigInt(key)],
    ),
  )
  return async () => {
    await holder.execute('SELECT pg_advisory_unlock($1::int8)', [BigInt(key)])
    await holder.close()
    await busy
  }
}

/** Whether a promise has settled by the time other sessions have made several round trips. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const settle = () => {
    settled = true
  }
  promise.then(settle, settle)
  for (let round = 0; round < 20; round += 1) await ask('SELECT 1')
  return settled
}
