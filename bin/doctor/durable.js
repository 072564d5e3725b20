// @ts-check
// Durable subscriptions: whether what is installed is this package's, and whether somebody reads what is kept.
'use strict'

/** @import { ConnectionPool } from 'pglisten' */
/** @import { Report } from './report.js' */
/** @import { Server } from './server.js' */

const { describeError } = require('../lib/errors.js')

/** How far the events of a subscription are counted. */
const MOST_COUNTED = 100_000
/** How many subscriptions are named. */
const MOST_NAMED = 3

/**
 * @param {ConnectionPool} pool
 * @param {Server} server
 * @param {Report} report
 */
async function checkDurable(pool, server, report) {
  if (server.isStandby) return
  try {
    await examine(pool, report)
  } catch (error) {
    // Most likely a role that is no subscriber, or another schema of that name.
    report.skip('durable', describeError(error))
  }
}

/** @param {ConnectionPool} pool @param {Report} report */
async function examine(pool, report) {
  const { version, latestVersion, isHome, unread } = await pool.durable.status()
  if (version === 0) return
  report.facts['durableVersion'] = version
  if (version !== latestVersion) {
    report.add({
      check: 'durable-version',
      title: `The schema of durable subscriptions has version ${version}, and this package's is ${latestVersion}`,
      detail:
        version < latestVersion
          ? 'What this package needs may not be there yet.'
          : 'A newer pglisten has installed it: this one may not know what it finds.',
      remedy:
        version < latestVersion
          ? 'npx pglisten durable install, as the owner of the schema.'
          : 'Update pglisten here.',
    })
  }
  if (!isHome) {
    report.add({
      check: 'durable-adopt',
      title:
        'The positions of durable subscriptions come from another cluster: a dump was restored',
      detail: 'They mean nothing here until they are adopted, and nothing is trimmed.',
      remedy: 'npx pglisten durable adopt. A subscription that runs does it itself.',
    })
  }
  const subscriptions = await pool.durable.subscriptions()
  report.facts['durableSubscriptions'] = subscriptions.length
  if (!isHome || version !== latestVersion) return
  /** @type {Map<string, number>} */
  const lags = new Map()
  for (const { name } of subscriptions)
    lags.set(
      name,
      await pool.fetchVal('SELECT events::pg_catalog.float8 FROM pglisten.lag($1, $2)', [
        name,
        MOST_COUNTED,
      ]),
    )
  report.facts['durableBiggestLag'] = Math.max(0, ...lags.values())
  const holding = subscriptions.filter(
    ({ name }) => unread.includes(name) && (lags.get(name) ?? 0) > 0,
  )
  if (holding.length === 0) return
  const what =
    holding.length === 1
      ? 'A durable subscription keeps'
      : `${holding.length} durable subscriptions keep`
  const named = holding.slice(0, MOST_NAMED).map(({ name, unreadMs }) => {
    const events = lags.get(name) ?? 0
    const count = events >= MOST_COUNTED ? `${MOST_COUNTED} events or more` : `${events} events`
    return `${name} (${Math.round(unreadMs / 3_600_000)} h, ${count})`
  })
  const more = holding.length > named.length ? ` (and ${holding.length - named.length} more)` : ''
  report.add({
    check: 'durable-unread',
    title: `${what} events that nobody reads`,
    detail: `${named.join('; ')}${more}. A subscription keeps every event from its position on, whatever the retention is.`,
    remedy:
      'Run it, or npx pglisten durable drop NAME. With the option onUnread: drop a subscription is dropped by itself.',
  })
}

module.exports = { checkDurable }
