// The listener: psqlpy's API. What it is subscribed to lives here; what is running lives in `run.ts`.
import type { NativePool } from '#native'
import { Connection, type LeaseSource } from '../query/connection.js'
import { ListenerClosedError, ListenerStartError } from '../errors.js'
import { ListenerEmitter } from '../deliver/events.js'
import type { Gap } from '../deliver/gap.js'
import {
  type BatchesOptions,
  type GapMode,
  type MessagesOptions,
  resolveBatchesOptions,
  resolveMessagesOptions,
} from '../options/iterator.js'
import type { Consumers } from './consumers.js'
import { BatchIterator, MessageIterator } from './iterators.js'
import type {
  ListenerPayloads,
  ListenerState,
  GapCallback,
  MessageOf,
  ItemOf,
  MessageStream,
  ShutdownOptions,
  SyncOptions,
  ListenerStats,
} from './types.js'
import type { ResolvedListenerOptions } from '../options/listener.js'
import type { Counters, ListenerContext } from '../deliver/context.js'
import type { PullIterator } from '../deliver/pull-iterator.js'
import { Lifecycle } from './lifecycle.js'
import { Run } from './run.js'
import { NOTHING_COUNTED, listenerStats } from './statistics.js'
import {
  type ListenerCallback,
  Registration,
  type Subscription,
  Subscriptions,
} from '../deliver/subscriptions.js'
import { checkChannel } from '../options/validate.js'
import {
  DEFAULT_SHUTDOWN_TIMEOUT_MS,
  checkCallback,
  resolveShutdownOptions,
  resolveSyncOptions,
} from './arguments.js'

/**
 * Listens to channels of PostgreSQL. Made by {@link ConnectionPool.listener}; its session is its own, outside the pool.
 *
 * Delivery is at most once, and never silently less: whatever can be known to be missing is told by a {@link Gap}, at
 * its place among the notifications.
 *
 * @typeParam Payloads - The payload of each channel, as `parse` makes it.
 */
export class Listener<Payloads extends ListenerPayloads = Record<string, string>>
  extends ListenerEmitter
  implements AsyncDisposable
{
  readonly #pool: NativePool
  readonly #options: ResolvedListenerOptions
  readonly #subscriptions = new Subscriptions()
  readonly #context: ListenerContext & { gapCallbacks: Registration<[Connection, Gap]>[] }
  readonly #counters: Counters = {
    delivered: 0,
    callbackErrors: 0,
    gaps: 0,
    dropped: 0,
    received: 0,
    reconnects: 0,
  }
  readonly #checkPool: () => void
  /** That of the present run; between two runs, one that rests. */
  #lifecycle = Lifecycle.idle()
  #run: Run | undefined
  #connection: Connection | undefined
  #keepAlive = true
  #onAbort: () => void = () => {}

  /** @internal */
  constructor(
    pool: NativePool,
    leases: LeaseSource,
    options: ResolvedListenerOptions,
    checkPool: () => void,
  ) {
    super()
    this.#pool = pool
    this.#options = options
    this.#checkPool = checkPool
    this.#context = {
      options,
      subscriptions: this.#subscriptions,
      gapCallbacks: [],
      leases,
      events: this,
      counters: this.#counters,
    }
    for (const name of options.channels) this.#subscriptions.open(name).explicit = true
  }

  /** Whether the listener is up: from the end of `startup()` to `shutdown()`, or until it gives up. */
  get isStarted(): boolean {
    return this.#lifecycle.isStarted
  }

  /** What the listener is doing: `idle` before the first `startup()`, `closed` after `shutdown()` or when it gave up. */
  get state(): ListenerState {
    return this.#lifecycle.state
  }

  /** The channels that it is subscribed to, or will be at `startup()`. */
  get channels(): string[] {
    return this.#subscriptions.names
  }

  /**
   * The listening session's own connection. What is done with it is done to the session: while a transaction is open
   * on it, the server delivers nothing. Throws {@link ListenerStartError} when the listener is not started; while the
   * session is lost, its methods reject with {@link ConnectionClosedError}.
   */
  get connection(): Connection {
    const run = this.#started('The listener has no connection: it is not started')
    if (!this.#connection || this.#connection.isClosed) {
      this.#connection = Connection.session(() => run.lease())
    }
    return this.#connection
  }

  /**
   * Connects and subscribes to every channel known so far. Resolves once the LISTENs are committed: every NOTIFY
   * committed from then on is delivered or covered by a gap.
   *
   * Rejects when the first connection fails, and leaves nothing running; with {@link ListenerStartError} when it is
   * started already. Allowed again after `shutdown()`.
   */
  async startup(): Promise<void> {
    const lifecycle = this.#lifecycle.begin()
    this.#options.signal?.throwIfAborted()
    this.#checkPool()
    const before = this.#run
    const run = new Run(this.#context, this.#pool, lifecycle, this.#keepAlive)
    this.#run = run
    this.#lifecycle = lifecycle
    this.#connection = undefined
    // It gave up, so there is nothing to wait for.
    void before?.shutdown(false, DEFAULT_SHUTDOWN_TIMEOUT_MS)
    this.#watchSignal(this.#options.signal)
    const started = run.start(this.#subscriptions)
    for (const subscription of this.#subscriptions) subscription.ready = started
    try {
      await started
    } catch (error) {
      this.#forget(run)
      throw error
    }
    lifecycle.succeed()
  }

  /**
   * Ends the session. Interrupts whatever the listener is doing, ends every iterator, and resolves once the server has
   * closed the session, or after `timeoutMs`. A callback that is running goes on, but nothing waits for it, except with
   * `drain` (do not await that in a callback: it would wait for itself, until the time is up).
   *
   * Callbacks and channels stay registered: `startup()` and `listen()` work again. Shutting down twice, or before
   * `startup()`, does no harm.
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const { drain, timeoutMs } = resolveShutdownOptions(options)
    await this.#end(this.#run, drain, timeoutMs)
  }

  /** {@link Listener.shutdown}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown()
  }

  /**
   * Registers a callback for a channel. Before `startup()` it is only recorded; after, this resolves once the LISTEN is
   * committed (while reconnecting: in the next session). When it rejects, nothing was registered. The same callback
   * registered twice is called twice. Allowed inside a callback.
   *
   * Rejects with {@link ListenerCallbackError} when `callback` is not a function, with {@link ArgumentTypeError} or
   * {@link ArgumentRangeError} when `channel` is no name of a channel.
   */
  async addCallback<Name extends keyof Payloads & string>(
    channel: Name,
    callback: ListenerCallback<Payloads[Name], Name>,
  ): Promise<void> {
    checkChannel(channel)
    checkCallback(callback)
    const registration = new Registration(callback as ListenerCallback<unknown>)
    const subscription = this.#subscriptions.open(channel)
    subscription.registrations = subscription.registrations.concat(registration)
    this.#run?.consumers.setCalled(channel)
    await this.#subscribe(subscription, () => this.#unregister(subscription, registration))
  }

  /** Removes one registration of a callback, the first. With the last, and without `addChannel()`, the channel goes. */
  async removeCallback<Name extends keyof Payloads & string>(
    channel: Name,
    callback: ListenerCallback<Payloads[Name], Name>,
  ): Promise<void> {
    checkChannel(channel)
    checkCallback(callback)
    const subscription = this.#subscriptions.get(channel)
    const registration = subscription?.registrations.find(
      (one) => one.callback === (callback as unknown),
    )
    if (!subscription || !registration) return
    this.#unregister(subscription, registration)
    await this.#unsubscribeUnwanted([subscription])
  }

  /**
   * Removes every callback of a channel. From the call on none of them is started, also not for what is buffered.
   * Without `addChannel()` the channel goes too.
   */
  async clearChannelCallbacks(channel: keyof Payloads & string): Promise<void> {
    checkChannel(channel)
    const subscription = this.#subscriptions.get(channel)
    if (!subscription) return
    for (const registration of subscription.registrations)
      this.#unregister(subscription, registration)
    await this.#unsubscribeUnwanted([subscription])
  }

  /**
   * Removes every callback and every channel, those of `addChannel()` too. From the call on nothing is delivered of them,
   * also not what is buffered.
   */
  async clearAllChannels(): Promise<void> {
    const subscriptions = [...this.#subscriptions]
    for (const subscription of subscriptions) {
      subscription.explicit = false
      for (const registration of subscription.registrations)
        this.#unregister(subscription, registration)
    }
    await this.#unsubscribeUnwanted(subscriptions)
  }

  /** Subscribes to a channel without a callback, for iterators. Resolves and rejects as `addCallback()` does. */
  async addChannel(channel: keyof Payloads & string): Promise<void> {
    checkChannel(channel)
    const subscription = this.#subscriptions.open(channel)
    subscription.explicit = true
    // When it fails, it failed for everybody who asked.
    await this.#subscribe(subscription, () => {
      subscription.explicit = false
    })
  }

  /**
   * Takes `addChannel()` back. A channel that still has callbacks stays. Of one that goes nothing is delivered from the
   * call on, also not what is buffered, or waits in a batch.
   */
  async removeChannel(channel: keyof Payloads & string): Promise<void> {
    checkChannel(channel)
    const subscription = this.#subscriptions.get(channel)
    if (!subscription) return
    subscription.explicit = false
    await this.#unsubscribeUnwanted([subscription])
  }

  /**
   * Registers a callback for gaps: the place to read again what may have been missed. It runs in its place among the
   * notification callbacks, and what comes after the gap waits until it settles.
   */
  addGapCallback(callback: GapCallback): void {
    checkCallback(callback)
    this.#context.gapCallbacks = [...this.#context.gapCallbacks, new Registration(callback)]
  }

  /** Removes one registration of a gap callback, the first. */
  removeGapCallback(callback: GapCallback): void {
    checkCallback(callback)
    const index = this.#context.gapCallbacks.findIndex((one) => one.callback === callback)
    if (index < 0) return
    this.#context.gapCallbacks[index]!.active = false
    this.#context.gapCallbacks = this.#context.gapCallbacks.toSpliced(index, 1)
  }

  /**
   * Starts calling callbacks. Returns at once; called twice, it starts once. Throws {@link ListenerStartError} before
   * `startup()`.
   */
  listen(): void {
    this.#started('Cannot listen: the listener is not started').consumers.listen()
  }

  /**
   * Stops calling callbacks; what is running goes on. Notifications are buffered, within the bounds, and the next
   * `listen()` goes on with them. Does nothing when not listening.
   */
  abortListen(): void {
    this.#run?.consumers.abortListen()
  }

  /** Iterates over every notification of every subscribed channel. The same as `messages()`. */
  [Symbol.asyncIterator](): MessageStream<MessageOf<Payloads>> {
    return this.messages()
  }

  /**
   * Iterates over notifications, as a consumer of its own: other iterators, and callbacks, get them too. Notifications
   * count from the call on, not from the first `next()`; the first consumer after `startup()` gets what has arrived since.
   *
   * Throws {@link ListenerStartError} when the listener is not started. `shutdown()` ends it normally; a listener that
   * gives up ends it with an error.
   */
  messages<const Gaps extends GapMode = 'skip'>(
    options?: MessagesOptions<Gaps>,
  ): MessageStream<ItemOf<Payloads, Gaps>> {
    const resolved = resolveMessagesOptions(options)
    const { consumers } = this.#started('Cannot iterate: the listener is not started')
    const inbox = consumers.inbox(resolved)
    return adopt(consumers, new MessageIterator(this.#context, consumers, inbox, resolved))
  }

  /** As `messages()`, in arrays that are never empty: the fastest way to consume. */
  batches<const Gaps extends GapMode = 'skip'>(
    options?: BatchesOptions<Gaps>,
  ): MessageStream<ItemOf<Payloads, Gaps>[]> {
    const resolved = resolveBatchesOptions(options)
    const { consumers } = this.#started('Cannot iterate: the listener is not started')
    const inbox = consumers.inbox(resolved)
    return adopt(consumers, new BatchIterator(this.#context, consumers, inbox, resolved))
  }

  /**
   * A fence: resolves when everything committed before the call was delivered to every consumer there is now: callbacks
   * have settled, and iterators have handed it out. It waits for a consumer that does not ask (`abortListen()`, a loop
   * that is busy), and for a session that is lost; `signal` bounds that. Do not await it in a callback: it would wait
   * for itself.
   *
   * Rejects with {@link ListenerStartError} when the listener is not started, with {@link ListenerClosedError} when it
   * is shut down meanwhile.
   */
  async sync(options: SyncOptions = {}): Promise<void> {
    const { signal } = resolveSyncOptions(options)
    signal?.throwIfAborted()
    await this.#started('Cannot sync: the listener is not started').sync(signal)
  }

  /** Counters of this listener. */
  stats(): ListenerStats {
    return listenerStats(this.#counters, this.#run?.stats() ?? NOTHING_COUNTED)
  }

  /** A started listener keeps the process alive; this is so unless `unref()` was called. */
  ref(): this {
    return this.#setKeepAlive(true)
  }

  /** Lets the process end although the listener is started. */
  unref(): this {
    return this.#setKeepAlive(false)
  }

  #setKeepAlive(keepAlive: boolean): this {
    this.#keepAlive = keepAlive
    if (this.#run) this.#run.keepAlive = keepAlive
    return this
  }

  #started(message: string): Run {
    const run = this.#run
    if (!run?.lifecycle.isStarted) throw new ListenerStartError(message)
    return run
  }

  /** Asks the running session for a channel, unless somebody did already. `undo` leaves no trace of a failure. */
  async #subscribe(subscription: Subscription, undo: () => void): Promise<void> {
    const run = this.#run
    if (!run?.lifecycle.isOpen) return
    subscription.ready ??= run.subscribe(subscription)
    try {
      await subscription.ready
    } catch (error) {
      undo()
      if (!subscription.wanted) this.#subscriptions.delete(subscription)
      subscription.ready = undefined
      throw error
    }
  }

  async #unsubscribeUnwanted(subscriptions: readonly Subscription[]): Promise<void> {
    const unwanted = subscriptions.filter((subscription) => !subscription.wanted)
    const run = this.#run
    for (const subscription of unwanted) {
      this.#subscriptions.delete(subscription)
      run?.consumers.forget(subscription)
    }
    if (!run?.lifecycle.isOpen) return
    const asked = unwanted.filter((subscription) => subscription.ready !== undefined)
    await Promise.all(
      asked.map((subscription) =>
        run.unsubscribe(subscription).catch((error: unknown) => {
          // A session that is gone listens to nothing.
          if (!(error instanceof ListenerClosedError)) throw error
        }),
      ),
    )
  }

  #unregister(subscription: Subscription, registration: Registration): void {
    registration.active = false
    subscription.registrations = subscription.registrations.filter((one) => one !== registration)
    if (subscription.isCalled) return
    this.#run?.consumers.setCalled(subscription.name)
    // What is buffered was for the callbacks that are gone, not for new ones.
    if (!subscription.explicit || this.#subscriptions.get(subscription.name) !== subscription)
      return
    this.#subscriptions.renumber(subscription)
    this.#run?.renumber(subscription)
  }

  async #end(run: Run | undefined, drain: boolean, timeoutMs: number): Promise<void> {
    if (!run) return
    const gaveUp = !run.lifecycle.isLive
    await run.shutdown(drain, timeoutMs)
    if (this.#run !== run) return
    this.#forget(run)
    if (!gaveUp) this.report('closed')
  }

  #forget(run: Run): void {
    if (this.#run !== run) return
    this.#run = undefined
    this.#lifecycle = run.lifecycle.afterwards()
    this.#connection = undefined
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    for (const subscription of this.#subscriptions) subscription.ready = undefined
  }

  /** Shuts the listener down when its signal is aborted. Weakly: a signal may live as long as the process. */
  #watchSignal(signal: AbortSignal | undefined): void {
    const self = new WeakRef(this)
    this.#onAbort = () => {
      void self.deref()?.shutdown()
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }
}

/** Starts an iterator, as one of the consumers of a run. */
function adopt<Item>(consumers: Consumers, iterator: PullIterator<unknown>): MessageStream<Item> {
  consumers.adopt(iterator)
  return iterator.start() as unknown as MessageStream<Item>
}
