// What a contestant's process spends between two moments, and how long its timers had to wait meanwhile.

import fs from 'node:fs'

/** How often the timer is meant to fire, in milliseconds. */
const INTERVAL_MS = 1

/**
 * @typedef {object} Spent
 * @property {number} spanNs From the first delivery to the last.
 * @property {number} processCpuNs All threads' time on a processor.
 * @property {number | null} threadCpuNs That of the JavaScript thread alone; `null` where the system does not tell.
 * @property {number} longestDelayMs The longest time without a timer.
 * @property {number} longestOwnDelayMs The same, less the time in which other programs had the processors.
 * @property {number} peakBytes The most memory that the process ever had.
 */

/** The main thread's time on a processor and its time of waiting for one, in nanoseconds. */
const openThreadTimes = () => {
  const file = `/proc/${process.pid}/task/${process.pid}/schedstat`
  if (!fs.existsSync(file)) return () => ({ ran: null, waited: 0 })
  const descriptor = fs.openSync(file, 'r')
  const buffer = Buffer.alloc(128)
  return () => {
    const length = fs.readSync(descriptor, buffer, 0, buffer.length, 0)
    const [ran = 0, waited = 0] = buffer.toString('latin1', 0, length).split(' ').map(Number)
    return { ran, waited }
  }
}

const processCpuNs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

export class Meter {
  #threadTimes = openThreadTimes()
  #threadAt = this.#threadTimes()
  #processAt = processCpuNs()
  /** @type {number | undefined} */
  #firstAt
  #longestDelay = 0
  #longestOwnDelay = 0
  #lookedAt = performance.now()
  #waitedAt = 0
  #timer

  /** Starts to measure. */
  constructor() {
    this.#waitedAt = this.#threadAt.waited
    this.#timer = setInterval(() => this.#look(), INTERVAL_MS)
  }

  /** Something was delivered. To be called for the first delivery; costs nothing for the others. */
  first() {
    this.#firstAt ??= performance.now()
  }

  /** The last delivery. @returns {Spent} */
  end() {
    const endAt = performance.now()
    const { ran } = this.#threadTimes()
    const processEnd = processCpuNs()
    this.#look()
    clearInterval(this.#timer)
    return {
      spanNs: (endAt - (this.#firstAt ?? endAt)) * 1e6,
      processCpuNs: processEnd - this.#processAt,
      threadCpuNs: ran === null || this.#threadAt.ran === null ? null : ran - this.#threadAt.ran,
      longestDelayMs: this.#longestDelay,
      longestOwnDelayMs: this.#longestOwnDelay,
      peakBytes: process.resourceUsage().maxRSS * 1024,
    }
  }

  #look() {
    const now = performance.now()
    const { waited } = this.#threadTimes()
    const delay = now - this.#lookedAt
    const foreign = Math.min((waited - this.#waitedAt) / 1e6, delay)
    this.#longestDelay = Math.max(this.#longestDelay, delay)
    this.#longestOwnDelay = Math.max(this.#longestOwnDelay, delay - foreign)
    this.#lookedAt = now
    this.#waitedAt = waited
  }
}
