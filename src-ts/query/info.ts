// The facts of a connection.
import type { NativeLease } from '#native'
import { ConnectionClosedError } from '../errors.js'

/**
 * Whether a transaction block is open: none (`idle`), one (`active`), or one in which a statement has failed, so that it can
 * only be rolled back (`failed`).
 */
export type TransactionStatus = 'idle' | 'active' | 'failed'

/** The facts of a {@link Connection}, as both sides know them without asking. */
export interface ConnectionInfo {
  /** The name of the database. */
  readonly database: string
  /** The name of the user that was given when the connection was opened. `SET ROLE` does not change it. */
  readonly user: string
  /** The host that answered, of several: its name, its address, or the folder of its Unix-domain socket. */
  readonly host: string
  /** The port. */
  readonly port: number
  /**
   * The process id of the backend that answered when the connection was opened. Behind a pooler in transaction mode another
   * one may answer the next statement.
   */
  readonly processId: number
  /** The version of the server as it reports it, such as `18.4`. Empty when it reports none. */
  readonly serverVersion: string
  /**
   * What the server has reported of itself and of the session, such as `TimeZone` or `server_encoding`: the
   * [parameters](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC) that it reports by itself, with
   * the values of its last report. At most 64, each cut at 1 KiB. The object is frozen and has no prototype.
   */
  readonly parameters: Readonly<Record<string, string>>
}

/** @internal The facts of a leased connection. */
export function infoOf(lease: NativeLease): ConnectionInfo {
  const info = lease.info()
  if (!info) throw new ConnectionClosedError('the connection was closed')
  const { database, user, host, port, processId, parameters: reported } = info
  // No name that a server reports is taken for something else than a name, such as `__proto__`.
  const parameters = Object.create(null) as Record<string, string>
  for (let at = 0; at < reported.length; at += 2) parameters[reported[at]!] = reported[at + 1]!
  const serverVersion = parameters['server_version'] ?? ''
  Object.freeze(parameters)
  return Object.freeze({ database, user, host, port, processId, serverVersion, parameters })
}
