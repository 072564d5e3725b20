// @ts-check
// `pglisten watch`: a live view of channels and of the server.
'use strict'

/** @import { ConnectionPool, Listener } from 'pglisten' */

const { COMMON, COMMON_HELP, flag, number, parse, seconds, text } = require('../lib/arguments.js')
const { DISCOVERY_HELP, Wanted, lookAgain } = require('../lib/channels.js')
const { library, openPool, warnOfPassword } = require('../lib/connection.js')
const { Ending } = require('../lib/ending.js')
const { EXIT, describeError } = require('../lib/errors.js')
const { describeGap, narrate } = require('../lib/narrate.js')
const { Output, teller } = require('../lib/output.js')
const { Screen } = require('../lib/screen.js')
const { LISTENS, SERVED } = require('../lib/sessions.js')
const { Tally } = require('../lib/tally.js')
const { screenLines, textLines } = require('../lib/view.js')

const HELP = `Usage: pglisten watch [CHANNEL…] [options]

Shows channels with their rates, the sessions of the server that listen, its queue of notifications, and gaps, until Ctrl-C. On a
terminal it draws the screen anew each second; otherwise it prints lines. It stays through outages, and says so.

  npx pglisten watch                      # every channel that can be found: see below
  npx pglisten watch orders 'stock_*'
  npx pglisten watch orders --interval 60 >> orders.log

Options:
  --interval SEC     the time between two views (1; 10 where standard output is no terminal)
  --timeout SEC      end after so many seconds
  --plain            lines, also on a terminal
  --exact            a * is part of the name
  --discover SEC     the time between two looks for channels of patterns (30)
${COMMON_HELP}

Without a channel it watches *.

${DISCOVERY_HELP}

Sessions are those of this database whose last statement was a LISTEN, and those of pglisten; of other roles they are seen with
pg_read_all_stats. The rate is that of the last ten views.

Exit codes: 0 ended by a signal, the time, or a reader that has gone; 1 no connection, or it cannot go on; 2 wrong arguments.
`

const OPTIONS = {
  ...COMMON,
  ...{ plain: flag, exact: flag, interval: text, timeout: text, discover: text },
}
const DISCOVER_MS = 30_000
const ASK_MS = 5000
/** So long an answer is waited for before the view is shown without it. */
const PATIENCE_MS = 1000

/** The most sessions that are fetched, which are more than a screen has lines. All are counted. */
const MOST_SESSIONS = 200

const ASK = `
  SELECT pg_catalog.pg_notification_queue_usage() AS usage, pg_catalog.current_setting('server_version') AS version`
const SESSIONS = `
  SELECT a.pid, a.usename::pg_catalog.text AS role, a.application_name AS application, pg_catalog.host(a.client_addr) AS address,
    ${SERVED} AS served,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start)::pg_catalog.float8 AS age,
    pg_catalog.count(*) OVER () AS total
  FROM pg_catalog.pg_stat_activity AS a WHERE ${LISTENS} ORDER BY a.backend_start DESC, a.pid LIMIT ${MOST_SESSIONS}`

/**
 * @typedef {object} View What is shown.
 * @property {Tally} tally
 * @property {string} where
 * @property {string} state
 * @property {number} gaps
 * @property {string | undefined} note What was told last.
 * @property {{ usage: number, version: string } | undefined} server `undefined` while it does not answer.
 * @property {any[]} sessions The newest of the sessions that listen.
 * @property {number} total How many sessions listen.
 */

/** @param {string[]} args @returns {Promise<number>} The exit code. */
async function run(args) {
  const { values, positionals, rest = [] } = parse(args, OPTIONS)
  if (values.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  const given = [...positionals, ...rest]
  const wanted = new Wanted(given.length === 0 ? ['*'] : given, values)
  const isScreen = process.stdout.isTTY && values.plain !== true
  const interval = number('--interval', values.interval, { min: 0.1, max: 86_400 })
  const everyMs = (interval ?? (isScreen ? 1 : 10)) * 1000
  const discoverMs = seconds('--discover', values.discover) ?? DISCOVER_MS
  const say = teller(values.quiet)
  const timeoutMs = seconds('--timeout', values.timeout)
  warnOfPassword(values.dsn, say)

  const pool = openPool(values.dsn, 'watch', { maxDbPoolSize: 1 })
  const ending = new Ending()
  ending.after(timeoutMs)
  const { signal } = ending
  /** @type {Listener} */
  const listener = pool.listener({ channels: wanted.names })
  /** @type {View} */
  const view = viewOf(listener)
  // On a screen what would be told is part of the view.
  const tell = isScreen ? (/** @type {string} */ line) => void (view.note = line) : say
  narrate(listener, tell)
  listener.on('gap', (gap) => {
    view.gaps += 1
    tell(describeGap(gap))
  })
  const output = new Output(ending)
  const screen = new Screen(() => screen.show(screenLines(view, process.stdout)))
  let stopLooking = () => {}
  try {
    await listener.startup({ signal })
    for (const channel of await wanted.find(pool, signal))
      await wanted.add(listener, channel, { signal })
    const stream = listener.batches({ shape: 'columns' })
    signal.addEventListener('abort', () => void stream.return())
    stopLooking = lookAgain({ wanted, everyMs: discoverMs, pool, listener, signal, tell })
    if (isScreen) screen.enter()
    const counting = count(stream, view.tally)
    // A listener that gives up ends the view.
    const over = counting.finally(() => ending.end('reader'))
    over.catch(() => {})
    let last = performance.now()
    let asking = Promise.resolve()
    let isAsking = false
    while (!signal.aborted) {
      if (!isAsking) {
        isAsking = true
        asking = ask(pool, listener, view).finally(() => (isAsking = false))
      }
      // A server that does not answer keeps nothing from being shown.
      await Promise.race([asking, pause(Math.min(everyMs, PATIENCE_MS), signal)])
      if (isAsking) view.server = undefined
      for (const channel of listener.channels) view.tally.know(channel)
      const now = performance.now()
      view.tally.tick((now - last) / 1000)
      last = now
      if (isScreen) screen.show(screenLines(view, process.stdout))
      else await output.write(`${textLines(view).join('\n')}\n`)
      await pause(everyMs, signal)
    }
    await counting
  } catch (error) {
    if (!signal.aborted || error instanceof library().ListenerClosedError) throw error
  } finally {
    stopLooking()
    screen.leave()
    await pool.close({ timeoutMs: 1000 })
    ending.release()
  }
  return output.exitCode(EXIT.done)
}

/** @param {Listener} listener @returns {View} */
function viewOf(listener) {
  return {
    tally: new Tally(),
    where: '',
    get state() {
      return listener.state
    },
    gaps: 0,
    note: undefined,
    server: undefined,
    sessions: [],
    total: 0,
  }
}

/**
 * @param {AsyncIterable<import('pglisten').NotificationColumns>} stream
 * @param {Tally} tally
 */
async function count(stream, tally) {
  for await (const { channels, payloads, length } of stream) {
    const at = Date.now()
    for (let n = 0; n < length; n += 1) tally.add(channels[n] ?? '', payloads[n] ?? '', at)
  }
}

/**
 * Asks the server for its side. During an outage nothing is known of it.
 * @param {ConnectionPool} pool
 * @param {Listener} listener
 * @param {View} view
 */
async function ask(pool, listener, view) {
  if (listener.state !== 'connected') {
    view.server = undefined
    return
  }
  try {
    const connection = await pool.connection({ timeoutMs: ASK_MS })
    try {
      const { host, port, database } = connection.info
      view.where = `${host}:${port}/${database}`
      const options = { timeoutMs: ASK_MS }
      view.server = await connection.fetchRow(ASK, [], options)
      view.sessions = [...(await connection.fetch(SESSIONS, [], options))]
      view.total = Number(view.sessions[0]?.total ?? 0)
    } finally {
      await connection.close()
    }
  } catch (error) {
    view.server = undefined
    view.note = `cannot ask the server: ${describeError(error)}`
  }
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
    if (signal.aborted) end()
  })
}

module.exports = { run }
