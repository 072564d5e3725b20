// What the console remembers, all of it bounded: a page that is opened later starts with it.

/**
 * @typedef {import('./wire.js').Message} Message
 * @typedef {import('./wire.js').GapRecord} GapRecord
 */

/** How many seconds the rates go back. */
export const SECONDS = 300
const MAX_MESSAGES = 200
const MAX_GAPS = 100

/**
 * @typedef {object} ChannelRecord
 * @property {number} total How many messages there were.
 * @property {number} current How many there were in the second that is not over.
 * @property {number[]} seconds How many there were in each of the last seconds, the newest last.
 */

export class Record {
  /** @type {Map<string, ChannelRecord>} */
  channels = new Map()
  /** Messages of the last samples. @type {Message[]} */
  messages = []
  /** @type {GapRecord[]} */
  gaps = []
  /** When the newest whole second ended, in milliseconds since 1970. */
  secondEndedAt
  #gapCount = 0

  /** @param {number} now */
  constructor(now) {
    this.secondEndedAt = now
  }

  /** @param {string} name */
  open(name) {
    let channel = this.channels.get(name)
    if (channel === undefined) {
      channel = { total: 0, current: 0, seconds: [] }
      this.channels.set(name, channel)
    }
    return channel
  }

  /** Forgets the counts of a channel. @param {string} name */
  drop(name) {
    this.channels.delete(name)
  }

  /** Ends a second. @param {number} now @returns {{ [channel: string]: number }} The counts of the second that ended. */
  endSecond(now) {
    this.secondEndedAt = now
    /** @type {Array<[string, number]>} */
    const counts = []
    for (const [name, channel] of this.channels) {
      channel.seconds.push(channel.current)
      if (channel.seconds.length > SECONDS) channel.seconds.shift()
      counts.push([name, channel.current])
      channel.current = 0
    }
    return Object.fromEntries(counts)
  }

  /** @param {Message[]} messages */
  keep(messages) {
    this.messages.push(...messages)
    if (this.messages.length > MAX_MESSAGES) this.messages = this.messages.slice(-MAX_MESSAGES)
  }

  /** @param {import('pglisten').Gap} gap @param {number} after @returns {GapRecord} */
  keepGap({ reason, lostAt, resumedAt, dropped, message }, after) {
    this.#gapCount += 1
    const record = {
      id: this.#gapCount,
      after,
      reason,
      lostAt: lostAt.getTime(),
      resumedAt: resumedAt.getTime(),
      dropped,
      message,
    }
    this.gaps.push(record)
    if (this.gaps.length > MAX_GAPS) this.gaps.shift()
    return record
  }

  /** Everything, for a page that is new. */
  snapshot() {
    const channels = [...this.channels].map(([name, { total, seconds }]) => ({
      name,
      total,
      seconds,
    }))
    return {
      channels,
      messages: this.messages,
      gaps: this.gaps,
      secondEndedAt: this.secondEndedAt,
    }
  }
}
