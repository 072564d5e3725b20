// The common part of the iterators: consumers that the user pulls, by calling `next()`.
import {
  ListenerClosedError,
  ListenerGapError,
  ListenerOverflowError,
  ListenerTimeoutError,
  type PglistenError,
} from '../errors.js'
import type { Finished } from '../query/connection.js'
import type { NotificationColumns } from './columns.js'
import type { Gap } from './gap.js'
import type { ListenerContext } from './context.js'
import { UNPARSED, parsePayload, reportOverflow, reportRollback } from './delivery.js'
import { EntryKind, type Inbox } from './inbox.js'
import type { GapMode, ResolvedBatchesOptions } from '../options/iterator.js'
import { Handout, ListenerNotificationMsg } from './message.js'
import { nothing, watchAbortFor } from '../native/abort.js'
import type { Consumer } from '../native/bridge.js'
import { watchBounds } from '../native/bounded-wait.js'
import { queueMicrotask, setImmediate } from '../native/timers.js'
import { isTurnSpent, Turn, type TurnTaker } from '../native/turn.js'
import { resolveWaitOptions, type WaitOptions } from '../options/wait.js'

/** @internal An object that an iterator tells of its progress. */
export interface IteratorWatcher {
  /** Called when the iterator has handed out all notifications before a fence. */
  onFence(fence: number, iterator: PullIterator<unknown>): void
  /**
   * Called when a `next()` starts to wait, and when none waits any more. A waiting iterator may have no other owner.
   */
  onWaiting(iterator: PullIterator<unknown>, waiting: boolean): void
  /** Called when nothing follows any more what was handed out. */
  onExhausted(iterator: PullIterator<unknown>): void
  /** Called when the iteration has ended. */
  onIteratorClosed(iterator: PullIterator<unknown>): void
}

/** @internal A notification as iterators hold it. */
export type Message = ListenerNotificationMsg<unknown>

/** A pending `next()`. */
interface Waiter<Item> {
  resolve(result: IteratorResult<Item, undefined>): void
  reject(error: unknown): void
}

const LEFT_OPEN = "a loop left a transaction open on a message's connection; it was rolled back"

/** @internal In place of an item: there is none yet. */
export const NOTHING = Symbol('nothing')
/** @internal In place of an item: the iteration has ended. */
export const END = Symbol('end')
/**
 * @internal In place of an item: the items that are held have to be handed out first, because a fence stands behind
 * them, or a gap that they must not span.
 */
export const BARRIER = Symbol('barrier')

let abort: (iterator: PullIterator<unknown>, reason: unknown) => void

/**
 * The base of the iterators. It is written by hand, because a generator costs several times as much; and unlike with a
 * generator, `next()` may be called again before the last call has settled.
 */
export abstract class PullIterator<Item>
  implements AsyncIterableIterator<Item>, Consumer, TurnTaker
{
  /** @internal The buffer of this consumer. */
  readonly inbox: Inbox
  readonly #context: ListenerContext
  readonly #watcher: IteratorWatcher
  protected readonly gaps: GapMode
  readonly #channels: ReadonlySet<string> | undefined
  readonly #signal: AbortSignal | undefined
  readonly #turn = new Turn(this)
  readonly #waiters: Waiter<Item>[] = []
  #unwatch = nothing
  #finish: () => void = () => {}
  /** Whether items are being taken: calls from inside must not take another one. */
  #serving = false
  #done = false
  /** Whether a `next()` has waited. */
  #hasWaited = false
  /** How many messages the iterator may still yield. */
  #left: number
  /** The error that ends the iteration; the next `next()` rejects with it. */
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
    this.#left = options.limit
    this.#channels = options.channels && new Set(options.channels)
    this.#signal = options.signal
  }

  /** @internal Resolves when the iteration has ended. */
  readonly finished = new Promise<void>((resolve) => {
    this.#finish = resolve
  })

  /**
   * @internal Starts the iteration. A separate step after the constructor, because a signal that is aborted ends it at
   * once.
   */
  start(): this {
    this.inbox.owner = this
    const signal = this.#signal
    if (signal?.aborted) this.#abort(signal.reason)
    else this.#unwatch = watchAbortFor(signal, this, abort)
    return this
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** @internal */
  onReady(): void {
    this.#serve()
  }

  /** @internal */
  onTurn(): void {
    this.#serve()
  }

  /** Returns the next item; waits if there is none yet. The options bound this wait. */
  next(options?: WaitOptions): Promise<IteratorResult<Item, undefined>> {
    if (options !== undefined) return this.#nextWithin(options)
    this.#finishAll()
    if (this.#waiters.length === 0 && !this.#serving && !this.#done) {
      const item = this.#takeNow()
      if (item !== NOTHING && item !== END) return Promise.resolve({ done: false, value: item })
    }
    return new Promise((resolve, reject) => this.#wait({ resolve, reject }))
  }

  async #nextWithin(options: WaitOptions): Promise<IteratorResult<Item, undefined>> {
    const bounds = resolveWaitOptions(options)
    // Before an item is taken, which would be lost.
    bounds.signal?.throwIfAborted()
    this.#finishAll()
    return new Promise((resolve, reject) => {
      let over = () => {}
      const waiter: Waiter<Item> = {
        resolve: (result) => {
          over()
          resolve(result)
        },
        reject: (error) => {
          over()
          reject(error)
        },
      }
      this.#wait(waiter)
      if (!this.#waiters.includes(waiter)) return
      const giveUp = (error: unknown) => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        if (this.#waiters.length === 0) this.#watcher.onWaiting(this, false)
        reject(error)
      }
      const expire = (timeoutMs: number, lastStride = this.#turn.lastStride) => {
        if (!this.#waiters.includes(waiter)) return
        // What is there already may have to wait for the iterator's turn, which comes behind timers. Once it has come, the time is over:
        // others may use up every turn.
        if (this.#turn.isAwaited && this.#turn.lastStride === lastStride)
          setImmediate(() => expire(timeoutMs, lastStride))
        else giveUp(new ListenerTimeoutError(`the next item took longer than ${timeoutMs} ms`))
      }
      over = watchBounds(bounds, giveUp, expire)
    })
  }

  /** Lets a `next()` wait for its turn, which may be at once. */
  #wait(waiter: Waiter<Item>): void {
    this.#waiters.push(waiter)
    if (this.#waiters.length > 1) return
    this.#serve()
    if (this.#waiters.length === 0) return
    this.#watcher.onWaiting(this, true)
    if (this.#channels && !this.#hasWaited) setImmediate(() => this.#warnOfDeafness())
    this.#hasWaited = true
  }

  /** Warns of channels to which nobody has subscribed: the loop would wait for ever. */
  #warnOfDeafness(): void {
    if (this.#done) return
    const { subscriptions, events } = this.#context
    for (const channel of this.#channels ?? []) {
      if (subscriptions.get(channel)) continue
      const message =
        `an iterator waits for channel \`${channel}\`, to which the listener is not subscribed: ` +
        'the option `channels` only selects; `addChannel()` or `subscribe()` subscribes'
      events.report('warning', { kind: 'usage', message, channel })
    }
  }

  /** Ends the iteration, its leases and its buffer. A `break` in a loop calls it. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    this.close()
    return { done: true, value: undefined }
  }

  /** Ends the iteration, as `return()` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  /** @internal Ends the iteration. */
  close(): void {
    if (this.#done) {
      // Items may have been handed out after the end of the stream.
      this.#finishAll()
      return
    }
    this.#done = true
    this.#finishAll()
    this.#release()
    this.#watcher.onIteratorClosed(this)
    this.#serve()
  }

  /** Gives up the buffer: no item follows any more. */
  #release(): void {
    this.inbox.close()
    this.#unwatch()
    this.#finish()
  }

  /** Makes the next item of the buffered entries. */
  protected abstract take(): Item | typeof NOTHING | typeof END

  /** The handouts whose leases have not ended. Kept when it is empty: an array that grows anew for each item is most of the garbage. */
  readonly #handouts: Handout[] = []
  /** Fences that stand behind the items that are about to be handed out. */
  #fences: number[] = []

  /** @internal Makes the handout for the messages of one item. */
  protected newHandout(): Handout {
    return new Handout(this.#context.leases)
  }

  /** @internal Notes a handout; to be called right before its item is handed out. */
  protected handOut(handout: Handout, messages: number): void {
    this.#handouts.push(handout)
    this.#context.counters.delivered += messages
    this.#left -= messages
    if (!this.isExhausted) return
    // The last messages keep their leases until the next call, or until the run ends the iteration.
    this.#release()
    this.#watcher.onExhausted(this)
  }

  /** @internal Whether the iterator has yielded as many messages as it may. */
  get isExhausted(): boolean {
    return this.#left <= 0
  }

  /** Whether messages were taken and not handed out yet, so that a fence behind them must not be passed. */
  protected get isHolding(): boolean {
    return false
  }

  /** @internal Drops the messages of a removed channel that are held. */
  forget(_channel: string): void {}

  /** Ends the leases of all handouts. */
  #finishAll(): void {
    while (this.#handouts.length > 0) this.#handouts.pop()!.finish(this.#onFinished)
  }

  readonly #onFinished = ({ rolledBack }: Finished, channel: string): void => {
    if (rolledBack) reportRollback(this.#context, LEFT_OPEN, channel)
  }

  /** Passes the fences behind the item that was just handed out. */
  #passFences(): void {
    for (const fence of this.#fences) this.#watcher.onFence(fence, this)
    this.#fences = []
  }

  /** Answers the pending `next()` calls; to be called when a batch that waited for more messages is complete. */
  protected serve(): void {
    this.#serve()
  }

  #abort(reason: unknown): void {
    this.#failure = { error: reason }
    this.close()
  }

  static {
    abort = (iterator, reason) => iterator.#abort(reason)
  }

  /** Whether items of a batch never stand on both sides of a gap. */
  protected get stopsAtGaps(): boolean {
    return false
  }

  /** @internal Takes up to `max` messages at once. After `undefined`, {@link PullIterator.advance} has to be used. */
  protected takeAll(max: number, handout: Handout): Message[] | undefined {
    while (this.#mayTakeAll(max)) {
      const messages = this.inbox.takeAll(max, (channelId, processId, payload) => {
        const channel = this.#nameOf(channelId)
        if (channel === undefined) return undefined
        return new ListenerNotificationMsg<unknown>(processId, channel, payload, handout)
      })
      if (!messages || messages.length > 0) return messages
    }
    return undefined
  }

  /** @internal Takes up to `max` notifications at once, as {@link PullIterator.takeAll} does. */
  protected takeColumns(max: number): NotificationColumns | undefined {
    while (this.#mayTakeAll(max)) {
      const columns = this.inbox.takeColumns(max, this.#nameOf)
      if (!columns || columns.length > 0) return columns
    }
    return undefined
  }

  /** Whether entries may be taken at once. If so, they are there, and charged. */
  #mayTakeAll(max: number): boolean {
    if (this.#context.options.parse || !this.inbox.isWhole || isTurnSpent()) return false
    return this.inbox.hasNext(max) && this.#turn.charge(max)
  }

  /** The name of a channel whose notifications the iterator yields. */
  readonly #nameOf = (channelId: number): string | undefined => {
    const name = this.#context.subscriptions.byId(channelId)?.name
    if (name === undefined || !this.#channels) return name
    return this.#channels.has(name) ? name : undefined
  }

  /** @internal Moves to the next message or gap that the iterator yields. */
  protected advance(
    handout: Handout,
  ): Message | Gap | typeof NOTHING | typeof END | typeof BARRIER {
    const { inbox } = this
    const context = this.#context
    for (;;) {
      // A handler of a `gap` or `error` event may have ended the iteration.
      if (this.#done) return END
      if (this.isExhausted) {
        this.close()
        return END
      }
      if (!isTurnSpent() && !inbox.hasNext()) return NOTHING
      if (isTurnSpent() || !this.#turn.charge()) {
        // A loop over buffered entries never leaves the microtask queue by itself.
        this.#turn.yield()
        return NOTHING
      }
      inbox.advance()
      if (inbox.kind === EntryKind.Notification) {
        const message = this.#message(handout)
        if (message) return message
      } else if (inbox.kind === EntryKind.Gap) {
        if (this.stopsAtGaps && this.isHolding) {
          inbox.back()
          return BARRIER
        }
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
        if (this.isHolding) return BARRIER
        this.#passFences()
      } else {
        if (inbox.error) return this.fail(closedError(inbox.error))
        this.close()
        return END
      }
    }
  }

  /** Ends the iteration with an error, which follows the items that were made before. */
  protected fail(error: unknown): typeof END {
    this.#failure = { error }
    this.close()
    return END
  }

  /** Makes a message of the present notification. Returns `undefined` if the iterator does not yield it. */
  #message(handout: Handout): Message | undefined {
    const { inbox } = this
    const context = this.#context
    const channel = this.#nameOf(inbox.channelId)
    if (channel === undefined) return undefined
    let payload: unknown = inbox.payload
    const { parse } = context.options
    if (parse) {
      payload = parsePayload(context, parse, channel, inbox.payload, inbox.processId)
      if (payload === UNPARSED) return undefined
    }
    return new ListenerNotificationMsg(inbox.processId, channel, payload, handout)
  }

  /** Takes the next item for a `next()` that is not pending yet. */
  #takeNow(): Item | typeof NOTHING | typeof END {
    this.#serving = true
    let item: Item | typeof NOTHING | typeof END
    try {
      item = this.take()
    } finally {
      this.#serving = false
    }
    if (item !== NOTHING && item !== END && this.#fences.length > 0) this.#passFences()
    // `parse` and event handlers may have called `next()` meanwhile.
    if (this.#waiters.length > 0) queueMicrotask(() => this.#serve())
    return item
  }

  /** Answers the pending `next()` calls with the items that there are. */
  #serve(): void {
    // Not from inside: taking the last item closes the iterator, which calls this again.
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

/** @internal Makes the error for a listener that gave up: iterators throw it, and the event `closed` has it. */
export function closedError(cause: PglistenError): PglistenError {
  return cause instanceof ListenerOverflowError || cause instanceof ListenerClosedError
    ? cause
    : new ListenerClosedError(`the listener gave up: ${cause.message}`, { cause })
}
