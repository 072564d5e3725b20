// @ts-check
// Whether a notification of one connection comes to the listener of another: at once, and after a silence.
'use strict'

/** @import { ConnectionPool, Listener } from 'pglisten' */
/** @import { Report } from './report.js' */
/** @import { Server } from './server.js' */

const { randomBytes } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const { describeError } = require('../lib/errors.js')
const { remedyLater } = require('./remedies.js')

/** How long a notification may take. */
const ARRIVAL_MS = 5000
const STARTUP_MS = 20_000
/** No heartbeat is due before the end of the longest timer, so nothing is said during the silence. */
const SILENT = Object.freeze({
  intervalMs: 2_147_483_647,
  probeIntervalMs: /** @type {const} */ (false),
})
/** The heartbeat of a listener by default. */
const HEARTBEAT_MS = 10_000

/**
 * @param {ConnectionPool} pool
 * @param {Server} server
 * @param {Report} report
 * @param {{ idleMs: number, tell: (line: string) => void, open: () => ConnectionPool }} options `open` makes another pool.
 */
async function checkDelivery(pool, server, report, { idleMs, tell, open }) {
  const channel = `pglisten_doctor_${randomBytes(6).toString('hex')}`
  /** @type {Listener} */
  const listener = pool.listener({
    channels: [channel],
    session: 'own',
    heartbeat: SILENT,
    reconnect: false,
  })
  listener.on('warning', ({ message }) => report.skip('listen', message))
  listener.on('error', () => {})
  /** @type {Promise<unknown>} */
  const lost = new Promise((resolve) => listener.once('closed', (error) => resolve(error)))
  try {
    await listener.startup({ timeoutMs: STARTUP_MS })
  } catch (error) {
    tellRefusal(error, server, report)
    return
  }
  /** @param {string} when */
  const probe = async (when) => {
    try {
      const arrival = await arrives(open(), listener, channel)
      if (arrival === undefined) tellDeaf(report, when)
      return arrival
    } catch (error) {
      tellUnsent(report, when, error)
      return undefined
    }
  }
  /** @param {string} reason */
  const skipIdle = (reason) => {
    if (idleMs > 0) report.skip('idle', reason)
  }
  try {
    report.facts['listen'] = true
    if (!server.mayNotify) {
      report.skip('delivery', 'the role may not execute pg_notify()')
      return skipIdle('the role may not execute pg_notify()')
    }
    const arrival = await probe('right after the LISTEN')
    if (arrival === undefined) return skipIdle('no notification arrives without a silence either')
    report.facts['deliveryMs'] = Math.round(arrival * 10) / 10
    if (idleMs === 0) return
    tell(
      `listening in silence for ${idleMs / 1000} s, to see whether something ends idle connections`,
    )
    const began = performance.now()
    // The listener keeps the process. The timer does not, since nobody waits for it once the listener's session is lost.
    const ended = await Promise.race([lost, sleep(idleMs, 'silence', { ref: false })])
    if (ended !== 'silence') tellIdleEnd((performance.now() - began) / 1000, ended, report)
    else if ((await probe(`after ${idleMs / 1000} s of silence`)) !== undefined)
      report.facts['idleProbeSec'] = idleMs / 1000
  } finally {
    await listener.shutdown({ timeoutMs: 2000 })
  }
}

/**
 * Notifies on a new connection: an idle one may be gone too. Resolves with how long it took to arrive, in milliseconds, or `undefined` when it did not.
 * @param {ConnectionPool} pool A pool of its own, which is closed then.
 * @param {Listener} listener
 * @param {string} channel
 */
async function arrives(pool, listener, channel) {
  const began = performance.now()
  const stream = listener.messages({ limit: 1 })
  try {
    const arrival = stream.next({ timeoutMs: ARRIVAL_MS }).then(
      () => performance.now() - began,
      () => undefined,
    )
    await pool.notify(channel, '', { timeoutMs: ARRIVAL_MS })
    return await arrival
  } finally {
    await pool.close({ timeoutMs: 1000 })
    await stream.return()
  }
}

/** @param {unknown} error @param {Server} server @param {Report} report */
function tellRefusal(error, { isSingleUser, isStandby }, report) {
  report.facts['listen'] = false
  const { sqlState, message = '' } = /** @type {{ sqlState?: string, message?: string }} */ (error)
  // These have a finding already, which says why.
  const isKnown =
    isSingleUser ||
    isStandby ||
    report.findings.some(({ check }) => check === 'permissions' && sqlState === '42501')
  if (isKnown) return
  report.add(
    /pooler/.test(message)
      ? {
          check: 'pooler',
          title: 'A pooler in between takes LISTEN, and passes no notification on',
          detail: `It gives another connection to each transaction (transaction or statement mode), so nobody hears. ${describeError(error)}`,
          remedy:
            'Connect listeners to the server itself, or to a pooler in session mode: `listenDsn` of the pool (docs/poolers-and-managed.md).',
        }
      : {
          check: 'listen',
          title: 'A listener cannot be started',
          detail: describeError(error),
          remedy: remedyLater(error),
        },
  )
}

/** @param {Report} report @param {string} when */
function tellDeaf(report, when) {
  report.add({
    check: 'delivery',
    title: `A notification did not arrive within ${ARRIVAL_MS / 1000} s, ${when}`,
    detail:
      'The session answers, or its loss was not told. Something in between takes connections and does not pass everything on.',
    remedy:
      'Connect past it. Where it forgets idle connections, raise its idle timeout, or lower `heartbeat.intervalMs` below it.',
  })
}

/** @param {Report} report @param {string} when @param {unknown} error */
function tellUnsent(report, when, error) {
  report.add({
    check: 'delivery',
    title: `A notification could not be sent, ${when}`,
    detail: describeError(error),
    remedy: remedyLater(error),
  })
}

/** @param {number} seconds @param {unknown} error @param {Report} report */
function tellIdleEnd(seconds, error, report) {
  report.facts['idleProbeSec'] = Math.round(seconds * 10) / 10
  const isShort = seconds * 1000 < HEARTBEAT_MS
  const heard = error === undefined ? '' : ` (${describeError(error)})`
  report.add({
    check: 'idle',
    title: `Something ends connections that are idle for about ${seconds.toFixed(1)} s`,
    detail: `A session that listened in silence was ended${heard}. ${
      isShort
        ? 'The heartbeat of a listener comes each 10 s by default, too late: it loses its session again and again, each time with a gap.'
        : 'The heartbeat of a listener (each 10 s by default) keeps its session; idle connections of a pool are ended.'
    }`,
    remedy: `Raise the idle timeout of what is in between (\`timeout client\` and \`timeout server\` of HAProxy, the idle timeout of a balancer), or lower \`heartbeat.intervalMs\` below ${Math.floor(seconds * 1000)}.`,
  })
}

module.exports = { checkDelivery }
