// What all consumers that are pulled have in common.
import {
  ListenerClosedError,
  ListenerGapError,
  ListenerOverflowError,
  type PglistenError,
} from '../errors.js'
import type { Finished } from '../query/connection.js'
import type { Gap } from './gap.js'
import type { ListenerContext } from './context.js'
import { UNPARSED, parsePayload, reportOverflow, reportRollback } from './delivery.js'
import { EntryKind, type Inbox } from './inbox.js'
import type { GapMode, ResolvedBatchesOptions } from '../options/iterator.js'
import { Handout, ListenerNotificationMsg } from './message.js'
import { Turn } from '../native/turn.js'

/** @internal Who is told what an iterator does. */
export interface IteratorWatcher {
  /** Everything before a fence was handed out. */
  onFence(fence: number, iterator: PullIterator<unknown>): void
  /** The iterator is waiting, or not any more: while it is, nobody else may hold it. */
  onWaiting(iterator: PullIterator<unknown>, waiting: boolean): void
  onIteratorClosed(iterator: PullIterator<unknown>): void
}

/** @internal */
export type Message = ListenerNotificationMsg<unknown>

interface Waiter<Item> {
  resolve(result: IteratorResult<Item, undefined>): void
  reject(error: unknown): void
}

const LEFT_OPEN = "a loop left a transaction open on a message's connection; it was rolled back"

/** @internal What the next item is: made, not there yet, or the end. */
export const NOTHING = Symbol('nothing')
/** @internal */
export const END = Symbol('end')
/** @internal What is held is to be handed out, because a fence stands behind it. */
export const FENCE = Symbol('fence')

/**
 * An asynchronous iterator by hand: several times cheaper than a generator, and `next()` may be called again before
 * the last one has settled.
 */
export abstract class PullIterator<Item> implements AsyncIterableIterator<Item, undefined> {
  /** @internal */
  readonly inbox: Inbox
  readonly #context: ListenerContext
  readonly #watcher: IteratorWatcher
  protected readonly gaps: GapMode
  readonly #channels: ReadonlySet<string> | undefined
  readonly #signal: AbortSignal | undefined
  readonly #turn = new Turn(() => this.#serve())
  readonly #waiters: Waiter<Item>[] = []
  #finish: () => void = () => {}
  #serving = false
  #done = false
  /** Thrown once, by the next `next()`. */
  #failure: { error: unknown } | undefined

  /** @internal */
  constructor(
    context: ListenerContext,
    watcher: IteratorWatcher,
    inbox: Inbox,
    options: ResolvedBatchesOptions,
  ) {
    this.#context = context
    this.#watcher = watcher
    this.inbox = inbox
    this.gaps = options.gaps
    this.#channels = options.channels && new Set(options.channels)
    this.#signal = options.signal
  }

  /** @internal Resolves when the iteration has ended. */
  readonly finished = new Promise<void>((resolve) => {
    this.#finish = resolve
  })

  /** @internal Starts it. Not in the constructor: a signal may be aborted already, which ends it at once. */
  start(): this {
    this.inbox.owner = { onReady: () => this.#serve() }
    if (this.#signal?.aborted) this.#abort()
    else this.#signal?.addEventListener('abort', this.#abort, { once: true })
    return this
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** The next item; waits for it if need be. */
  next(): Promise<IteratorResult<Item, undefined>> {
    this.#finishAll()
    if (this.#waiters.length === 0 && !this.#serving && !this.#done) {
      const item = this.#takeNow()
      if (item !== NOTHING && item !== END) return Promise.resolve({ done: false, value: item })
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      if (this.#waiters.length > 1) return
      this.#serve()
      if (this.#waiters.length > 0) this.#watcher.onWaiting(this, true)
    })
  }

  /** Ends the iteration and releases what it holds. A `break` in a loop calls it. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    this.close()
    return { done: true, value: undefined }
  }

  /** Ends the iteration, as `return()` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  /** @internal */
  close(): void {
    if (this.#done) {
      // What was handed out at the very end.
      this.#finishAll()
      return
    }
    this.#done = true
    this.#finishAll()
    this.inbox.close()
    this.#signal?.removeEventListener('abort', this.#abort)
    this.#watcher.onIteratorClosed(this)
    this.#serve()
    this.#finish()
  }

  /** Makes the next item of what is there. */
  protected abstract take(): Item | typeof NOTHING | typeof END

  /** What was handed out, and whose leases have not ended. */
  #handouts: Handout[] = []
  /** Fences that stand behind what is about to be handed out. */
  #fences: number[] = []

  /** @internal What is going to be handed out together. */
  protected newHandout(): Handout {
    return new Handout(this.#context.leases)
  }

  /** @internal To be called with what is about to be handed out. */
  protected handOut(handout: Handout, messages: number): void {
    this.#handouts.push(handout)
    this.#context.counters.delivered += messages
  }

  /** Whether something was taken that is not handed out yet: a fence must not be passed before that. */
  protected get isHolding(): boolean {
    return false
  }

  /** @internal A channel was removed: nothing that is held of it is handed out. */
  forget(_channel: string): void {}

  /** Ends the leases of what was handed out. */
  #finishAll(): void {
    if (this.#handouts.length === 0) return
    const handouts = this.#handouts
    this.#handouts = []
    for (const handout of handouts) handout.finish(this.#onFinished)
  }

  readonly #onFinished = ({ rolledBack }: Finished, channel: string): void => {
    if (rolledBack) reportRollback(this.#context, LEFT_OPEN, channel)
  }

  #passFences(): void {
    for (const fence of this.#fences) this.#watcher.onFence(fence, this)
    this.#fences = []
  }

  /** To be called when a batch that was waiting for more is complete. */
  protected serve(): void {
    this.#serve()
  }

  readonly #abort = (): void => {
    this.#failure = { error: this.#signal!.reason }
    this.close()
  }

  /** @internal Takes up to `max` messages at once. `undefined`: {@link PullIterator.advance} has to be used. */
  protected takeAll(max: number, handout: Handout): Message[] | undefined {
    const { subscriptions, options } = this.#context
    if (options.parse) return undefined
    for (;;) {
      if (this.#turn.isExhausted || !this.inbox.hasNext(max) || !this.#turn.charge(max))
        return undefined
      const messages = this.inbox.takeAll(max, (channelId, processId, payload) => {
        const channel = subscriptions.byId(channelId)
        if (!channel || (this.#channels && !this.#channels.has(channel.name))) return undefined
        return new ListenerNotificationMsg<unknown>(processId, channel.name, payload, handout)
      })
      if (!messages || messages.length > 0) return messages
    }
  }

  /** @internal Moves to the next message or gap that is for the user. */
  protected advance(handout: Handout): Message | Gap | typeof NOTHING | typeof END | typeof FENCE {
    const { inbox } = this
    const context = this.#context
    for (;;) {
      // Whoever is told of a gap or of a failure may have ended the iteration.
      if (this.#done) return END
      if (!this.#turn.isExhausted && !inbox.hasNext()) return NOTHING
      if (this.#turn.isExhausted || !this.#turn.charge()) {
        // A loop over what is buffered never leaves the microtask queue by itself.
        this.#turn.yield()
        return NOTHING
      }
      inbox.advance()
      if (inbox.kind === EntryKind.Notification) {
        const message = this.#message(handout)
        if (message) return message
      } else if (inbox.kind === EntryKind.Gap) {
        const gap = inbox.gap!
        reportOverflow(context, gap)
        if (this.gaps === 'include') return gap
        if (this.gaps === 'throw') {
          return this.fail(
            new ListenerGapError(`notifications may be missing: ${gap.message}`, gap),
          )
        }
      } else if (inbox.kind === EntryKind.Fence) {
        this.#fences.push(inbox.fence)
        if (this.isHolding) return FENCE
        this.#passFences()
      } else {
        if (inbox.error) return this.fail(closedError(inbox.error))
        this.close()
        return END
      }
    }
  }

  /** The iteration ends with an error, once what was made before has been yielded. */
  protected fail(error: unknown): typeof END {
    this.#failure = { error }
    this.close()
    return END
  }

  #message(handout: Handout): Message | undefined {
    const { inbox } = this
    const context = this.#context
    const channel = context.subscriptions.byId(inbox.channelId)
    if (!channel || (this.#channels && !this.#channels.has(channel.name))) return undefined
    let payload: unknown = inbox.payload
    const { parse } = context.options
    if (parse) {
      payload = parsePayload(context, parse, channel.name, inbox.payload, inbox.processId)
      if (payload === UNPARSED) return undefined
    }
    return new ListenerNotificationMsg(inbox.processId, channel.name, payload, handout)
  }

  /** Takes the next item on behalf of a `next()` that need not wait for it. */
  #takeNow(): Item | typeof NOTHING | typeof END {
    this.#serving = true
    let item: Item | typeof NOTHING | typeof END
    try {
      item = this.take()
    } finally {
      this.#serving = false
    }
    if (item !== NOTHING && item !== END && this.#fences.length > 0) this.#passFences()
    // `parse` and event handlers may have asked meanwhile.
    if (this.#waiters.length > 0) queueMicrotask(() => this.#serve())
    return item
  }

  #serve(): void {
    // Taking the last item closes the iterator, which serves whoever waits for more.
    if (this.#serving) return
    this.#serving = true
    try {
      this.#serveWaiters()
    } finally {
      this.#serving = false
    }
  }

  #serveWaiters(): void {
    while (this.#waiters.length > 0) {
      const item = this.#done ? END : this.take()
      if (item === NOTHING) return
      const waiter = this.#waiters.shift()!
      if (item !== END) {
        waiter.resolve({ done: false, value: item })
        this.#passFences()
      } else if (this.#failure) {
        const { error } = this.#failure
        this.#failure = undefined
        waiter.reject(error)
      } else {
        waiter.resolve({ done: true, value: undefined })
      }
    }
    this.#watcher.onWaiting(this, false)
  }
}

/** @internal What an iterator throws, and `closed` tells, when the listener gave up. */
export function closedError(cause: PglistenError): PglistenError {
  return cause instanceof ListenerOverflowError || cause instanceof ListenerClosedError
    ? cause
    : new ListenerClosedError(`the listener gave up: ${cause.message}`, { cause })
}
