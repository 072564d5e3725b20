// The two iterators: over single messages, and over batches of messages.
import { clearTimeout, setTimeout } from '../native/timers.js'
import { Gap } from '../deliver/gap.js'
import type { ListenerContext } from '../deliver/context.js'
import type { Inbox } from '../deliver/inbox.js'
import type { ResolvedBatchesOptions } from '../options/iterator.js'
import {
  END,
  FENCE,
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
    // Cannot happen: this iterator holds no messages back, so a fence never stops it.
    if (item === FENCE) return NOTHING
    this.handOut(handout, this.gaps === 'include' && item instanceof Gap ? 0 : 1)
    return item
  }
}

/** @internal Yields arrays of messages. */
export class BatchIterator extends PullIterator<(Message | Gap)[]> {
  readonly #maxSize: number
  readonly #maxWaitMs: number
  /** The batch that is being filled. */
  #batch: (Message | Gap)[] = []
  /** The handout for the messages of `#batch`. */
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

  protected take(): (Message | Gap)[] | typeof NOTHING | typeof END {
    if (this.#batch.length === 0) {
      const max = Math.min(this.#maxSize, MOST_AT_ONCE)
      this.#batch = this.takeAll(max, this.#handout) ?? this.#batch
      const isAll = this.#batch.length > 0 && this.#batch.length < max
      if (isAll && this.#maxWaitMs === 0) return this.#complete()
    }
    while (this.#batch.length < this.#maxSize) {
      const item = this.advance(this.#handout)
      if (item === FENCE) break
      if (item === END) return this.#batch.length > 0 ? this.#complete() : END
      if (item === NOTHING) {
        if (this.#batch.length === 0) return NOTHING
        if (this.#maxWaitMs === 0 || this.#waited) break
        this.#timer ??= setTimeout(() => {
          this.#waited = true
          this.serve()
        }, this.#maxWaitMs)
        return NOTHING
      }
      this.#batch.push(item)
    }
    return this.#complete()
  }

  protected override get isHolding(): boolean {
    return this.#batch.length > 0
  }

  override forget(channel: string): void {
    this.#batch = this.#batch.filter((item) => item instanceof Gap || item.channel !== channel)
    if (this.#batch.length === 0) this.#stopWaiting()
  }

  override close(): void {
    clearTimeout(this.#timer)
    super.close()
  }

  /** Hands out the present batch, and begins the next one. */
  #complete(): (Message | Gap)[] {
    this.#stopWaiting()
    const batch = this.#batch
    const gaps = this.gaps === 'include' ? batch.filter((item) => item instanceof Gap).length : 0
    this.handOut(this.#handout, batch.length - gaps)
    this.#batch = []
    this.#handout = this.newHandout()
    return batch
  }

  #stopWaiting(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#waited = false
  }
}
