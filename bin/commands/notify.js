// @ts-check
// `pglisten notify`: sends notifications.
'use strict'

/** @import { ConnectionPool } from 'pglisten' */

const { setTimeout: sleep } = require('node:timers/promises')
const { COMMON, COMMON_HELP, checkChannel, number, parse, text } = require('../lib/arguments.js')
const { openPool, warnOfPassword } = require('../lib/connection.js')
const { Ending, signalCode } = require('../lib/ending.js')
const { EXIT, UsageError } = require('../lib/errors.js')
const { MAX_PAYLOAD_BYTES, payloadLines } = require('../lib/lines.js')
const { teller } = require('../lib/output.js')

const HELP = `Usage: pglisten notify CHANNEL [PAYLOAD] [options]
       pglisten notify CHANNEL - [options]

Sends a notification, or with - one for each line of standard input, in their order. It is sent once the command has ended with 0.

  npx pglisten notify orders                        # the empty payload
  npx pglisten notify orders '{"id": 7}'
  seq 1000 | npx pglisten notify orders - --rate 50  # 50 a second
  npx pglisten notify orders -- -7                  # a payload that begins with -

Options:
  --rate N           of lines, at most so many a second
  --batch N          at most so many lines in one transaction (100); 1 commits each by itself. Lines that are there are sent; none
                     waits for others
${COMMON_HELP}

A channel's name is 1 to 63 bytes and taken as it is: no quotes, and capitals are kept. A payload is at most ${MAX_PAYLOAD_BYTES} bytes of UTF-8
without a zero byte. PostgreSQL delivers equal payloads of one transaction once, so equal lines are sent in different ones.

At an error, what was committed stays sent, and the message says how many lines that are. Nothing is sent twice: a transaction whose
answer is lost is not repeated, and the message says that its lines may have been sent.

Exit codes: 0 all were sent; 1 not all: no connection, or a line that cannot be a payload; 2 wrong arguments; 129, 130, 143 a
signal came before the end.
`

const OPTIONS = { ...COMMON, rate: text, batch: text }
const BATCH = 100

/** @param {string[]} args @returns {Promise<number>} The exit code. */
async function run(args) {
  const { values, positionals, rest = [] } = parse(args, OPTIONS)
  if (values.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  const [channel, payload, ...more] = [...positionals, ...rest]
  if (channel === undefined) throw new UsageError('Expected a channel')
  if (more.length > 0)
    throw new UsageError('Expected one payload: put quotes around one that has spaces')
  checkChannel(channel)
  const rate = number('--rate', values.rate, { min: 0.001, max: 1_000_000 })
  const batch = number('--batch', values.batch, { min: 1, max: 10_000, integer: true })
  // After --, a dash is a payload.
  const isStream = payload === '-' && positionals[1] === '-'
  if (!isStream && (rate ?? batch) !== undefined)
    throw new UsageError('`--rate` and `--batch` are about lines: expected `-` as the payload')
  if (payload !== undefined) checkPayload(payload)
  const tell = teller(values.quiet)
  warnOfPassword(values.dsn, tell)
  const pool = openPool(values.dsn, 'notify', { maxDbPoolSize: 1 })
  try {
    if (isStream) return await sendLines(pool, channel, { rate, batch: batch ?? BATCH, tell })
    await pool.notify(channel, payload)
    return EXIT.done
  } finally {
    await pool.close({ timeoutMs: 1000 })
  }
}

/** @param {string} payload */
function checkPayload(payload) {
  const bytes = Buffer.byteLength(payload)
  if (bytes > MAX_PAYLOAD_BYTES) {
    throw new UsageError(
      `Expected a payload of at most ${MAX_PAYLOAD_BYTES} bytes, got ${bytes} bytes`,
    )
  }
}

/**
 * @param {ConnectionPool} pool
 * @param {string} channel
 * @param {{ rate: number | undefined, batch: number, tell: (line: string) => void }} options
 */
async function sendLines(pool, channel, { rate, batch, tell }) {
  const ending = new Ending()
  const { signal } = ending
  // Ends the wait for lines.
  signal.addEventListener('abort', () => process.stdin.destroy())
  const began = performance.now()
  const pace = rate === undefined ? undefined : new Pace(rate)
  let sent = 0
  /** How many lines the transaction under way has. */
  let pending = 0
  try {
    for await (const lines of payloadLines(process.stdin)) {
      let at = 0
      while (at < lines.length && !signal.aborted) {
        const due = (await pace?.due(signal)) ?? batch
        const transaction = unequal(lines, at, Math.min(batch, due))
        pending = transaction.length
        const asked = performance.now()
        await pool.notifyMany(channel, transaction)
        pace?.sent(transaction.length, performance.now() - asked)
        pending = 0
        sent += transaction.length
        at += transaction.length
      }
    }
  } catch (error) {
    // The end of the input, or of a wait, is no error; one of a transaction is, whatever has come meanwhile.
    if (!signal.aborted || pending > 0) throw withCount(error, sent, pending)
  }
  ending.release()
  process.stdin.destroy()
  tell(`sent ${sent} in ${((performance.now() - began) / 1000).toFixed(1)} s`)
  return signalCode(ending.reason) ?? EXIT.done
}

/** How late a timer may be without a line less in the end, in milliseconds. */
const TIMER_MS = 50
/** The most time that is made good, in milliseconds. */
const MOST_BEHIND_MS = 1000

/** Says how many lines are due. What a transaction takes is made good by the next one, a pause of the input is not. */
class Pace {
  #intervalMs
  /** When the next line is due. */
  #dueAt = performance.now()
  #mayBeBehindMs = 0

  /** @param {number} rate Lines a second. */
  constructor(rate) {
    this.#intervalMs = 1000 / rate
  }

  /** Waits until a line is due, and tells how many are then. @param {AbortSignal} signal */
  async due(signal) {
    this.#dueAt = Math.max(this.#dueAt, performance.now() - this.#mayBeBehindMs)
    const waitMs = this.#dueAt - performance.now()
    if (waitMs > 0) await sleep(waitMs, undefined, { signal })
    return Math.max(1, Math.floor((performance.now() - this.#dueAt) / this.#intervalMs) + 1)
  }

  /** @param {number} count @param {number} tookMs */
  sent(count, tookMs) {
    this.#dueAt += count * this.#intervalMs
    this.#mayBeBehindMs = Math.min(MOST_BEHIND_MS, tookMs + TIMER_MS)
  }
}

/**
 * The lines from `at` on that may share a transaction: PostgreSQL would deliver equal ones once.
 * @param {string[]} lines
 * @param {number} at
 * @param {number} most
 */
function unequal(lines, at, most) {
  const taken = new Set()
  for (const line of lines.slice(at, at + most)) {
    if (taken.has(line)) break
    taken.add(line)
  }
  return lines.slice(at, at + taken.size)
}

/** @param {unknown} error @param {number} sent @param {number} pending */
function withCount(error, sent, pending) {
  if (!(error instanceof Error)) return error
  const unknown = pending > 0 ? `; lines ${sent + 1} to ${sent + pending} may have been sent` : ''
  const counted = `${error.message} (sent ${sent} before it${unknown})`
  return Object.assign(error, { message: counted })
}

module.exports = { run }
