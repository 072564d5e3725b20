// @ts-check
// What to do about an error, by its SQLSTATE or code.
'use strict'

/** Of an attempt to connect. @type {Record<string, string>} */
const OF_CONNECTING = {
  '28P01':
    'The password is wrong: look at PGPASSWORD, ~/.pgpass, and at characters of the DSN that have to be percent-encoded.',
  28000: 'No line of pg_hba.conf fits this user, database, address and encryption.',
  '3D000': 'There is no such database: without one in the DSN, the name of the user is taken.',
  42501: 'The role may not connect to this database: GRANT CONNECT ON DATABASE … TO ….',
  53300: 'The server has no connection left: raise max_connections, or close some.',
  '57P03': 'The server is starting up or shutting down: try again.',
  ERR_PGLISTEN_CONNECTION_FAILED:
    'Is the server running, and are host and port right? Is a firewall in between?',
  ERR_PGLISTEN_CONNECTION_TLS: 'docs/troubleshooting.md says what each message about TLS means.',
  ERR_PGLISTEN_POOL_CONFIGURATION: 'Correct the DSN, or the variables of the environment.',
}

/** Once there was a connection. @type {Record<string, string>} */
const LATER = {
  42501: 'GRANT the role what it lacks.',
  53300:
    'The server has no further connection for this role: raise max_connections, or the CONNECTION LIMIT of the role or database.',
  54000:
    'The queue of notifications is full: end the session that holds it, which the finding `queue` names.',
}

/**
 * @param {Record<string, string>} table
 * @param {unknown} error
 * @returns {string | undefined}
 */
function remedyOf(table, error) {
  const { code = '', sqlState = '' } = /** @type {{ code?: string, sqlState?: string }} */ (error)
  return table[sqlState] ?? table[code]
}

/** What to do when there is no connection. @param {unknown} error */
const remedyOfConnecting = (error) => remedyOf(OF_CONNECTING, error)

/** What to do when something fails although there was a connection. @param {unknown} error */
const remedyLater = (error) =>
  remedyOf(LATER, error) ?? 'docs/troubleshooting.md has a section for each code.'

module.exports = { remedyLater, remedyOfConnecting }
