// The iterators: over single messages, and over batches, as arrays of messages or in columns.
import { clearTimeout, setTimeout } from '../native/timers.js'
import { GrowingColumns, type NotificationColumns } from '../deliver/columns.js'
import { Gap } from '../deliver/gap.js'
import type { ListenerContext } from '../deliver/context.js'
import type { Inbox } from '../deliver/inbox.js'
import type { Handout } from '../deliver/message.js'
import type { ResolvedBatchesOptions } from '../options/iterator.js'
import {
  END,
  BARRIER,
  type IteratorWatcher,
  type Message,
  NOTHING,
  PullIterator,
} from '../deliver/pull-iterator.js'

/** The most messages that cross from Rust at once for a batch. */
const MOST_AT_ONCE = 1024

/** @internal Yields one message at a time. */
export class MessageIterator extends PullIterator<Message | Gap> {
  protected take(): Message | Gap | typeof NOTHING | typeof END {
    const handout = this.newHandout()
    const item = this.advance(handout)
    if (item === NOTHING || item === END) return item
    // Cannot happen: this iterator holds no messages back, so nothing stops it.
    if (item === BARRIER) return NOTHING
    this.handOut(handout, this.gaps === 'include' && item instanceof Gap ? 0 : 1)
    return item
  }
}

/** The base of the iterators over batches: fills one until it is full, or has waited for long enough. */
abstract class FillingIterator<Item> extends PullIterator<Item> {
  readonly #maxSize: number
  readonly #maxWaitMs: number
  /** The handout for the messages of the present batch. */
  #handout = this.newHandout()
  /** Ends the wait for a full batch. */
  #timer: NodeJS.Timeout | undefined
  /** Whether `maxWaitMs` is over for the present batch. */
  #waited = false

  constructor(
    context: ListenerContext,
    watcher: IteratorWatcher,
    inbox: Inbox,
    options: ResolvedBatchesOptions,
  ) {
    super(context, watcher, inbox, options)
    this.#maxSize = options.maxSize
    this.#maxWaitMs = options.maxWaitMs
  }

  /** How many items the present batch holds. */
  protected abstract get size(): number
  /** How many of them are messages. */
  protected abstract get messages(): number
  /** Adds up to `max` messages at once, and returns how many. After 0 they have to be added one by one. */
  protected abstract fill(max: number, handout: Handout): number
  /** Adds a message or a gap. Returns whether nothing may follow it in the present batch. */
  protected abstract add(item: Message | Gap): boolean
  /** Gives the present batch, and begins the next one. */
  protected abstract takeBatch(): Item

  protected take(): Item | typeof NOTHING | typeof END {
    while (this.size < this.#maxSize) {
      const max = Math.min(this.#maxSize - this.size, MOST_AT_ONCE)
      const filled = this.fill(max, this.#handout)
      if (filled > 0) {
        if (filled < max && this.#maxWaitMs === 0) break
        continue
      }
      const item = this.advance(this.#handout)
      if (item === BARRIER) break
      if (item === END) return this.size > 0 ? this.#complete() : END
      if (item === NOTHING) {
        if (this.size === 0) return NOTHING
        if (this.#maxWaitMs === 0 || this.#waited) break
        this.#timer ??= setTimeout(() => {
          this.#waited = true
          this.serve()
        }, this.#maxWaitMs)
        return NOTHING
      }
      if (this.add(item)) break
    }
    return this.#complete()
  }

  protected override get isHolding(): boolean {
    return this.size > 0
  }

  override close(): void {
    clearTimeout(this.#timer)
    super.close()
  }

  /** Hands out the present batch, and begins the next one. */
  #complete(): Item {
    this.stopWaiting()
    this.handOut(this.#handout, this.messages)
    this.#handout = this.newHandout()
    return this.takeBatch()
  }

  /** Lets the next message begin the wait anew. */
  protected stopWaiting(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#waited = false
  }
}

/** @internal Yields arrays of messages. */
export class BatchIterator extends FillingIterator<(Message | Gap)[]> {
  #batch: (Message | Gap)[] = []

  protected get size(): number {
    return this.#batch.length
  }

  protected get messages(): number {
    if (this.gaps !== 'include') return this.size
    return this.#batch.filter((item) => !(item instanceof Gap)).length
  }

  protected fill(max: number, handout: Handout): number {
    const messages = this.takeAll(max, handout)
    if (!messages) return 0
    if (this.size === 0) this.#batch = messages
    else for (const message of messages) this.#batch.push(message)
    return messages.length
  }

  protected add(item: Message | Gap): boolean {
    this.#batch.push(item)
    return false
  }

  protected takeBatch(): (Message | Gap)[] {
    const batch = this.#batch
    this.#batch = []
    return batch
  }

  override forget(channel: string): void {
    this.#batch = this.#batch.filter((item) => item instanceof Gap || item.channel !== channel)
    if (this.size === 0) this.stopWaiting()
  }
}

/** @internal Yields columns, and gaps between them. */
export class ColumnsIterator extends FillingIterator<NotificationColumns<unknown> | Gap> {
  readonly #columns = new GrowingColumns()
  /** The gap that is the present batch. */
  #gap: Gap | undefined

  protected override get stopsAtGaps(): boolean {
    return true
  }

  protected get size(): number {
    return this.#gap ? 1 : this.#columns.length
  }

  protected get messages(): number {
    return this.#columns.length
  }

  protected fill(max: number): number {
    const columns = this.takeColumns(max)
    if (!columns) return 0
    this.#columns.append(columns)
    return columns.length
  }

  protected add(item: Message | Gap): boolean {
    if (item instanceof Gap) {
      this.#gap = item
      return true
    }
    this.#columns.add(item.payload, item.channel, item.processId)
    return false
  }

  protected takeBatch(): NotificationColumns<unknown> | Gap {
    const gap = this.#gap
    this.#gap = undefined
    return gap ?? this.#columns.take()
  }

  override forget(channel: string): void {
    this.#columns.forget(channel)
    if (this.size === 0) this.stopWaiting()
  }
}
