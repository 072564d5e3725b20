// @ts-check
// The server's queue of notifications: whether it is held back, and by whom; and how many sessions each NOTIFY wakes.
'use strict'

/** @import { Connection } from 'pglisten' */
/** @import { Report } from './report.js' */
/** @import { Server } from './server.js' */

const { setTimeout: sleep } = require('node:timers/promises')
const { LISTENS } = require('../lib/sessions.js')

/** A queue that is not empty after this time has a reader that does not come on. */
const LOOK_AGAIN_MS = 1000
const LOOKS = 3
/** Before PostgreSQL 19 each listening session adds some 20 µs to a NOTIFY: with this many it takes about 2 ms. */
const MANY_SESSIONS = 100
/** From this version on a NOTIFY wakes only the sessions that listen to its channel. */
const WAKES_ONLY_LISTENERS = 19
/** How many suspects are named. */
const MOST_NAMED = 3

/** How full the queue is, from 0 to 1. The function first forgets what every listening session has read. */
const USAGE = 'SELECT pg_catalog.pg_notification_queue_usage()'

/** Sessions that may not be reading: within a transaction nothing is delivered, and a client that takes nothing blocks its backend. */
const SUSPECTS = `
  SELECT a.pid, a.usename::pg_catalog.text AS role, a.application_name AS application, a.datname::pg_catalog.text AS database, a.state,
    a.wait_event OPERATOR(pg_catalog.=) 'ClientWrite' AS blocked,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.xact_start)::pg_catalog.float8 AS seconds
  FROM pg_catalog.pg_stat_activity AS a
  WHERE a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND a.backend_type OPERATOR(pg_catalog.=) 'client backend'
    AND (a.wait_event OPERATOR(pg_catalog.=) 'ClientWrite' OR a.xact_start OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) interval '1 second'))
  ORDER BY COALESCE(a.wait_event OPERATOR(pg_catalog.=) 'ClientWrite', false) DESC, a.xact_start`

/**
 * @param {Connection} connection
 * @param {Server} server
 * @param {Report} report
 */
async function checkQueue(connection, server, report) {
  if (!server.maySeeQueue || server.isSingleUser || server.isStandby) return
  let usage = 0
  for (let look = 0; look < LOOKS; look += 1) {
    if (look > 0) await sleep(LOOK_AGAIN_MS)
    usage = await connection.fetchVal(USAGE)
    if (usage === 0) break
  }
  report.facts['queueUsage'] = usage
  if (usage === 0) return
  const suspects = /** @type {any[]} */ (await connection.fetch(SUSPECTS))
  const kilobytes = Math.round(usage * server.queuePages) * 8
  const named = suspects.slice(0, MOST_NAMED).map(describeSuspect)
  const more = suspects.length > named.length ? ` (and ${suspects.length - named.length} more)` : ''
  report.add({
    check: 'queue',
    title: `The queue of notifications is held back: ${kilobytes} kB wait, ${percent(usage)} of what it holds`,
    detail:
      named.length === 0
        ? 'A listening session does not read; none that can be seen is in a transaction, or blocked by its client.'
        : `A session that listens and stands still holds it. These stand still, the likeliest first: ${named.join('; ')}${more}. When the queue is full, every transaction that notifies fails (SQLSTATE 54000).`,
    remedy:
      named.length === 0
        ? 'Look at pg_stat_activity as a role with pg_read_all_stats.'
        : `End its transaction, or the session: SELECT pg_terminate_backend(${suspects[0].pid}). Never keep a transaction open on a session that listens; idle_in_transaction_session_timeout bounds it.`,
  })
}

/** @param {number} usage */
const percent = (usage) => `${Number((usage * 100).toPrecision(2))} %`

/** @param {any} suspect */
function describeSuspect({ pid, role, application, database, state, blocked, seconds }) {
  const who = `process ${pid} (${application || 'without a name'}, role ${role}, database ${database})`
  if (blocked) return `${who}, whose client takes nothing`
  return `${who}, ${state} for ${Math.round(seconds)} s`
}

const COUNT = `SELECT pg_catalog.count(*)::pg_catalog.int4 FROM pg_catalog.pg_stat_activity AS a WHERE ${LISTENS}`

/**
 * @param {Connection} connection
 * @param {Server} server
 * @param {Report} report
 */
async function checkWakes(connection, server, report) {
  if (server.isSingleUser || server.isStandby) return
  /** @type {number} */
  const sessions = await connection.fetchVal(COUNT)
  report.facts['listeningSessions'] = sessions
  if (sessions < MANY_SESSIONS || server.major >= WAKES_ONLY_LISTENERS) return
  const took = server.mayNotify ? await notifyMs(connection) : undefined
  report.facts['notifyMs'] = took ?? null
  const measured = took === undefined ? '' : ` One took ${took.toFixed(1)} ms just now.`
  report.add({
    check: 'wakes',
    title: `Each NOTIFY wakes ${sessions} sessions of this database, whatever they listen to`,
    detail: `So many listen (at least: one that has run another statement since is not counted). Before PostgreSQL ${WAKES_ONLY_LISTENERS} every NOTIFY wakes them all.${measured}`,
    remedy:
      'Share sessions: one listener for many channels, one process for many users; listeners of pglisten with equal settings share one by themselves (docs/sessions.md). Notify in batches.',
  })
}

/**
 * The time of the notification in the middle of several, to a channel that nobody listens to; `undefined` where the server takes none.
 * @param {Connection} connection
 */
async function notifyMs(connection) {
  const times = []
  for (let n = 0; n < 9; n += 1) {
    const began = performance.now()
    try {
      await connection.execute("SELECT pg_catalog.pg_notify('pglisten_doctor', '')")
    } catch {
      // Such as for a full queue: the check of the delivery tells.
      return undefined
    }
    times.push(performance.now() - began)
  }
  return times.sort((a, b) => a - b)[4]
}

module.exports = { checkQueue, checkWakes }
