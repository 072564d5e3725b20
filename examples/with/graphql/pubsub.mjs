// The engine that graphql-subscriptions asks for, on PostgreSQL: each trigger is a channel.

import { PubSubEngine } from 'graphql-subscriptions'

export class PglistenPubSub extends PubSubEngine {
  #pool
  #listener
  #last = 0
  /** Removes the callbacks of a subscription. @type {Map<number, () => Promise<void>>} */
  #removals = new Map()

  /** @param {import('pglisten').ConnectionPool} pool @param {import('pglisten').Listener} listener One that is started. */
  constructor(pool, listener) {
    super()
    this.#pool = pool
    this.#listener = listener
  }

  /** The payload of a notification is text of at most 7,999 bytes: send ids, and let resolvers read the rest. */
  async publish(trigger, payload) {
    await this.#pool.notify(trigger, JSON.stringify(payload))
  }

  async subscribe(trigger, onMessage) {
    const remove = await this.#listener.addCallback(trigger, (connection, payload) => {
      onMessage(JSON.parse(payload))
    })
    // Notifications may be missing: subscribers are told so in their place.
    const tell = () => onMessage({ again: true })
    this.#listener.addGapCallback(tell)
    this.#last += 1
    this.#removals.set(this.#last, async () => {
      this.#listener.removeGapCallback(tell)
      await remove()
    })
    return this.#last
  }

  async unsubscribe(id) {
    const remove = this.#removals.get(id)
    this.#removals.delete(id)
    await remove?.()
  }
}
