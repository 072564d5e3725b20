// What a contestant's process spends between two moments, and how long its timers had to wait meanwhile.

import fs from 'node:fs'

/** How often the timer is meant to fire, in milliseconds. */
const INTERVAL_MS = 1

/**
 * @typedef {object} Spent
 * @property {number} spanNs From the first delivery to the last.
 * @property {number} processCpuNs All threads' time on a processor.
 * @property {number | null} threadCpuNs That of the JavaScript thread alone; `null` where the system does not tell.
 * @property {number} longestDelayMs The longest time between two turns of a timer of 1 ms.
 * @property {number} peakBytes The most memory that the process ever had.
 */

/** The main thread's time on a processor, in nanoseconds. */
const openThreadTime = () => {
  const file = `/proc/${process.pid}/task/${process.pid}/schedstat`
  if (!fs.existsSync(file)) return () => null
  return () => Number(fs.readFileSync(file, 'latin1').split(' ')[0])
}

const processCpuNs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) * 1000
}

/** How often the threads of this process have waited so far. `NaN` where the system does not tell. */
export function wakesOfThreads() {
  const tasks = `/proc/${process.pid}/task`
  if (!fs.existsSync(tasks)) return Number.NaN
  let wakes = 0
  for (const thread of fs.readdirSync(tasks)) {
    const status = fs.readFileSync(`${tasks}/${thread}/status`, 'latin1')
    wakes += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1])
  }
  return wakes
}

export class Meter {
  #threadTime = openThreadTime()
  #threadAt = this.#threadTime()
  #processAt = processCpuNs()
  /** @type {number | undefined} */
  #firstAt
  #lookedAt = 0
  #longestDelay = 0
  /** @type {NodeJS.Timeout | undefined} */
  #timer

  /** Something was delivered. To be called for the first delivery; costs nothing for the others. */
  first() {
    if (this.#firstAt !== undefined) return
    this.#firstAt = performance.now()
    this.#lookedAt = this.#firstAt
    // Not before, and without any work: what the timer costs is counted too.
    this.#timer = setInterval(() => this.#look(performance.now()), INTERVAL_MS)
  }

  /** The last delivery. @returns {Spent} */
  end() {
    const endAt = performance.now()
    const threadEnd = this.#threadTime()
    const processEnd = processCpuNs()
    clearInterval(this.#timer)
    this.#look(endAt)
    return {
      spanNs: (endAt - (this.#firstAt ?? endAt)) * 1e6,
      processCpuNs: processEnd - this.#processAt,
      threadCpuNs:
        threadEnd === null || this.#threadAt === null ? null : threadEnd - this.#threadAt,
      longestDelayMs: this.#longestDelay,
      peakBytes: process.resourceUsage().maxRSS * 1024,
    }
  }

  /** @param {number} now */
  #look(now) {
    this.#longestDelay = Math.max(this.#longestDelay, now - this.#lookedAt)
    this.#lookedAt = now
  }
}
