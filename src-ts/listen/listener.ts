// The listener: psqlpy's API. A listener owns its subscriptions; `run.ts` has its session, from `startup()` to
// `shutdown()`.
import { brand } from '../brand.js'
import { nothing, watchAbortFor } from '../native/abort.js'
import { watchBounds } from '../native/bounded-wait.js'
import { type InspectArguments, inspectCustom, printed } from '../native/inspect.js'
import { Connection, type LeaseSource } from '../query/connection.js'
import {
  ListenerClosedError,
  ListenerStartError,
  ListenerTimeoutError,
  type PglistenError,
} from '../errors.js'
import { ListenerEmitter, type ListenerEvents } from '../deliver/events.js'
import {
  type BatchShape,
  type BatchesOptions,
  type GapMode,
  type MessagesOptions,
  resolveBatchesOptions,
  resolveMessagesOptions,
} from '../options/iterator.js'
import type { Consumers } from './consumers.js'
import { BatchIterator, ColumnsIterator, MessageIterator } from './iterators.js'
import type {
  BatchOf,
  ListenerPayloads,
  ListenerPools,
  ListenerState,
  GapCallback,
  MessageOf,
  ItemOf,
  MessageStream,
  OnceOptions,
  RemoveCallback,
  ShutdownOptions,
  StartupOptions,
  SubscribeOptions,
  SyncOptions,
  ListenerHealth,
  ListenerStats,
} from './types.js'
import type { ResolvedListenerOptions } from '../options/listener.js'
import { Calls } from '../deliver/calls.js'
import { slowCalls } from '../deliver/delivery.js'
import { UNOBSERVED } from '../options/observation.js'
import { Observer } from '../observe/observer.js'
import type { Counters, ListenerContext } from '../deliver/context.js'
import type { PullIterator } from '../deliver/pull-iterator.js'
import { Hold } from './hold.js'
import { Lifecycle } from './lifecycle.js'
import { Run } from './run.js'
import { subscribe, unregister, unsubscribeUnwanted } from './subscribing.js'
import { NOTHING_COUNTED, listenerHealth, listenerStats } from './statistics.js'
import {
  type ListenerCallback,
  Registration,
  type Subscription,
  Subscriptions,
} from '../deliver/subscriptions.js'
import { checkChannel } from '../options/validate.js'
import { resolveWaitOptions, type WaitOptions } from '../options/wait.js'
import {
  DEFAULT_SHUTDOWN_TIMEOUT_MS,
  checkCallback,
  resolveOnceOptions,
  resolveShutdownOptions,
  resolveStartupOptions,
  resolveSubscribeArguments,
} from './arguments.js'

const NO_GAP_CALLBACKS: ListenerContext['gapCallbacks'] = []

/**
 * Listens to channels of PostgreSQL. {@link ConnectionPool.listener} makes one; its server session is outside the pool.
 *
 * Each notification is delivered to a consumer at most once. Where notifications may be missing, a {@link Gap} stands
 * at their place among the others, so that none is lost silently.
 *
 * @typeParam Payloads - The type of each channel's payload, as `parse` returns it.
 */
export class Listener<Payloads extends ListenerPayloads = Record<string, string>>
  extends ListenerEmitter
  implements AsyncDisposable
{
  readonly #pools: ListenerPools
  readonly #options: ResolvedListenerOptions
  readonly #subscriptions = new Subscriptions()
  readonly #context: ListenerContext & { gapCallbacks: ListenerContext['gapCallbacks'] }
  readonly #counters: Counters = {
    delivered: 0,
    callbackErrors: 0,
    gaps: 0,
    dropped: 0,
    received: 0,
    coalesced: 0,
    filtered: 0,
    reconnects: 0,
  }
  readonly #checkPool: () => void
  /** The lifecycle of the present run; between two runs, one that rests. */
  #lifecycle = Lifecycle.idle()
  #run: Run | undefined
  #connection: Connection | undefined
  #keepAlive = true
  #unwatch = nothing
  /** The streams of `subscribe()` that have not ended. */
  #holds: Set<Hold> | undefined

  /** @internal */
  constructor(
    pools: ListenerPools,
    leases: LeaseSource,
    options: ResolvedListenerOptions,
    checkPool: () => void,
  ) {
    super(new Observer(options.name, leases.observation ?? UNOBSERVED))
    this.#pools = pools
    this.#options = options
    this.#checkPool = checkPool
    this.#context = {
      options,
      subscriptions: this.#subscriptions,
      gapCallbacks: NO_GAP_CALLBACKS,
      leases,
      events: this,
      counters: this.#counters,
      calls: new Calls(this.observer, slowCalls(options.slowCallbackMs, this)),
    }
    for (const name of options.channels) this.#subscriptions.open(name).explicit = true
    this.observer.made(this)
  }

  /** Whether the listener is up: from the end of `startup()` until `shutdown()` is called or the listener gives up. */
  get isStarted(): boolean {
    return this.#lifecycle.isStarted
  }

  /** The state of the listener; {@link ListenerState} describes each. */
  get state(): ListenerState {
    return this.#lifecycle.state
  }

  /** The names of the channels to which the listener is subscribed, or will be at `startup()`. */
  get channels(): string[] {
    return this.#subscriptions.names
  }

  /**
   * The connection of the listening session itself. Statements on it affect the session: while a transaction is open on
   * it, the server delivers no notifications. Its methods reject with {@link ConnectionClosedError} while the session
   * is lost.
   *
   * With `session: 'auto'` the first method that is called moves the listener from the session that it shares to one of
   * its own, and waits for that: nothing is lost, doubled or out of order. With `session: 'shared'` the methods reject with
   * {@link ListenerStartError}.
   *
   * @throws {@link ListenerStartError} when the listener is not started.
   */
  get connection(): Connection {
    const run = this.#started('The listener has no connection: it is not started')
    if (!this.#connection || this.#connection.isClosed) {
      this.#connection = Connection.session(
        Object.assign(() => run.lease(), { types: this.#context.leases.types }),
      )
    }
    return this.#connection
  }

  /**
   * Connects and subscribes to every channel of {@link Listener.channels}. Resolves once the LISTENs are committed:
   * each NOTIFY that is committed later is delivered or covered by a gap. Allowed again after `shutdown()`.
   *
   * With the option `retry` it goes on trying, and the state is `connecting` until it succeeds, `signal` is aborted or
   * `shutdown()` is called.
   *
   * Rejects as {@link ConnectionPool.connection} does when the first connection fails, and leaves nothing running; with
   * {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong; with {@link ListenerStartError} when
   * the listener is started already, with {@link ListenerClosedError} when it is shut down meanwhile, with
   * {@link ListenerTimeoutError} when it took longer than `timeoutMs`, and with the reason of `signal` when that is
   * aborted: the option of this call, or of the listener.
   */
  async startup(options: StartupOptions = {}): Promise<void> {
    const { retry = false, signal, timeoutMs } = resolveStartupOptions(options)
    this.#options.signal?.throwIfAborted()
    signal?.throwIfAborted()
    const lifecycle = this.#lifecycle.begin()
    this.#checkPool()
    const before = this.#run
    const run = new Run(this.#context, this.#pools, lifecycle, this.#keepAlive)
    this.#run = run
    this.#lifecycle = lifecycle
    this.#connection = undefined
    // The run before gave up, so there is nothing to wait for.
    void before?.shutdown(false, DEFAULT_SHUTDOWN_TIMEOUT_MS)
    // A run that gave up still listens to the signal, which ends what is left to deliver.
    this.#unwatch()
    this.#unwatch = watchAbortFor(this.#options.signal, this, shutDown)
    // The buffers of the run before are closed.
    this.#subscriptions.forgetFormer(new Set())
    this.observer.connecting()
    const started = run.start(this.#subscriptions, retry)
    for (const subscription of this.#subscriptions) subscription.ready = started
    let givenUp: { reason: unknown; ending: Promise<void> } | undefined
    const giveUp = (reason: unknown) => {
      givenUp = { reason, ending: run.shutdown(false, DEFAULT_SHUTDOWN_TIMEOUT_MS) }
    }
    const unwatch = watchBounds({ signal, timeoutMs }, giveUp, () =>
      giveUp(new ListenerTimeoutError(`the startup took longer than ${timeoutMs} ms`)),
    )
    try {
      await started
    } catch (error) {
      await givenUp?.ending
      // Otherwise `closed` tells of it.
      if (!run.wasUp) this.observer.failed(givenUp ? givenUp.reason : error)
      this.#leave(run)
      if (givenUp) throw givenUp.reason
      // The listener's own signal has shut it down.
      this.#options.signal?.throwIfAborted()
      throw error
    } finally {
      unwatch()
    }
    for (const subscription of this.#subscriptions) subscription.committed(started)
    lifecycle.succeed()
  }

  /**
   * Ends the session and every iterator. Resolves once the server has closed the session, or after `timeoutMs`. It
   * interrupts connecting and reconnecting.
   *
   * A running callback goes on, and `shutdown()` waits for it only with `drain`. Do not await a draining shutdown in a
   * callback: it would wait for itself until `timeoutMs` is over.
   *
   * Callbacks and channels stay registered, so `startup()` and `listen()` work again. Calling `shutdown()` twice, or
   * before `startup()`, does no harm. Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an
   * option is wrong.
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const { drain, timeoutMs } = resolveShutdownOptions(options)
    await this.#end(this.#run, drain, timeoutMs)
  }

  /** Shuts the listener down, as {@link Listener.shutdown} does without options. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown()
  }

  /**
   * Registers a callback for a channel. Before `startup()` the promise resolves at once; later, it resolves once the
   * LISTEN is committed, which a listener that is reconnecting does in its next session. A callback that is registered
   * twice is called twice. Allowed inside a callback.
   *
   * Deliveries that come together share one asynchronous scope: what a callback sets with `AsyncLocalStorage.enterWith()` is there
   * for the next ones too, and what it sets with `AsyncLocalStorage.run()` is not.
   *
   * Rejects with {@link ListenerCallbackError} when `callback` is not a function, with {@link ArgumentTypeError} or
   * {@link ArgumentRangeError} when `channel` is not the name of a channel, with {@link DatabaseError} when the server
   * refuses the LISTEN, with {@link ConnectionExecuteError} while a transaction is open on {@link Listener.connection}, with
   * {@link ListenerClosedError} when the listener is shut down or gives up meanwhile, with {@link ListenerOverflowError} when it
   * does because a buffer is full, with {@link ListenerTimeoutError} when the wait for it took longer than `timeoutMs`, and with
   * the reason of `signal`. A rejection leaves nothing registered.
   *
   * @returns A function that removes this registration, and no other of the same callback.
   */
  async addCallback<Name extends keyof Payloads & string>(
    channel: Name,
    callback: ListenerCallback<Payloads[Name], Name>,
    options?: WaitOptions,
  ): Promise<RemoveCallback> {
    checkChannel(channel)
    checkCallback(callback)
    const bounds = resolveWaitOptions(options)
    bounds.signal?.throwIfAborted()
    const registration = new Registration(callback as ListenerCallback<unknown>)
    const subscription = this.#subscriptions.open(channel)
    subscription.registrations = subscription.registrations.concat(registration)
    this.#run?.consumers.setWanted(channel)
    await subscribe(
      this.#subscriptions,
      () => this.#run,
      subscription,
      bounds,
      () => this.#unregister(subscription, registration),
    )
    return async () => {
      if (registration.active) await this.#remove(subscription, registration)
    }
  }

  /**
   * Removes the oldest registration of a callback. A channel without callbacks that `addChannel()` did not add is
   * unsubscribed; the promise resolves once the UNLISTEN is committed. Does nothing when the callback is not
   * registered.
   *
   * Rejects with {@link ListenerCallbackError} when `callback` is not a function, with {@link ArgumentTypeError} or
   * {@link ArgumentRangeError} when `channel` is not the name of a channel, with {@link DatabaseError} when the server
   * refuses the UNLISTEN, and with {@link ConnectionExecuteError} while a transaction is open on {@link Listener.connection}.
   * In these last two cases the callback is removed all the same, and the UNLISTEN is tried again behind the next heartbeat,
   * `sync()` or change of the channels.
   */
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
    if (subscription && registration) await this.#remove(subscription, registration)
  }

  /**
   * Removes every callback of a channel. From the call on none of them is started, not even for notifications that are
   * buffered. A channel that `addChannel()` did not add is unsubscribed. Resolves and rejects as
   * {@link Listener.removeCallback} does.
   */
  async clearChannelCallbacks(channel: keyof Payloads & string): Promise<void> {
    checkChannel(channel)
    const subscription = this.#subscriptions.get(channel)
    if (!subscription) return
    for (const registration of subscription.registrations)
      this.#unregister(subscription, registration)
    await unsubscribeUnwanted(this.#subscriptions, this.#run, [subscription])
  }

  /**
   * Removes every callback and every channel, also those that `addChannel()` added, and ends the streams of
   * `subscribe()`. From the call on their notifications are not delivered any more, not even those that are buffered.
   * Resolves and rejects as {@link Listener.removeCallback} does.
   */
  async clearAllChannels(): Promise<void> {
    for (const hold of this.#holds ?? []) hold.end()
    const subscriptions = [...this.#subscriptions]
    for (const subscription of subscriptions) {
      subscription.explicit = false
      for (const registration of subscription.registrations)
        this.#unregister(subscription, registration)
    }
    await unsubscribeUnwanted(this.#subscriptions, this.#run, subscriptions)
  }

  /**
   * Subscribes to a channel without a callback, for iterators. Resolves and rejects as {@link Listener.addCallback}
   * does.
   */
  async addChannel(channel: keyof Payloads & string, options?: WaitOptions): Promise<void> {
    checkChannel(channel)
    const bounds = resolveWaitOptions(options)
    bounds.signal?.throwIfAborted()
    const subscription = this.#subscriptions.open(channel)
    subscription.tentative ||= !subscription.explicit
    subscription.explicit = true
    subscription.adding += 1
    this.#run?.consumers.setWanted(channel)
    // Everybody who asked for the channel waits for the same LISTEN, and the last one that fails takes it back.
    await subscribe(
      this.#subscriptions,
      () => this.#run,
      subscription,
      bounds,
      () => {
        subscription.adding -= 1
        if (subscription.adding > 0 || !subscription.tentative) return
        subscription.explicit = false
        this.#run?.consumers.setWanted(channel)
      },
    )
    subscription.adding -= 1
    subscription.tentative = false
  }

  /**
   * Takes `addChannel()` back. A channel that still has callbacks stays subscribed. From the call on no notification of
   * a channel that is unsubscribed is delivered any more, not even one that is buffered or waits in a batch. Resolves and
   * rejects as {@link Listener.removeCallback} does.
   */
  async removeChannel(channel: keyof Payloads & string): Promise<void> {
    checkChannel(channel)
    const subscription = this.#subscriptions.get(channel)
    if (!subscription) return
    subscription.explicit = false
    subscription.tentative = false
    this.#run?.consumers.setWanted(channel)
    await unsubscribeUnwanted(this.#subscriptions, this.#run, [subscription])
  }

  /**
   * Subscribes to channels and iterates over their notifications, in one: the channels stay subscribed for as long as the
   * stream lasts, and are released at its end, unless somebody else wants them. Resolves once the LISTENs are committed.
   * Each notification that is committed later is yielded, or covered by a gap.
   *
   * The stream is the one of {@link Listener.messages}; it ends with a `break`, a `return()` (also while a `next()` waits),
   * its `signal`, `clearAllChannels()`, or the listener.
   *
   * Rejects as {@link Listener.addCallback} does, and with {@link ListenerStartError} when the listener is not started. A
   * rejection leaves nothing subscribed.
   */
  async subscribe<Name extends keyof Payloads & string, const Gaps extends GapMode = 'skip'>(
    channels: Name | readonly Name[],
    options?: SubscribeOptions<Gaps>,
  ): Promise<MessageStream<ItemOf<Pick<Payloads, Name>, Gaps>>> {
    const resolved = resolveSubscribeArguments(channels, options)
    resolved.signal?.throwIfAborted()
    const { consumers } = this.#started('Cannot subscribe: the listener is not started')
    const inbox = consumers.freshInbox(resolved)
    const iterator = new MessageIterator(this.#context, consumers, inbox, resolved)
    const hold = this.#hold(iterator, resolved.channels)
    const stream = adopt<ItemOf<Pick<Payloads, Name>, Gaps>>(consumers, iterator)
    try {
      await Promise.all(
        hold.subscriptions.map((subscription) =>
          subscribe(
            this.#subscriptions,
            () => this.#run,
            subscription,
            resolved,
            () => {
              // Ends the stream, which releases its channels.
              iterator.close()
            },
          ),
        ),
      )
    } catch (error) {
      iterator.close()
      throw error
    }
    return stream
  }

  /**
   * Waits for the next notification of a channel, to which it subscribes meanwhile, and resolves with the message. It passes
   * over what the listener's `filter` leaves out. The lease of the message's connection has ended by then. With a function
   * in the place of the options it is the `once()` of every emitter, for one of the {@link ListenerEvents}.
   *
   * Rejects as {@link Listener.subscribe} does, and with {@link ListenerClosedError} when the listener ends meanwhile.
   */
  override once<Name extends keyof Payloads & string>(
    channel: Name,
    options?: OnceOptions,
  ): Promise<MessageOf<Pick<Payloads, Name>>>
  override once<Event extends keyof ListenerEvents>(
    event: Event,
    handler: (...args: ListenerEvents[Event]) => void,
  ): this
  override once(
    name: string,
    options?: OnceOptions | ((...args: unknown[]) => void),
  ): Promise<unknown> | this {
    if (typeof options === 'function') return super.once(name as 'closed', options)
    if (EVENTS.has(name)) {
      const message = `once('${name}') without a handler waits for a notification of channel \`${name}\``
      this.report('warning', { kind: 'usage', message, channel: name })
    }
    return this.#once(name as keyof Payloads & string, options)
  }

  async #once(channel: keyof Payloads & string, options?: OnceOptions): Promise<unknown> {
    const { timeoutMs, ...iteration } = resolveOnceOptions(options)
    const deadline = performance.now() + (timeoutMs ?? 0)
    let stream: MessageStream<MessageOf<Payloads>> | undefined
    try {
      stream = await this.subscribe(channel, { ...iteration, timeoutMs })
      const left = timeoutMs === undefined ? undefined : Math.max(0, deadline - performance.now())
      const { done, value } = await stream.next({ timeoutMs: left })
      if (done) throw new ListenerClosedError('the listener was shut down')
      return value
    } catch (error) {
      if (!(error instanceof ListenerTimeoutError)) throw error
      throw new ListenerTimeoutError(`once('${channel}') took longer than ${timeoutMs} ms`)
    } finally {
      await stream?.return()
    }
  }

  /**
   * Registers a callback for gaps, in which to read again the data that the missing notifications were about. It runs
   * at the gap's place among the notification callbacks, and later notifications wait until it settles.
   *
   * @throws {@link ListenerCallbackError} when `callback` is not a function.
   */
  addGapCallback(callback: GapCallback): void {
    checkCallback(callback)
    this.#context.gapCallbacks = [...this.#context.gapCallbacks, new Registration(callback)]
  }

  /**
   * Removes the oldest registration of a gap callback. Does nothing when the callback is not registered.
   *
   * @throws {@link ListenerCallbackError} when `callback` is not a function.
   */
  removeGapCallback(callback: GapCallback): void {
    checkCallback(callback)
    const index = this.#context.gapCallbacks.findIndex((one) => one.callback === callback)
    if (index < 0) return
    this.#context.gapCallbacks[index]!.active = false
    this.#context.gapCallbacks = this.#context.gapCallbacks.toSpliced(index, 1)
  }

  /**
   * Starts calling callbacks. Returns before the first one is called; a second call does nothing.
   *
   * @throws {@link ListenerStartError} when the listener is not started.
   */
  listen(): void {
    this.#started('Cannot listen: the listener is not started').consumers.listen()
  }

  /**
   * Stops calling callbacks; a running callback goes on. Notifications stay in the buffer, within its bounds, and the
   * next `listen()` delivers them. Does nothing when the listener is not listening.
   */
  abortListen(): void {
    this.#run?.consumers.abortListen()
  }

  /** Iterates over the notifications of every subscribed channel, as {@link Listener.messages} does without options. */
  [Symbol.asyncIterator](): MessageStream<MessageOf<Payloads>> {
    return this.messages()
  }

  /**
   * Iterates over notifications. Each iterator is a consumer of its own, with its own buffer: other iterators and the
   * callbacks get the same notifications. An iterator gets the notifications that arrive from this call on, not from
   * its first `next()` on; the first consumer after `startup()` also gets those that have arrived since `startup()`. The
   * streams of `subscribe()` and `once()` do not count as that consumer: for channels to which the listener is subscribed
   * besides, a buffer is kept within its bounds until there is a callback or an iterator. That buffer holds all channels: a gap of
   * its overflow also counts notifications of channels that the first consumer does not take.
   *
   * `shutdown()` ends the iteration normally. A listener that gives up ends it with {@link ListenerClosedError} or
   * {@link ListenerOverflowError}.
   *
   * @throws {@link ListenerStartError} when the listener is not started, {@link ArgumentTypeError} or
   * {@link ArgumentRangeError} when an option is wrong.
   */
  messages<const Gaps extends GapMode = 'skip'>(
    options?: MessagesOptions<Gaps>,
  ): MessageStream<ItemOf<Payloads, Gaps>> {
    const resolved = resolveMessagesOptions(options)
    const { consumers } = this.#started('Cannot iterate: the listener is not started')
    const inbox = consumers.inbox(resolved)
    return adopt(consumers, new MessageIterator(this.#context, consumers, inbox, resolved))
  }

  /**
   * Iterates as {@link Listener.messages} does, over batches that are never empty: arrays of messages, or with `shape:
   * 'columns'` the fastest way to consume, {@link NotificationColumns}. Columns never span a gap: with `gaps: 'include'` it
   * is yielded by itself, between those from before and from after it.
   */
  batches<const Gaps extends GapMode = 'skip', const Shape extends BatchShape = 'messages'>(
    options?: BatchesOptions<Gaps, Shape>,
  ): MessageStream<BatchOf<Payloads, Gaps, Shape>> {
    const resolved = resolveBatchesOptions(options)
    const { consumers } = this.#started('Cannot iterate: the listener is not started')
    const inbox = consumers.inbox(resolved)
    const Iterator = resolved.shape === 'columns' ? ColumnsIterator : BatchIterator
    return adopt(consumers, new Iterator(this.#context, consumers, inbox, resolved))
  }

  /**
   * Sends a fence through the server and resolves once every present consumer has passed it. Then each notification
   * that was committed before the call has been delivered: its callbacks have settled, and iterators have yielded it.
   *
   * A consumer that takes nothing (after `abortListen()`, or in a loop that is busy) delays the promise, and so does a
   * lost session; the options bound the wait. Do not await it in a callback: it would wait for itself. Callbacks are not
   * waited for before `listen()`: a `warning` event says so.
   *
   * The server is asked first whether it still listens to every channel. If it does not, the listener reconnects, and the
   * fence comes back behind the {@link Gap}.
   *
   * Rejects with {@link ListenerStartError} when the listener is not started, with {@link ListenerClosedError} when it
   * is shut down or gives up meanwhile, with {@link ListenerOverflowError} when it does because a buffer is full, with
   * {@link ConnectionExecuteError} while a transaction is open on {@link Listener.connection}, with {@link DatabaseError} when the
   * server refuses a NOTIFY, with {@link ListenerTimeoutError} after `timeoutMs`, and with the reason of `signal` when that is
   * aborted.
   */
  async sync(options: SyncOptions = {}): Promise<void> {
    const bounds = resolveWaitOptions(options)
    bounds.signal?.throwIfAborted()
    const run = this.#started('Cannot sync: the listener is not started')
    run.consumers.warnOfSilence()
    const controller = new AbortController()
    const giveUp = (reason: unknown) => controller.abort(reason)
    const over = watchBounds(bounds, giveUp, (timeoutMs) =>
      giveUp(new ListenerTimeoutError(`sync() took longer than ${timeoutMs} ms`)),
    )
    try {
      await run.sync(controller.signal)
    } finally {
      over()
    }
  }

  /** Returns the counters of this listener: totals over all its runs, and the present state of its buffers. */
  stats(): ListenerStats {
    const { calls } = this.#context
    return listenerStats(this.#counters, this.#run?.stats() ?? NOTHING_COUNTED, calls)
  }

  /**
   * Returns whether the listener is well, as of now and without asking the server: for the readiness of a process, and for
   * whoever watches it.
   */
  health(): ListenerHealth {
    return listenerHealth(
      { name: this.#options.name, state: this.state },
      this.#run?.stats() ?? NOTHING_COUNTED,
      this.#context.calls,
    )
  }

  /** Lets a started listener keep the process alive. This is the default; `ref()` takes `unref()` back. */
  ref(): this {
    return this.#setKeepAlive(true)
  }

  /** Lets the process end while the listener is started. */
  unref(): this {
    return this.#setKeepAlive(false)
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    const { buffered, callbacksInFlight } = this.stats()
    const fields = {
      state: this.state,
      hosts: this.#pools.session.hosts(),
      // Thousands of names would be of no use.
      channels: this.channels.length,
      buffered,
      callbacksInFlight,
    }
    return printed('Listener', fields, how)
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

  async #remove(subscription: Subscription, registration: Registration): Promise<void> {
    this.#unregister(subscription, registration)
    await unsubscribeUnwanted(this.#subscriptions, this.#run, [subscription])
  }

  /** Holds channels for a stream. A method of its own, so that what it makes does not reach the stream. */
  #hold(iterator: PullIterator<unknown>, channels: readonly string[]): Hold {
    const hold = new Hold(iterator, channels, this.#subscriptions, (released) => {
      this.#holds?.delete(hold)
      this.#unsubscribe(released)
    })
    this.#holds ??= new Set()
    this.#holds.add(hold)
    return hold
  }

  /** Ends the LISTENs of channels that a stream released. Nobody waits for it, so a failure is told of. */
  #unsubscribe(released: readonly Subscription[]): void {
    unsubscribeUnwanted(this.#subscriptions, this.#run, released).catch((error: PglistenError) => {
      const message = `a channel stays subscribed for now: ${error.message}`
      this.report('warning', { kind: 'session', message, error })
    })
  }

  #unregister(subscription: Subscription, registration: Registration): void {
    unregister(this.#subscriptions, this.#run, subscription, registration)
  }

  async #end(run: Run | undefined, drain: boolean, timeoutMs: number): Promise<void> {
    if (!run) return
    await run.shutdown(drain, timeoutMs)
    this.#leave(run)
  }

  /** Forgets a run that is over, if it is still there, and tells of its end if nobody has yet and its beginning was told. */
  #leave(run: Run): void {
    if (this.#run !== run) return
    this.#run = undefined
    this.#lifecycle = run.lifecycle.afterwards()
    this.#connection = undefined
    this.#unwatch()
    for (const subscription of this.#subscriptions) subscription.ready = undefined
    if (run.wasUp && !run.lifecycle.hasGivenUp) this.report('closed')
  }
}

brand(Listener, 'Listener')

const EVENTS: ReadonlySet<string> = new Set(
  Object.keys({
    ...{ connected: 0, disconnected: 0, reconnecting: 0, reconnected: 0 },
    ...{ gap: 0, error: 0, warning: 0, closed: 0 },
  } satisfies Record<keyof ListenerEvents, 0>),
)

/** Shuts a listener down because its signal was aborted. */
function shutDown(listener: { shutdown(): Promise<void> }): void {
  void listener.shutdown()
}

/** Starts an iterator, as one of the consumers of a run. */
function adopt<Item>(consumers: Consumers, iterator: PullIterator<unknown>): MessageStream<Item> {
  consumers.adopt(iterator)
  return iterator.start() as unknown as MessageStream<Item>
}
