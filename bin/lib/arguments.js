// @ts-check
// The arguments of a command, read by Node's own parser.
'use strict'

const { parseArgs } = require('node:util')
const { UsageError } = require('./errors.js')
const { visible } = require('./terminal.js')

const text = /** @type {const} */ ({ type: 'string' })
const flag = /** @type {const} */ ({ type: 'boolean' })

/** Options that every command which connects has. */
const help = /** @type {const} */ ({ type: 'boolean', short: 'h' })
const COMMON = { dsn: text, quiet: flag, help }

/** Their lines of a help text. */
const COMMON_HELP = `  --dsn DSN          the server, as a URL or key=value pairs (DATABASE_URL, else PGHOST, PGUSER, PGPASSWORD, …)
  --quiet            say nothing on standard error but errors
  --help             show this text`

/**
 * @typedef {Record<string, { type: 'string' | 'boolean', short?: string }>} OptionTable
 */

const ADDRESS =
  'Expected the address of the server after `--dsn`, or in DATABASE_URL, got an argument that is one (not shown: it may hold a password)'

const POSTGRES = /^\s*postgres(ql)?:\/\//i

/**
 * Whether a text is the address of a server, or would be one but for its scheme: nobody names a channel so.
 * @param {string} text
 */
const isAddress = (text) =>
  POSTGRES.test(text) ||
  /^\s*[a-z][a-z\d+.-]*:\/\/\S*@/i.test(text) ||
  /(^|\s)password\s*=/i.test(text) ||
  /^\s*(host|hostaddr|port|dbname|user|service)\s*=\s*\S+\s+\w+\s*=/i.test(text)

/** What may be a whole address with its password, or a part of one. */
const MAY_BE_SECRET = /[@=]|:\/\//

/** An argument as errors quote it. @param {string} text */
const shown = (text) =>
  MAY_BE_SECRET.test(text)
    ? 'something else (not shown: it may hold a password)'
    : `\`${visible(text)}\``

/** Refuses the address of a server. @param {string} text */
function checkAddress(text) {
  if (isAddress(text)) throw new UsageError(ADDRESS)
}

/**
 * @template {OptionTable} Options
 * @param {string[]} args
 * @param {Options} options
 * @returns {{ values: { [Name in keyof Options]?: Options[Name]['type'] extends 'boolean' ? boolean : string },
 *   positionals: string[], rest: string[] | undefined }} `rest` is what follows `--`.
 */
function parse(args, options) {
  const end = args.indexOf('--')
  const before = end === -1 ? args : args.slice(0, end)
  const rest = end === -1 ? undefined : args.slice(end + 1)
  try {
    const { values, positionals } = parseArgs({
      args: before,
      options,
      allowPositionals: true,
      allowNegative: true,
    })
    // Of what may be a payload, the clear case alone: such a payload stands after --.
    if (positionals.some((one) => POSTGRES.test(one))) throw new UsageError(ADDRESS)
    return { values, positionals, rest }
  } catch (error) {
    if (error instanceof UsageError) throw error
    // The rest of Node's message is about `--`.
    const [message = ''] = /** @type {Error} */ (error).message.split('. ')
    throw new UsageError(message)
  }
}

/**
 * A number of an option.
 * @param {string} name
 * @param {string | undefined} value
 * @param {{ min: number, max: number, integer?: boolean }} bounds
 * @returns {number | undefined} `undefined` where the option was not given.
 */
function number(name, value, { min, max, integer = false }) {
  if (value === undefined) return undefined
  const parsed = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
  if (!(parsed >= min && parsed <= max) || (integer && !Number.isInteger(parsed))) {
    const kind = integer ? 'an integer' : 'a number'
    throw new UsageError(
      `Expected \`${name}\` to be ${kind} from ${min} to ${max}, got ${shown(value)}`,
    )
  }
  return parsed
}

/** The longest time that a timer takes, in seconds. */
const MAX_SECONDS = 2_147_483
/** The longest age of events: a hundred years, in seconds. */
const MAX_AGE_SECONDS = 3_155_760_000

/**
 * A number of seconds that are waited for, in milliseconds.
 * @param {string} name
 * @param {string | undefined} value
 * @param {number} [max]
 */
function seconds(name, value, max = MAX_SECONDS) {
  const parsed = number(name, value, { min: 0, max })
  // A fraction of a second may have no exact number.
  return parsed === undefined ? undefined : Math.round(parsed * 1000)
}

/**
 * An age in seconds, in milliseconds. Nobody waits for it, so it may be longer than a timer takes.
 * @param {string} name
 * @param {string | undefined} value
 */
const age = (name, value) => seconds(name, value, MAX_AGE_SECONDS)

/** PostgreSQL cuts longer names (NAMEDATALEN). */
const MAX_CHANNEL_BYTES = 63

/**
 * Refuses what cannot be the name of a channel.
 * @param {string} channel
 */
function checkChannel(channel) {
  checkAddress(channel)
  const bytes = Buffer.byteLength(channel)
  if (bytes === 0 || bytes > MAX_CHANNEL_BYTES || channel.includes('\0')) {
    throw new UsageError(
      `Expected a channel's name of 1 to ${MAX_CHANNEL_BYTES} bytes, got ${bytes} bytes`,
    )
  }
}

module.exports = {
  COMMON,
  COMMON_HELP,
  parse,
  number,
  seconds,
  age,
  shown,
  checkAddress,
  checkChannel,
  text,
  flag,
}
