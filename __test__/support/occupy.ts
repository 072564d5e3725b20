// A server session that does not answer for a while, and promises that must not settle meanwhile.

import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { ask } from './listener.js'

/** Keeps a session from answering until what it gives is called. `database`: that of the session. */
export async function occupy(
  session: { execute(sql: string): Promise<unknown> },
  database?: string,
): Promise<() => Promise<void>> {
  const key = Math.floor(Math.random() * 2 ** 31)
  const witness = new ServerWitness(await serverDsn(), database)
  const holder = await witness.session()
  await holder.ask('SELECT pg_advisory_lock($1::int8)', [key])
  const busy = session.execute(`SELECT pg_advisory_lock(${key}), pg_advisory_unlock(${key})`)
  await waitFor(() =>
    witness.ask<boolean>(
      "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8 AND NOT granted)",
      [key],
    ),
  )
  return async () => {
    await holder.ask('SELECT pg_advisory_unlock($1::int8)', [key])
    await holder[Symbol.asyncDispose]()
    await witness.close()
    await busy
  }
}

/**
 * Whether a promise is still pending after another session has made twenty round trips. Whatever was ready has run by
 * then, and the server has answered what it was asked before; no clock decides.
 */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const settle = () => {
    settled = true
  }
  promise.then(settle, settle)
  for (let round = 0; round < 20; round += 1) await ask('SELECT 1')
  return !settled
}
