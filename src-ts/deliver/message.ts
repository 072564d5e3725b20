// A notification as an iterator yields it.
import { brand } from '../brand.js'
import { Connection, type Finished, type LeaseSource } from '../query/connection.js'

/** @internal The messages that an iterator hands out together: their leases end together. */
export class Handout {
  readonly #source: LeaseSource
  #used: { connection: Connection; channel: string }[] | undefined
  #isOver = false

  constructor(source: LeaseSource) {
    this.#source = source
  }

  /** Makes a connection for a message of `channel`. */
  connection(channel: string): Connection {
    const connection = Connection.lazy(this.#source, channel)
    if (this.#isOver) void connection.finish()
    else (this.#used ??= []).push({ connection, channel })
    return connection
  }

  /** Ends the leases, and calls `onFinished` for each one that was taken. */
  finish(onFinished: (finished: Finished, channel: string) => void): void {
    this.#isOver = true
    const used = this.#used
    if (!used) return
    this.#used = undefined
    for (const { connection, channel } of used) {
      void connection.finish()?.then((finished) => onFinished(finished, channel))
    }
  }
}

/**
 * A notification, as an iterator yields it.
 *
 * @typeParam Payload - The type that `parse` returns; `string` without `parse`.
 * @typeParam Channel - The names that the channel may have.
 */
export class ListenerNotificationMsg<Payload = string, Channel extends string = string> {
  /** The process id of the notifying backend: the notifier's `pg_backend_pid()`. */
  readonly processId: number
  /** The name of the channel, exactly as in the subscription. */
  readonly channel: Channel
  /** The payload: the value that `parse` returned, or the text as sent. */
  readonly payload: Payload
  readonly #handout: Handout
  #connection: Connection | undefined

  /** @internal */
  constructor(processId: number, channel: Channel, payload: Payload, handout: Handout) {
    this.processId = processId
    this.channel = channel
    this.payload = payload
    this.#handout = handout
  }

  /**
   * A connection of the pool, leased at its first use. The lease ends when the loop asks for its next item, or ends;
   * from then on the methods of the connection reject with {@link ConnectionClosedError}.
   */
  get connection(): Connection {
    this.#connection ??= this.#handout.connection(this.channel)
    return this.#connection
  }
}

brand(ListenerNotificationMsg, 'ListenerNotificationMsg')
