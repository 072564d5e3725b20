// One worker: it takes the events of one partition, batch by batch, and sleeps when there are none.
import { randomUUID } from 'node:crypto'
import { ConnectionError, DurableError, SubscriptionStoppedError } from '../errors.js'
import { clearTimeout, setTimeout } from '../native/timers.js'
import type { ResolvedSubscriptionOptions } from '../options/durable.js'
import type { Connection } from '../query/connection.js'
import { commitWithin, type Transaction } from '../query/transaction.js'
import type { Bell } from './bell.js'
import { COLUMNS, eventOf, rawEvent, type DurableEvent, type Row, type Way } from './event.js'
import { PLAIN, withConnection, type DurableOwner } from './owner.js'
import { SqlState, refusal, sqlStateOf } from './states.js'

/** How long it is looked for more after the last event before a worker falls asleep, in milliseconds: so few bells are rung. */
const LINGER_MS = 100
/** How often it is looked meanwhile. */
const LINGER_POLL_MS = 10
/** How often it is looked while a publisher is open that may not have seen that the worker sleeps, in milliseconds. */
const OPEN_PUBLISHER_POLL_MS = 100
const MAX_OPEN_PUBLISHER_POLL_MS = 1000
/** After a failure so many events are worked one by one. */
const CAREFUL_EVENTS = 50
/** The longest wait after failures, in milliseconds. */
const MAX_RETRY_DELAY_MS = 30_000
/** The first and the longest wait for a server that is away, in milliseconds. */
const AWAY_DELAY_MS = 50
const MAX_AWAY_DELAY_MS = 2000
/** A worker whose flag is older than so many safety nets is gone. */
const FORGET_AFTER_NETS = 3

/** Handles an event in the transaction of its batch. */
export type DurableHandler = (tx: Transaction, event: DurableEvent<never>) => unknown

/** What a worker tells. */
export interface WorkerEvents {
  /** Something goes wrong that the worker gets over. */
  onWarning(message: string, error: unknown): void
  /** Events are done. */
  onDone(events: number): void
  /** An attempt at an event has failed. */
  onFailure(event: DurableEvent<unknown>, error: unknown): void
  /** An event was given up. */
  onGivenUp(event: DurableEvent<unknown>, error: unknown): void
  /** Whether the worker has the partition. */
  onWorking(isWorking: boolean): void
}

/** An error of the handler. */
class HandlerFailure extends Error {
  constructor(
    readonly event: DurableEvent<unknown>,
    readonly reason: unknown,
  ) {
    super()
  }
}

/** Works a partition of a subscription. */
export class Worker {
  readonly #owner: DurableOwner
  readonly #name: string
  readonly #options: ResolvedSubscriptionOptions
  readonly #partition: number
  readonly #handler: DurableHandler
  readonly #bell: Bell
  readonly #events: WorkerEvents
  readonly #stop: AbortSignal
  readonly #id = randomUUID()
  readonly #channels: ReadonlySet<string>
  /** So many events are still worked one by one. */
  #careful = 0
  /** The event that is to be given up next, and why. */
  #doomed: { id: bigint; error: unknown } | undefined
  /** Takes back that the worker sleeps, if it did. */
  #rousing: Promise<unknown> | undefined
  /** Whether publishers ring for the worker. */
  #isFlagged = false

  constructor(
    owner: DurableOwner,
    name: string,
    options: ResolvedSubscriptionOptions,
    partition: number,
    handler: DurableHandler,
    bell: Bell,
    events: WorkerEvents,
    stop: AbortSignal,
  ) {
    this.#owner = owner
    this.#name = name
    this.#options = options
    this.#partition = partition
    this.#handler = handler
    this.#bell = bell
    this.#events = events
    this.#stop = stop
    this.#channels = new Set(options.channels)
  }

  /** The options of statements outside of the transaction of a batch: a connection that is cut off in silence never answers. */
  get #bounded() {
    return { ...PLAIN, timeoutMs: this.#options.maxHandlerMs }
  }

  /** Works until it is stopped. Rejects when it cannot go on. */
  async run(): Promise<void> {
    let delay = AWAY_DELAY_MS
    while (!this.#stop.aborted) {
      try {
        const failure = await this.#awake()
        delay = AWAY_DELAY_MS
        if (failure) await this.#failed(failure)
        else if (!this.#stop.aborted) await this.#sleep()
      } catch (error) {
        if ((await this.#getsOver(error)) || this.#stop.aborted) continue
        this.#events.onWarning(`subscription \`${this.#name}\` could not be worked`, error)
        await this.#wait(delay)
        delay = Math.min(2 * delay, MAX_AWAY_DELAY_MS)
      }
    }
    this.#events.onWorking(false)
    this.#rouse()
    await this.#rousing
  }

  /** Whether a failure was dealt with. Throws when nothing can be done about it. */
  async #getsOver(error: unknown): Promise<boolean> {
    if (error instanceof SubscriptionStoppedError) throw error
    this.#owner.checkOpen()
    const state = sqlStateOf(error)
    if (state === SqlState.WorkedElsewhere) {
      this.#events.onWorking(false)
      await this.#wait(this.#options.standbyPollMs)
      return true
    }
    if (state === SqlState.Elsewhere) {
      try {
        await withConnection(this.#owner, (connection) =>
          connection.execute('SELECT FROM pglisten.adopt()', [], PLAIN),
        )
      } catch {
        // The next fetch says again what is to be done.
        return false
      }
      const message = `subscription \`${this.#name}\` was in a restored dump: its position means here what it meant there`
      this.#events.onWarning(message, error)
      return true
    }
    // A server that has become a standby may become the primary again, or the pool finds the new one.
    const refused = state === SqlState.ReadOnly ? undefined : refusal(error)
    if (refused) throw refused
    return false
  }

  /**
   * Works until nothing has come for a while, or a handler has failed. What is done about that needs a connection, which may be the only
   * one of the pool.
   */
  async #awake(): Promise<HandlerFailure | undefined> {
    const work = async (connection: Connection) => {
      let idleSince: number | undefined
      while (!this.#stop.aborted) {
        const outcome = await this.#batch(connection)
        if (outcome instanceof HandlerFailure) return outcome
        if (outcome) {
          idleSince = undefined
          continue
        }
        idleSince ??= performance.now()
        do {
          if (performance.now() - idleSince >= LINGER_MS) return undefined
          await this.#wait(LINGER_POLL_MS)
          if (this.#stop.aborted) return undefined
        } while (!(await this.#hasMore(connection)))
      }
      return undefined
    }
    return withConnection(this.#owner, work, { signal: this.#stop })
  }

  /** Takes a batch and works it; whether there was one, or what failed. */
  async #batch(connection: Connection): Promise<boolean | HandlerFailure> {
    const { maxHandlerMs } = this.#options
    let failure: HandlerFailure | undefined
    let present: DurableEvent<unknown> | undefined
    let rows: Row[] = []
    try {
      await connection.transaction(
        async (tx) => {
          rows = await this.#take(tx)
          this.#events.onWorking(true)
          if (rows.length === 0) return
          const way = JSON.parse(rows[0]![3]) as Way
          let done = 0
          for (let index = 1; index < rows.length; index += 1) {
            if (this.#stop.aborted && done > 0) break
            present = rawEvent(rows[index]!)
            failure = await this.#handle(tx, present, rows[index]!)
            if (failure) throw failure
            done += 1
          }
          present = undefined
          await this.#advance(tx, part(way, rows, done))
          this.#finished(rows, done)
        },
        { timeoutMs: maxHandlerMs, isolationLevel: 'readCommitted', readOnly: false },
      )
    } catch (error) {
      const failed = failure ?? this.#failureOf(error, present, rows)
      if (failed) return failed
      if (rows.length > 2 && !isLost(error)) return true
      throw error
    }
    return rows.length > 0
  }

  async #take(tx: Transaction): Promise<Row[]> {
    const { batchSize, maxHandlerMs, synchronousCommit } = this.#options
    const most = this.#careful > 0 ? 1 : batchSize
    const result = await tx.execute<Row>(
      `SELECT ${COLUMNS} FROM pglisten.take($1, $2, $3, $4, $5)`,
      [this.#name, this.#partition, most, maxHandlerMs, synchronousCommit],
      { ...PLAIN, rowMode: 'array' },
    )
    return [...result]
  }

  /** Has the handler work an event, unless it is to be given up. */
  async #handle(
    tx: Transaction,
    event: DurableEvent<unknown>,
    row: Row,
  ): Promise<HandlerFailure | undefined> {
    const doomed = this.#doomed
    if (doomed?.id === event.id) {
      await tx.execute(
        'SELECT pglisten.give_up($1, $2, $3, $4)',
        [this.#name, this.#partition, event.id, textOf(doomed.error)],
        PLAIN,
      )
      return undefined
    }
    try {
      await this.#handler(tx, eventOf(row, this.#owner) as DurableEvent<never>)
      if (tx.isEnded) {
        const message = 'the handler has ended the transaction that it was given; nothing is done'
        throw new DurableError(message)
      }
      return undefined
    } catch (error) {
      return new HandlerFailure(event, error)
    }
  }

  /** Moves the position, and commits. */
  async #advance(tx: Transaction, way: Way): Promise<void> {
    // Both are sent before the first is answered: one round trip.
    const moved = tx.execute(
      'SELECT pglisten.advance($1, $2, $3::text::jsonb)',
      [this.#name, this.#partition, JSON.stringify(way)],
      PLAIN,
    )
    // The position tells what became of a commit that nobody has answered.
    const committed = tx[commitWithin](this.#options.maxHandlerMs)
    const [first, second] = await Promise.allSettled([moved, committed])
    for (const outcome of [first, second]) if (outcome.status === 'rejected') throw outcome.reason
  }

  #finished(rows: readonly Row[], done: number): void {
    this.#careful = Math.max(0, this.#careful - done)
    const doomed = this.#doomed
    if (doomed && rows.slice(1, done + 1).some(([id]) => BigInt(id!) === doomed.id)) {
      this.#doomed = undefined
      const row = rows.find(([id]) => id !== null && BigInt(id) === doomed.id)!
      // It was fetched once more for that.
      const event = rawEvent(row)
      this.#events.onGivenUp({ ...event, attempt: event.attempt - 1 }, doomed.error)
      this.#events.onDone(done - 1)
      return
    }
    this.#events.onDone(done)
  }

  /**
   * The failure of which event it is that the transaction was lost, or could not be committed, after handlers had it. With several events
   * nobody can tell: they are tried again one by one.
   */
  #failureOf(
    error: unknown,
    present: DurableEvent<unknown> | undefined,
    rows: readonly Row[],
  ): HandlerFailure | undefined {
    if (rows.length < 2) return undefined
    if (present) return new HandlerFailure(present, error)
    if (rows.length === 2) return new HandlerFailure(rawEvent(rows[1]!), error)
    this.#careful = CAREFUL_EVENTS
    return undefined
  }

  /** Counts a failure, and waits; decides what becomes of the event. */
  async #failed({ event, reason }: HandlerFailure): Promise<void> {
    const isAlone = this.#careful > 0
    this.#careful = CAREFUL_EVENTS
    const state = sqlStateOf(reason)
    const isCounted = state !== SqlState.SerializationFailure && state !== SqlState.Deadlock
    const { maxAttempts, onFailure, retryDelayMs } = this.#options
    let attempts: number | undefined
    try {
      if (isCounted) attempts = await this.#count(event, reason)
    } catch (error) {
      this.#events.onFailure(event, reason)
      throw error
    }
    if (attempts === 0) {
      // The commit took effect, and its answer was lost.
      this.#events.onDone(1)
      return
    }
    this.#events.onFailure(event, reason)
    if (attempts === undefined) {
      await this.#wait(retryDelayMs)
      return
    }
    if (attempts >= maxAttempts && isAlone) {
      if (onFailure === 'stop') {
        const what = `event ${event.id} on channel \`${event.channel}\` has failed ${attempts} times`
        throw new SubscriptionStoppedError(`subscription \`${this.#name}\` has stopped: ${what}`, {
          cause: reason,
          eventId: event.id,
        })
      }
      this.#doomed = { id: event.id, error: reason }
      return
    }
    await this.#wait(Math.min(retryDelayMs * 2 ** (attempts - 1), MAX_RETRY_DELAY_MS))
  }

  /** Counts a failure of an event. Returns how many there were; 0 when the event is done. */
  async #count({ id }: DurableEvent<unknown>, reason: unknown): Promise<number> {
    return withConnection(this.#owner, (connection) =>
      connection.fetchVal<number>(
        'SELECT pglisten.count_attempt($1, $2, $3)',
        [this.#name, id, textOf(reason)],
        this.#bounded,
      ),
    )
  }

  async #hasMore(connection: Connection): Promise<boolean> {
    const params = [this.#name, this.#partition]
    return connection.fetchVal<boolean>('SELECT pglisten.has_more($1, $2)', params, this.#bounded)
  }

  /** Sleeps until there may be something. */
  async #sleep(): Promise<void> {
    await this.#rousing
    const forgetAfter = `${FORGET_AFTER_NETS * this.#options.safetyNetMs} ms`
    const params = [this.#name, this.#partition, this.#id, forgetAfter]
    // Whoever takes a transaction id after this one sees the flag; whoever has one may have missed it. No snapshot tells which ids
    // are taken: its xmax is that of the last transaction that has ended.
    const fence = await withConnection(this.#owner, async (connection) => {
      await connection.execute(
        'SELECT pglisten.doze($1, $2, $3::text::uuid, $4::text::interval)',
        params,
        this.#bounded,
      )
      return connection.fetchVal<string>('SELECT pg_current_xact_id()::text', [], this.#bounded)
    })
    this.#isFlagged = true
    let poll = OPEN_PUBLISHER_POLL_MS
    while (!this.#stop.aborted) {
      const { rung, cancel } = this.#bell.next(this.#channels)
      try {
        const { is_quiet, has_more } = await withConnection(this.#owner, (connection) =>
          connection.fetchRow<{ is_quiet: boolean; has_more: boolean }>(
            // The snapshot of the statement is older than those of what the function reads.
            `SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 AS is_quiet,
               pglisten.has_more($2, $3) AS has_more`,
            [fence, this.#name, this.#partition],
            this.#bounded,
          ),
        )
        if (has_more) break
        await this.#wait(is_quiet ? this.#options.safetyNetMs : poll, rung)
        if (!is_quiet) poll = Math.min(2 * poll, MAX_OPEN_PUBLISHER_POLL_MS)
        // The flag would be taken for that of a worker that is gone.
        else if (!this.#stop.aborted) break
      } finally {
        cancel()
      }
    }
    this.#rouse()
  }

  /** Has publishers no longer ring for the worker. It does not wait for that: a bell too many does no harm. */
  #rouse(): void {
    if (!this.#isFlagged) return
    this.#isFlagged = false
    this.#rousing = withConnection(this.#owner, (connection) =>
      connection.execute(
        'SELECT pglisten.rouse($1, $2, $3::text::uuid)',
        [this.#name, this.#partition, this.#id],
        this.#bounded,
      ),
    ).catch(() => {})
  }

  /** Waits for so long, or until `sooner` resolves or the worker is stopped. */
  async #wait(ms: number, sooner?: Promise<void>): Promise<void> {
    if (this.#stop.aborted) return
    let timer: NodeJS.Timeout | undefined
    let onStop = () => {}
    await Promise.race([
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms)
        onStop = resolve
        this.#stop.addEventListener('abort', onStop, { once: true })
      }),
      ...(sooner ? [sooner] : []),
    ])
    clearTimeout(timer)
    this.#stop.removeEventListener('abort', onStop)
  }
}

/** Whether the connection is lost, so that another one is needed. */
function isLost(error: unknown): boolean {
  return error instanceof ConnectionError || sqlStateOf(error)?.startsWith('57P') === true
}

/** The way of the first `done` events of a batch. */
function part(way: Way, rows: readonly Row[], done: number): Way {
  const tried = rows
    .slice(1, done + 1)
    .filter(([, , , , , , attempt]) => attempt !== '1')
    .map(([id]) => id!)
  if (done === rows.length - 1) return { ...way, tried }
  if (way.retried) return { ...way, retried: way.retried.slice(0, done), tried }
  return { xact: way.xact, base: way.from!, target: way.to!, after: rows[done]![0], tried }
}

/** An error in few words, for the table of events that have failed. */
function textOf(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return text.replaceAll('\0', '').toWellFormed().slice(0, 2000)
}
