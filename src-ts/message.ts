// A notification as an iterator yields it.
import { Connection } from './connection.js'
import type { LeaseSource } from './connection.js'

/**
 * A notification.
 *
 * @typeParam Payload - What `parse` makes of a payload; the text itself without `parse`.
 */
export class ListenerNotificationMsg<Payload = string, Channel extends string = string> {
  /** The process id of the notifying backend: the notifier's `pg_backend_pid()`. */
  readonly processId: number
  /** The channel, exactly as it was subscribed to. */
  readonly channel: Channel
  /** The payload: the text as sent, or what `parse` made of it. */
  readonly payload: Payload
  readonly #leases: LeaseSource
  #connection: Connection | undefined
  #finished = false

  /** @internal */
  constructor(processId: number, channel: Channel, payload: Payload, leases: LeaseSource) {
    this.processId = processId
    this.channel = channel
    this.payload = payload
    this.#leases = leases
  }

  /**
   * A connection of the pool, leased at its first use. Its lease ends when the next message is asked for, or the
   * loop ends; used after that, it throws {@link ConnectionClosedError}.
   */
  get connection(): Connection {
    if (!this.#connection) {
      this.#connection = Connection.lazy(this.#leases)
      if (this.#finished) void this.#connection.finish()
    }
    return this.#connection
  }

  /** @internal Ends the lease, if there is one. */
  static finish(
    message: ListenerNotificationMsg<unknown>,
  ): Promise<{ rolledBack: boolean }> | undefined {
    message.#finished = true
    return message.#connection?.finish()
  }
}
