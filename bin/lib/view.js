// @ts-check
// The view of `pglisten watch` as lines: for a screen of some size, or for a file.
'use strict'

/** @import { View } from '../commands/watch.js' */

const { fit } = require('./screen.js')
const { styles, visible } = require('./terminal.js')

/** Columns of a screen whose size is not known. */
const COLUMNS = 80
const ROWS = 24
/** At most so much of the screen is for sessions. */
const SESSIONS_SHARE = 0.4

/** @param {number} n */
const rate = (n) => (n >= 100 ? n.toFixed(0) : n.toFixed(1))

/** @param {number | undefined} seconds */
function age(seconds) {
  if (seconds === undefined) return ''
  if (seconds < 60) return `${seconds.toFixed(0)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`
}

/** @param {View} view */
function summary({ tally, gaps, server, total }) {
  const usage =
    server === undefined ? 'unknown' : `${Number((server.usage * 100).toPrecision(2))} %`
  const listening = server === undefined ? 'unknown' : `${total}`
  return [
    `${rate(tally.rate)}/s`,
    `received ${tally.total}`,
    `gaps ${gaps}`,
    `queue ${usage}`,
    `sessions ${listening}`,
  ]
}

/**
 * Lines that fill a screen, and no more.
 * @param {View} view
 * @param {{ columns?: number | undefined, rows?: number | undefined }} size
 */
function screenLines(view, { columns, rows }) {
  // A terminal that does not tell its size says 0.
  const width = columns || COLUMNS
  const height = rows || ROWS
  const { bold, dim, green, red } = styles(true)
  const version = view.server === undefined ? '' : `PostgreSQL ${visible(view.server.version)}  `
  const state = view.state === 'connected' ? green : red
  const head = `  ${version}${visible(view.where)}  Ctrl-C ends`
  const lines = [
    state(fit(view.state, Math.min(width, view.state.length))) +
      dim(fit(head, width - view.state.length)),
    bold(fit(summary(view).join('   '), width)),
  ]
  if (view.note !== undefined) lines.push(fit(view.note, width))
  const { channels } = view.tally
  const room = height - lines.length - 2
  const forSessions = Math.min(view.sessions.length + 2, Math.floor(room * SESSIONS_SHARE))
  lines.push('', dim(channelLine(['CHANNEL', '/S', 'TOTAL', 'LAST', 'PAYLOAD'], width)))
  for (const [channel, one] of channels.slice(0, room - forSessions)) {
    const last = one.lastAt === undefined ? undefined : (Date.now() - one.lastAt) / 1000
    const cells = [
      visible(channel),
      rate(one.rate),
      `${one.total}`,
      age(last),
      visible(one.payload),
    ]
    lines.push(channelLine(cells, width))
  }
  if (forSessions > 2 && view.sessions.length > 0) {
    lines.push('', dim(sessionLine(['PID', 'APPLICATION', 'ROLE', 'FROM', 'AGE', 'SERVES'], width)))
    for (const session of view.sessions.slice(0, forSessions - 2)) {
      const { pid, application, role, address, served } = session
      const serves =
        served === null || served === undefined
          ? ''
          : `${served[0]} listeners, ${served[1]} channels`
      const texts = [`${pid}`, application ?? '', role ?? '', address ?? 'local'].map(visible)
      lines.push(sessionLine([...texts, age(session.age), serves], width))
    }
  }
  return lines.slice(0, height)
}

/** @param {string[]} cells @param {number} width */
function channelLine([channel = '', perSecond = '', total = '', last = '', payload = ''], width) {
  const name = Math.max(8, Math.min(30, Math.floor(width * 0.35)))
  const numbers = [fit(perSecond, 8, 'right'), fit(total, 10, 'right'), fit(last, 7, 'right')]
  return fit(`${fit(channel, name)} ${numbers.join(' ')}  ${payload}`, width)
}

/** @param {string[]} cells @param {number} width */
function sessionLine(
  [pid = '', application = '', role = '', from = '', old = '', serves = ''],
  width,
) {
  const cells = [fit(pid, 8, 'right'), fit(application, 20), fit(role, 12), fit(from, 15)]
  return fit(`${cells.join(' ')} ${fit(old, 7, 'right')}  ${serves}`, width)
}

/**
 * Lines for a file: one for all, and one for each channel that something has come over since the last view.
 * @param {View} view
 */
function textLines(view) {
  const time = new Date().toISOString().slice(0, 19) + 'Z'
  const lines = [`${time}  ${view.state}  ${summary(view).join('  ')}`]
  for (const [channel, one] of view.tally.channels) {
    if (one.rate > 0)
      lines.push(`${time}  ${visible(channel)}  ${rate(one.rate)}/s  total ${one.total}`)
  }
  return lines
}

module.exports = { screenLines, textLines }
