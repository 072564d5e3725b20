// A database of a test's own on the file's server, and a role that owns it.

import type { ExecutionContext } from 'ava'
import { ConnectionPool, type ConnectionPoolOptions } from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { ServerWitness } from '../../lab/witness.js'
import { server } from './scene.js'

/** An empty database of the test's own, and a role that owns it and may do nothing else. */
export async function openDatabase(t: ExecutionContext) {
  const { dsn } = await server()
  const admin = new ServerWitness(dsn)
  const [database, owner] = [uniqueName('db'), uniqueName('owner')] as [string, string]
  await admin.run(`CREATE ROLE ${owner} LOGIN PASSWORD 'p' NOSUPERUSER`)
  await admin.run(`CREATE DATABASE ${database} OWNER ${owner}`)
  t.teardown(() => admin.close())
  const dsnOf = (role: string, password = 'p') => {
    const url = new URL(dsn)
    url.pathname = `/${database}`
    url.username = role
    url.password = password
    return url.href
  }
  const as = (role: string, password?: string, options: ConnectionPoolOptions = {}) => {
    const pool = new ConnectionPool({ dsn: dsnOf(role, password), ...options })
    t.teardown(() => pool.close())
    return pool
  }
  const role = async () => {
    const name = uniqueName('role')
    await admin.run(`CREATE ROLE ${name} LOGIN PASSWORD 'p'`)
    return name
  }
  const superuser = new URL(dsn)
  return {
    /** The name of the database. */
    database,
    owner: as(owner),
    ownerDsn: dsnOf(owner),
    /** A pool of a role's. */
    as,
    /** Makes a role that may log in and nothing else. */
    role,
    superuser: as(superuser.username, superuser.password),
    superuserDsn: dsnOf(superuser.username, superuser.password),
  }
}
