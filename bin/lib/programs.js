// @ts-check
// Runs a program for each notification: without a shell, so that nothing a notification holds is ever a command.
'use strict'

/** @import { ChildProcess } from 'node:child_process' */

const { spawn } = require('node:child_process')
const { visible } = require('./terminal.js')

/** What a program gets: its standard input, and variables of its environment. @typedef {{ input: string, channel: string, variables: Record<string, string> }} Task */

/** Whether programs are in process groups of their own. Windows has none: it would open a window. */
const OWN_GROUP = process.platform !== 'win32'

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
    const child = this.#start(task)
    // Of one that could not be started the reason comes a moment later.
    const isTold = () => child === undefined || child.pid !== undefined || !this.#running.has(child)
    const hasRoom = () => this.#running.size < this.#atOnce || this.#signal.aborted
    await this.#until(() => isTold() && hasRoom())
  }

  /** Resolves once all have ended. */
  async ended() {
    await this.#until(() => this.#running.size === 0)
  }

  /** Sends a signal to those that run, and to what they have started. @param {NodeJS.Signals} signal */
  kill(signal) {
    for (const child of this.#running) {
      try {
        if (OWN_GROUP && child.pid !== undefined) process.kill(-child.pid, signal)
        else child.kill(signal)
      } catch {
        // It has just ended.
      }
    }
  }

  /** @param {() => boolean} condition */
  async #until(condition) {
    while (!condition())
      await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)))
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** @param {Task} task @returns {ChildProcess | undefined} */
  #start({ input, channel, variables }) {
    const failed = (/** @type {string} */ how) => {
      this.failed += 1
      this.#tell(`${visible(this.#file)} ${how}, for a notification of ${visible(channel)}`)
    }
    const notStarted = (/** @type {unknown} */ error) => {
      this.broken = /** @type {Error} */ (error)
      failed(`could not be started (${this.broken.message})`)
    }
    /** @type {ChildProcess} */
    let child
    try {
      child = spawn(this.#file, this.#args, {
        shell: false,
        // A terminal sends Ctrl-C to all of its foreground group, and the program at hand is to end by itself.
        detached: OWN_GROUP,
        stdio: ['pipe', 'inherit', 'inherit'],
        env: { ...process.env, ...variables },
      })
    } catch (error) {
      notStarted(error)
      return undefined
    }
    this.#running.add(child)
    child.on('error', (error) => {
      // A signal that could not be sent is no end.
      if (child.pid !== undefined || !this.#running.delete(child)) return
      notStarted(error)
      this.#wake()
    })
    child.on('exit', (code, signal) => {
      if (!this.#running.delete(child)) return
      if (code !== 0) failed(`ended with ${signal ?? `exit code ${code}`}`)
      this.#wake()
    })
    // There is none where the system has no descriptor left. A program need not read its input.
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
    return child
  }
}

module.exports = { Programs }
