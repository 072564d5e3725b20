// One run of a listener, from `startup()` to `shutdown()`: its session, its end, and what keeps it alive.
import { clearTimeout, setTimeout } from '../native/timers.js'
import type { NativeEvent, NativeLease } from '#native'
import { bridge, type Consumer } from '../native/bridge.js'
import {
  ConnectionClosedError,
  ListenerClosedError,
  ListenerStartError,
  type PglistenError,
} from '../errors.js'
import { Consumers, type ConsumersOwner } from './consumers.js'
import { RETRY_MS } from '../native/defect.js'
import type { ListenerContext } from '../deliver/context.js'
import { keepAskerOf } from '../native/password.js'
import type { Lifecycle } from './lifecycle.js'
import { DEFAULT_RECONNECT } from '../options/listener.js'
import { toNativeListenerOptions, toNativeReconnectOptions } from './native-options.js'
import { reportSessionEvent } from './session-events.js'
import { NOTHING_COUNTED, type RunStats, addFinalCounts, runStats } from './statistics.js'
import type { ListenerPools } from './types.js'
import type { Subscription } from '../deliver/subscriptions.js'

/**
 * Runs with a consumer that waits for notifications. The module keeps them, because the user's variable may be out of
 * scope while a callback waits for its next notification.
 */
const delivering = new Set<Run>()

/** Resolves with the promise, or after the time. */
function within(timeoutMs: number, promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, timeoutMs)
    promise.then(() => resolve(), reject).finally(() => clearTimeout(timer))
  })
}

/** One run of a listener. A restart makes a new run, so that nothing of the run before can linger. */
export class Run implements Consumer, ConsumersOwner {
  readonly lifecycle: Lifecycle
  readonly consumers: Consumers

  readonly #context: ListenerContext
  /** The id under which Rust has the native half of this run, and signals that there are events. */
  readonly #id: number
  /** Whether the user wants the process to stay alive: `ref()` and `unref()`. */
  #isRefed: boolean
  /** Whether this run has a session, or expects one. */
  #isRunning = false
  /** Whether `startup()` has succeeded, or `connected` was told. */
  #wasUp = false
  /** Whether the listener's counters have the counts of this run. */
  #isCounted = false
  #stopDraining: (() => void) | undefined
  /** The lease of the present session, once it was asked for. */
  #lease: NativeLease | undefined
  /** The lease of a session of the listener's own, while the listener moves there. */
  #moving: Promise<NativeLease> | undefined

  constructor(
    context: ListenerContext,
    pool: ListenerPools,
    lifecycle: Lifecycle,
    keepAlive: boolean,
  ) {
    this.lifecycle = lifecycle
    this.#context = context
    this.#id = bridge.register(this)
    const options = toNativeListenerOptions(context.options)
    bridge.listeners.make(this.#id, pool.session, pool.own, options)
    keepAskerOf(pool.session, this)
    this.consumers = new Consumers(context, this.#id, this)
    this.#isRefed = keepAlive
  }

  /** Whether the user may know of this run as one that was connected. */
  get wasUp(): boolean {
    return this.#wasUp
  }

  /** Whether this run keeps the process alive. */
  set keepAlive(keepAlive: boolean) {
    this.#isRefed = keepAlive
    this.#keepAlive()
  }

  #setRunning(isRunning: boolean): void {
    this.#isRunning = isRunning
    this.#keepAlive()
  }

  #keepAlive(): void {
    bridge.keepAlive(this.#id, this.#isRefed && this.#isRunning)
  }

  /** Connects; resolves once the channels' LISTENs are committed. `retry`: whether a failed attempt is followed by others. */
  async start(subscriptions: Iterable<Subscription>, retry: boolean): Promise<void> {
    const native = [...subscriptions].map(({ name, id }) => ({ name, id }))
    const how = this.#context.options.reconnect ?? DEFAULT_RECONNECT
    const retrying = retry ? toNativeReconnectOptions(how) : null
    try {
      await bridge.call<void>((id) => bridge.listeners.start(this.#id, id, native, retrying))
    } catch (error) {
      this.#release()
      throw error
    }
    // The session may have come up at the moment at which the run was shut down.
    if (this.lifecycle.ending) throw new ListenerClosedError('the listener was shut down')
    this.#wasUp = true
    this.#setRunning(this.lifecycle.isLive)
    // The session's own event may have come first, and the session may be lost again.
    if (this.lifecycle.state === 'connecting') this.lifecycle.to('connected')
  }

  /** Makes the server listen to a channel; resolves once the LISTEN is committed. */
  subscribe(subscription: Subscription): Promise<void> {
    return bridge.call((id) =>
      bridge.listeners.subscribe(this.#id, id, subscription.name, subscription.id),
    )
  }

  /** Makes the server listen to a channel no more; resolves once the UNLISTEN is committed. */
  unsubscribe(subscription: Subscription): Promise<void> {
    return bridge.call((id) => bridge.listeners.unsubscribe(this.#id, id, subscription.name))
  }

  /**
   * Delivers a channel's notifications under the channel's new number from now on. Now and then returns all numbers under which
   * there are notifications that came before.
   */
  renumber(subscription: Subscription): ReadonlySet<number> | undefined {
    const buffered = bridge.listeners.renumber(this.#id, subscription.name, subscription.id)
    return buffered ? this.consumers.withNumbersHere(buffered) : undefined
  }

  /**
   * The lease of the listener's own session, the same for as long as the session is the same. A listener that shares a
   * session moves to one of its own first.
   */
  lease(): NativeLease | Promise<NativeLease> {
    // Whoever asks meanwhile comes behind those who have asked before.
    if (this.#moving) return this.#moving
    this.#lease ??= bridge.listeners.lease(this.#id) ?? undefined
    if (this.#lease) return this.#lease
    const { session } = this.#context.options
    if (session === 'shared') {
      throw new ListenerStartError(
        "The listener shares its session with others, so nothing else runs on it: make the listener with `session: 'own'`",
      )
    }
    if (session === 'own' || this.lifecycle.state !== 'connected') throw this.#noSession()
    this.#moving = bridge
      .call<void>((id) => bridge.listeners.takeOwnSession(this.#id, id))
      .then(() => {
        this.#lease ??= bridge.listeners.lease(this.#id) ?? undefined
        if (!this.#lease) throw this.#noSession()
        this.#context.events.observer.moved(bridge.listeners.stats(this.#id).session?.processId)
        return this.#lease
      })
      .finally(() => {
        this.#moving = undefined
      })
    return this.#moving
  }

  #noSession(): ConnectionClosedError {
    return new ConnectionClosedError(
      this.lifecycle.state === 'reconnecting'
        ? 'The listening session is lost, and not back yet'
        : 'The listener has no session',
    )
  }

  /** Resolves when every present consumer has got what was committed before the call. */
  sync(signal: AbortSignal | undefined): Promise<void> {
    return this.consumers.sync(
      (fence) => bridge.call<void>((id) => bridge.listeners.fence(this.#id, id, fence)),
      signal,
    )
  }

  /** Counts of this run; nothing any more once they are in `counters`. */
  stats(): RunStats {
    if (this.#isCounted) return NOTHING_COUNTED
    return runStats(bridge.listeners.stats(this.#id), this.consumers.stats())
  }

  /**
   * Ends the run as `Listener.shutdown()` says. A second call waits no longer than its own `timeoutMs`, and without
   * `drain` it ends the draining of the first.
   */
  async shutdown(drain: boolean, timeoutMs: number): Promise<void> {
    const { ending } = this.lifecycle
    if (!ending) {
      const first = this.#shutdown(drain, timeoutMs)
      this.lifecycle.end(first)
      return first
    }
    if (!drain) this.#stopDraining?.()
    await within(timeoutMs, ending)
  }

  async #shutdown(drain: boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs
    bridge.listeners.end(this.#id, drain)
    if (drain && this.lifecycle.state !== 'connecting') {
      // The session needs some of the time to close.
      await within(timeoutMs - Math.min(500, timeoutMs / 4), this.#drained())
    }
    this.#closeConsumers()
    // No session adds to them any more, and the listener's next run may be beginning.
    if (this.lifecycle.hasGivenUp) this.#settleCounts()
    const left = Math.max(deadline - performance.now(), 0)
    await bridge.call<void>((id) => bridge.listeners.shutdown(this.#id, id, left))
    this.#release()
  }

  /** Resolves when the consumers have got everything, or when a second shutdown ends the draining. */
  #drained(): Promise<unknown> {
    const stopped = new Promise<void>((resolve) => {
      this.#stopDraining = resolve
    })
    return Promise.race([this.consumers.finished(), stopped])
  }

  #closeConsumers(): void {
    this.consumers.close(new ListenerClosedError('the listener was shut down'))
  }

  /** Adds the native counts to the listener's counters. In the same step `stats()` stops adding them. */
  #settleCounts(): void {
    if (this.#isCounted) return
    this.#isCounted = true
    addFinalCounts(this.#context.counters, bridge.listeners.stats(this.#id))
  }

  /** Gives back everything that this run holds. */
  #release(): void {
    if (this.lifecycle.hasEnded) return
    this.#settleCounts()
    this.lifecycle.to('ended')
    this.#closeConsumers()
    this.#lease = undefined
    this.#setRunning(false)
    bridge.unregister(this.#id)
    this.onNeedChanged()
  }

  /** Called by the bridge when the native half has events. */
  onReady(): void {
    // Whoever has failed tries again later, and the run may be over by then.
    if (this.lifecycle.hasEnded) return
    let events: NativeEvent[]
    try {
      events = bridge.listeners.takeEvents(this.#id)
    } catch (error) {
      this.#context.events.report('error', error as PglistenError)
      setTimeout(() => this.onReady(), RETRY_MS).unref()
      return
    }
    for (const event of events) {
      if (event.kind === 'connected' && !this.#wasUp) {
        // A session that comes up while its startup is ended is nobody's.
        if (this.lifecycle.ending) continue
        this.#wasUp = true
      }
      this.#follow(event)
      reportSessionEvent(this.#context, event, this.lifecycle.state === 'connecting')
    }
  }

  /** Reports the events that led to a gap before a consumer handles the gap. */
  onGap(): void {
    this.onReady()
  }

  onDefect(error: PglistenError): void {
    this.#context.events.report('error', error)
  }

  /** Keeps this run from being collected while a consumer waits for notifications and the session may bring them. */
  onNeedChanged(): void {
    const isKept = this.consumers.isNeeded && this.lifecycle.isLive
    if (isKept) delivering.add(this)
    else delivering.delete(this)
    this.consumers.isKept = isKept
  }

  /** Brings this run to where an event says that the session is. */
  #follow(event: NativeEvent): void {
    switch (event.kind) {
      case 'connected':
        this.lifecycle.to('connected')
        break
      case 'disconnected':
        this.#lease = undefined
        if (this.#context.options.reconnect) this.lifecycle.to('reconnecting')
        break
      case 'closed':
        this.lifecycle.to('gaveUp')
        // Before the process may end: what is buffered is still to be delivered.
        this.consumers.hurry()
        this.#setRunning(false)
        this.#lease = undefined
        this.onNeedChanged()
        break
      case 'attemptFailed':
      case 'reconnecting':
      case 'reconnected':
      case 'notice':
      case 'warning':
        break
    }
  }
}
