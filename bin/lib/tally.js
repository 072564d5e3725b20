// @ts-check
// What has come over each channel: how many in all, how many a second, and the last one.
'use strict'

/** Rates are those of the last so many ticks. */
const TICKS = 10
/** More of a payload is never shown. */
const SHOWN = 500

/** @typedef {{ total: number, rate: number, lastAt: number | undefined, payload: string }} ChannelTally */

class Tally {
  total = 0
  /** @type {Map<string, ChannelTally & { counts: number[], now: number }>} */
  #channels = new Map()
  /** The lengths of the last ticks, in seconds. @type {number[]} */
  #ticks = []

  /** Channels without a notification are shown too. @param {string} channel */
  know(channel) {
    let known = this.#channels.get(channel)
    if (known === undefined) {
      known = { total: 0, rate: 0, lastAt: undefined, payload: '', counts: [], now: 0 }
      this.#channels.set(channel, known)
    }
    return known
  }

  /** @param {string} channel @param {string} payload @param {number} at */
  add(channel, payload, at) {
    const known = this.know(channel)
    known.total += 1
    known.now += 1
    known.lastAt = at
    known.payload = payload.slice(0, SHOWN)
    this.total += 1
  }

  /** Ends a tick of so many seconds. @param {number} seconds */
  tick(seconds) {
    this.#ticks = [...this.#ticks, seconds].slice(-TICKS)
    const elapsed = this.#ticks.reduce((sum, one) => sum + one, 0)
    for (const known of this.#channels.values()) {
      known.counts = [...known.counts, known.now].slice(-this.#ticks.length)
      known.now = 0
      known.rate = known.counts.reduce((sum, one) => sum + one, 0) / elapsed
    }
  }

  get rate() {
    let sum = 0
    for (const { rate } of this.#channels.values()) sum += rate
    return sum
  }

  /** The busiest first. @returns {[channel: string, tally: ChannelTally][]} */
  get channels() {
    return [...this.#channels].sort(
      ([a, one], [b, other]) => other.total - one.total || (a < b ? -1 : 1),
    )
  }
}

module.exports = { Tally }
