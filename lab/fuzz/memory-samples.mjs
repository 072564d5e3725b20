// Whether memory grows with the number of sessions: looked at all the time, and judged by the slope of the second half, when the pools
// of the allocator and of V8 have filled up. One look alone says little, because it may meet any number of sessions.

/** How many looks. */
const LOOKS = 100
/** Fewer sessions are over before memory has warmed up, and are not judged. */
const LEAST_SESSIONS = 5000
/** What may be left of each session, in bytes: a few times what the slope of a flat memory is away from 0. */
const MOST_LEFT = { rss: 1024, heap: 256 }

/** @typedef {{ sessions: number, rss: number, heap: number }} Sample */

/**
 * The median of the slopes between any two samples, which a few outliers do not change.
 * @param {readonly Sample[]} samples
 * @param {'rss' | 'heap'} of
 */
function slope(samples, of) {
  const slopes = samples.flatMap((a, index) =>
    samples.slice(index + 1).map((b) => (b[of] - a[of]) / (b.sessions - a.sessions)),
  )
  return median(slopes)
}

/** @param {number[]} numbers */
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

/** @param {number} bytes */
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`

export class MemorySamples {
  #every
  #total
  /** @type {Sample[]} */
  #samples = []

  /** @param {number} total How many sessions there will be. */
  constructor(total) {
    this.#total = total
    this.#every = Math.max(1, Math.floor(total / LOOKS))
  }

  /** Looks, now and then. @param {number} sessions How many were begun before the one that has ended. */
  take(sessions) {
    if (sessions % this.#every !== 0) return
    globalThis.gc?.()
    const { rss, heapUsed } = process.memoryUsage()
    this.add({ sessions, rss, heap: heapUsed })
  }

  /** @param {Sample} sample */
  add(sample) {
    this.#samples.push(sample)
  }

  /** Whether memory stays as it is, in words too. */
  judge() {
    const half = this.#samples.filter(({ sessions }) => sessions > this.#total / 2)
    const parts = /** @type {const} */ (['rss', 'heap']).map((of) => {
      const left = slope(half, of)
      const middle = median(half.map((sample) => sample[of]))
      const text = `${of} ${mib(middle)}, ${left.toFixed(0)} bytes for each session (at most ${MOST_LEFT[of]})`
      return { isFlat: left <= MOST_LEFT[of], text }
    })
    const text = `memory in the second half: ${parts.map((part) => part.text).join('; ')}`
    if (this.#total < LEAST_SESSIONS) {
      return { isFlat: true, text: `${text}; not judged below ${LEAST_SESSIONS} sessions` }
    }
    return { isFlat: parts.every((part) => part.isFlat), text }
  }
}
