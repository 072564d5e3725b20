// @ts-check
// `pglisten durable tail`: prints events as lines of JSON.
'use strict'

/** @import { ConnectionPool, DurableEvent } from 'pglisten' */
/** @import { Call } from '../commands/durable.js' */

const { randomUUID } = require('node:crypto')
const { checkChannel, number, seconds, shown } = require('../lib/arguments.js')
const { Ending, signalCode } = require('../lib/ending.js')
const { EXIT, UsageError, describeError } = require('../lib/errors.js')
const { Output } = require('../lib/output.js')
const { jsonLine, visible } = require('../lib/terminal.js')
const { TailLife } = require('./life.js')

const BATCH = 100
const MOST_ATTEMPTS = 2 ** 31 - 1
/** After so long a subscription that was left behind is dropped by whoever runs another one, in milliseconds. */
const LEFT_MS = 3_600_000
/** How long the end may take. */
const DROP_MS = 5000

/**
 * @param {Call} call
 * @returns {{ channels: string[], name: string | undefined, from: 'now' | 'beginning', count: number | undefined,
 *   timeoutMs: number | undefined }}
 */
function settingsOf({ args, values }) {
  for (const channel of args) checkChannel(channel)
  const { name, from = 'now' } = values
  if (from !== 'now' && from !== 'beginning')
    throw new UsageError(`Expected \`--from\` to be now or beginning, got ${shown(from)}`)
  if (name === '') throw new UsageError('Expected `--name` to be a name')
  const count = number('--count', values.count, { min: 1, max: 2 ** 53 - 1, integer: true })
  const timeoutMs = seconds('--timeout', values.timeout)
  return { channels: args, name, from, count, timeoutMs }
}

/** @param {ConnectionPool} pool @param {Call} call */
async function run(pool, call) {
  const { channels, name, from, count = Infinity, timeoutMs } = settingsOf(call)
  const ending = new Ending()
  ending.after(timeoutMs)
  const output = new Output(ending)
  const own = name ?? `pglisten tail ${randomUUID()}`
  const subscription = pool.subscription(own, {
    channels,
    from,
    // So many may come twice after a kill; with a bound none beyond it is taken.
    batchSize: count === Infinity ? BATCH : 1,
    // What fails is the reader, or the connection, and not an event.
    maxAttempts: MOST_ATTEMPTS,
    ...(name === undefined && { maxUnreadAgeMs: LEFT_MS, onUnread: 'drop' }),
  })
  const life = new TailLife(subscription, channels, call.tell)
  let taken = 0
  try {
    for await (const { events, ack } of subscription.batches({ signal: ending.signal })) {
      await output.write(events.map((event) => `${lineOf(event)}\n`).join(''))
      // What its reader has not taken comes again.
      if (ending.reason === 'reader' || process.stdout.writableLength > 0) break
      try {
        await ack()
      } catch (error) {
        // They come again, unless the commit was done and only its answer is lost.
        call.tellError(`not acknowledged: ${describeError(error)}`)
        continue
      }
      taken += events.length
      if (taken >= count) break
    }
  } finally {
    ending.release()
    life.end()
    // One that the server has not made is not left behind, whatever a try to drop it says.
    if (name === undefined) await dropped(pool, own, life.isMade ? call.tellError : () => {})
  }
  return output.exitCode(exitCode(taken >= count || count === Infinity, ending))
}

/** Removes the subscription, unless that takes too long. @param {ConnectionPool} pool @param {string} name @param {(line: string) => void} tell */
async function dropped(pool, name, tell) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${DROP_MS} ms`)), DROP_MS)
  })
  try {
    await Promise.race([pool.durable.drop(name), late])
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    tell(`the subscription \`${name}\` is left behind: ${visible(why)}`)
  } finally {
    clearTimeout(timer)
  }
}

/** @param {DurableEvent<unknown>} event */
function lineOf({ id, uid, channel, payload, key, publishedAt, attempt }) {
  return jsonLine({ type: 'event', id: `${id}`, uid, channel, payload, key, publishedAt, attempt })
}

/** @param {boolean} isDone @param {Ending} ending */
function exitCode(isDone, { reason }) {
  if (!isDone && reason === 'timeout') return EXIT.timeout
  if (!isDone && reason !== 'reader') return signalCode(reason) ?? EXIT.failed
  return EXIT.done
}

module.exports = { run, settingsOf }
