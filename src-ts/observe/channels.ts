// The channels of `node:diagnostics_channel`, and what their messages hold: a documented API.
import { channel, tracingChannel } from 'node:diagnostics_channel'

/** The listener that a diagnostics message is about. */
export interface ListenerIdentity {
  /** The number of the listener: unique within its thread, counted from 1. */
  listenerId: number
  /** Its option `name`. */
  listener: string | undefined
}

/** The moments in the life of a listening session, as one of its listeners sees it. See {@link SessionMessage}. */
export type SessionMoment =
  'connecting' | 'connected' | 'lost' | 'reconnecting' | 'moved' | 'closed'

/**
 * A message of the channel `pglisten:session`: the life of a listening session. Each listener that shares the session tells
 * of it.
 */
export interface SessionMessage extends ListenerIdentity {
  /**
   * - `connecting`: `startup()` connects.
   * - `connected`: a session is up, and its LISTENs are committed.
   * - `lost`: the session has ended without a `shutdown()`.
   * - `reconnecting`: an attempt to connect again begins in `delayMs`.
   * - `moved`: the listener has a session of its own now, because {@link Listener.connection} was used.
   * - `closed`: the listener was shut down, has given up, or could not start.
   */
  event: SessionMoment
  /** The process id of the session's backend; of `lost`, the one that it had. */
  processId: number | undefined
  /** Of `reconnecting`: the number of the attempt, from 1. */
  attempt: number | undefined
  /** Of `reconnecting`: the time until the attempt begins, in milliseconds. */
  delayMs: number | undefined
  /** The `code` of the error that led to it. */
  code: string | undefined
  /** The SQLSTATE, if a server sent that error. */
  sqlState: string | undefined
}

/** A message of the channel `pglisten:gap`: notifications may be missing. The fields that {@link Gap} has too mean the same. */
export interface GapMessage extends ListenerIdentity {
  /** The reason. */
  reason: 'disconnect' | 'overflow' | 'decode'
  /** The moment before which no notification is missing. */
  lostAt: Date
  /** The moment at which the stream went on. */
  resumedAt: Date
  /** The time between the two, in milliseconds. */
  downtimeMs: number
  /** The number of missing notifications; `null` when it is unknown. */
  dropped: number | null
  /** The SQLSTATE with which the server ended the session; `null` when it sent none. */
  sqlState: string | null
  /** The number of attempts that it took to connect again. */
  attempts: number
  /** Whether the server was restarted, or is another one; `null` when that is not known. */
  serverRestarted: boolean | null
  /** The process id of the lost session's backend. */
  oldProcessId: number | null
  /** The process id of the new session's backend. */
  newProcessId: number | null
  /** The number of gaps that this one stands for. */
  merged: number
}

/**
 * A message of the channel `pglisten:warning`: there was a `warning` event. The text is not in it, because that of a server's
 * notice may hold anything.
 */
export interface WarningMessage extends ListenerIdentity {
  /** What the warning is about. */
  kind: WarningKind
  /** The channel that the warning is about, if it is about one. */
  channel: string | undefined
  /** The `code` of the error that the warning is about, if it is about one. */
  code: string | undefined
  /** The SQLSTATE of that error, or of the server's notice. */
  sqlState: string | undefined
  /** Of `queue`: how much of the server's queue of notifications is in use, from 0 to 1. */
  usage: number | undefined
  /** Of `queue`: the process id of the backend that is the likeliest to hold the queue back, if there is one. */
  processId: number | undefined
}

/**
 * What a `warning` event is about.
 *
 * - `notice`: a notice or warning that the server sent.
 * - `attempt`: an attempt to connect has failed.
 * - `session`: the listening session, such as LISTENs that the server has lost.
 * - `slowCallback`: a callback that is pending for longer than `slowCallbackMs`.
 * - `queue`: the server's queue of notifications, of which much is in use.
 * - `rollback`: a transaction that was left open, and was rolled back.
 * - `pool`: a call that waits long for a connection of the pool.
 * - `usage`: a use of the library that is most likely a mistake.
 */
export type WarningKind =
  'notice' | 'attempt' | 'session' | 'slowCallback' | 'queue' | 'rollback' | 'pool' | 'usage'

/**
 * A message of the channel `pglisten:pool`: a pool was made. Whoever keeps the pool should do so with a `WeakRef`: nothing
 * else hinders its collection.
 */
export interface PoolMessage {
  /** The {@link ConnectionPool}. */
  pool: object
}

/** A message of the channel `pglisten:queue`: the watch of a pool has looked at the server's queue of notifications. */
export interface QueueMessage extends PoolMessage {
  /** How much of the queue is in use, from 0 to 1. */
  usage: number
}

/** A message of the channel `pglisten:listener`: a listener was made. It is kept as the pool of a {@link PoolMessage}. */
export interface ListenerMessage extends ListenerIdentity {
  /** The {@link Listener}. */
  instance: object
}

/**
 * A message of the channel `pglisten:settled`: the promise of a callback, or of a gap callback, has settled. At most 100
 * messages are published in each 100 ms, so that they cost little in a flood; to hear of every callback, also of those that
 * return no promise, there is the tracing channel `pglisten:callback`.
 */
export interface SettledMessage extends ListenerIdentity {
  /** The channel of the notification; `undefined` for a gap callback. */
  channel: string | undefined
  /** The time from the call to the end of the promise, in milliseconds. */
  durationMs: number
  /** The facts of the error with which the promise was rejected; `undefined` if it was not. */
  error: ErrorFacts | undefined
}

/** An error in a context, unless more was asked for. */
export interface ErrorFacts {
  /** The name of its class. */
  name: string
  /** Its `code`, if that is a word in capitals, such as `ENOENT`. */
  code: string | undefined
  /** The SQLSTATE, if a server sent it. */
  sqlState: string | undefined
}

/** What every context of a tracing channel has. */
export interface TracingContext {
  /**
   * Once the call has failed: the facts of the error, or with {@link DiagnosticsOptions} what was thrown itself. `undefined`
   * before that, and for a call that has succeeded.
   */
  error: unknown
  /** From `end` on: whether the call has returned a promise, so that `asyncStart` and `asyncEnd` follow. */
  returnedPromise?: boolean
}

/**
 * The context of the tracing channel `pglisten:callback`: one call of a callback for a notification, or of a gap callback. A
 * store that is bound to `start` is there within the callback.
 */
export interface CallbackContext extends ListenerIdentity, TracingContext {
  /** The channel of the notification; `undefined` for a gap callback. */
  channel: string | undefined
  /** The process id of the notifying backend; `undefined` for a gap callback. */
  processId: number | undefined
  /** The payload as the callback gets it, if {@link DiagnosticsOptions.payloads} is on. */
  payload: unknown
}

/** The moments in the life of a durable subscription in this process. See {@link SubscriptionMessage}. */
export type SubscriptionMoment =
  | 'started'
  | 'working'
  | 'standingBy'
  | 'takeover'
  | 'asleep'
  | 'awake'
  | 'done'
  | 'failure'
  | 'givenUp'
  | 'adopted'
  | 'unread'
  | 'warning'
  | 'ended'

/** A message of the channel `pglisten:subscription`: the life of a durable subscription in this process. */
export interface SubscriptionMessage {
  /** The name of the subscription; of `unread`, the name of the one that nobody reads. */
  subscription: string
  /**
   * - `started`: a run begins to work.
   * - `working`: it has a partition.
   * - `standingBy`: another process has the partition.
   * - `takeover`: it has a partition for which it has stood by.
   * - `asleep`: nothing is there, and publishers ring.
   * - `awake`: there may be something.
   * - `done`: `count` events are committed.
   * - `failure`: an attempt has failed.
   * - `givenUp`: an event was set apart.
   * - `adopted`: the positions of a restored dump were adopted.
   * - `unread`: a subscription of the database, which nobody reads, is warned of; with `isDropped`, it was dropped.
   * - `warning`: there was another `warning` event.
   * - `ended`: the run has ended; with `code`, by an error.
   */
  event: SubscriptionMoment
  /** The partition, from 0 on; `undefined` for what is about the whole subscription. */
  partition: number | undefined
  /** Of `done` the events that are done, of `unread` those that are kept. */
  count: number | undefined
  /** Of `failure` and `givenUp`: the channel of the event. */
  channel: string | undefined
  /** Of `failure` and `givenUp`: the {@link DurableEvent.uid} of the event. */
  uid: string | undefined
  /** Of `failure` and `givenUp`: the number of the attempt. */
  attempt: number | undefined
  /** Of `unread`: whether the subscription was dropped. */
  isDropped: boolean | undefined
  /** The `code` of the error that led to it. */
  code: string | undefined
  /** The SQLSTATE, if a server sent that error. */
  sqlState: string | undefined
}

/**
 * The context of the tracing channel `pglisten:handler`: one call of the handler of a durable subscription. A store that is bound to `start`
 * is there within the handler. A loop over batches is not called, so it has none.
 */
export interface HandlerContext extends TracingContext {
  /** The name of the subscription. */
  subscription: string
  /** The partition, from 0 on. */
  partition: number
  /** The channel of the event. */
  channel: string
  /** The {@link DurableEvent.uid} of the event. */
  uid: string
  /** The number of the attempt, from 1 on. */
  attempt: number
  /** The payload as the handler gets it, if {@link DiagnosticsOptions.payloads} is on. */
  payload: unknown
}

/** The methods that a {@link StatementContext} names. `fetch` and the like are `execute`. */
export type StatementMethod =
  | 'execute'
  | 'executeMany'
  | 'executeBatch'
  | 'pipeline'
  | 'cursor'
  | 'prepare'
  | 'copyFrom'
  | 'copyTo'
  | 'begin'
  | 'commit'
  | 'rollback'

/** The context of the tracing channel `pglisten:statement`: one call that runs statements. */
export interface StatementContext extends TracingContext {
  /** The method that was called. */
  method: StatementMethod
  /** The first word of the statement in capitals, such as `SELECT`, if it is a word of SQL. */
  command: string | undefined
  /** The process id of the backend, once it is known: it is not before a connection is leased. */
  processId: number | undefined
  /** The SQL, without its parameters, if {@link DiagnosticsOptions.statements} is on. */
  text: string | undefined
}

/** The context of the tracing channel `pglisten:notify`: one call that sends notifications, the wait for a connection included. */
export interface NotifyContext extends TracingContext {
  /** The channel. */
  channel: string
  /** How many notifications are sent. */
  count: number
  /** The payloads as they are sent, if {@link DiagnosticsOptions.payloads} is on. */
  payloads: readonly string[] | undefined
}

/** One of the channels of `node:diagnostics_channel`, as far as it is used here. */
export interface DiagnosticsChannel {
  readonly hasSubscribers: boolean
  publish(message: object): void
  runStores<Result>(context: object, call: () => Result): Result
}

/** A tracing channel: a channel for each moment of a call. */
export type TracingChannels = Readonly<
  Record<'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error', DiagnosticsChannel>
>

/** Of {@link SessionMessage}. */
export const sessionChannel: DiagnosticsChannel = channel('pglisten:session')
/** Of {@link GapMessage}. */
export const gapChannel: DiagnosticsChannel = channel('pglisten:gap')
/** Of {@link WarningMessage}. */
export const warningChannel: DiagnosticsChannel = channel('pglisten:warning')
/** Of {@link QueueMessage}. */
export const queueChannel: DiagnosticsChannel = channel('pglisten:queue')
/** Of {@link PoolMessage}. */
export const poolChannel: DiagnosticsChannel = channel('pglisten:pool')
/** Of {@link ListenerMessage}. */
export const listenerChannel: DiagnosticsChannel = channel('pglisten:listener')
/** Of {@link SettledMessage}. */
export const settledChannel: DiagnosticsChannel = channel('pglisten:settled')
/** Of {@link SubscriptionMessage}. */
export const subscriptionChannel: DiagnosticsChannel = channel('pglisten:subscription')
/** Of {@link HandlerContext}. */
export const handlerChannels: TracingChannels = tracingChannel('pglisten:handler')
/** Of {@link CallbackContext}. */
export const callbackChannels: TracingChannels = tracingChannel('pglisten:callback')
/** Of {@link StatementContext}. */
export const statementChannels: TracingChannels = tracingChannel('pglisten:statement')
/** Of {@link NotifyContext}. */
export const notifyChannels: TracingChannels = tracingChannel('pglisten:notify')
