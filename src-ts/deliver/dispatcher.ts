// Delivers to callbacks: in order, one at a time or several, and never for long without giving the event loop its turn.
import { Connection } from '../query/connection.js'
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
import type { Registration } from './subscriptions.js'
import { Turn } from '../native/turn.js'

/**
 * How many notifications may wait here for one of the same channel while later ones of other channels go ahead. More
 * would take them out of the bounds of the buffer.
 */
const MAX_WAITING = 1024

const LEFT_OPEN = 'a callback left a transaction open on its connection; it was rolled back'

interface Notification {
  channelId: number
  processId: number
  payload: string
}

/** The consumer that callbacks make up together. */
export class Dispatcher {
  readonly #context: ListenerContext
  readonly #passFence: (fence: number, dispatcher: Dispatcher) => void
  readonly #inbox: Inbox
  readonly #turn = new Turn(() => this.#pump())
  readonly #concurrency: number
  readonly #ordered: boolean
  /** With `ordered` and several at a time: the channels that are busy, and what waits for them. */
  readonly #lanes = new Map<number, Notification[]>()
  /** The channels for which something waits although nothing runs. */
  readonly #runnable = new Set<number>()
  #waiting = 0
  #inFlight = 0
  #listening = false
  #pumping = false
  /** The end of the stream was reached. */
  #ended = false
  /** Nothing is started any more. */
  #closed = false
  #finish: () => void = () => {}
  /** Resolves when the stream has ended and every callback has settled. */
  readonly finished = new Promise<void>((resolve) => {
    this.#finish = resolve
  })

  /** `passFence` is called when everything before a fence has settled. */
  constructor(
    context: ListenerContext,
    inbox: Inbox,
    passFence: (fence: number, dispatcher: Dispatcher) => void,
  ) {
    this.#context = context
    this.#passFence = passFence
    this.#inbox = inbox
    this.#concurrency = context.options.concurrency
    this.#ordered = context.options.ordered && this.#concurrency > 1
    inbox.owner = { onReady: () => this.#pump() }
  }

  get listening(): boolean {
    return this.#listening
  }

  get inbox(): Inbox {
    return this.#inbox
  }

  /** How many notifications wait here, outside the buffer. */
  get waiting(): number {
    return this.#waiting
  }

  /** Starts delivering, or goes on with it. */
  listen(): void {
    if (this.#listening) return
    this.#listening = true
    // Not from here: `listen()` returns before the first callback runs.
    this.#turn.yield()
  }

  /** Starts nothing more; what is running goes on. */
  abort(): void {
    this.#listening = false
  }

  /** Stops for good, and forgets what is buffered. */
  close(): void {
    this.#listening = false
    this.#closed = true
    this.#lanes.clear()
    this.#runnable.clear()
    this.#waiting = 0
    this.#inbox.close()
    this.#finish()
  }

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      if (!this.#startWaiting()) return this.#turn.yield()
      while (this.#canTakeMore()) {
        if (this.#turn.isExhausted) return this.#turn.yield()
        if (!this.#inbox.hasNext()) return
        if (!this.#turn.charge()) return this.#turn.yield()
        this.#inbox.advance()
        if (!this.#take()) return
      }
    } finally {
      this.#pumping = false
    }
  }

  #canTakeMore(): boolean {
    return (
      this.#listening &&
      !this.#ended &&
      !this.#closed &&
      this.#inFlight < this.#concurrency &&
      this.#waiting < MAX_WAITING
    )
  }

  /** Handles the inbox' current entry. `false`: it has to wait for what is running. */
  #take(): boolean {
    const inbox = this.#inbox
    if (inbox.kind === EntryKind.Notification) {
      const { channelId, processId, payload } = inbox
      const lane = this.#ordered ? this.#lanes.get(channelId) : undefined
      if (lane) {
        lane.push({ channelId, processId, payload })
        this.#waiting += 1
      } else {
        this.#start(channelId, processId, payload)
      }
      return true
    }
    // Gaps, fences and the end come after everything before them has settled.
    if (this.#inFlight > 0 || this.#waiting > 0) {
      inbox.back()
      return false
    }
    if (inbox.kind === EntryKind.Gap) this.#startGap(inbox.gap!)
    else if (inbox.kind === EntryKind.Fence) this.#passFence(inbox.fence, this)
    else {
      this.#ended = true
      this.#finish()
    }
    return true
  }

  /** Starts what waited for a channel that is free again. `false`: the slice is used up. */
  #startWaiting(): boolean {
    for (const channelId of this.#runnable) {
      while (this.#runnable.has(channelId)) {
        if (!this.#listening || this.#inFlight >= this.#concurrency) return true
        if (!this.#turn.charge()) return false
        this.#runnable.delete(channelId)
        const next = this.#lanes.get(channelId)!.shift()!
        this.#waiting -= 1
        this.#start(channelId, next.processId, next.payload)
      }
    }
    return true
  }

  #start(channelId: number, processId: number, text: string): void {
    const subscription = this.#context.subscriptions.byId(channelId)
    // Removed, or cleared since it was sent, or never wanted by callbacks.
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

  /** A notification of the channel was dealt with. */
  #laneFreed(channelId: number): void {
    if (!this.#ordered) return
    const lane = this.#lanes.get(channelId)
    if (!lane) return
    if (lane.length === 0) this.#lanes.delete(channelId)
    else this.#runnable.add(channelId)
  }

  /** Calls callbacks from `index` on, one after the other. A promise that never rejects, if one gave a promise. */
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

  /** Calls a callback. A promise that never rejects, if it gave a promise. */
  #call(
    registration: Registration,
    channel: string,
    payload: unknown,
    processId: number,
  ): Promise<void> | undefined {
    if (this.#closed || !registration.active) return undefined
    const connection = Connection.lazy(this.#context.leases)
    let result: PromiseLike<unknown> | undefined
    try {
      // Asking whether it is a promise runs the callback's code too.
      result = asThenable(
        registration.runInAsyncScope(
          registration.callback,
          undefined,
          connection,
          payload,
          channel,
          processId,
        ),
      )
    } catch (cause) {
      reportFailure(this.#context, 'a callback threw', cause, channel, payload, processId)
    }
    if (result) return this.#settle(result, connection, channel, payload, processId)
    void this.#giveBack(connection, channel)
    return undefined
  }

  async #settle(
    result: PromiseLike<unknown>,
    connection: Connection,
    channel: string | undefined,
    payload: unknown,
    processId: number | undefined,
  ): Promise<void> {
    try {
      await result
    } catch (cause) {
      reportFailure(this.#context, 'a callback rejected', cause, channel, payload, processId)
    }
    await this.#giveBack(connection, channel)
  }

  /** Ends the lease of a callback's connection, if it was used. */
  #giveBack(connection: Connection, channel: string | undefined): Promise<void> | undefined {
    return connection.finish()?.then(({ rolledBack }) => {
      if (rolledBack) reportRollback(this.#context, LEFT_OPEN, channel)
    })
  }

  #startGap(gap: Gap): void {
    reportOverflow(this.#context, gap)
    const running = this.#runGap(this.#context.gapCallbacks, gap)
    if (!running) return
    // Nothing else runs meanwhile.
    this.#inFlight = this.#concurrency
    void running.then(() => {
      this.#inFlight = 0
      this.#pump()
    })
  }

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
        try {
          await registration.runInAsyncScope(registration.callback, undefined, connection, gap)
        } catch (cause) {
          reportFailure(
            this.#context,
            'a gap callback failed',
            cause,
            undefined,
            undefined,
            undefined,
          )
        }
        await this.#giveBack(connection, undefined)
      }
    })()
  }
}

function asThenable(value: unknown): PromiseLike<unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  return typeof (value as { then?: unknown }).then === 'function'
    ? (value as PromiseLike<unknown>)
    : undefined
}
