// @ts-check
// `pglisten durable publish`: one event, or one for each line.
'use strict'

/** @import { ConnectionPool } from 'pglisten' */
/** @import { Call } from '../commands/durable.js' */

const { checkChannel } = require('../lib/arguments.js')
const { Ending, signalCode } = require('../lib/ending.js')
const { EXIT, Failure, UsageError } = require('../lib/errors.js')
const { payloadLines } = require('../lib/lines.js')
const { jsonLine } = require('../lib/terminal.js')

/** How many lines share a transaction, at most. */
const BATCH = 100
/** The longest payload that is read: a `text` of PostgreSQL may have 1 GB, and what is sent has to be held here. */
const MAX_BYTES = 256 * 1024 * 1024

/** Whether the payload is read. @param {Call} call */
const isStream = ({ args: [, payload], before }) => payload === '-' && before === 2

/** @param {Call} call */
function check(call) {
  const [channel = '', payload] = call.args
  checkChannel(channel)
  if (call.values.whole && !isStream(call))
    throw new UsageError('`--whole` is about standard input: expected `-` as the payload')
  if (payload?.includes('\0')) throw new UsageError('Expected a payload without a zero byte')
}

/** @param {ConnectionPool} pool @param {Call} call */
async function run(pool, call) {
  const { args, values } = call
  const [channel = '', payload = ''] = args
  const options = values.key === undefined ? {} : { key: values.key }
  if (isStream(call) && !values.whole) return publishLines(pool, channel, options, call)
  const text = isStream(call) ? await everything() : payload
  const id = await pool.publish(channel, text, options)
  if (values.json) process.stdout.write(`${jsonLine({ id: `${id}` })}\n`)
  return EXIT.done
}

/** All of standard input. */
async function everything() {
  /** @type {Buffer[]} */
  const chunks = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > MAX_BYTES)
      throw new Failure(`standard input is longer than a payload may be: ${MAX_BYTES} bytes`)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks))
  } catch (cause) {
    throw new Failure('standard input is not UTF-8', { cause })
  }
}

/**
 * @param {ConnectionPool} pool
 * @param {string} channel
 * @param {{ key?: string }} options
 * @param {Call} call
 */
async function publishLines(pool, channel, options, { values, tell }) {
  const ending = new Ending()
  ending.signal.addEventListener('abort', () => process.stdin.destroy())
  let published = 0
  /** How many lines the transaction under way has. */
  let pending = 0
  try {
    for await (const lines of payloadLines(process.stdin, MAX_BYTES)) {
      for (let at = 0; at < lines.length && !ending.signal.aborted; at += BATCH) {
        const some = lines.slice(at, at + BATCH)
        pending = some.length
        const connection = await pool.connection()
        try {
          await connection.transaction((tx) =>
            // They are sent in this order, and all at once.
            Promise.all(some.map((line) => tx.publish(channel, line, options))),
          )
        } finally {
          await connection.close()
        }
        pending = 0
        published += some.length
      }
    }
  } catch (error) {
    // The end of the input is no error; one of a transaction is, whatever has come meanwhile.
    if (!ending.signal.aborted || pending > 0) throw withCount(error, published, pending)
  }
  ending.release()
  process.stdin.destroy()
  if (values.json) process.stdout.write(`${jsonLine({ published })}\n`)
  else tell(`published ${published}`)
  return signalCode(ending.reason) ?? EXIT.done
}

/** @param {unknown} error @param {number} published @param {number} pending */
function withCount(error, published, pending) {
  if (!(error instanceof Error)) return error
  const unknown =
    pending > 0 ? `; lines ${published + 1} to ${published + pending} may have been` : ''
  return Object.assign(error, {
    message: `${error.message} (published ${published} before it${unknown})`,
  })
}

module.exports = { check, run }
