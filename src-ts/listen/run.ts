// One run of a listener, from `startup()` to `shutdown()`: its session, its consumers, and what keeps it alive.
import { type NativeEvent, NativeListener, type NativeLease, type NativePool } from '#native'
import { bridge, type Consumer } from '../native/bridge.js'
import { Dispatcher } from '../deliver/dispatcher.js'
import {
  ConnectionClosedError,
  ConnectionPoolConfigurationError,
  ConnectionTlsError,
  ListenerClosedError,
  type PglistenError,
} from '../errors.js'
import { Fences } from './fences.js'
import { Gap } from '../deliver/gap.js'
import { Hold, abandoned } from '../native/keep-alive.js'
import { Inbox } from '../deliver/inbox.js'
import type { Host } from '../deliver/context.js'
import type { ResolvedBatchesOptions } from '../options/iterator.js'
import { fromNativeError, fromNativeServerMessage } from '../native/native-errors.js'
import { type IteratorWatcher, type PullIterator, closedError } from '../deliver/pull-iterator.js'
import type { Channel } from '../deliver/subscriptions.js'

/** What {@link Run.stats} gives. */
export interface RunStats {
  received: number
  reconnects: number
  dropped: number
  buffered: number
  bufferedBytes: number
  oldestAgeMs: number | undefined
  lastRoundTripMs: number | undefined
}

const NOTHING_COUNTED: RunStats = {
  received: 0,
  reconnects: 0,
  dropped: 0,
  buffered: 0,
  bufferedBytes: 0,
  oldestAgeMs: undefined,
  lastRoundTripMs: undefined,
}

export type RunState = 'connecting' | 'connected' | 'reconnecting' | 'closed'

/**
 * Runs that deliver. Nobody else may know of them: the user's variable went out of scope, and what is left is a
 * callback that waits for the next notification.
 */
const delivering = new Set<Run>()

/**
 * A server that will not let us in until somebody changes something: SQLSTATEs of class 28, a missing database, what is
 * wrong with certificates and their files.
 */
function needsAttention(error: PglistenError): boolean {
  if (error instanceof ConnectionTlsError || error instanceof ConnectionPoolConfigurationError)
    return true
  const sqlState = (error as { sqlState?: string }).sqlState
  return sqlState !== undefined && (sqlState.startsWith('28') || sqlState === '3D000')
}

/** Resolves with the promise, or after the time. */
function within(timeoutMs: number, promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, timeoutMs)
    promise.then(() => resolve(), reject).finally(() => clearTimeout(timer))
  })
}

/** See the file. */
export class Run implements Consumer, IteratorWatcher {
  /** Set once, when the run is being shut down. */
  closing: Promise<void> | undefined
  state: RunState = 'connecting'

  readonly #host: Host
  readonly #native: NativeListener
  readonly #signal: number
  readonly #hold = new Hold()
  /** What arrives before there is a consumer; the first one takes it over. */
  #backlog: Inbox | undefined
  #dispatcher: Dispatcher | undefined
  readonly #iterators = new Set<WeakRef<PullIterator<unknown>>>()
  readonly #waiting = new Set<PullIterator<unknown>>()
  readonly #fences = new Fences()
  #released = false
  #stopDraining: () => void = () => {}
  #lease: NativeLease | undefined

  constructor(host: Host, pool: NativePool, keepAlive: boolean) {
    this.#host = host
    this.#signal = bridge.register(this)
    this.#native = new NativeListener(
      bridge.handle,
      pool,
      {
        reconnect: this.#host.options.reconnect && {
          ...this.#host.options.reconnect,
          maxAttempts:
            this.#host.options.reconnect.maxAttempts === Infinity
              ? null
              : this.#host.options.reconnect.maxAttempts,
        },
        heartbeat: this.#host.options.heartbeat,
        maxPauseMs: this.#host.options.buffer.maxPauseMs,
        ignoreOwn: this.#host.options.ignoreOwn,
      },
      this.#signal,
    )
    this.#backlog = this.#newInbox(null)
    this.#hold.wanted = keepAlive
    abandoned.register(this, this.#hold, this)
  }

  /** Whether the listener is up: connected, or on its way back. */
  get isStarted(): boolean {
    return (this.state === 'connected' || this.state === 'reconnecting') && !this.closing
  }

  // In a method, so that the compiler does not think that a state lasts.
  get #isClosed(): boolean {
    return this.state === 'closed'
  }

  /** Whether this run keeps the process alive. */
  set keepAlive(keepAlive: boolean) {
    this.#hold.wanted = keepAlive
  }

  /** Connects; resolves once the channels' LISTENs are committed. */
  async start(channels: Iterable<Channel>): Promise<void> {
    const native = [...channels].map(({ name, id }) => ({ name, id }))
    try {
      await bridge.call<void>((id) => this.#native.start(id, native))
    } catch (error) {
      this.#release()
      throw error
    }
    // The session may have come up in the very moment.
    if (this.closing) throw new ListenerClosedError('The listener was shut down')
    this.#hold.running = !this.#isClosed
    if (this.state === 'connecting') this.state = 'connected'
  }

  /** Makes the server listen; resolves once the LISTEN is committed. */
  subscribe(channel: Channel): Promise<void> {
    return bridge.call((id) => this.#native.subscribe(id, channel.name, channel.id))
  }

  /** Makes the server listen no more. */
  unsubscribe(channel: Channel): Promise<void> {
    return bridge.call((id) => this.#native.unsubscribe(id, channel.name))
  }

  /** A channel's notifications come under its new number from now on. */
  renumber(channel: Channel): void {
    this.#native.renumber(channel.name, channel.id)
  }

  /** A channel was removed: what is held of it is not handed out any more. */
  forget(channel: Channel): void {
    for (const iterator of this.#liveIterators()) iterator.forget(channel.name)
  }

  /** Whether callbacks want a channel may have changed. */
  setCalled(name: string): void {
    const isCalled = this.#host.subscriptions.get(name)?.isCalled ?? false
    this.#dispatcher?.inbox.setChannel(name, isCalled)
  }

  /** Starts delivering to callbacks, or goes on with it. */
  listen(): void {
    if (!this.#dispatcher) {
      const called = this.#host.subscriptions.called
      const inbox = this.#backlog ?? this.#newInbox(called)
      if (this.#backlog) inbox.setChannels(called)
      this.#backlog = undefined
      this.#dispatcher = new Dispatcher(this.#host, inbox, (fence, dispatcher) =>
        this.onFence(fence, dispatcher),
      )
    }
    this.#dispatcher.listen()
    this.#root()
  }

  /** Stops delivering to callbacks for now. */
  abortListen(): void {
    this.#dispatcher?.abort()
    this.#root()
  }

  #newInbox(channels: string[] | null): Inbox {
    // What has happened to the session is told before anybody handles the gap that it left.
    return new Inbox(this.#native, this.#host.options.buffer, channels, () => this.onReady())
  }

  /** A buffer for an iterator: the first consumer gets what has arrived since `startup()`. */
  inbox({ channels, signal }: Pick<ResolvedBatchesOptions, 'channels' | 'signal'>): Inbox {
    const wanted = channels ? [...channels] : null
    // One that is over before it begins takes nothing from those that come.
    if (signal?.aborted) return this.#newInbox(wanted)
    const backlog = this.#backlog
    this.#backlog = undefined
    if (!backlog) return this.#newInbox(wanted)
    if (wanted) backlog.setChannels(wanted)
    return backlog
  }

  /** Knows an iterator, so that the end of the run is its end. */
  adopt(iterator: PullIterator<unknown>): void {
    this.#iterators.add(new WeakRef(iterator))
  }

  onWaiting(iterator: PullIterator<unknown>, waiting: boolean): void {
    if (waiting) this.#waiting.add(iterator)
    else this.#waiting.delete(iterator)
    this.#root()
  }

  onIteratorClosed(iterator: PullIterator<unknown>): void {
    for (const reference of this.#iterators) {
      const other = reference.deref()
      if (!other || other === iterator) this.#iterators.delete(reference)
    }
    this.#fences.forget(iterator)
  }

  /** The session's own lease, the same for as long as the session is the same. */
  lease(): NativeLease {
    this.#lease ??= this.#native.lease() ?? undefined
    if (!this.#lease) {
      throw new ConnectionClosedError(
        this.state === 'reconnecting'
          ? 'The listening session is lost, and not back yet'
          : 'The listener has no session',
      )
    }
    return this.#lease
  }

  /** Resolves when every present consumer has got what was committed before the call. */
  async sync(signal: AbortSignal | undefined): Promise<void> {
    const consumers = new Set<object>(this.#liveIterators())
    if (this.#dispatcher) consumers.add(this.#dispatcher)
    const send = (fence: number) => bridge.call<void>((id) => this.#native.fence(id, fence))
    await this.#fences.pass(consumers, send, signal)
  }

  onFence(id: number, consumer: object): void {
    this.#fences.passedBy(consumer, id)
  }

  /** Counts of this run; nothing any more once they are in `counters`. */
  stats(): RunStats {
    if (this.#released) return NOTHING_COUNTED
    const all = this.#inboxes().map((inbox) => inbox.stats())
    const sum = (pick: (stats: (typeof all)[number]) => number) =>
      all.reduce((total, one) => total + pick(one), 0)
    const ages = all.map((one) => one.oldestAgeMs).filter((age) => age !== undefined)
    const native = this.#native.stats()
    return {
      received: native.received,
      reconnects: native.reconnects,
      lastRoundTripMs: native.lastRoundTripMs ?? undefined,
      dropped: native.dropped,
      buffered: sum((one) => one.buffered) + (this.#dispatcher?.waiting ?? 0),
      bufferedBytes: sum((one) => one.bufferedBytes),
      oldestAgeMs: ages.length > 0 ? Math.max(...ages) : undefined,
    }
  }

  /** The buffers of all consumers. */
  #inboxes(): Inbox[] {
    const inboxes = [...this.#liveIterators()].map((iterator) => iterator.inbox)
    if (this.#dispatcher) inboxes.push(this.#dispatcher.inbox)
    if (this.#backlog) inboxes.push(this.#backlog)
    return inboxes
  }

  /** Ends the run; see `Listener.shutdown`. Whoever asks again waits no longer than it says, and may end the draining. */
  async shutdown(drain: boolean, timeoutMs: number): Promise<void> {
    if (!this.closing) {
      this.closing = this.#shutdown(drain, timeoutMs)
      return this.closing
    }
    if (!drain) this.#stopDraining()
    await within(timeoutMs, this.closing)
  }

  async #shutdown(drain: boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    this.#native.end(drain)
    if (drain && this.state !== 'connecting') {
      // The session needs some of the time to close.
      await within(timeoutMs - Math.min(500, timeoutMs / 4), this.#drained())
    }
    this.#closeConsumers()
    const left = Math.max(deadline - performance.now(), 0)
    await bridge.call<void>((id) => this.#native.shutdown(id, left))
    this.#release()
  }

  /** Resolves when the consumers have got everything, or nobody wants to wait for that any more. */
  #drained(): Promise<unknown> {
    const consumers = [...this.#liveIterators()].map((iterator) => iterator.finished)
    if (this.#dispatcher?.listening) consumers.push(this.#dispatcher.finished)
    const stopped = new Promise<void>((resolve) => {
      this.#stopDraining = resolve
    })
    return Promise.race([Promise.all(consumers), stopped])
  }

  #closeConsumers(): void {
    // First: a consumer that is closed has not passed its fences.
    this.#fences.rejectAll(new ListenerClosedError('The listener was shut down'))
    for (const iterator of this.#liveIterators()) iterator.close()
    if (this.#dispatcher) {
      this.#dispatcher.close()
      this.#dispatcher = undefined
    }
    this.#backlog?.close()
    this.#backlog = undefined
  }

  /** Nothing of this run is alive any more. */
  #release(): void {
    if (this.#released) return
    this.#released = true
    const native = this.#native.stats()
    this.#host.counters.received += native.received
    this.#host.counters.dropped += native.dropped
    this.#host.counters.reconnects += native.reconnects
    this.#closeConsumers()
    this.#lease = undefined
    this.state = 'closed'
    this.#hold.running = false
    abandoned.unregister(this)
    bridge.unregister(this.#signal)
    this.#root()
  }

  /** The native half has something to say. */
  onReady(): void {
    for (const event of this.#native.takeEvents()) this.#onEvent(event)
  }

  #onEvent(event: NativeEvent): void {
    const { events } = this.#host
    const processId = event.processId ?? 0
    switch (event.kind) {
      case 'connected':
        if (this.state !== 'closed') this.state = 'connected'
        events.report('connected', { processId })
        break
      case 'disconnected':
        this.#lease = undefined
        if (this.#host.options.reconnect) this.state = 'reconnecting'
        events.report('disconnected', { error: fromNativeError(event.error!), processId })
        break
      case 'attemptFailed': {
        const error = fromNativeError(event.error!)
        if (needsAttention(error)) events.report('error', error)
        else
          events.report('warning', {
            message: `attempt ${event.attempt} to connect again failed: ${error.message}`,
            error,
          })
        break
      }
      case 'reconnected': {
        const gap = new Gap(event.gap!)
        this.#host.counters.gaps += 1
        events.report('gap', gap)
        events.report('reconnected', { gap })
        break
      }
      case 'notice': {
        const notice = fromNativeServerMessage(event.notice!)
        events.report('warning', { message: notice.message, notice })
        break
      }
      case 'warning':
        events.report('warning', { message: event.message! })
        break
      case 'closed':
        this.state = 'closed'
        // Before the process may end: what is buffered is still to be delivered.
        for (const inbox of this.#inboxes()) inbox.hurry()
        this.#hold.running = false
        this.#lease = undefined
        this.#root()
        events.report('closed', closedError(fromNativeError(event.error!)))
        break
    }
  }

  /** A run that delivers is kept; one that nobody waits for is the garbage collector's when nobody knows it. */
  #root(): void {
    const needed = this.#waiting.size > 0 || this.#dispatcher?.listening === true
    if (needed && this.state !== 'closed') delivering.add(this)
    else delivering.delete(this)
  }

  *#liveIterators(): Iterable<PullIterator<unknown>> {
    for (const reference of this.#iterators) {
      const iterator = reference.deref()
      if (iterator) yield iterator
    }
  }
}
