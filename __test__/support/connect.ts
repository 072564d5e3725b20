// Pools for tests: on the test server, told apart by their application name, and closed when the test ends.

import type { ExecutionContext } from 'ava'
import { ConnectionPool, type Connection, type ConnectionPoolOptions } from 'pglisten'
import { serverDsn } from '../../lab/server/test-server.js'

const SHARED_POOL_SIZE = 5

/** A pool on the test server. */
export async function openPool(
  t: ExecutionContext,
  options: ConnectionPoolOptions = {},
): Promise<ConnectionPool> {
  const pool = new ConnectionPool({ dsn: await serverDsn(), ...options })
  t.teardown(() => pool.close())
  return pool
}

/** What the tests of a file share: opening a connection costs more than most of them. */
let shared: Promise<ConnectionPool> | undefined

async function sharedPool(): Promise<ConnectionPool> {
  return new ConnectionPool({
    dsn: await serverDsn(),
    maxDbPoolSize: SHARED_POOL_SIZE,
    connRecyclingMethod: 'clean',
  })
}

/**
 * A connection of the pool that a file's tests share, given back when the test ends. A test takes one at most: it
 * would wait for tests that wait for it.
 */
export async function connect(t: ExecutionContext): Promise<Connection> {
  shared ??= sharedPool()
  const connection = await (await shared).connection()
  t.teardown(() => connection.close())
  return connection
}
