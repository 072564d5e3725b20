// @ts-check
// `pglisten listen`: prints notifications, or runs a program for each, for as long as one likes.
'use strict'

/** @import { Gap, Listener, ListenerNotificationMsg } from 'pglisten' */

const { COMMON, COMMON_HELP, flag, number, parse, seconds, text } = require('../lib/arguments.js')
const { DISCOVERY_HELP, Wanted, lookAgain } = require('../lib/channels.js')
const { library, openPool, warnOfPassword } = require('../lib/connection.js')
const { Ending, signalCode } = require('../lib/ending.js')
const { EXIT, UsageError } = require('../lib/errors.js')
const { describeGap, gapRecord, narrate } = require('../lib/narrate.js')
const { Output, teller } = require('../lib/output.js')
const { Programs } = require('../lib/programs.js')
const { jsonLine, styles, visible } = require('../lib/terminal.js')

const HELP = `Usage: pglisten listen CHANNEL… [options]
       pglisten listen CHANNEL… --exec PROGRAM [options] [-- ARGUMENT…]

Prints the notifications of channels, one a line, until Ctrl-C. It stays through outages: it says when the connection is lost and
when it is back, and where notifications may be missing (a gap).

  npx pglisten listen orders
  npx pglisten listen orders 'stock_*'                      # a pattern: see below
  npx pglisten listen orders --json | jq .payload           # JSON lines
  npx pglisten listen orders --count 1 --timeout 30         # wait for one; exit code 124 if none comes in 30 s
  npx pglisten listen orders --exec ./handle.sh -- --quick  # run ./handle.sh --quick for each

Output:
  (default)          time, channel, process id and payload, for people; control characters are escaped, so a line is a
                     notification and nothing in it can drive a terminal
  --json             a line of JSON: {"type":"notification","channel":…,"payload":…,"processId":…,"receivedAt":…}
  --raw              the payload alone, and a line end; as it is, unless standard output is a terminal
  --gaps, --no-gaps  whether gaps stand among the notifications too, as {"type":"gap",…} (with --json: yes; else: no).
                     Standard error tells of them in any case
Programs:
  --exec PROGRAM     run it for each notification, without a shell: the payload on its standard input, the variables
                     PGLISTEN_EVENT (notification, or gap with --gaps: then the gap's JSON is the input), PGLISTEN_CHANNEL,
                     PGLISTEN_PROCESS_ID and PGLISTEN_RECEIVED_AT in its environment. A failure is told of, and the next one runs
  --parallel N       as many at once (1: in order, each after the one before has ended)
Bounds:
  --count N          end after so many notifications
  --timeout SEC      end after so many seconds, the time to connect included
  --buffer N         keep at most so many notifications that wait for a slow reader (262144); beyond it the oldest are dropped,
                     and a gap says how many
Channels:
  --exact            a * is part of the name
  --discover SEC     the time between two looks for channels of patterns (30)
Connection:
  --retry            also wait for a server that is not there at the start
${COMMON_HELP}

${DISCOVERY_HELP}

Ctrl-C (SIGINT), SIGTERM and SIGHUP end it after the notification at hand; programs that run are waited for, and a second signal
ends them too. A reader that goes away, as in \`| head -1\`, ends it quietly at the next notification.

Exit codes: 0 ended as asked: --count reached, the time or a signal without --count, the reader gone; 1 no connection, or it
cannot go on; 2 wrong arguments; 3 as 0, but a program of --exec failed; 124 the time was over before --count was reached;
129, 130, 143 a signal came before that.
`

const OPTIONS = {
  ...COMMON,
  ...{ json: flag, raw: flag, gaps: flag, exact: flag, retry: flag },
  ...{ exec: text, parallel: text, count: text, timeout: text, buffer: text, discover: text },
}

const MANY = Number.MAX_SAFE_INTEGER
const DISCOVER_MS = 30_000
/** The most notifications that are made into one piece of output. */
const BATCH = 256

/** @typedef {ReturnType<typeof settingsOf>} Settings */

/** @param {string[]} args */
function settingsOf(args) {
  const { values, positionals, rest } = parse(args, OPTIONS)
  const given = values.exec === undefined ? [...positionals, ...(rest ?? [])] : positionals
  const kinds = [values.json, values.raw, values.exec !== undefined].filter(Boolean)
  if (!values.help) {
    if (given.length === 0) throw new UsageError('Expected a channel, or a pattern with *')
    if (kinds.length > 1) throw new UsageError('Expected one of `--json`, `--raw` and `--exec`')
    if (values.exec === '') throw new UsageError('Expected `--exec` to name a program')
    if (values.parallel !== undefined && values.exec === undefined)
      throw new UsageError('`--parallel` is about programs: expected `--exec` too')
  }
  return {
    ...values,
    gaps: values.gaps ?? values.json === true,
    wanted: new Wanted(given, values),
    programArguments: rest ?? [],
    count: number('--count', values.count, { min: 1, max: MANY, integer: true }) ?? Infinity,
    parallel: number('--parallel', values.parallel, { min: 1, max: 1000, integer: true }) ?? 1,
    maxMessages: number('--buffer', values.buffer, { min: 1, max: 2 ** 31, integer: true }),
    timeoutMs: seconds('--timeout', values.timeout),
    discoverMs: seconds('--discover', values.discover) ?? DISCOVER_MS,
  }
}

/** @param {string[]} args @returns {Promise<number>} The exit code. */
async function run(args) {
  const settings = settingsOf(args)
  if (settings.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  const tell = teller(settings.quiet)
  const tellError = teller(false)
  warnOfPassword(settings.dsn, tell)
  const { wanted, maxMessages } = settings
  // One connection besides the session that listens: for the looks for channels.
  const pool = openPool(settings.dsn, 'listen', { maxDbPoolSize: 1 })
  const ending = new Ending()
  ending.after(settings.timeoutMs)
  /** @type {Listener} */
  const listener = pool.listener({ channels: wanted.names, buffer: { maxMessages } })
  narrate(listener, tell)
  const sink = sinkOf(settings, ending, tell, tellError)
  let taken = 0
  let stopLooking = () => {}
  try {
    const { signal } = ending
    // Before the look for channels, which is not tried again.
    await listener.startup({ retry: settings.retry, signal })
    for (const channel of await wanted.find(pool, signal))
      await wanted.add(listener, channel, { signal })
    const stream = listener.batches({ gaps: 'include', maxSize: BATCH })
    signal.addEventListener('abort', () => void stream.return())
    if (signal.aborted) await stream.return()
    tell(`listening to ${names(listener.channels)}`)
    stopLooking = lookAgain({
      wanted,
      everyMs: settings.discoverMs,
      pool,
      listener,
      signal,
      tell,
    })
    for await (const batch of stream) {
      const last = batch.slice(0, countOf(batch, settings.count - taken))
      taken += await sink.take(last)
      if (taken >= settings.count || sink.failure !== undefined) break
      if (ending.reason !== undefined) break
    }
  } catch (error) {
    // The end that came while it was connecting.
    if (ending.reason === undefined) throw error
  } finally {
    stopLooking()
    // Whoever wants to end now need not wait for a server that does not answer.
    await pool.close({ timeoutMs: 1000 })
    await sink.ended()
    ending.release()
  }
  if (sink.failure !== undefined) throw sink.failure
  return sink.end(exitCode(taken >= settings.count || settings.count === Infinity, ending, sink))
}

/**
 * How many items of a batch are wanted: up to the last notification that is.
 * @param {readonly (ListenerNotificationMsg | Gap)[]} batch
 * @param {number} count
 */
function countOf(batch, count) {
  if (batch.length <= count) return batch.length
  const { Gap } = library()
  let left = count
  let items = 0
  while (items < batch.length && left > 0) if (!(batch[items++] instanceof Gap)) left -= 1
  return items
}

/** @param {boolean} isDone @param {Ending} ending @param {Sink} sink */
function exitCode(isDone, { reason }, sink) {
  if (!isDone && reason === 'timeout') return EXIT.timeout
  if (!isDone && reason !== 'reader') return signalCode(reason) ?? EXIT.failed
  return sink.failed > 0 ? EXIT.program : EXIT.done
}

/** @param {string[]} channels */
const names = (channels) =>
  channels.length === 0 ? 'no channel yet: none was found' : channels.map(visible).join(', ')

/**
 * Where notifications go. `take` resolves with how many of the items were notifications, once there is room for more.
 * @typedef {{ take(items: readonly (ListenerNotificationMsg | Gap)[]): Promise<number>, ended(): Promise<void>,
 *   end(code: number): number, readonly failed: number, readonly failure: Error | undefined }} Sink
 */

/**
 * @param {Settings} settings
 * @param {Ending} ending
 * @param {(line: string) => void} tell
 * @param {(line: string) => void} tellError
 * @returns {Sink}
 */
function sinkOf(settings, ending, tell, tellError) {
  if (settings.exec !== undefined)
    return programSink(settings.exec, settings, ending, tell, tellError)
  const output = new Output(ending)
  const line = lineOf(settings)
  return {
    async take(items) {
      let lines = ''
      let count = 0
      for (const item of items) {
        if (isGap(item)) {
          tell(describeGap(item))
          if (settings.gaps) lines += `${line.gap(item)}\n`
        } else {
          count += 1
          lines += `${line.message(item, new Date())}\n`
        }
      }
      if (lines !== '') await output.write(lines)
      return count
    },
    ended: async () => {},
    end: (code) => output.exitCode(code),
    failed: 0,
    failure: undefined,
  }
}

/** @param {ListenerNotificationMsg | Gap} item @returns {item is Gap} */
const isGap = (item) => item instanceof library().Gap

/** How items become lines. @param {Settings} settings */
function lineOf({ json, raw }) {
  const isTerminal = process.stdout.isTTY
  const { bold, dim } = styles(isTerminal)
  const gap = (/** @type {Gap} */ one) => jsonLine(gapRecord(one))
  /** @param {ListenerNotificationMsg} message @param {Date} at */
  const message = ({ channel, payload, processId }, at) => {
    if (json) {
      return jsonLine({ type: 'notification', channel, payload, processId, receivedAt: at })
    }
    if (raw) return isTerminal ? visible(payload) : payload
    const time = at.toISOString().slice(11, 23)
    return `${dim(time)}  ${bold(visible(channel))}  ${dim(`${processId}`)}  ${visible(payload)}`
  }
  return { gap, message }
}

/**
 * @param {string} file
 * @param {Settings} settings
 * @param {Ending} ending
 * @param {(line: string) => void} tell
 * @param {(line: string) => void} tellError
 * @returns {Sink}
 */
function programSink(file, { gaps, parallel, programArguments }, ending, tell, tellError) {
  const { signal } = ending
  const options = { atOnce: parallel, tell: tellError, signal }
  const programs = new Programs(file, programArguments, options)
  ending.onSecondSignal((signal) => programs.kill(signal))
  return {
    async take(items) {
      let count = 0
      for (const item of items) {
        // The programs that were started have what they need; the rest was not begun.
        if (ending.reason !== undefined || programs.broken !== undefined) break
        if (isGap(item)) tell(describeGap(item))
        else count += 1
        if (!isGap(item) || gaps) await programs.run(taskOf(item))
      }
      return count
    },
    ended: () => programs.ended(),
    end: (code) => code,
    get failed() {
      return programs.failed
    },
    get failure() {
      return programs.broken
    },
  }
}

/** @param {ListenerNotificationMsg | Gap} item */
function taskOf(item) {
  const PGLISTEN_RECEIVED_AT = new Date().toISOString()
  if (isGap(item)) {
    const variables = { PGLISTEN_EVENT: 'gap', PGLISTEN_RECEIVED_AT }
    return { input: jsonLine(gapRecord(item)), channel: '(gap)', variables }
  }
  const { channel, payload, processId } = item
  return {
    input: payload,
    channel,
    variables: {
      PGLISTEN_EVENT: 'notification',
      PGLISTEN_CHANNEL: channel,
      PGLISTEN_PROCESS_ID: `${processId}`,
      PGLISTEN_RECEIVED_AT,
    },
  }
}

module.exports = { run }
