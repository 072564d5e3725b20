// @ts-check
// Exit codes, and errors as a line for people. Nothing here prints an argument that may hold a password.
'use strict'

const { visible } = require('./terminal.js')

/** The exit codes of every command; what they mean for one of them stands in its `--help`. */
const EXIT = Object.freeze({
  /** What was asked for was done. */
  done: 0,
  /** It could not be done; of `doctor`: there are findings. */
  failed: 1,
  /** The arguments are wrong; of `doctor`: also no connection. */
  usage: 2,
  /** A program of `--exec` failed. */
  program: 3,
  /** The time of `--timeout` was over before `--count` was reached, as with timeout(1). */
  timeout: 124,
})

/** Arguments that the command does not understand. */
class UsageError extends Error {}

/** Errors of the library that say what is wrong with an argument. @type {WeakSet<object>} */
const ofArguments = new WeakSet()

/** Marks an error of the library as one of the arguments. @param {unknown} error */
function blameArguments(error) {
  if (typeof error === 'object' && error !== null) ofArguments.add(error)
}

/** Whether an error says that arguments are wrong. @param {unknown} error */
const isUsage = (error) =>
  error instanceof UsageError ||
  (typeof error === 'object' && error !== null && ofArguments.has(error))

/** Something that is wrong, and is said by its message alone. */
class Failure extends Error {}

/**
 * An error in one line: the message, the server's hint, and the codes.
 * @param {unknown} error
 * @returns {string}
 */
function describeError(error) {
  if (error instanceof UsageError || error instanceof Failure) return error.message
  if (!(error instanceof Error)) return visible(String(error))
  const { code, sqlState, hint } =
    /** @type {Error & { code?: unknown, sqlState?: unknown, hint?: unknown }} */ (error)
  const codes = [sqlState, code].filter((one) => typeof one === 'string').join(', ')
  // An error without a code is a defect of the command: where it happened is what helps.
  if (codes === '') return error.stack ?? error.message
  const help = typeof hint === 'string' ? `; ${hint}` : ''
  return visible(`${error.message}${help} (${codes})`)
}

module.exports = { EXIT, Failure, UsageError, blameArguments, describeError, isUsage }
