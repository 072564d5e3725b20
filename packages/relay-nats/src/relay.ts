// The relay: what it connects, when it leads, and what it counts.
import { EventEmitter } from 'node:events'
import { ConnectionPool, type Listener } from 'pglisten'
import { tell, type RelayRole } from './diagnostics.js'
import { RelayError, textOf } from './errors.js'
import { takesBatches } from './nats/batch.js'
import { Link } from './nats/link.js'
import { Outlet, TermEnded } from './nats/outlet.js'
import { Backoff } from './nats/sleep.js'
import { StreamReader, type Stored } from './nats/stream.js'
import { resolveOptions, type RelayOptions, type ResolvedOptions } from './options/options.js'
import { relayChannels, subscribe, unsubscribe, type Subscribed } from './postgres/channels.js'
import { DurableTerm, readTail, relayDurable, withinShare } from './postgres/durable.js'
import { Leader, lockKeyOf } from './postgres/leader.js'
import { Counters } from './wire/counters.js'
import type { RelayGapReason } from './wire/gaps.js'
import { gapSubjectOf, ownSubjectsOf, subjectOf } from './wire/subjects.js'

/** How many messages of others are passed over to find the last one of a relay. */
const MAX_FOREIGN = 1000

/** The events of a {@link Relay}. */
export interface RelayEvents {
  /** The role has changed. */
  role: [role: RelayRole, reason: string | undefined]
  /** Something failed that the relay gets over by itself. */
  warning: [warning: RelayWarning]
}

/** What the relay gets over by itself. */
export interface RelayWarning {
  /** What it is, in words. */
  message: string
  /** The cause; `undefined` without one. */
  error: unknown
}

/** The result of {@link Relay.stats}: totals since the relay was made, and its present state. */
export interface RelayStats {
  /** Whether it leads. */
  role: RelayRole
  /** The epoch in which it leads; `undefined` when it does not. */
  epoch: string | undefined
  /** Messages that are in the stream, gaps included. */
  stored: number
  /** Those of them that went in atomic batches. */
  storedInBatches: number
  /** Gaps that are in the stream. */
  gaps: number
  /** Notifications that the stream does not take, and in whose place a gap is. */
  unpublishable: number
  /** Attempts to store or to read that have failed, and were repeated. */
  failures: number
  /** How often it began to lead. */
  terms: number
  /** Sessions of silent leaders that it has ended. */
  evicted: number
  /** Notifications that wait to be stored. */
  backlog: number
  /** How long the oldest of them has been waiting, in milliseconds; `undefined` when none waits. */
  oldestAgeMs: number | undefined
  /** How long ago the stream last confirmed a message, in milliseconds; `undefined` before the first. */
  lastStoredAgeMs: number | undefined
  /** Whether NATS is connected. */
  isNatsConnected: boolean
  /** The state of the listening session; of a durable source `connected` while it runs. */
  postgres: 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed'
}

/** The options of {@link Relay.run}. */
export interface RelayRunOptions {
  /** Ends the relay: what it has read is stored, for at most `graceMs`. */
  signal?: AbortSignal | undefined
}

/**
 * Stores what PostgreSQL notifies in a stream of NATS JetStream: in order, once, and with gaps as messages of the same stream.
 * Several relays of one stream may run: one leads, and the others stand by.
 */
export class Relay extends EventEmitter<RelayEvents> {
  readonly #options: ResolvedOptions
  #role: RelayRole = 'connecting'
  #isRunning = false
  #epoch: string | undefined
  #listener: Listener | undefined
  #link: Link | undefined
  #lastStoredAt: number | undefined
  readonly #counts = {
    stored: 0,
    storedInBatches: 0,
    gaps: 0,
    unpublishable: 0,
    failures: 0,
    terms: 0,
    evicted: 0,
  }

  /**
   * Makes a relay. Nothing is connected before {@link Relay.run}.
   *
   * @throws {@link RelayOptionError} when an option is wrong.
   */
  constructor(options: RelayOptions) {
    super()
    this.#options = resolveOptions(options)
  }

  /**
   * Runs until `signal` is aborted, however often PostgreSQL and NATS go away. Rejects with {@link RelayError} when it runs already, with
   * {@link RelayOptionError} when a file of credentials cannot be read, and with the errors of pglisten when the options of PostgreSQL are wrong or its listener gives up.
   */
  async run({ signal }: RelayRunOptions = {}): Promise<void> {
    if (this.#isRunning)
      throw new RelayError('Expected a relay that does not run, got one that does')
    // Before anything is begun, because it throws when the options of PostgreSQL are wrong.
    const pool = this.#makePool()
    this.#isRunning = true
    const soft = signal ?? new AbortController().signal
    const hard = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const onEnd = () => {
      timer = setTimeout(
        () => hard.abort(new Error('the time to end was over')),
        this.#options.graceMs,
      )
    }
    // Whatever waits for a server that is cut off in silence ends by that.
    hard.signal.addEventListener('abort', () => void pool.close({ timeoutMs: 0 }), { once: true })
    if (soft.aborted) onEnd()
    else soft.addEventListener('abort', onEnd, { once: true })
    try {
      this.#link = await Link.open(this.#options.nats, this.#linkEvents(), soft)
      const database = this.#options.database ?? (await this.#askDatabase(pool, soft))
      await (this.#options.durable
        ? this.#runDurable(pool, this.#link, database, soft, hard.signal)
        : this.#runChannels(pool, this.#link, database, soft, hard.signal))
    } catch (error) {
      if (!soft.aborted) throw error
    } finally {
      clearTimeout(timer)
      soft.removeEventListener('abort', onEnd)
      await pool.close()
      await this.#link?.close()
      this.#link = undefined
      this.#listener = undefined
      this.#epoch = undefined
      this.#setRole('stopped', undefined)
      this.#isRunning = false
    }
  }

  /** Returns the counters and the present state. */
  stats(): RelayStats {
    const listened = this.#listener?.stats()
    return {
      role: this.#role,
      epoch: this.#epoch,
      ...this.#counts,
      backlog: listened?.buffered ?? 0,
      oldestAgeMs: listened?.oldestBufferedAgeMs,
      lastStoredAgeMs:
        this.#lastStoredAt === undefined ? undefined : performance.now() - this.#lastStoredAt,
      isNatsConnected: this.#link?.isConnected ?? false,
      postgres: this.#listener?.state ?? 'idle',
    }
  }

  async #runChannels(
    pool: ConnectionPool,
    link: Link,
    database: string,
    soft: AbortSignal,
    hard: AbortSignal,
  ): Promise<void> {
    const { stream: name, graceMs } = this.#options
    const listener = this.#makeListener(pool)
    const leader = this.#makeLeader(listener)
    await listener.startup({ retry: true, signal: soft })
    // What is buffered by then is still stored.
    const end = () =>
      void listener.shutdown({ drain: this.#role === 'leading', timeoutMs: graceMs })
    if (soft.aborted) end()
    else soft.addEventListener('abort', end, { once: true })
    const stream = new StreamReader(link, name, this.#options.publishTimeoutMs)
    const backoff = new Backoff(50, 1000)
    let reason: RelayGapReason | undefined
    while (!soft.aborted) {
      const hasStoodBy = await leader.acquire(soft)
      const first: RelayGapReason = hasStoodBy ? 'takeover' : 'relay-start'
      try {
        const because = reason ?? first
        await this.#lead(listener, leader, link, stream, database, because, backoff, soft, hard)
        if (!soft.aborted) throw new Error('The listener has ended')
      } catch (error) {
        if (soft.aborted) return
        if (listener.state === 'closed' || listener.state === 'idle') throw error
        reason =
          error instanceof TermEnded && error.reason === 'reset' ? 'stream-reset' : 'takeover'
        this.#epoch = undefined
        this.#setRole('connecting', textOf(error))
        this.#warn('the relay leads no more', error)
        await backoff.wait(soft)
      }
    }
  }

  /** Makes the listener whose session holds the lock of the leader. */
  #makeListener(pool: ConnectionPool): Listener {
    const { heartbeatMs, buffer } = this.#options
    const listener = pool.listener({
      session: 'own',
      name: 'pglisten-relay-nats',
      heartbeat: { intervalMs: heartbeatMs, timeoutMs: Math.max(2000, heartbeatMs) },
      buffer: { ...buffer, overflow: 'dropOldest' },
      reconnect: { maxDelayMs: 2000 },
    })
    this.#listener = listener
    listener.on('error', (error) => this.#warn('the listener reports an error', error))
    listener.on('warning', ({ message, error }) => this.#warn(message, error))
    listener.on('disconnected', ({ error }) => this.#warn('PostgreSQL is away', error))
    return listener
  }

  #makeLeader(listener: Listener): Leader {
    const { heartbeatMs, standbyPollMs, stream } = this.#options
    return new Leader(
      listener,
      { key: lockKeyOf(stream), pollMs: standbyPollMs, silenceMs: 2 * heartbeatMs },
      {
        onStandby: () => this.#setRole('standby', undefined),
        onEvicted: (processId, silentMs) => {
          this.#counts.evicted += 1
          this.#warn(
            `the leader's session ${processId} was silent for ${Math.round(silentMs)} ms and was ended`,
            undefined,
          )
        },
        onWarning: (message, error) => this.#warn(message, error),
      },
    )
  }

  async #lead(
    listener: Listener,
    leader: Leader,
    link: Link,
    stream: StreamReader,
    database: string,
    reason: RelayGapReason,
    backoff: Backoff,
    soft: AbortSignal,
    hard: AbortSignal,
  ): Promise<void> {
    const { prefix, channels } = this.#options
    let subscribed: Subscribed | undefined
    let outlet: Outlet | undefined
    const over = new AbortController()
    try {
      // PostgreSQL and NATS are asked at the same time: nobody relays until both have answered.
      const reading = this.#readEnd(link, stream, AbortSignal.any([soft, over.signal]))
      reading.catch(() => {})
      subscribed = await subscribe(listener, channels, soft)
      const { start, lastStored, batches } = await reading
      // What is buffered was heard before the end of the stream was read: without the lock all that time, others may have stored it.
      if (!(await leader.keeps(soft)))
        throw new TermEnded('lock', 'the session that had the lock was lost')
      const gapSubject = gapSubjectOf(prefix, database)
      const opened = this.#openOutlet(link, stream, start, gapSubject, batches)
      outlet = opened
      await relayChannels(
        {
          listener,
          leader,
          channels,
          lastStored,
          reason,
          subjectOf: (channel) => subjectOf(prefix, database, channel),
          gapSubject,
          onTerm: () => {
            this.#begin(opened.counters.epoch)
            backoff.reset()
          },
        },
        subscribed,
        outlet,
        hard,
      )
    } finally {
      over.abort()
      unsubscribe(listener, subscribed?.stream)
      outlet?.close()
    }
  }

  async #runDurable(
    pool: ConnectionPool,
    link: Link,
    database: string,
    soft: AbortSignal,
    hard: AbortSignal,
  ): Promise<void> {
    const { prefix, channels, stream: name, durable } = this.#options
    const { name: subscriptionName, ...options } = durable!
    const subscription = pool.subscription(subscriptionName, {
      channels,
      ...options,
      // What fails is NATS, and not an event.
      maxAttempts: 2_147_483_647,
      onFailure: 'stop',
    })
    subscription.on('warning', ({ message, error }) => this.#warn(message, error))
    const stream = new StreamReader(link, name, this.#options.publishTimeoutMs)
    const gapSubject = gapSubjectOf(prefix, database)
    const toSubject = (channel: string) => subjectOf(prefix, database, channel)
    const backoff = new Backoff(50, 1000)
    let hasLed = false
    let isReset = false
    const listener = this.#makeListener(pool)
    const leader = this.#makeLeader(listener)
    await listener.startup({ retry: true, signal: soft })
    while (!soft.aborted) {
      await link.connected(soft)
      await leader.acquire(soft)
      const lost = new AbortController()
      const end = (error: unknown) => {
        lost.abort(error)
        this.#setRole('connecting', textOf(error))
      }
      const notLost = link.whenLost(end)
      const onDisconnected = ({ error }: { error: unknown }) => end(error)
      listener.on('disconnected', onDisconnected)
      let outlet: Outlet | undefined
      try {
        if (!link.isConnected) throw new TermEnded('lock', 'the connection to NATS was lost')
        if (!(await leader.keeps(soft)))
          throw new TermEnded('lock', 'the session that had the lock was lost')
        // It leads from its first event on.
        this.#setRole('standby', undefined)
        await relayDurable(
          subscription,
          async (tx, storing) => {
            const { maxHandlerMs } = options
            const { start, batches, tail } = await withinShare(
              maxHandlerMs,
              storing,
              async (signal) => {
                // A relay that is ended has nothing to store yet.
                const asking = AbortSignal.any([soft, signal])
                const end = await this.#readEnd(link, stream, asking)
                const own = ownSubjectsOf(prefix, database)
                const tail = await readTail(stream, own, channels.map(toSubject), asking)
                return { ...end, tail }
              },
            )
            outlet?.close()
            outlet = this.#openOutlet(link, stream, start, gapSubject, batches)
            const other = tail.previous !== null || hasLed ? 'takeover' : 'relay-start'
            const term = new DurableTerm(outlet, tail, {
              subscription: subscriptionName,
              subjectOf: toSubject,
              gapSubject,
              reason: isReset ? 'stream-reset' : other,
              maxHandlerMs,
            })
            await term.begin(tx, storing)
            storing.throwIfAborted()
            hasLed = true
            isReset = false
            this.#begin(outlet.counters.epoch)
            backoff.reset()
            return term
          },
          {
            taking: AbortSignal.any([soft, lost.signal]),
            storing: AbortSignal.any([hard, lost.signal]),
          },
        )
      } catch (error) {
        if (error instanceof TermEnded && error.reason === 'reset') isReset = true
        if (!soft.aborted) {
          if (!lost.signal.aborted && isFinal(error)) throw error
          this.#warn('the events could not be stored, and are tried again', error)
        }
      } finally {
        notLost()
        listener.off('disconnected', onDisconnected)
        outlet?.close()
        this.#epoch = undefined
        if (!soft.aborted) this.#setRole('connecting', undefined)
      }
      if (soft.aborted) return
      // Another relay may be able to store them.
      await leader.release()
      await backoff.wait(soft)
    }
  }

  #openOutlet(
    link: Link,
    stream: StreamReader,
    start: { created: string; last: number },
    gapSubject: string,
    batches: boolean,
  ): Outlet {
    const { window, batchFrom, publishTimeoutMs: timeoutMs, stream: name } = this.#options
    const options = { window, batchFrom: batches ? batchFrom : Infinity, timeoutMs }
    return new Outlet(link, stream, new Counters(), start, gapSubject, options, {
      onFailure: ({ code, message }) => {
        this.#counts.failures += 1
        tell('failure', { stream: name, code, message })
        this.#warn(`storing failed: ${message}${code > 0 ? ` (${code})` : ''}`, undefined)
      },
      onUnpublishable: () => {
        this.#counts.unpublishable += 1
      },
      onGap: ({ reason, dropped }) => {
        this.#counts.gaps += 1
        tell('gap', { stream: name, reason, dropped })
      },
      onStored: (count, how) => {
        this.#counts.stored += count
        if (how === 'batch') this.#counts.storedInBatches += count
        this.#lastStoredAt = performance.now()
        tell('stored', { stream: name, count, how })
      },
    })
  }

  /** Reads where the stream ends, and the last message of a relay in it, however long that takes. */
  async #readEnd(link: Link, stream: StreamReader, signal: AbortSignal) {
    const backoff = new Backoff(50, 1000)
    for (;;) {
      await link.connected(signal)
      try {
        const [info, newest] = await Promise.all([stream.info(), stream.newest()])
        const start = { created: info.created, last: info.state.last_seq }
        return {
          start,
          batches: takesBatches(info),
          lastStored: await lastOfRelay(stream, start.last, info.state.first_seq, newest),
        }
      } catch (error) {
        this.#counts.failures += 1
        this.#warn('the stream cannot be read', error)
        await backoff.wait(signal)
      }
    }
  }

  #begin(epoch: string): void {
    this.#epoch = epoch
    this.#counts.terms += 1
    this.#setRole('leading', undefined)
  }

  #setRole(role: RelayRole, reason: string | undefined): void {
    if (this.#role === role) return
    this.#role = role
    tell('role', { stream: this.#options.stream, role, epoch: this.#epoch, reason })
    this.emit('role', role, reason)
  }

  #warn(message: string, error: unknown): void {
    this.emit('warning', { message, error })
  }

  #makePool(): ConnectionPool {
    const { postgres, durable } = this.#options
    const given = typeof postgres === 'string' ? { dsn: postgres } : (postgres ?? {})
    return new ConnectionPool({
      applicationName: 'pglisten-relay-nats',
      maxDbPoolSize: durable ? 4 : 2,
      ...given,
    })
  }

  async #askDatabase(pool: ConnectionPool, signal: AbortSignal): Promise<string> {
    const backoff = new Backoff(100, 2000)
    for (;;) {
      signal.throwIfAborted()
      try {
        return await pool.fetchVal<string>('SELECT pg_catalog.current_database()::text', [], {
          signal,
        })
      } catch (error) {
        if (signal.aborted || isMisconfigured(error)) throw error
        this.#warn('PostgreSQL cannot be reached', error)
        await backoff.wait(signal)
      }
    }
  }

  #linkEvents() {
    return {
      onConnected: () => {},
      onDisconnected: () => this.#warn('the connection to NATS was lost', undefined),
      onWarning: (message: string, error: unknown) => this.#warn(message, error),
    }
  }
}

/** The last message that a relay has written, or `undefined` without any among the last ones. */
async function lastOfRelay(
  stream: StreamReader,
  last: number,
  first: number,
  newest: Stored | undefined,
): Promise<Stored | undefined> {
  for (let sequence = last; sequence >= Math.max(1, first, last - MAX_FOREIGN); sequence -= 1) {
    const message = sequence === newest?.sequence ? newest : await stream.message(sequence)
    if (message?.numbered !== undefined) return message
  }
  return undefined
}

const codeOf = (error: unknown) => (error as { code?: unknown } | null)?.code

const isMisconfigured = (error: unknown) => codeOf(error) === 'ERR_PGLISTEN_POOL_CONFIGURATION'

/** PostgreSQL's SQLSTATE on a standby. */
const READ_ONLY = '25006'

/**
 * What going on would not mend: durable subscriptions that are not installed, or a pool that is closed. A standby is none of it: in a
 * failover the way to PostgreSQL leads to one for a while.
 */
const isFinal = (error: unknown) =>
  isMisconfigured(error) ||
  (codeOf(error) === 'ERR_PGLISTEN_DURABLE' &&
    (error as { cause?: { sqlState?: unknown } }).cause?.sqlState !== READ_ONLY)
