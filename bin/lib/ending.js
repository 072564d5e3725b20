// @ts-check
// What ends a command that would go on for ever: a signal, a time, or a reader that has gone.
'use strict'

/** @typedef {'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'timeout' | 'reader'} Reason */

/** The exit codes that shells give to a program that a signal has ended. */
const SIGNALS = Object.freeze({ SIGHUP: 129, SIGINT: 130, SIGTERM: 143 })

/**
 * Ends a command once, for the first reason that comes. A second signal ends the process at once.
 */
class Ending {
  /** @type {Reason | undefined} */
  reason
  #controller = new AbortController()
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  /** @type {Array<(signal: NodeJS.Signals) => void>} */
  #onSecond = []

  constructor() {
    for (const [name, code] of Object.entries(SIGNALS)) {
      const signal = /** @type {keyof typeof SIGNALS} */ (name)
      process.on(signal, () => {
        if (this.reason === undefined) this.end(signal)
        else {
          for (const act of this.#onSecond) act(signal)
          process.exit(code)
        }
      })
    }
  }

  /** Aborted at the end. */
  get signal() {
    return this.#controller.signal
  }

  /** @param {number | undefined} ms */
  after(ms) {
    if (ms !== undefined) this.#timer = setTimeout(() => this.end('timeout'), ms)
  }

  /** @param {Reason} reason */
  end(reason) {
    if (this.reason !== undefined) return
    this.reason = reason
    clearTimeout(this.#timer)
    this.#controller.abort()
  }

  /** The end is no longer waited for; signals still end the process. */
  release() {
    clearTimeout(this.#timer)
  }

  /** Called at a second signal, before the process ends. @param {(signal: NodeJS.Signals) => void} act */
  onSecondSignal(act) {
    this.#onSecond.push(act)
  }
}

/** The exit code of a command that a signal kept from what it was asked for. @param {Reason | undefined} reason */
const signalCode = (reason) =>
  reason !== undefined && reason in SIGNALS
    ? SIGNALS[/** @type {keyof typeof SIGNALS} */ (reason)]
    : undefined

module.exports = { Ending, signalCode }
