// The PostgreSQL that a spec file runs against: the run's common one, or one of its own.

import { startServer, type DevServer } from './dev-server.mjs'

let own: Promise<DevServer> | undefined

/**
 * The DSN of the test server. The test command starts one for the whole run and names it in
 * `PGLISTEN_TEST_DSN`; a spec file run by itself gets its own, which ends with its process.
 */
export async function serverDsn(): Promise<string> {
  const given = process.env['PGLISTEN_TEST_DSN']
  if (given) return given
  own ??= startServer()
  return (await own).dsn
}

/**
 * Gives this process a server of its own, also in a run that has a common one: for tests of what belongs to a whole server, such
 * as its queue of notifications. To be called before {@link serverDsn}.
 */
export function useOwnServer(): void {
  delete process.env['PGLISTEN_TEST_DSN']
}

/** A server that belongs to one test: it may be halted, killed and started again. */
export { startServer, type DevServer }
