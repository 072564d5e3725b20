// The time on a processor that a process and its JavaScript thread spend between two moments.

import fs from 'node:fs'

/**
 * How the JavaScript thread's time is told here. An event loop's active time is no time on a processor: it counts while the
 * thread waits for one.
 * @type {'process.threadCpuUsage' | 'schedstat' | 'event loop, active'}
 */
export const THREAD_TIME =
  'threadCpuUsage' in process
    ? 'process.threadCpuUsage'
    : process.platform === 'linux' && fs.existsSync(schedstat())
      ? 'schedstat'
      : 'event loop, active'

/** Linux tells each thread's time; the main thread has the id of the process. */
function schedstat() {
  return `/proc/${process.pid}/task/${process.pid}/schedstat`
}

/** In milliseconds, from any beginning. @type {Record<typeof THREAD_TIME, () => number>} */
const READ = {
  'process.threadCpuUsage': () => {
    const { threadCpuUsage } = /** @type {{ threadCpuUsage: typeof process.cpuUsage }} */ (
      /** @type {unknown} */ (process)
    )
    return milliseconds(threadCpuUsage())
  },
  schedstat: () => Number(fs.readFileSync(schedstat(), 'latin1').split(' ')[0]) / 1e6,
  'event loop, active': () => performance.eventLoopUtilization().active,
}

/** @param {NodeJS.CpuUsage} usage */
const milliseconds = ({ user, system }) => (user + system) / 1000

export class Spent {
  #thread = READ[THREAD_TIME]()
  #process = milliseconds(process.cpuUsage())

  /** @returns {{ threadMs: number, processMs: number }} Since this was made. */
  end() {
    return {
      threadMs: READ[THREAD_TIME]() - this.#thread,
      processMs: milliseconds(process.cpuUsage()) - this.#process,
    }
  }
}
