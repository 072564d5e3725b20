// @ts-check
// Standard output: waits for a slow reader, and notices one that has gone.
'use strict'

/** @import { Ending } from './ending.js' */

const { writeSync } = require('node:fs')
const { EXIT } = require('./errors.js')

/** How long the rest of the output is waited for once the command ends. */
const FLUSH_MS = 1000

/**
 * Takes the errors of standard output, which would end the process at once: a command closes what it has opened. Without room on a disk it
 * has failed in the end, without a reader it has not.
 */
function guardOutput() {
  /** @type {Error | undefined} */
  let failure
  process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
    // Such as `| head -1`, or a terminal that was closed.
    if (error.code !== 'EPIPE' && error.code !== 'EIO') failure ??= error
  })
  process.on('exit', () => {
    if (failure === undefined) return
    process.exitCode = EXIT.failed
    try {
      writeSync(
        process.stderr.fd,
        `pglisten: cannot write to standard output: ${failure.message}\n`,
      )
    } catch {
      // Nobody reads that either.
    }
  })
}

/** Writes to standard output. Nothing piles up: each write waits until the one before has been taken. */
class Output {
  #ending

  /** @param {Ending} ending */
  constructor(ending) {
    this.#ending = ending
    process.stdout.on('error', () => ending.end('reader'))
  }

  /**
   * Writes, and resolves once the system has taken it, or the command ends and its reader does not go on.
   * @param {string} text
   * @returns {Promise<void>}
   */
  write(text) {
    return new Promise((resolve) => {
      /** @type {NodeJS.Timeout | undefined} */
      let timer
      const settle = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', onEnd)
        resolve()
      }
      const onEnd = () => (timer = setTimeout(settle, FLUSH_MS))
      const { signal } = this.#ending
      if (signal.aborted) onEnd()
      else signal.addEventListener('abort', onEnd, { once: true })
      process.stdout.write(text, settle)
    })
  }

  /**
   * The exit code of a command that has ended. What its reader did not take would keep the process alive, so that is given up.
   * @param {number} code
   */
  exitCode(code) {
    if (this.#ending.reason !== undefined && process.stdout.writableLength > 0) process.exit(code)
    return code
  }
}

/**
 * Lines for people on standard error, unless `--quiet`. A reader that has gone is none of our business.
 * @param {boolean | undefined} quiet
 * @returns {(line: string) => void}
 */
function teller(quiet) {
  process.stderr.on('error', () => {})
  return quiet ? () => {} : (line) => void process.stderr.write(`pglisten: ${line}\n`)
}

module.exports = { Output, guardOutput, teller }
