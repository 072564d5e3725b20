// The events of a listener, and how they are emitted: nothing that a handler does stops a delivery.
import { EventEmitter } from 'node:events'
import { ListenerCallbackError, type PglistenError, type ServerMessage } from '../errors.js'
import type { Gap } from './gap.js'
import { throwLater } from '../native/timers.js'

/** Something that a user should know of, and that stops nothing. */
export interface ListenerWarning {
  /** What happened, in words. */
  message: string
  /** What the server said, if it is about that: a notice or a warning of the listening session. */
  notice?: ServerMessage
  /** Why an attempt to connect again failed, if it is about that. */
  error?: PglistenError
  /** The channel whose callback it is about. */
  channel?: string
}

/** The events of a {@link Listener}, and the arguments that their handlers get. */
export interface ListenerEvents {
  /** A session is up and its LISTENs are committed: after `startup()`, and after each reconnection. */
  connected: [
    info: {
      /** The process id of its backend: `pg_stat_activity.pid`. */
      processId: number
    },
  ]
  /** The session ended, and not by `shutdown()`. */
  disconnected: [
    info: {
      /** Why it ended, as far as is known. */
      error: PglistenError
      /** The process id that its backend had. */
      processId: number
    },
  ]
  /** A new session took over, after `connected`. */
  reconnected: [
    info: {
      /** The gap that each consumer gets at its place. */
      gap: Gap
    },
  ]
  /** Notifications may be missing: once for each lost session, and for each consumer that overflowed. */
  gap: [gap: Gap]
  /**
   * A callback or `parse` failed ({@link ListenerCallbackError}), or the server refuses to let the listener back in.
   * With no handler it becomes a warning of the process, at most one each second; it never ends the process.
   */
  error: [error: PglistenError]
  /** See {@link ListenerWarning}. */
  warning: [warning: ListenerWarning]
  /** The listener is at its end: by `shutdown()`, without an argument, or because it gave up, with the reason. */
  closed: [error?: PglistenError]
}

/** An error without a handler is told to the process this often at most, in milliseconds. */
const WARNING_INTERVAL_MS = 1000

/** Emits the events of a listener. */
export class ListenerEmitter extends EventEmitter<ListenerEvents> {
  #nextWarningAt = 0
  #unreported = 0

  /**
   * @internal Emits an event. What a handler throws is thrown again outside, where it is an uncaught exception as for
   * any other emitter, and the delivery that led to the event goes on.
   */
  report<Name extends keyof ListenerEvents>(name: Name, ...args: ListenerEvents[Name]): void {
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
    const cause =
      error.cause instanceof Error ? `: ${error.cause.stack ?? error.cause.message}` : ''
    process.emitWarning(`${error.message}${channel}${more}${cause}`, {
      type: 'PglistenWarning',
      code: error.code,
    })
  }
}
