// One worker: it takes the events of one partition, batch by batch, and sleeps when there are none.
import { ConnectionError, DurableError, SubscriptionStoppedError } from '../errors.js'
import { asThenable } from '../native/thenable.js'
import type { ResolvedSubscriptionOptions } from '../options/durable.js'
import { Connection } from '../query/connection.js'
import {
  resolveTransactionOptions,
  type ResolvedTransactionOptions,
} from '../query/transaction/options.js'
import { Transaction, endWith, type Opening } from '../query/transaction.js'
import { eventOf, rawEvent, type DurableEvent, type Row, type Taken, type Way } from './event.js'
import { NotTaken, type Outlet } from './outlet.js'
import { PLAIN, withConnection, type DurableOwner } from './owner.js'
import { Partition } from './partition.js'
import { adopt } from './schema.js'
import type { DurableHandler, WorkerEvents, WorkerSettings } from './settings.js'
import { Sleep } from './sleep.js'
import { SqlState, refusal, sqlStateOf } from './states.js'
import { outlasting, retryDelay, waited } from './wait.js'

/** How long it is looked for more after the last event before a worker falls asleep, in milliseconds: so few bells are rung. */
const LINGER_MS = 20
/** How often in a row a worker may be woken within {@link LINGER_MS}. */
const MOST_WAKES = 3
/**
 * The pause after a batch for each of its events, and the shortest and the longest one, in milliseconds. What comes in it is worked together:
 * each batch is a transaction, which takes from what publishers have.
 */
const PAUSE_OF_EVENT_MS = 0.5
const PAUSE_MS = 2
const MAX_PAUSE_MS = 10
/** How long a worker keeps a connection while there is work, in milliseconds; then it is given to whoever waits for one. */
const MAX_LEASE_MS = 1000
/** After a failure so many events are worked one by one. */
const CAREFUL_EVENTS = 50
/** The first and the longest wait for a server that is away, in milliseconds. */
const AWAY_DELAY_MS = 50
const MAX_AWAY_DELAY_MS = 2000

/** An event that has failed too often, and is given up when it is fetched next. */
interface Doomed {
  readonly id: bigint
  /** How often it had failed: more often by then, and another worker has had it. */
  readonly attempts: number
  readonly error: unknown
}

/** An error of the handler, or of the loop that was handed the batch which begins with the event. */
class HandlerFailure extends Error {
  constructor(
    readonly event: DurableEvent<unknown>,
    readonly reason: unknown,
    /** Whether the event was the only one of its transaction: else another one may be to blame. */
    readonly isAlone: boolean,
    /** What is known of the event, where it was to be given up. */
    readonly doomed?: Doomed,
  ) {
    super()
  }
}

/** The subscription was dropped, and events are taken for another one of its name: it may have other channels and partitions. */
class Replaced extends DurableError {
  constructor(name: string) {
    super(
      `there is no subscription "${name}" any more: it was dropped, and another one of that name was made`,
    )
  }
}

/** How many events there were, or what failed. */
type Outcome = number | HandlerFailure

/** Works a partition of a subscription. */
export class Worker {
  readonly #owner: DurableOwner
  readonly #name: string
  readonly #made: string
  readonly #options: ResolvedSubscriptionOptions
  readonly #partition: Partition
  readonly #handler: DurableHandler | undefined
  readonly #outlet: Outlet | undefined
  readonly #sleep: Sleep
  readonly #events: WorkerEvents
  readonly #stop: AbortSignal
  /** So many events are still worked one by one. */
  #careful = 0
  /** Whether the present batch is of events that were given up, and are to be handled again. */
  #isRetried = false
  #doomed: Doomed | undefined
  /** When it was last awake, by `performance.now()`, and how often it has soon been so again. */
  #awakeAt = -Infinity
  #wakes = 0
  /** The next batch, asked for already. */
  #begun: Opening | undefined
  /** A batch whose COMMIT was sent and not answered: its transaction, and how many events it had. */
  #unanswered: { xact: string; done: number } | undefined
  /** How a batch's transaction begins. */
  readonly #beginning: ResolvedTransactionOptions

  constructor(settings: WorkerSettings) {
    this.#owner = settings.owner
    this.#name = settings.name
    this.#made = settings.made
    this.#options = settings.options
    this.#partition = new Partition(
      settings.owner,
      settings.name,
      settings.partition,
      settings.options,
    )
    this.#sleep = new Sleep(settings, this.#partition)
    this.#beginning = resolveTransactionOptions({
      timeoutMs: this.#options.maxHandlerMs,
      isolationLevel: 'readCommitted',
      readOnly: false,
    })
    if (typeof settings.work === 'function') this.#handler = settings.work
    else this.#outlet = settings.work
    this.#events = settings.events
    this.#stop = settings.stop
  }

  /** Works until it is stopped. Rejects when it cannot go on. */
  async run(): Promise<void> {
    let delay = AWAY_DELAY_MS
    while (!this.#stop.aborted) {
      try {
        await this.#outlet?.wanted(this.#stop)
        const outcome = await this.#awake()
        delay = AWAY_DELAY_MS
        if (outcome instanceof HandlerFailure) await this.#failed(outcome)
        else if (outcome === 'idle' && !this.#stop.aborted) await this.#sleep.sleep()
      } catch (error) {
        // Nobody knows whether it is still up.
        this.#sleep.rouse()
        if ((await this.#getsOver(error)) || this.#stop.aborted) continue
        this.#events.onWarning(`subscription \`${this.#name}\` could not be worked`, error)
        await waited(delay, this.#stop)
        delay = Math.min(2 * delay, MAX_AWAY_DELAY_MS)
      }
    }
    if (this.#outlet && this.#doomed) await this.#giveUpAtLast()
    this.#events.onLeft()
    await this.#sleep.end()
  }

  /** Gives up what a loop has failed at too often, and then ended. */
  async #giveUpAtLast(): Promise<void> {
    try {
      const outcome = await outlasting(this.#stop, (signal) =>
        withConnection(this.#owner, (connection) => this.#batch(connection, signal), { signal }),
      )
      if (outcome instanceof HandlerFailure) await this.#failed(outcome)
    } catch {
      // The next attempt at it fails too, or does not.
    }
  }

  /** Whether a failure was dealt with. Throws when nothing can be done about it. */
  async #getsOver(error: unknown): Promise<boolean> {
    if (error instanceof SubscriptionStoppedError || error instanceof Replaced) throw error
    this.#owner.checkOpen()
    const state = sqlStateOf(error)
    if (state === SqlState.WorkedElsewhere) {
      await this.#standBy()
      return true
    }
    if (state === SqlState.Elsewhere) {
      try {
        const bounds = { signal: this.#stop }
        await withConnection(this.#owner, (connection) => adopt(connection, () => bounds))
      } catch (reason) {
        // The next fetch says again what is to be done, and not why it cannot be.
        if (this.#stop.aborted) return false
        this.#events.onWarning(`subscription \`${this.#name}\` could not be adopted`, reason)
        return false
      }
      const message = `subscription \`${this.#name}\` was in a restored dump: its position means here what it meant there`
      this.#events.onAdopted(message, error)
      return true
    }
    // A server that has become a standby may become the primary again, or the pool finds the new one.
    const refused = state === SqlState.ReadOnly ? undefined : refusal(error)
    if (refused) throw refused
    return false
  }

  /** Another worker has the partition: waits until it is time to look again. */
  async #standBy(): Promise<void> {
    this.#events.onStandingBy()
    await waited(this.#options.standbyPollMs, this.#stop)
  }

  /**
   * Works until nothing has come for a while (`idle`), a handler has failed, or it is time to let others have the connection, which may be
   * the only one of the pool: what is done about a failure needs one too.
   */
  async #awake(): Promise<HandlerFailure | 'idle' | 'paused'> {
    const work = async (connection: Connection) => {
      const since = performance.now()
      this.#wakes = since - this.#awakeAt < LINGER_MS ? this.#wakes + 1 : 0
      let lastAt = since
      // How many batches there were one after the other, with no more than a pause between them.
      let flow = 0
      while (!this.#stop.aborted) {
        if (performance.now() - since >= MAX_LEASE_MS) return 'paused'
        if (this.#outlet && !this.#outlet.claim()) return 'paused'
        let outcome: Outcome
        let isContended: boolean | undefined
        try {
          outcome = await this.#batch(connection)
        } finally {
          isContended = this.#outlet?.release()
        }
        if (outcome instanceof HandlerFailure) return outcome
        // The other partitions come first.
        if (outcome > 0 && isContended) return 'paused'
        if (outcome > 0) lastAt = performance.now()
        flow = outcome > 0 ? flow + 1 : 0
        if (this.#isTrickle(outcome)) return 'idle'
        if (outcome >= this.#most()) continue
        let isMore = false
        while (!isMore) {
          if (performance.now() - lastAt >= LINGER_MS) return 'idle'
          const pause = Math.min(Math.max(outcome * PAUSE_OF_EVENT_MS, PAUSE_MS), MAX_PAUSE_MS)
          await waited(pause, this.#stop)
          if (this.#stop.aborted) return 'paused'
          // In a flow it is not asked first.
          isMore = flow > 1 || (await this.#partition.hasMore(connection, this.#stop))
        }
      }
      return 'paused'
    }
    try {
      return await withConnection(this.#owner, work, { signal: this.#stop })
    } finally {
      this.#awakeAt = performance.now()
      // The transaction of a batch that was begun and is not worked has ended with the lease.
      this.#begun = undefined
    }
  }

  /** Whether so little comes that bells tell of it. Where more comes none is rung any more: publishers that ring wait for each other. */
  #isTrickle(events: number): boolean {
    if (!this.#sleep.isFlagged) return false
    if (events < this.#most() && this.#wakes < MOST_WAKES) return true
    this.#sleep.rouse()
    return false
  }

  /** Takes a batch and works it; what there was, or what failed. */
  async #batch(connection: Connection, signal = this.#stop): Promise<Outcome> {
    const most = this.#most()
    const taking = this.#partition.taking(most)
    // Nothing is lost when the taking is given up: no handler had any of it.
    const begun = this.#begun ?? Connection.beginWith(connection, this.#beginning, taking, signal)
    this.#begun = undefined
    let failure: HandlerFailure | undefined
    let present: DurableEvent<unknown> | undefined
    let rows: readonly Row[] = []
    let doomed: Doomed | undefined
    try {
      await Transaction.run(await begun.tx, async (tx) => {
        const taken = Partition.taken(await begun.first())
        this.#events.onWorking()
        if (this.#unanswered) await this.#answer(tx, this.#unanswered)
        if (!taken) return
        if (taken.way.made !== this.#made) throw new Replaced(this.#name)
        rows = this.#chosen(taken.rows)
        this.#isRetried = taken.way.retried !== undefined
        doomed = this.#sentence(rows[0]!)
        let done = 0
        if (doomed || this.#outlet) present = rawEvent(rows[0]!)
        if (doomed) {
          await this.#partition.giveUp(tx, doomed.id, doomed.error)
          done = 1
        } else if (this.#outlet) {
          failure = await this.#hand(this.#outlet, connection, tx, rows)
          if (failure) throw failure
          done = rows.length
        }
        const startedAt = performance.now()
        for (const row of done > 0 ? [] : rows) {
          // The rest is for the next transaction, rather than that the time of this one ends with much undone.
          // Before PostgreSQL 17 half of it bounds the pauses between statements, and a handler may run none.
          const isLate = performance.now() - startedAt > this.#options.maxHandlerMs / 4
          if (done > 0 && (isLate || this.#stop.aborted)) break
          const event = rawEvent(row)
          present = event
          try {
            const handled = this.#handle(tx, event)
            // A handler that need not be waited for is not, and has no answer yet of what it may have sent.
            if (asThenable(handled)) {
              await handled
              if (!isOpen(tx, connection)) await checkOpen(tx, connection, 'the handler')
            }
          } catch (error) {
            throw (failure = new HandlerFailure(event, error, rows.length === 1))
          }
          done += 1
        }
        if (!this.#outlet && !isOpen(tx, connection)) await checkOpen(tx, connection, 'the handler')
        present = undefined
        // The next batch is asked for together with the commit of this one. A loop asks for its next one itself.
        const isFollowed =
          done === most && this.#careful === 0 && !this.#outlet && !this.#stop.aborted
        const next = isFollowed
          ? { options: this.#beginning, first: this.#partition.taking(most) }
          : undefined
        const moving = this.#partition.moving(part(taken, done))
        if (!doomed) this.#unanswered = { xact: taken.way.xact, done }
        const ended = tx[endWith](moving, this.#options.maxHandlerMs, next)
        this.#begun = ended.next
        await ended.committed
        this.#unanswered = undefined
        this.#careful = Math.max(0, this.#careful - done)
        if (doomed) this.#givenUp(rawEvent(rows[0]!), doomed)
        else this.#events.onDone(done)
      })
      this.#outlet?.committed()
    } catch (error) {
      if (this.#begun) await this.#abandon()
      this.#outlet?.rolledBack(error instanceof HandlerFailure ? error.reason : error)
      if (rows.length === 0) this.#notTaken(error, most)
      const failed = failure ?? this.#failureOf(error, present, rows, doomed)
      if (failed) return failed
      if (rows.length > 1 && !isLost(error)) return rows.length
      throw error
    }
    return rows.length
  }

  /**
   * Counts the events of a batch whose COMMIT was not answered, if it took effect. Whoever has the position finds that out: the session that
   * had it before has ended its transaction.
   */
  async #answer(tx: Transaction, { xact, done }: { xact: string; done: number }): Promise<void> {
    const isCommitted = await Partition.isCommitted(tx, xact)
    this.#unanswered = undefined
    if (isCommitted) this.#events.onDone(done)
  }

  /** Rolls back what was begun for the next batch. */
  async #abandon(): Promise<void> {
    const { tx } = this.#begun!
    this.#begun = undefined
    try {
      await (await tx).rollback()
    } catch {
      // It never began, or the connection is lost.
    }
  }

  /** The most events of the next batch. */
  #most(): number {
    return this.#careful > 0 ? 1 : this.#options.batchSize
  }

  /** The events that are to be worked together: of those of which one has failed before, maybe in another process, the first alone. */
  #chosen(rows: readonly Row[]): readonly Row[] {
    if (rows.length === 1 || !rows.some(([, , , , , , attempt]) => attempt > 1)) return rows
    this.#careful = CAREFUL_EVENTS
    return rows.slice(0, 1)
  }

  /** Calls the handler for an event. */
  #handle(tx: Transaction, event: DurableEvent): unknown {
    const given = eventOf(event, this.#owner)
    return this.#events.onCall(given, () => this.#handler!(tx, given as never))
  }

  /** Hands a batch to the loop. Returns what failed, if something did. */
  async #hand(
    outlet: Outlet,
    connection: Connection,
    tx: Transaction,
    given: readonly Row[],
  ): Promise<HandlerFailure | undefined> {
    const isAlone = given.length === 1
    const events: DurableEvent<unknown>[] = []
    for (const row of given) {
      try {
        events.push(eventOf(rawEvent(row), this.#owner))
      } catch (error) {
        return new HandlerFailure(rawEvent(row), error, isAlone)
      }
    }
    try {
      await outlet.hand(tx, events)
      if (!isOpen(tx, connection)) await checkOpen(tx, connection, 'the loop')
      return undefined
    } catch (error) {
      return new HandlerFailure(rawEvent(given[0]!), error, isAlone)
    }
  }

  /** What is known of an event that is to be given up: once, since what comes of it is found out anew. Such an event comes alone. */
  #sentence([id, , , , , , attempt]: Row): Doomed | undefined {
    const doomed = this.#doomed
    if (doomed?.id !== id) return undefined
    this.#doomed = undefined
    return doomed.attempts === attempt - 1 ? doomed : undefined
  }

  /** Tells of an event that was given up. It was fetched once more for that. */
  #givenUp(event: DurableEvent<unknown>, { error }: Doomed): void {
    this.#events.onGivenUp({ ...event, attempt: event.attempt - 1 }, error)
  }

  /** Events could not be fetched. Where one of them is to blame, those before it are done, one by one. */
  #notTaken(error: unknown, most: number): void {
    const state = sqlStateOf(error)
    const isRefused = state === SqlState.WorkedElsewhere || state === SqlState.Elsewhere
    if (most > 1 && !isRefused && !isLost(error)) this.#careful = CAREFUL_EVENTS
  }

  /**
   * The failure of which event it is that the transaction was lost, or could not be committed, after handlers had it. With several events
   * nobody can tell: they are tried again one by one.
   */
  #failureOf(
    error: unknown,
    present: DurableEvent<unknown> | undefined,
    rows: readonly Row[],
    doomed: Doomed | undefined,
  ): HandlerFailure | undefined {
    if (rows.length === 0) return undefined
    const isAlone = rows.length === 1
    if (present) return new HandlerFailure(present, error, isAlone, doomed)
    // A loop may end by it, and who comes next has to know that the events are to be tried one by one.
    if (isAlone || this.#outlet)
      return new HandlerFailure(rawEvent(rows[0]!), error, isAlone, doomed)
    this.#careful = CAREFUL_EVENTS
    return undefined
  }

  /** Counts a failure, and waits; decides what becomes of the event. */
  async #failed({ event, reason, isAlone, doomed }: HandlerFailure): Promise<void> {
    // That is no failure of the event.
    if (reason instanceof NotTaken) return
    this.#careful = CAREFUL_EVENTS
    if (doomed) {
      await this.#notGivenUp(event, reason, doomed)
      return
    }
    const state = sqlStateOf(reason)
    const isCounted = state !== SqlState.SerializationFailure && state !== SqlState.Deadlock
    const { maxAttempts, onFailure, retryDelayMs } = this.#options
    let attempts: number | undefined
    try {
      if (isCounted)
        attempts = await this.#answered((signal) =>
          this.#partition.countFailure(event.id, reason, signal),
        )
    } catch (uncounted) {
      // Of an event that another worker has, that one tells what comes of it.
      const isElsewhere = sqlStateOf(uncounted) === SqlState.WorkedElsewhere
      if (!isElsewhere) this.#events.onFailure(event, reason)
      throw uncounted
    }
    // The commit took effect, and its answer was lost, which the next batch tells of; or else another worker has had the event, and told.
    if (attempts !== undefined && attempts <= 0) return
    this.#events.onFailure(event, reason)
    if (attempts === undefined) {
      await waited(retryDelayMs, this.#stop)
      return
    }
    if (attempts >= maxAttempts && isAlone) {
      // What was given up before, and is behind the position, stops nothing.
      if (onFailure === 'stop' && !this.#isRetried) {
        const what = `event ${event.id} on channel \`${event.channel}\` has failed ${attempts} times`
        throw new SubscriptionStoppedError(`subscription \`${this.#name}\` has stopped: ${what}`, {
          cause: reason,
          eventId: event.id,
        })
      }
      this.#doomed = { id: event.id, attempts, error: reason }
      return
    }
    await waited(retryDelay(this.#options.retryDelayMs, attempts), this.#stop)
  }

  /**
   * An event could not be given up, or nobody knows whether it was: no handler had it, so that is no attempt at it. It is given up later, unless
   * another worker has had it by then: an attempt of that one is counted, and that one tells what comes of the event.
   */
  async #notGivenUp(event: DurableEvent<unknown>, reason: unknown, doomed: Doomed): Promise<void> {
    this.#doomed = doomed
    const attempts = await this.#answered((signal) => this.#partition.failures(event.id, signal))
    if (attempts !== doomed.attempts) this.#doomed = undefined
    if (attempts === -doomed.attempts) this.#givenUp(event, doomed)
    if (attempts <= 0) return
    const what = `event ${event.id} of subscription \`${this.#name}\` could not be given up`
    this.#events.onWarning(what, reason)
    await waited(retryDelay(this.#options.retryDelayMs, attempts), this.#stop)
  }

  /**
   * Asks what is known of an event, once no session has the partition: one that commits what was done, or another worker's. Waits for a server
   * that is away, since the event itself may be what ends it.
   */
  async #answered(ask: (signal: AbortSignal) => Promise<number>): Promise<number> {
    let delay = AWAY_DELAY_MS
    for (;;) {
      try {
        return await outlasting(this.#stop, ask)
      } catch (error) {
        if (this.#stop.aborted) throw error
        if (sqlStateOf(error) === SqlState.WorkedElsewhere) {
          await this.#standBy()
          continue
        }
        this.#owner.checkOpen()
        if (!isAway(error)) throw error
        this.#events.onWarning(`subscription \`${this.#name}\` could not be worked`, error)
        await waited(delay, this.#stop)
        delay = Math.min(2 * delay, MAX_AWAY_DELAY_MS)
      }
    }
  }
}

/** Whether the transaction is open, as far as is known without asking the server. */
function isOpen(tx: Transaction, connection: Connection): boolean {
  return !tx.isEnded && connection.transactionStatus === 'active'
}

/**
 * Throws when the transaction is not open: its time was over, the connection is lost, a statement has failed, or whoever was given the
 * transaction has ended it.
 */
async function checkOpen(tx: Transaction, connection: Connection, who: string): Promise<void> {
  const lost = Transaction.lossOf(tx)
  if (lost) throw lost.reason
  if (!tx.isEnded) {
    // A transaction that has failed runs no statement, nor does a connection that is lost.
    await tx.execute('SELECT', [], PLAIN)
    if (connection.transactionStatus === 'active') return
  }
  throw new DurableError(`${who} has ended the transaction that it was given; nothing is done`)
}

/** Whether the connection is lost, so that another one is needed. */
function isLost(error: unknown): boolean {
  return error instanceof ConnectionError || sqlStateOf(error)?.startsWith('57P') === true
}

/** Whether the server is away, takes no more sessions, or is a standby that may be promoted: the same statement may succeed later. */
function isAway(error: unknown): boolean {
  const state = sqlStateOf(error)
  return isLost(error) || state === SqlState.ReadOnly || state?.startsWith('53') === true
}

/** The way of the first `done` events of a batch. */
function part({ way, rows }: Taken, done: number): Way {
  const again = rows
    .slice(0, done)
    .filter(([, , , , , , attempt]) => attempt > 1)
    .map(([id]) => `${id}`)
  const tried = again.length > 0 ? { tried: again } : {}
  if (done === rows.length) return { ...way, ...tried }
  if (way.retried) return { ...way, retried: way.retried.slice(0, done), ...tried }
  return {
    xact: way.xact,
    base: way.from!,
    target: way.to!,
    after: `${rows[done - 1]![0]}`,
    ...tried,
  }
}
