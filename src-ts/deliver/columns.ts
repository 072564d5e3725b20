// Notifications in columns: the shape of a batch that makes no object for each of them.

/**
 * Notifications in columns, in their order: the notification `i` has the payload `payloads[i]`, came over the channel
 * `channels[i]`, and was sent by the backend `processIds[i]`. Yielded by {@link Listener.batches} with the option
 * `shape: 'columns'`.
 *
 * @typeParam Payload - The type that `parse` returns; `string` without `parse`.
 * @typeParam Channel - The names that the channels may have.
 */
export interface NotificationColumns<Payload = string, Channel extends string = string> {
  /** The payloads: the values that `parse` returned, or the texts as sent. */
  payloads: Payload[]
  /** The names of the channels, exactly as in the subscriptions. */
  channels: Channel[]
  /** The process ids of the notifying backends. */
  processIds: Int32Array
  /** How many notifications there are: from 1 to `maxSize`. */
  length: number
}

/** @internal Columns that are being filled. */
export class GrowingColumns {
  #payloads: unknown[] = []
  #channels: string[] = []
  /** Those of the columns that came first, which often are all. */
  #processIds: Int32Array | number[] = []

  /** How many notifications there are. */
  get length(): number {
    return this.#payloads.length
  }

  /** Adds a notification. */
  add(payload: unknown, channel: string, processId: number): void {
    this.#growing().push(processId)
    this.#payloads.push(payload)
    this.#channels.push(channel)
  }

  /** Adds the notifications of other columns, which belong to this from now on. */
  append({ payloads, channels, processIds, length }: NotificationColumns<unknown>): void {
    if (this.length === 0) {
      this.#payloads = payloads
      this.#channels = channels
      this.#processIds = processIds
      return
    }
    for (let index = 0; index < length; index += 1)
      this.add(payloads[index], channels[index]!, processIds[index]!)
  }

  /** Drops the notifications of a channel. */
  forget(channel: string): void {
    const isKept = (_: unknown, index: number) => this.#channels[index] !== channel
    this.#payloads = this.#payloads.filter(isKept)
    this.#processIds = this.#growing().filter(isKept)
    this.#channels = this.#channels.filter(isKept)
  }

  /** Gives the columns, and begins with none again. */
  take(): NotificationColumns<unknown> {
    const [payloads, channels] = [this.#payloads, this.#channels]
    const processIds =
      this.#processIds instanceof Int32Array ? this.#processIds : new Int32Array(this.#processIds)
    this.#payloads = []
    this.#channels = []
    this.#processIds = []
    return { payloads, channels, processIds, length: payloads.length }
  }

  #growing(): number[] {
    if (this.#processIds instanceof Int32Array) this.#processIds = [...this.#processIds]
    return this.#processIds
  }
}
