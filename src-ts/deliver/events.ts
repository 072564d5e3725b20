// The events of a listener, and how they are emitted: a handler that throws stops no delivery.
import { EventEmitter } from 'node:events'
import { ListenerCallbackError, type PglistenError, type ServerMessage } from '../errors.js'
import type { Gap } from './gap.js'
import { throwLater } from '../native/timers.js'
import type { WarningKind } from '../observe/channels.js'
import type { Observer } from '../observe/observer.js'
import type { QueueReport } from '../observe/queue.js'

/** A condition that a user should know of, and that does not stop the listener. */
export interface ListenerWarning {
  /** What the warning is about, for programs. */
  kind: WarningKind
  /** A description in words. */
  message: string
  /** The notice or warning that the server sent to the listening session, if the warning is about one. */
  notice?: ServerMessage
  /** The error of an attempt that has failed, if the warning is about one: to connect, at first or again, or to give a channel up. */
  error?: PglistenError
  /** The channel of the callback or message, if the warning is about one. */
  channel?: string
  /** The server's queue of notifications, if the warning is about it. */
  queue?: QueueReport
}

/** The events of a {@link Listener}, and the arguments that their handlers get. */
export interface ListenerEvents {
  /** A session is up and its LISTENs are committed. Emitted during `startup()`, and at each reconnection. */
  connected: [
    info: {
      /** The process id of the session's backend: `pg_stat_activity.pid`. */
      processId: number
    },
  ]
  /** The session ended without a `shutdown()`. */
  disconnected: [
    info: {
      /** The reason, as far as it is known. */
      error: PglistenError
      /** The process id that the session's backend had. */
      processId: number
    },
  ]
  /**
   * An attempt to connect again is about to begin. Emitted when its delay is known, and again if the delay changes. While
   * `startup({ retry: true })` tries, it is emitted from the second attempt on.
   */
  reconnecting: [
    info: {
      /** The number of the attempt since the session was lost, from 1. */
      attempt: number
      /** The time until the attempt begins, in milliseconds; 0 when it begins because the one before has got no answer. */
      delayMs: number
      /** Why it is necessary: the end of the session, or the failure of the attempt before. Its `code` is for programs. */
      error: PglistenError
    },
  ]
  /** A new session took the place of a lost one. Emitted after `connected`. */
  reconnected: [
    info: {
      /** The gap that each consumer gets, at its place among the notifications. */
      gap: Gap
    },
  ]
  /** Notifications may be missing. Emitted once for each lost session, and once for each overflow of a consumer. */
  gap: [gap: Gap]
  /**
   * A callback or `parse` failed ({@link ListenerCallbackError}), or the listener cannot reconnect until somebody acts,
   * such as when its password is refused. Without a handler the error becomes a warning of the process, at most one
   * each second; it never ends the process.
   */
  error: [error: PglistenError]
  /** Something happened that a user should know of, and the listener goes on. */
  warning: [warning: ListenerWarning]
  /** The listener has ended: without an argument by `shutdown()`, with the reason when it gave up. */
  closed: [error?: PglistenError]
}

/** The shortest time between two warnings of the process for errors without a handler, in milliseconds. */
const WARNING_INTERVAL_MS = 1000

/**
 * The methods of every emitter that take the name of an event and its handler. The types of `EventEmitter` take any name,
 * and refuse the handler; these refuse a name that is no event's.
 */
// oxlint-disable-next-line typescript/no-unsafe-declaration-merging -- the methods are those of the class that it extends.
export interface ListenerEmitter {
  /** Adds a handler, as the method of every emitter does. */
  on<Event extends keyof ListenerEvents>(
    event: Event,
    handler: (...args: ListenerEvents[Event]) => void,
  ): this
  /** Adds a handler, as `on()` does. */
  addListener<Event extends keyof ListenerEvents>(
    event: Event,
    handler: (...args: ListenerEvents[Event]) => void,
  ): this
  /** Adds a handler before the others. */
  prependListener<Event extends keyof ListenerEvents>(
    event: Event,
    handler: (...args: ListenerEvents[Event]) => void,
  ): this
  /** Removes a handler. */
  off<Event extends keyof ListenerEvents>(
    event: Event,
    handler: (...args: ListenerEvents[Event]) => void,
  ): this
  /** Removes a handler, as `off()` does. */
  removeListener<Event extends keyof ListenerEvents>(
    event: Event,
    handler: (...args: ListenerEvents[Event]) => void,
  ): this
}

/**
 * An emitter that has no table of handlers before the first of them: the constructor of `EventEmitter` makes one for each
 * instance, and most of thousands of listeners have no handlers. Its methods make what they do not find.
 */
const LazyEmitter = function LazyEmitter() {} as unknown as typeof EventEmitter
Object.setPrototypeOf(LazyEmitter, EventEmitter)
LazyEmitter.prototype = Object.create(EventEmitter.prototype, {
  constructor: { value: LazyEmitter, configurable: true, writable: true },
}) as EventEmitter

/** Emits the events of a listener. */
export class ListenerEmitter extends LazyEmitter<ListenerEvents> {
  /** @internal Tells whoever watches the process. */
  readonly observer: Observer
  #nextWarningAt = 0
  #unreported = 0

  /** @internal */
  constructor(observer: Observer) {
    super()
    this.observer = observer
  }

  /**
   * @internal Emits an event. An error that a handler throws is thrown again in a later tick, where it is an uncaught
   * exception as for any other emitter; the delivery that led to the event goes on.
   */
  report<Name extends keyof ListenerEvents>(name: Name, ...args: ListenerEvents[Name]): void {
    this.observer.event(name, args)
    try {
      if (name === 'error' && this.listenerCount('error') === 0)
        this.#warn(args[0] as PglistenError)
      else (this as EventEmitter).emit(name, ...args)
    } catch (error) {
      throwLater(error)
    }
  }

  #warn(error: PglistenError): void {
    const now = performance.now()
    if (now < this.#nextWarningAt) {
      this.#unreported += 1
      return
    }
    this.#nextWarningAt = now + WARNING_INTERVAL_MS
    const more =
      this.#unreported > 0 ? ` (and ${this.#unreported} more since the last warning)` : ''
    this.#unreported = 0
    const channel =
      error instanceof ListenerCallbackError && error.channel !== undefined
        ? ` [channel ${error.channel}]`
        : ''
    process.emitWarning(`${error.message}${channel}${more}${textOfCause(error.cause)}`, {
      type: 'PglistenWarning',
      code: error.code,
    })
  }
}

/** What a warning tells of the error that it is about. An error of the user's may have a stack that cannot be read. */
function textOfCause(cause: unknown): string {
  try {
    if (!(cause instanceof Error)) return ''
    const text: unknown = cause.stack ?? cause.message
    return typeof text === 'string' ? `: ${text}` : ''
  } catch {
    return ''
  }
}
