// A durable subscription: its run in this process.
import { EventEmitter } from 'node:events'
import { brand } from '../brand.js'
import { DurableError } from '../errors.js'
import {
  resolveRunOptions,
  type ResolvedSubscriptionOptions,
  type RunOptions,
} from '../options/durable.js'
import { watchAbort } from '../native/abort.js'
import { throwLater } from '../native/timers.js'
import { checkFunction } from '../options/validate.js'
import type { CallOptions } from '../query/bounds.js'
import type { Connection } from '../query/connection.js'
import type { Transaction } from '../query/transaction.js'
import { Bell } from './bell.js'
import type { DurableEvent } from './event.js'
import { intervalOf } from './interval.js'
import type { Outlet, SubscriptionBatch } from './outlet.js'
import { SubscriptionObserver } from './observer.js'
import { PLAIN, readCommitted, withConnection, withinBounds, type DurableOwner } from './owner.js'
import { adopt } from './schema.js'
import { SqlState, explained, sqlStateOf } from './states.js'
import { SubscriptionStream } from './stream.js'
import { describeUnread, type UnreadSubscription } from './unread.js'
import { lookAfter } from './upkeep.js'
import type { DurableHandler, WorkerEvents } from './settings.js'
import { Worker } from './worker.js'

/** The longest time in which a run of a subscription that may be dropped says that it reads, in milliseconds. */
const MAX_SILENCE_MS = 30_000

/** What goes wrong that a {@link Subscription} gets over. */
export interface SubscriptionWarning {
  /** What it is, in words. */
  message: string
  /** The cause; `undefined` when no error is. */
  error: unknown
  /** The subscription that nobody reads, if the warning is about one: any of the database. */
  unread?: UnreadSubscription | undefined
}

/** An attempt at an event that has failed. */
export interface SubscriptionFailure {
  /** The event; its `attempt` tells which attempt it was. */
  event: DurableEvent<unknown>
  /** What the handler threw. */
  error: unknown
}

/** The events of a {@link Subscription}. */
export interface SubscriptionEvents {
  /** Something went wrong that the subscription gets over. */
  warning: [warning: SubscriptionWarning]
  /** An attempt at an event has failed. */
  failure: [failure: SubscriptionFailure]
  /** An event was given up and kept apart, as `onFailure: 'skip'` says. */
  givenUp: [failure: SubscriptionFailure]
}

/** The counts of a {@link Subscription}. */
export interface SubscriptionStats {
  /** Whether it runs here. */
  isRunning: boolean
  /** The partitions that this process works. */
  working: number
  /** The events that were done here. */
  done: number
  /** The attempts that have failed here. */
  failures: number
  /** The events that were given up here. */
  givenUp: number
  /** What is not done yet, in all processes together. */
  lag: {
    /** The events that are committed and not done. */
    events: number
    /** How long ago the oldest of them was published, in milliseconds; `undefined` without any. */
    ageMs: number | undefined
  }
}

/**
 * A durable subscription: every event of its channels, once, in order, also those that were published while nobody was there.
 * {@link ConnectionPool.subscription} makes one.
 *
 * What the handler does on its transaction is done exactly once: it is committed together with the position, or not at all. What it
 * does elsewhere may be repeated after a failure; {@link DurableEvent.uid} tells then that it is the same event.
 *
 * Several processes may run a subscription of one name: one of them works each partition, and the others stand by.
 *
 * It is worked by a function ({@link Subscription.run}), or by a loop: `for await (const batch of subscription)`
 * ({@link Subscription.batches}).
 *
 * @typeParam Event - The type of the events.
 */
export class Subscription<Event extends DurableEvent<unknown> = DurableEvent>
  extends EventEmitter<SubscriptionEvents>
  implements AsyncIterable<SubscriptionBatch<Event>, undefined>
{
  readonly #owner: DurableOwner
  readonly #name: string
  readonly #options: ResolvedSubscriptionOptions
  readonly #observer: SubscriptionObserver
  readonly #working = new Set<number>()
  #isRunning = false
  #done = 0
  #failures = 0
  #givenUp = 0

  /** @internal */
  constructor(owner: DurableOwner, name: string, options: ResolvedSubscriptionOptions) {
    super()
    this.#owner = owner
    this.#name = name
    this.#options = options
    this.#observer = new SubscriptionObserver(name, owner.observation)
  }

  /** The name by which the server knows it. */
  get name(): string {
    return this.#name
  }

  /**
   * Works the events, until `signal` is aborted: then the promise resolves, once the event that is being handled is finished and
   * what is done is committed. A subscription that does not exist is made.
   *
   * `handler` is called for one event after the other; the events of a batch share a transaction. When it throws, the transaction
   * is rolled back and its events are tried again, one by one. It must not end the transaction itself. A handler
   * that still runs when {@link SubscriptionOptions.maxHandlerMs} is over has failed: its transaction is gone, and its event may be tried
   * again while it runs.
   *
   * Rejects with {@link DurableError} when durable subscriptions are not installed, the role may not use them, the server is a
   * standby, the pool may have fewer connections than there are partitions, the subscription exists with other channels or
   * partitions, the subscription is dropped while it runs, or this object runs already; with {@link SubscriptionStoppedError} when an event has failed too often; with
   * {@link ConnectionPoolExecuteError} when the pool is closed; as {@link Listener.startup} does when there is no server at first.
   * One that is away later is waited for.
   */
  async run(
    handler: (tx: Transaction, event: Event) => unknown,
    options?: RunOptions,
  ): Promise<void> {
    checkFunction('handler', handler)
    const { signal } = resolveRunOptions(options)
    await this.#once(handler, signal)
  }

  /**
   * Returns a stream of batches, for a loop that acknowledges each: `for await (const batch of subscription.batches())`. Each batch has
   * up to {@link SubscriptionOptions.batchSize} events and the transaction in which they are worked; `batch.ack()` commits the work and
   * the position in one.
   *
   * A `break`, an error in the loop, and `batch.nack()` roll back. Then the batch has failed: that is counted at its first event, and its
   * events come again one by one after a while, as after a handler that throws; {@link SubscriptionOptions.maxAttempts} and
   * {@link SubscriptionOptions.onFailure} hold for each. Of several partitions the loop gets one batch at a time, in turn.
   *
   * The stream holds a connection of the pool from the moment a batch is fetched until it is over, for at most
   * {@link SubscriptionOptions.maxHandlerMs}. It runs from its first `next()` on, and keeps the process alive until it ends.
   *
   * @param options - `signal` ends the stream: the batch at hand may still be acknowledged, and the loop ends then.
   */
  batches(options?: RunOptions): SubscriptionStream<Event> {
    const { signal } = resolveRunOptions(options)
    return new SubscriptionStream<Event>((outlet, stop) => this.#once(outlet, stop), signal)
  }

  /** Returns a stream of batches, as {@link Subscription.batches} does. */
  [Symbol.asyncIterator](): SubscriptionStream<Event> {
    return this.batches()
  }

  /** Runs it, unless it runs already. */
  async #once(work: DurableHandler | Outlet, signal: AbortSignal | undefined): Promise<void> {
    if (this.#isRunning) throw new DurableError(`subscription \`${this.#name}\` runs already`)
    this.#isRunning = true
    try {
      if (!signal?.aborted) await this.#run(work, signal)
      this.#observer.tell('ended')
    } catch (error) {
      this.#observer.tell('ended', { error })
      throw error
    } finally {
      this.#isRunning = false
      this.#working.clear()
    }
  }

  async #run(work: DurableHandler | Outlet, signal: AbortSignal | undefined): Promise<void> {
    const { partitions } = this.#options
    const most = this.#owner.maxConnections()
    if (most < partitions) {
      throw new DurableError(
        `subscription \`${this.#name}\` has ${partitions} partitions, each of which takes a connection while it works, and the pool ` +
          `may have ${most}: \`maxDbPoolSize\` says how many`,
      )
    }
    const warn = (error: unknown) => this.#warn('the bell cannot be heard', error)
    const bell = new Bell(this.#owner, warn)
    const ending = new AbortController()
    const end = () => ending.abort()
    let caring: Promise<void> | undefined
    const unwatch = watchAbort(signal, end)
    try {
      const made = await this.#begin(bell, ending.signal)
      this.#observer.tell('started')
      const workers = Array.from({ length: partitions }, (_, partition) =>
        new Worker({
          owner: this.#owner,
          name: this.#name,
          made,
          options: this.#options,
          partition,
          work,
          bell,
          events: this.#events(partition),
          stop: ending.signal,
        }).run(),
      )
      // When one cannot go on, the others finish what they have begun.
      for (const worker of workers) worker.catch(end)
      caring = lookAfter(
        this.#owner,
        this.#name,
        this.#upkeepMs(),
        () => bell.heardSince,
        (unread) => this.#unread(unread),
        ending.signal,
      )
      const failed = (await Promise.allSettled(workers)).find(({ status }) => status === 'rejected')
      if (failed?.status === 'rejected') throw failed.reason
    } catch (error) {
      // What was aborted before there was anything to work is no failure.
      if (error !== ending.signal.reason) {
        // Of a pool that is closed, whatever is under way fails in a way of its own.
        this.#owner.checkOpen()
        throw error
      }
    } finally {
      unwatch()
      end()
      await caring
      await bell.stop()
    }
  }

  /**
   * How often a run says that it reads. Whoever finds one unread for 2 minutes drops it where it wants that, and a step of the server's clock
   * has it look unread in an instant.
   */
  #upkeepMs(): number {
    const { onUnread, safetyNetMs } = this.#options
    return onUnread === 'drop' ? Math.min(safetyNetMs, MAX_SILENCE_MS) : safetyNetMs
  }

  /** Makes the subscription, if there is none, and begins to hear the bell. Returns when it was made, as batches tell it. */
  async #begin(bell: Bell, signal: AbortSignal): Promise<string> {
    const { channels, from, partitions, maxUnreadAgeMs, onUnread, maxHandlerMs } = this.#options
    const maxUnread = maxUnreadAgeMs === null ? null : intervalOf(maxUnreadAgeMs)
    // It may wait for whoever trims, and a connection that is cut off in silence never answers.
    const bounds = { signal, timeoutMs: maxHandlerMs }
    const subscribe = async (connection: Connection) => {
      const [row] = await readCommitted<{ made: string }>(
        connection,
        [
          'SELECT pglisten.subscribe($1, $2, $3, $4, $5::pg_catalog.text::interval, $6)',
          [this.#name, [...channels], partitions, from === 'beginning', maxUnread, onUnread],
        ],
        bounds,
        [
          `SELECT pg_catalog.round(pg_catalog.date_part('epoch', created) OPERATOR(pg_catalog.*) 1000000)::bigint::pg_catalog.text AS made
           FROM pglisten.subscription WHERE name OPERATOR(pg_catalog.=) $1`,
          [this.#name],
        ],
      )
      return row!.made
    }
    const subscribed = withConnection(
      this.#owner,
      async (connection) => {
        try {
          return await subscribe(connection)
        } catch (error) {
          if (sqlStateOf(error) !== SqlState.Elsewhere) throw error
          await adopt(connection, () => bounds)
          const message =
            'the subscriptions were in a restored dump: their positions mean here what they meant there'
          this.#adopted(message, { error })
          return subscribe(connection)
        }
      },
      { signal },
    )
    const made = await explained(subscribed)
    await bell.start(signal)
    return made
  }

  #events(partition: number): WorkerEvents {
    const observer = this.#observer
    let isStandingBy = false
    return {
      onWarning: (message, error) => this.#warn(message, error),
      onDone: (events) => {
        this.#done += events
        if (events > 0) observer.tell('done', { partition, count: events })
      },
      onFailure: (event, error) => {
        this.#failures += 1
        observer.tell('failure', { partition, event, error })
        this.#report('failure', { event, error })
      },
      onGivenUp: (event, error) => {
        this.#givenUp += 1
        observer.tell('givenUp', { partition, event, error })
        this.#report('givenUp', { event, error })
      },
      onWorking: () => {
        if (this.#working.has(partition)) return
        this.#working.add(partition)
        observer.tell(isStandingBy ? 'takeover' : 'working', { partition })
        isStandingBy = false
      },
      onStandingBy: () => {
        this.#working.delete(partition)
        if (isStandingBy) return
        isStandingBy = true
        observer.tell('standingBy', { partition })
      },
      onLeft: () => void this.#working.delete(partition),
      onAsleep: (isAsleep) => observer.tell(isAsleep ? 'asleep' : 'awake', { partition }),
      onAdopted: (message, error) => this.#adopted(message, { partition, error }),
      onCall: (event, call) => observer.traced(partition, event, call),
    }
  }

  /** The positions of a restored dump were adopted, by a worker or before a new subscription was made. */
  #adopted(message: string, facts: { partition?: number; error: unknown }): void {
    this.#observer.tell('adopted', facts)
    this.#reportWarning(message, facts.error)
  }

  #warn(message: string, error: unknown): void {
    this.#observer.tell('warning', { error })
    this.#reportWarning(message, error)
  }

  #reportWarning(message: string, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    this.#report('warning', { message: `${message}: ${why}`, error })
  }

  #unread(unread: UnreadSubscription): void {
    const { name: subscription, events: count, isDropped } = unread
    const message = describeUnread(unread)
    this.#observer.tell('unread', { subscription, count, isDropped, detail: message })
    this.#report('warning', { message, error: undefined, unread })
  }

  /** Emits an event. An error that a handler of it throws is an uncaught exception, and the work goes on. */
  #report<Name extends keyof SubscriptionEvents>(
    name: Name,
    ...args: SubscriptionEvents[Name]
  ): void {
    try {
      // The emitter's own types do not know that the name and the arguments belong together.
      ;(this as EventEmitter).emit(name, ...args)
    } catch (error) {
      throwLater(error)
    }
  }

  /**
   * Returns the counts. The lag is asked of the server, which looks at every event that is not done.
   *
   * @param options - Bounds of the call. @default none
   */
  async stats(options?: CallOptions): Promise<SubscriptionStats> {
    const { events, age } = await explained(
      withinBounds(this.#owner, options, (connection, left) =>
        connection.fetchRow<{ events: string; age: number | null }>(
          `SELECT events::pg_catalog.text,
             (extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) oldest) OPERATOR(pg_catalog.*) 1000)::pg_catalog.float8 AS age
           FROM pglisten.lag($1)`,
          [this.#name],
          { ...PLAIN, ...left() },
        ),
      ),
    )
    return {
      isRunning: this.#isRunning,
      working: this.#working.size,
      done: this.#done,
      failures: this.#failures,
      givenUp: this.#givenUp,
      lag: { events: Number(events), ageMs: age ?? undefined },
    }
  }
}

brand(Subscription, 'Subscription')
