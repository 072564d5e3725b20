// @ts-check
// Runs a program for each notification: without a shell, so that nothing a notification holds is ever a command.
'use strict'

/** @import { ChildProcess } from 'node:child_process' */

const { spawn } = require('node:child_process')
const { visible } = require('./terminal.js')

/** What a program gets: its standard input, and variables of its environment. @typedef {{ input: string, channel: string, variables: Record<string, string> }} Task */

class Programs {
  /** How many have failed. */
  failed = 0
  /** Why no program can be started at all. @type {Error | undefined} */
  broken
  #file
  #args
  #atOnce
  #tell
  #signal
  /** @type {Set<ChildProcess>} */
  #running = new Set()
  /** Called when a program has ended. @type {Array<() => void>} */
  #waiting = []

  /**
   * @param {string} file
   * @param {string[]} args
   * @param {{ atOnce: number, tell: (line: string) => void, signal: AbortSignal }} options `signal`: at its end nobody waits
   *   for room any more.
   */
  constructor(file, args, { atOnce, tell, signal }) {
    this.#file = file
    this.#args = args
    this.#atOnce = atOnce
    this.#tell = tell
    this.#signal = signal
    signal.addEventListener('abort', () => this.#wake())
  }

  /** Starts the program. Resolves once another one may be started. @param {Task} task */
  async run(task) {
    this.#start(task)
    await this.#until(() => this.#running.size < this.#atOnce || this.#signal.aborted)
  }

  /** Resolves once all have ended. */
  async ended() {
    await this.#until(() => this.#running.size === 0)
  }

  /** Sends a signal to those that run. @param {NodeJS.Signals} signal */
  kill(signal) {
    for (const child of this.#running) child.kill(signal)
  }

  /** @param {() => boolean} condition */
  async #until(condition) {
    while (!condition())
      await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)))
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** @param {Task} task */
  #start({ input, channel, variables }) {
    const child = spawn(this.#file, this.#args, {
      shell: false,
      stdio: ['pipe', 'inherit', 'inherit'],
      env: { ...process.env, ...variables },
    })
    this.#running.add(child)
    const { stdin } = child
    // A program need not read its input.
    stdin.on('error', () => {})
    stdin.end(input)
    const over = (/** @type {string | undefined} */ failure) => {
      if (!this.#running.delete(child)) return
      if (failure !== undefined) {
        this.failed += 1
        this.#tell(`${visible(this.#file)} ${failure}, for a notification of ${visible(channel)}`)
      }
      this.#wake()
    }
    child.on('error', (error) => {
      if (child.pid === undefined) this.broken = error
      over(`could not be started (${error.message})`)
    })
    child.on('exit', (code, signal) => {
      over(code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`)
    })
  }
}

module.exports = { Programs }
