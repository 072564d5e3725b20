// @ts-check
// The life of a listener, told to people on standard error.
'use strict'

/** @import { Gap, Listener } from 'pglisten' */

const { describeError } = require('./errors.js')
const { visible } = require('./terminal.js')

/** Of failed attempts in a row, one is told of in this time. */
const ATTEMPTS_MS = 10_000

/**
 * Tells of a lost session, failed attempts, the return, and what the library warns of.
 * @param {Listener} listener
 * @param {(line: string) => void} tell
 */
function narrate(listener, tell) {
  /** When the session was lost. @type {number | undefined} */
  let lostAt
  let toldAt = Number.NEGATIVE_INFINITY
  listener.on('disconnected', ({ error }) => {
    lostAt = performance.now()
    toldAt = Number.NEGATIVE_INFINITY
    tell(`connection lost: ${describeError(error)}; reconnecting`)
  })
  const tellAttempt = (/** @type {unknown} */ error) => {
    if (performance.now() - toldAt < ATTEMPTS_MS) return
    toldAt = performance.now()
    tell(`still trying: ${describeError(error)}`)
  }
  listener.on('warning', ({ message, error }) => {
    if (error === undefined) tell(`warning: ${visible(message)}`)
    else tellAttempt(error)
  })
  listener.on('error', tellAttempt)
  listener.on('connected', ({ processId }) => {
    if (lostAt === undefined) return
    const away = ((performance.now() - lostAt) / 1000).toFixed(1)
    lostAt = undefined
    tell(`connected again after ${away} s, as server process ${processId}`)
  })
}

/**
 * A gap in words.
 * @param {Gap} gap
 */
function describeGap({ reason, lostAt, resumedAt, dropped, message }) {
  if (reason === 'overflow')
    return `gap: ${dropped ?? 'some'} notifications were dropped here, because they were taken too slowly`
  const between = `between ${lostAt.toISOString()} and ${resumedAt.toISOString()}`
  const why = reason === 'decode' ? 'one could not be read' : visible(message)
  return `gap: notifications that were sent ${between} may be missing here (${why})`
}

/**
 * A gap as an object for JSON.
 * @param {Gap} gap
 */
const gapRecord = (gap) => ({
  type: 'gap',
  reason: gap.reason,
  lostAt: gap.lostAt,
  resumedAt: gap.resumedAt,
  downtimeMs: gap.downtimeMs,
  dropped: gap.dropped,
  sqlState: gap.sqlState,
  message: gap.message,
  attempts: gap.attempts,
  serverRestarted: gap.serverRestarted,
  oldProcessId: gap.oldProcessId,
  newProcessId: gap.newProcessId,
  merged: gap.merged,
})

module.exports = { narrate, describeGap, gapRecord }
