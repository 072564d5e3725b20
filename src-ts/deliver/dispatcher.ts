// Delivers notifications to callbacks: in order, one or several at a time, and within the time slice of a turn.
import { Connection, type Finished } from '../query/connection.js'
import {
  UNPARSED,
  parsePayload,
  reportFailure,
  reportOverflow,
  reportRollback,
} from './delivery.js'
import type { Gap } from './gap.js'
import { EntryKind, type Inbox } from './inbox.js'
import type { ListenerContext } from './context.js'
import type { Registration, Subscription } from './subscriptions.js'
import type { Consumer } from '../native/bridge.js'
import { asThenable, whenSettled } from '../native/thenable.js'
import { common, isTurnSpent, Turn, type TurnTaker } from '../native/turn.js'
import { callbackChannels, type CallbackContext } from '../observe/channels.js'
import { areSettledTold } from '../observe/settled.js'
import { areCallbacksTraced, traced } from '../observe/tracing.js'

/**
 * The most notifications that may wait in lanes, outside the buffer and its bounds, for an earlier one of their channel
 * while later ones of other channels are delivered.
 */
const MAX_WAITING = 1024

const LEFT_OPEN = 'a callback left a transaction open on its connection; it was rolled back'

/** Of dispatchers without lanes. */
const NO_LANES = new Map<number, Notification[]>()
/** Of dispatchers without lanes. */
const NONE_RUNNABLE = new Set<number>()

/** The functions that a {@link Dispatcher} calls. */
export interface FenceWatcher {
  /** Called when all callbacks for notifications before a fence have settled. */
  onFence(fence: number, consumer: object): void
}

/** A notification that waits in a lane. */
interface Notification {
  channelId: number
  processId: number
  payload: string
}

/** The consumer that all callbacks of a listener form together. */
export class Dispatcher implements Consumer, TurnTaker {
  readonly #context: ListenerContext
  readonly #watcher: FenceWatcher
  readonly #inbox: Inbox
  /** Kept from the first delivery on: thousands of listeners may be idle. */
  #turn: Turn | undefined
  readonly #concurrency: number
  readonly #ordered: boolean
  /**
   * The lanes: with `ordered` and a `concurrency` above 1, each channel with a running callback, and the notifications
   * that wait for that callback.
   */
  readonly #lanes: Map<number, Notification[]> = NO_LANES
  /** Channels whose callback has settled while notifications wait in their lane. */
  readonly #runnable: Set<number> = NONE_RUNNABLE
  /** Notifications in all lanes. */
  #waiting = 0
  /**
   * Notifications whose callbacks are running. A gap's callbacks count as `concurrency`, so that nothing runs beside
   * them.
   */
  #inFlight = 0
  /** That of the callback with which a run has ended. */
  #connection: Connection | undefined
  /** That for which it was called. The inbox has it no more, if the callback has ended its listener. */
  #payload = ''
  #listening = false
  #pumping = false
  /** Whether somebody traces callbacks, as of the beginning of the present run of deliveries. */
  #isTraced = false
  /** Whether somebody wants to know how long callbacks take, as of then too. */
  #isTimed = false
  /** When the last callback was called, if that is wanted. */
  #calledAt: number | undefined
  /** Whether the end of the stream was reached. */
  #ended = false
  /** Whether the dispatcher was closed: then no callback is started any more. */
  #closed = false
  #finish: (() => void) | undefined
  #finished: Promise<void> | undefined

  constructor(context: ListenerContext, inbox: Inbox, watcher: FenceWatcher) {
    this.#context = context
    this.#watcher = watcher
    this.#inbox = inbox
    this.#concurrency = context.options.concurrency
    this.#ordered = context.options.ordered && this.#concurrency > 1
    if (this.#ordered) {
      this.#lanes = new Map()
      this.#runnable = new Set()
    }
    inbox.owner = this
  }

  /** Resolves when the stream has ended and every callback has settled. */
  get finished(): Promise<void> {
    this.#finished ??= new Promise((resolve) => {
      if (this.#ended || this.#closed) resolve()
      else this.#finish = resolve
    })
    return this.#finished
  }

  onReady(): void {
    this.#pump()
  }

  onTurn(): void {
    this.#pump()
    if (this.#turn?.isUnused) this.#turn = undefined
  }

  /** Whether callbacks are called: `listen()` without a later `abortListen()`. */
  get listening(): boolean {
    return this.#listening
  }

  /** The buffer of this consumer. */
  get inbox(): Inbox {
    return this.#inbox
  }

  /** The number of notifications that wait in lanes, outside the buffer. */
  get waiting(): number {
    return this.#waiting
  }

  /** Starts to deliver, or resumes. */
  listen(): void {
    if (this.#listening) return
    this.#listening = true
    // In a later turn, because `listen()` returns before the first callback runs.
    this.#yield()
  }

  /** The turn that deliveries charge. */
  get #chargedTurn(): Turn {
    return common.turn ?? (this.#turn ??= new Turn(this))
  }

  #charge(): boolean {
    return this.#chargedTurn.charge()
  }

  #yield(): void {
    this.#turn ??= new Turn(this)
    this.#turn.yield()
  }

  /** Lets others go on. Whoever has several consumers deliver calls this one again for what is here. */
  #pause(): void {
    if (!common.turn || !this.#inbox.hasMore) this.#yield()
  }

  /** Starts no more callbacks; running ones go on. */
  abort(): void {
    this.#listening = false
  }

  /** Stops for good, and drops the buffered notifications. */
  close(): void {
    this.#listening = false
    this.#closed = true
    this.#lanes.clear()
    this.#runnable.clear()
    this.#waiting = 0
    this.#inbox.close()
    this.#finish?.()
  }

  /** Delivers entries until there are none, until callbacks have to settle first, or until the slice is used up. */
  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    this.#isTraced = areCallbacksTraced()
    this.#isTimed = areSettledTold()
    this.#calledAt = undefined
    try {
      if (this.#runnable.size > 0 && !this.#startWaiting()) return this.#yield()
      while (this.#canTakeMore()) {
        if (isTurnSpent()) return this.#pause()
        if (!this.#inbox.hasNext()) return
        if (!this.#charge()) return this.#pause()
        this.#inbox.advance()
        if (!this.#take()) return
      }
    } finally {
      this.#pumping = false
    }
  }

  /** Whether the state of the dispatcher allows one more entry. */
  #canTakeMore(): boolean {
    return (
      this.#listening &&
      !this.#ended &&
      !this.#closed &&
      this.#inFlight < this.#concurrency &&
      this.#waiting < MAX_WAITING
    )
  }

  /** Handles the present entry of the inbox. Returns `false` when the entry has to wait for running callbacks. */
  #take(): boolean {
    const inbox = this.#inbox
    if (inbox.kind === EntryKind.Notification) {
      const { channelId, processId, payload } = inbox
      if (!this.#ordered && !this.#isTraced && !this.#context.options.parse) {
        const subscription = this.#context.subscriptions.byId(channelId)
        if (subscription?.only) {
          this.#startRun(subscription, subscription.only)
          return true
        }
      }
      const lane = this.#ordered ? this.#lanes.get(channelId) : undefined
      if (lane) {
        lane.push({ channelId, processId, payload })
        this.#waiting += 1
      } else {
        this.#start(channelId, processId, payload)
      }
      return true
    }
    // A gap, a fence and the end wait until the callbacks for all earlier notifications have settled.
    if (this.#inFlight > 0 || this.#waiting > 0) {
      inbox.back()
      return false
    }
    if (inbox.kind === EntryKind.Gap) this.#startGap(inbox.gap!)
    else if (inbox.kind === EntryKind.Fence) this.#watcher.onFence(inbox.fence, this)
    else {
      this.#ended = true
      this.#finish?.()
    }
    return true
  }

  /** Starts the callbacks for notifications in runnable lanes. Returns `false` when the slice is used up. */
  #startWaiting(): boolean {
    for (const channelId of this.#runnable) {
      while (this.#runnable.has(channelId)) {
        if (!this.#listening || this.#inFlight >= this.#concurrency) return true
        if (!this.#charge()) return false
        this.#runnable.delete(channelId)
        const next = this.#lanes.get(channelId)!.shift()!
        this.#waiting -= 1
        this.#start(channelId, next.processId, next.payload)
      }
    }
    return true
  }

  /**
   * Calls the only callback of a channel for the present notification, and for those of the same channel that follow it and
   * are here already: up to the first for which the callback returns a promise.
   */
  #startRun(subscription: Subscription, registration: Registration): void {
    const inbox = this.#inbox
    const { name } = subscription
    let result: PromiseLike<unknown> | undefined
    try {
      // One asynchronous scope for all of them: to enter it costs a good part of a delivery.
      // oxlint-disable-next-line typescript/unbound-method -- the next argument is its `this`
      result = registration.runInAsyncScope(this.#run, this, subscription, registration)
    } catch (cause) {
      reportFailure(this.#context, 'a callback threw', cause, name, this.#payload, inbox.processId)
    }
    const connection = this.#connection
    // Nothing was called, or all that were called have returned.
    if (!connection) return
    const payload = this.#payload
    this.#connection = undefined
    this.#payload = ''
    if (!result) {
      void this.#giveBack(connection, name)
      return
    }
    this.#inFlight += 1
    this.#settle(result, connection, name, payload, inbox.processId)
  }

  /** Calls the callback, in its scope. Returns the promise with which the run has ended, if it has ended with one. */
  #run(subscription: Subscription, registration: Registration): PromiseLike<unknown> | undefined {
    const inbox = this.#inbox
    const { leases, counters } = this.#context
    const { name } = subscription
    const { callback } = registration
    const { channelId } = inbox
    const turn = this.#chargedTurn
    // The steps are few and small, so that an engine makes one function of all of them.
    do {
      // Whoever was called before may have ended one or the other.
      if (this.#closed || !registration.active || channelId < subscription.callableFrom)
        return undefined
      const connection = Connection.lazy(leases, name)
      counters.delivered += 1
      if (this.#isTimed) this.#noteTime(registration)
      const { payload } = inbox
      let result: PromiseLike<unknown> | undefined
      try {
        const returned = callback(connection, payload, name, inbox.processId)
        // A look at `then` may run the callback's code too.
        if (returned !== undefined) result = asThenable(returned)
      } catch (cause) {
        this.#connection = connection
        this.#payload = payload
        throw cause
      }
      registration.returnsPromises = result !== undefined
      if (result) {
        this.#connection = connection
        this.#payload = payload
        return result
      }
      const finished = connection.finish()
      if (finished) void this.#givenBack(finished, name)
      if (!this.#listening || subscription.only !== registration) return undefined
    } while (inbox.hasMore && turn.charge() && inbox.advanceWithin(channelId))
    return undefined
  }

  /** Starts the callbacks for one notification. */
  #start(channelId: number, processId: number, text: string): void {
    const subscription = this.#context.subscriptions.byId(channelId)
    // The channel was removed, its callbacks were cleared after the notification, or it never had any.
    if (!subscription || channelId < subscription.callableFrom || !subscription.isCalled) {
      this.#laneFreed(channelId)
      return
    }
    let payload: unknown = text
    const { parse } = this.#context.options
    if (parse) {
      payload = parsePayload(this.#context, parse, subscription.name, text, processId)
      if (payload === UNPARSED) {
        this.#laneFreed(channelId)
        return
      }
    }
    this.#context.counters.delivered += 1
    const { name, only } = subscription
    const running = only
      ? this.#call(only, name, payload, processId)
      : this.#callFrom(0, subscription.registrations, name, payload, processId)
    if (!running) {
      this.#laneFreed(channelId)
      return
    }
    this.#inFlight += 1
    if (this.#ordered && !this.#lanes.has(channelId)) this.#lanes.set(channelId, [])
    void running.then(() => {
      this.#inFlight -= 1
      this.#laneFreed(channelId)
      this.#pump()
    })
  }

  /**
   * Frees the lane of a channel whose notification was delivered or dropped, or marks it as runnable if another one
   * waits.
   */
  #laneFreed(channelId: number): void {
    if (!this.#ordered) return
    const lane = this.#lanes.get(channelId)
    if (!lane) return
    if (lane.length === 0) this.#lanes.delete(channelId)
    else this.#runnable.add(channelId)
  }

  /**
   * Calls the callbacks from `index` on, one after the other. Returns a promise, which never rejects, if one of them
   * did.
   */
  #callFrom(
    index: number,
    registrations: readonly Registration[],
    channel: string,
    payload: unknown,
    processId: number,
  ): Promise<void> | undefined {
    for (let at = index; at < registrations.length; at += 1) {
      const running = this.#call(registrations[at]!, channel, payload, processId)
      if (running) {
        return running.then(() =>
          this.#callFrom(at + 1, registrations, channel, payload, processId),
        )
      }
    }
    return undefined
  }

  /** Calls one callback. Returns a promise, which never rejects, if the callback returned one. */
  #call(
    registration: Registration,
    channel: string,
    payload: unknown,
    processId: number,
  ): Promise<void> | undefined {
    if (this.#closed || !registration.active) return undefined
    const connection = Connection.lazy(this.#context.leases, channel)
    let result: PromiseLike<unknown> | undefined
    try {
      const { callback } = registration
      this.#noteTime(registration)
      const returned = this.#isTraced
        ? this.#trace(registration, [connection, payload, channel, processId], {
            channel,
            processId,
            payload,
          })
        : // prettier-ignore
          registration.runInAsyncScope(callback, undefined, connection, payload, channel, processId)
      // Inside the `try`, because a look at `then` may run the callback's code too.
      result = asThenable(returned)
      registration.returnsPromises = result !== undefined
    } catch (cause) {
      reportFailure(this.#context, 'a callback threw', cause, channel, payload, processId)
    }
    if (result) {
      const promise = result
      return new Promise((resolve) =>
        this.#settle(promise, connection, channel, payload, processId, resolve),
      )
    }
    void this.#giveBack(connection, channel)
    return undefined
  }

  /** To look at the clock costs a good part of a callback that returns no promise, whose time nobody is told. */
  #noteTime({ returnsPromises }: Registration): void {
    this.#calledAt = this.#isTimed && returnsPromises ? performance.now() : undefined
  }

  /** Calls a callback, and tells whoever traces callbacks. */
  #trace<Args extends unknown[]>(
    registration: Registration<Args>,
    args: Args,
    about: Pick<CallbackContext, 'channel' | 'processId' | 'payload'>,
  ): unknown {
    const { identity, observation } = this.#context.events.observer
    const { payloads } = observation
    const payload = payloads ? about.payload : undefined
    const context: CallbackContext = { ...identity, ...about, payload, error: undefined }
    const { callback } = registration
    // In the context of the registration, which would hide the stores that a tracer has bound.
    return registration.runInAsyncScope(() =>
      traced(callbackChannels, context, payloads, () => callback(...args)),
    )
  }

  /**
   * Waits for a callback's promise, reports its rejection, and ends the lease of its connection. Then calls `onSettled`; without it,
   * goes on behind a run. It is no asynchronous function, which would take two more promises and turns of the queue of microtasks.
   */
  #settle(
    result: PromiseLike<unknown>,
    connection: Connection,
    channel: string,
    payload: unknown,
    processId: number,
    onSettled = () => {
      this.#inFlight -= 1
      this.#pump()
    },
  ): void {
    const { calls } = this.#context
    const call = calls.begin(channel, this.#calledAt)
    const end = (failure?: { reason: unknown }) => {
      calls.end(call, failure)
      const giving = this.#giveBack(connection, channel)
      if (giving) void giving.then(onSettled)
      else onSettled()
    }
    whenSettled(
      result,
      () => end(),
      (cause) => {
        reportFailure(this.#context, 'a callback rejected', cause, channel, payload, processId)
        end({ reason: cause })
      },
    )
  }

  /** Ends the lease of a callback's connection. Returns `undefined` when the connection was never used. */
  #giveBack(connection: Connection, channel: string | undefined): Promise<void> | undefined {
    const finished = connection.finish()
    return finished && this.#givenBack(finished, channel)
  }

  async #givenBack(finished: Promise<Finished>, channel: string | undefined): Promise<void> {
    const { rolledBack } = await finished
    if (rolledBack) reportRollback(this.#context, LEFT_OPEN, channel)
  }

  /** Starts the gap callbacks for a gap. */
  #startGap(gap: Gap): void {
    reportOverflow(this.#context, gap)
    const running = this.#runGap(this.#context.gapCallbacks, gap)
    if (!running) return
    // Takes the whole concurrency, so that no callback runs beside the gap callbacks.
    this.#inFlight = this.#concurrency
    void running.then(() => {
      this.#inFlight = 0
      this.#pump()
    })
  }

  /** Calls the gap callbacks one after the other. Returns a promise, which never rejects, if there are any. */
  #runGap(
    callbacks: readonly Registration<[Connection, Gap]>[],
    gap: Gap,
  ): Promise<void> | undefined {
    if (callbacks.length === 0) return undefined
    return (async () => {
      for (const registration of callbacks) {
        if (this.#closed) return
        if (!registration.active) continue
        const connection = Connection.lazy(this.#context.leases)
        const call = this.#context.calls.begin(undefined)
        const about = { channel: undefined, processId: undefined, payload: undefined }
        let failure: { reason: unknown } | undefined
        try {
          await (areCallbacksTraced()
            ? this.#trace(registration, [connection, gap], about)
            : registration.runInAsyncScope(registration.callback, undefined, connection, gap))
        } catch (cause) {
          failure = { reason: cause }
          reportFailure(
            this.#context,
            'a gap callback failed',
            cause,
            undefined,
            undefined,
            undefined,
          )
        } finally {
          this.#context.calls.end(call, failure)
        }
        await this.#giveBack(connection, undefined)
      }
    })()
  }
}
