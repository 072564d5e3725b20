// Chooses the messages that pages are sent. Each message is counted; of more than pages can show, the newest of each channel
// are kept, so that a busy channel hides no quiet one.

/** @typedef {import('./wire.js').Message} Message */

/** @typedef {{ messages: Message[], count: number }} Ring The oldest message is overwritten by the next one. */

/** What was not used is saved up for so long: a short burst is shown whole. */
const SAVED_MS = 1000

export class Sampler {
  /** How many messages there were since the beginning. */
  count = 0
  #perMs
  #most
  #allowance
  #refilledAt
  #seen = 0
  /** The newest messages of each channel since the last sample. @type {Map<string, Ring>} */
  #newest = new Map()

  /** @param {{ perSecond: number, now: number }} options */
  constructor({ perSecond, now }) {
    this.#perMs = perSecond / 1000
    this.#most = Math.max(1, Math.floor(this.#perMs * SAVED_MS))
    this.#allowance = this.#most
    this.#refilledAt = now
  }

  /** @param {string} channel @param {string} payload @param {number} processId @param {number} at */
  add(channel, payload, processId, at) {
    this.count += 1
    const message = { id: this.count, at, channel, processId, payload }
    let ring = this.#newest.get(channel)
    if (ring === undefined) {
      ring = { messages: [], count: 0 }
      this.#newest.set(channel, ring)
    }
    ring.messages[ring.count % this.#most] = message
    ring.count += 1
    this.#seen += 1
  }

  /**
   * Takes a sample of what was added since the last one, in its order.
   * @param {number} now
   * @returns {{ messages: Message[], seen: number }} `seen` is how many messages the sample stands for.
   */
  take(now) {
    const refill = Math.max(0, now - this.#refilledAt) * this.#perMs
    this.#allowance = Math.min(this.#most, this.#allowance + refill)
    this.#refilledAt = now
    const lists = [...this.#newest.values()].map((ring) => ring.messages)
    const messages = share(lists, Math.floor(this.#allowance))
    const seen = this.#seen
    this.#allowance -= messages.length
    this.#newest.clear()
    this.#seen = 0
    return { messages, seen }
  }
}

/**
 * The newest of each list, the same number from each as far as it has them, and not more than `most` in all.
 * @param {Message[][]} lists @param {number} most
 */
function share(lists, most) {
  let left = most
  const byLength = lists.toSorted((one, other) => one.length - other.length)
  const chosen = byLength.flatMap((list, index) => {
    const part = Math.min(list.length, Math.ceil(left / (byLength.length - index)), left)
    left -= part
    return list.toSorted((one, other) => other.id - one.id).slice(0, part)
  })
  return chosen.sort((one, other) => one.id - other.id)
}
