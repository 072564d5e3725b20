// A server with TLS for the tests of a file, and what becomes of connecting to it.

import test, { type ExecutionContext } from 'ava'
import { ConnectionPool, type ConnectionPoolOptions } from 'pglisten'
import { TlsServer, makeAuthority } from './tls-server.js'

export const { authority, issue } = makeAuthority()
export const stranger = makeAuthority('stranger')
export const good = issue()
export let tls: TlsServer
/** Its authority. */
export let caFile: string

test.before(async () => {
  tls = await TlsServer.start()
  caFile = tls.file(authority.certificate)
})

test.after.always(() => tls?.stop())

test.afterEach.always(() => tls.removeOwnFiles())

/** What the server knows of a connection. */
interface Session {
  ssl: boolean
  version: string | null
  client_dn: string | null
}

/** What the server knows of a connection that is made with these options. */
export async function session(options: ConnectionPoolOptions): Promise<Session> {
  const pool = new ConnectionPool({ dsn: tls.dsn, ...options })
  try {
    const connection = await pool.connection()
    const [row] = await connection.execute<Session & Record<string, unknown>>(SESSION)
    await connection.close()
    return row!
  } finally {
    await pool.close()
  }
}

const SESSION = 'SELECT ssl, version, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()'

/** Tries to connect, in vain. */
export async function refused(
  t: ExecutionContext,
  options: ConnectionPoolOptions,
  instanceOf: new (...args: never[]) => Error,
  ...messages: RegExp[]
): Promise<Error> {
  const error = await t.throwsAsync(session(options), { instanceOf })
  for (const message of messages) t.regex(error.message, message)
  return error
}
