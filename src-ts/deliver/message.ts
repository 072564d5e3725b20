// A notification as an iterator yields it.
import { Connection, type Finished, type LeaseSource } from '../query/connection.js'

/** @internal What was handed out at once: the leases of its messages end together. */
export class Handout {
  readonly #source: LeaseSource
  #used: { connection: Connection; channel: string }[] | undefined
  #isOver = false

  constructor(source: LeaseSource) {
    this.#source = source
  }

  /** A connection for a message of that channel. */
  connection(channel: string): Connection {
    const connection = Connection.lazy(this.#source)
    if (this.#isOver) void connection.finish()
    else (this.#used ??= []).push({ connection, channel })
    return connection
  }

  /** Ends the leases. `onFinished` is told of each that was taken. */
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
   * A connection of the pool, leased at its first use. Its lease ends when the next message is asked for, or the
   * loop ends; used after that, it throws {@link ConnectionClosedError}.
   */
  get connection(): Connection {
    this.#connection ??= this.#handout.connection(this.channel)
    return this.#connection
  }
}
