// Notifications that a server begins to send and cannot finish, until the test lets it.

import type { ExecutionContext } from 'ava'
import { ConnectionPool, type ConnectionPoolOptions } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { createDatabase } from './database.js'

/** A pool whose next NOTIFY gets stuck on the server, in a database of its own. */
export interface Stuck {
  pool: ConnectionPool
  /** Resolves with the process id of the backend that is stuck. */
  stuck: () => Promise<number>
  /** Ends a backend, as an administrator or a crash would. */
  terminate: (processId: number) => Promise<void>
  /** Resolves when none is stuck any more. */
  isFree: () => Promise<unknown>
  /** Lets it go on. */
  release: () => Promise<void>
}

/** Locks the table of functions, in which a new session has to look `pg_notify` up. */
export async function stuckPool(
  t: ExecutionContext,
  options: ConnectionPoolOptions = {},
): Promise<Stuck> {
  const dbName = await createDatabase(t)
  const pool = new ConnectionPool({ dsn: await serverDsn(), dbName, maxDbPoolSize: 1, ...options })
  t.teardown(() => pool.close())
  // The session has to be there before.
  await pool.fetchVal('SELECT 1')
  const witness = new ServerWitness(await serverDsn(), dbName)
  const holder = await witness.session()
  await holder.run('BEGIN; LOCK TABLE pg_catalog.pg_proc IN ACCESS EXCLUSIVE MODE')
  t.teardown(() => witness.close())
  const waiting = async () =>
    holder.ask<number | undefined>(
      `SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
       WHERE datname = current_database() AND relation = 'pg_proc'::regclass AND NOT granted`,
    )
  return {
    pool,
    stuck: () => waitFor(waiting, { what: 'a stuck NOTIFY' }),
    isFree: () => waitFor(async () => !(await waiting()), { what: 'the end of a stuck NOTIFY' }),
    terminate: (processId) => holder.ask('SELECT pg_terminate_backend($1)', [processId]),
    release: async () => {
      await holder.run('ROLLBACK')
      await holder[Symbol.asyncDispose]()
    },
  }
}
