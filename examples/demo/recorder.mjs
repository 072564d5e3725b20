// What one consumer saw, and what is wrong with it when held against the log of what was sent.

/**
 * @typedef {{ n: number, client: number, transaction: number, at: number }} Order
 * @typedef {{ n: number, client: number, transaction: number }} Sent
 *
 * @typedef {object} Verdict
 * @property {number} received
 * @property {number} missing Sent and never received.
 * @property {number} unexpected Received, but never committed, or a second time.
 * @property {number} outOfOrder Before something the same client committed earlier, or amid another transaction.
 */

export class Recorder {
  name
  /** In order of arrival. @type {number[]} */
  numbers = []
  inserts = 0
  /** Milliseconds from the trigger to here, the rest of the transaction and its commit included. @type {number[]} */
  latencies = []
  #clockOffsetMs
  #inserted
  /** @type {number[]} */
  #transactions = []
  /** @type {number[]} */
  #clients = []

  /**
   * @param {string} name
   * @param {string} inserted The channel of inserted orders.
   * @param {number} clockOffsetMs What the server's clock is ahead of ours.
   */
  constructor(name, inserted, clockOffsetMs) {
    this.name = name
    this.#inserted = inserted
    this.#clockOffsetMs = clockOffsetMs
  }

  /** @param {string} channel @param {string} payload */
  record(channel, payload) {
    const now = performance.timeOrigin + performance.now()
    const order = /** @type {Order} */ (JSON.parse(payload))
    this.numbers.push(order.n)
    this.#clients.push(order.client)
    this.#transactions.push(order.transaction)
    if (channel === this.#inserted) this.inserts += 1
    this.latencies.push(now + this.#clockOffsetMs - order.at)
  }

  /**
   * @param {ReadonlyMap<number, Sent>} sent By `n`.
   * @returns {Verdict}
   */
  judge(sent) {
    const seen = new Set()
    let unexpected = 0
    for (const n of this.numbers) {
      if (!sent.has(n) || seen.has(n)) unexpected += 1
      seen.add(n)
    }
    let missing = 0
    for (const n of sent.keys()) if (!seen.has(n)) missing += 1
    return { received: this.numbers.length, missing, unexpected, outOfOrder: this.#outOfOrder() }
  }

  /**
   * Commits of different clients have no order that the tables could tell. What they do tell: each
   * client's own commits have one, and a transaction arrives in one piece.
   */
  #outOfOrder() {
    /** @type {Map<number, number>} */
    const lastOfClient = new Map()
    const ended = new Set()
    let current = -1
    let count = 0
    this.numbers.forEach((n, index) => {
      const client = /** @type {number} */ (this.#clients[index])
      const transaction = /** @type {number} */ (this.#transactions[index])
      if (transaction !== current) {
        ended.add(current)
        current = transaction
      }
      const last = lastOfClient.get(client) ?? 0
      if (n <= last || ended.has(transaction)) count += 1
      lastOfClient.set(client, Math.max(n, last))
    })
    return count
  }
}

/**
 * The commit order is one: at how many places two consumers disagree about it, among what both saw.
 * @param {Recorder} one @param {Recorder} other
 */
export function disagreements(one, other) {
  const inOne = new Set(one.numbers)
  const inOther = new Set(other.numbers)
  const ofOne = one.numbers.filter((n) => inOther.has(n))
  const ofOther = other.numbers.filter((n) => inOne.has(n))
  return ofOne.filter((n, index) => n !== ofOther[index]).length
}

/** @param {readonly number[]} sorted @param {number} share */
export function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
