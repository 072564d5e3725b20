// The pool: the public entry point, which makes connections and listeners.
import { brand } from './brand.js'
import { NativePool, type NativeConnectOptions } from '#native'
import { bridge } from './native/bridge.js'
import { type InspectArguments, inspectCustom, printed } from './native/inspect.js'
import { PasswordAsker } from './native/password.js'
import { poolChannel, type PoolMessage } from './observe/channels.js'
import { resolveCallOptions, type CallOptions } from './query/bounds.js'
import { Connection } from './query/connection.js'
import { ConnectionPoolExecuteError } from './errors.js'
import { Notifier, type NotifierOwner, type WaitingNotifier } from './query/notifier.js'
import { QueueWatch } from './observe/queue-watch.js'
import type { QueueSuspect } from './observe/queue.js'
import { observedNotify } from './query/observed.js'
import type { QueryParameter } from './query/parameters/parameters.js'
import { asTheyAre } from './query/parameters/taken.js'
import { notify } from './query/run.js'
import type { QueryResult } from './query/result.js'
import { Durable } from './durable/durable.js'
import type { DurableEvent, DurableEventOf } from './durable/event.js'
import type { DurableOwner } from './durable/owner.js'
import { explained } from './durable/states.js'
import { Subscription } from './durable/subscription.js'
import { Listener } from './listen/listener.js'
import type {
  Callbacks,
  ListenArguments,
  ListenOptions,
  ListenerArguments,
  ListenerPools,
  WithParse,
} from './listen/types.js'
import {
  checkSubscriptionName,
  resolvePublishOptions,
  resolveSubscriptionOptions,
  type PublishOptions,
  type SubscriptionOptions,
} from './options/durable.js'
import { type NotifierOptions, resolveNotifierOptions } from './options/notifier.js'
import { type ListenerOptions, resolveListenerOptions } from './options/listener.js'
import type { ConnectionPoolOptions } from './options/pool.js'
import { resolvePoolOptions } from './options/pool/resolve.js'
import { checkPoolSize } from './options/pool/table.js'
import { logTo, type ResolvedObservation } from './options/observation.js'
import type {
  ChannelInput,
  ChannelSchemas,
  NoSchemas,
  PayloadsOf,
  Schemas as SchemaTable,
  TextChannel,
} from './options/schemas.js'
import { checkChannel, checkObject } from './options/validate.js'
import { type PoolCloseOptions, resolveCloseOptions } from './pool/closing.js'
import { PoolLeases } from './pool/leases.js'
import { PoolListeners } from './pool/listeners.js'
import { checkCallbacks, startListening } from './pool/listening.js'
import { Payloads } from './pool/payloads.js'
import { endQueueHolder, queueOwner } from './pool/queue.js'

/** A listener with whatever payloads the signature says that was called. */
// oxlint-disable-next-line typescript/no-explicit-any -- an implementation serves all of its overloads.
type AnyListener = Listener<any>

/** The result of {@link ConnectionPool.status}. */
export interface ConnectionPoolStatus {
  /** The most connections that the pool may have. */
  maxSize: number
  /** The connections that the pool has. */
  size: number
  /** The connections that are not leased. */
  available: number
  /** The calls that wait for a connection. */
  waiting: number
}

/**
 * A pool of connections, which also makes listeners. A new pool opens no connection; it opens each one when it is
 * needed.
 *
 * @typeParam Schemas - The types of the option `schemas`.
 */
export class ConnectionPool<Schemas extends ChannelSchemas = NoSchemas> implements AsyncDisposable {
  readonly #native: NativePool
  /** Says where listening sessions connect. Of all listeners that have no DSN of their own. */
  readonly #pools: ListenerPools
  /** Makes what says where a listening session connects that has a DSN of its own. */
  readonly #sessions: (dsn: string) => NativePool
  readonly #schemas: SchemaTable | undefined
  readonly #observation: ResolvedObservation
  readonly #leases: PoolLeases
  readonly #payloads: Payloads
  readonly #listeners = new PoolListeners()
  readonly #queueWatch: QueueWatch | undefined
  /** Those with payloads that wait. */
  readonly #notifiers = new Set<WaitingNotifier>()
  #closing: Promise<void> | undefined
  readonly #checkOpen = (): void => {
    if (this.#closing) throw new ConnectionPoolExecuteError('the pool is closed')
  }

  /**
   * @param options - How to connect: options, or a DSN. Without it libpq's environment variables and the defaults
   * apply.
   * @throws {@link ConnectionPoolConfigurationError} when an option is wrong.
   */
  constructor(options?: ConnectionPoolOptions<Schemas> | string) {
    const resolved = resolvePoolOptions(options)
    this.#schemas = resolved.schemas
    this.#payloads = new Payloads(resolved.schemas)
    this.#observation = resolved.observation
    const asker = resolved.askPassword && new PasswordAsker(resolved.askPassword)
    const connectingTo = (connect: NativeConnectOptions) => {
      const native = new NativePool(
        bridge.handle,
        connect,
        resolved.maxDbPoolSize,
        resolved.connRecyclingMethod,
        resolved.limits,
        resolved.maxBufferedBytes,
        asker?.handle,
      )
      asker?.keepWith(native)
      return native
    }
    this.#native = connectingTo(resolved.connect)
    this.#leases = new PoolLeases(this.#native, resolved, this.#checkOpen, this.#listeners)
    this.#sessions = (dsn) => connectingTo(resolved.connectElsewhere(dsn))
    const { listenDsn } = resolved
    const session = listenDsn === undefined ? this.#native : this.#sessions(listenDsn)
    // It may name other ports of the same hosts, past a pooler.
    if (session !== this.#native) this.#native.leadsWhere(session)
    this.#pools = { session, own: this.#native }
    const { queueWatch } = resolved
    if (queueWatch) {
      const owner = queueOwner(this, this.#native, this.#leases, this.#listeners)
      this.#queueWatch = new QueueWatch(owner, queueWatch)
    }
    if (poolChannel.hasSubscribers) poolChannel.publish({ pool: this } satisfies PoolMessage)
  }

  /**
   * Makes a listener. The listener connects at its `startup()`, with a server session outside the pool.
   *
   * The type of the payloads is that of the pool's schemas; else the one that `parse` returns; else text. A type argument
   * gives each channel a type of its own: `pool.listener<{ orders: Order }>({ parse: JSON.parse })`.
   *
   * @typeParam Payloads - The type of each channel's payload, as `parse` returns it. With others than text `parse` is
   * required.
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong,
   * {@link ConnectionPoolConfigurationError} when its `dsn` is, {@link ConnectionPoolExecuteError} when the pool is closed.
   */
  listener<Payloads extends object = PayloadsOf<Schemas>>(
    ...args: ListenerArguments<Payloads, Schemas>
  ): Listener<Payloads>
  /** Makes a listener whose payloads have the type that `parse` returns. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- with a second one, explicit type arguments are not meant for this signature.
  listener<Payload, _Inferred>(options: ListenerOptions<Payload>): Listener<Record<string, Payload>>
  /** Makes a listener whose payloads have the given types. */
  listener<Payloads extends object>(
    options: WithParse<ListenerOptions<Payloads[keyof Payloads]>>,
  ): Listener<Payloads>
  listener(options?: ListenerOptions): AnyListener {
    return this.#listener(options)
  }

  #listener(options: ListenerOptions | undefined): AnyListener {
    this.#checkOpen()
    const resolved = resolveListenerOptions(options)
    const { dsn, parse } = resolved
    const listener = new Listener<Record<string, unknown>>(
      dsn === undefined ? this.#pools : { session: this.#sessions(dsn), own: this.#native },
      this.#leases.source,
      this.#schemas ? { ...resolved, parse: this.#schemas.parser(parse) } : resolved,
      this.#checkOpen,
    )
    this.#listeners.add(listener)
    this.#queueWatch?.start()
    return listener
  }

  /**
   * Makes a listener, registers a callback for each channel, starts it and lets it listen: `listener()`, `addCallback()`,
   * `startup()` and `listen()` in one. The payloads have the types that `listener()` would give them.
   *
   * Rejects as each of these does, and leaves nothing running. With `retry`, the first attempt that fails is told of in a
   * warning of the process.
   *
   * @param callbacks - A callback for each channel.
   * @param args - The options of the listener, and of its startup. @default those of `listener()` and `startup()`
   */
  async listen(
    callbacks: Callbacks<PayloadsOf<Schemas>>,
    ...args: ListenArguments<PayloadsOf<Schemas>, Schemas>
  ): Promise<Listener<PayloadsOf<Schemas>>>
  /** Starts a listener whose payloads have the type that `parse` returns. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as above.
  async listen<Payload, _Inferred>(
    callbacks: Callbacks<Record<string, Payload>>,
    options: ListenOptions<Payload>,
  ): Promise<Listener<Record<string, Payload>>>
  /** Starts a listener whose payloads have the given types. */
  async listen<Payloads extends object>(
    callbacks: Callbacks<Payloads>,
    ...args: ListenArguments<Payloads, Schemas>
  ): Promise<Listener<Payloads>>
  async listen(callbacks: object, ...args: [options?: ListenOptions]): Promise<AnyListener> {
    checkCallbacks(callbacks)
    const given: ListenOptions = args[0] === undefined ? {} : args[0]
    checkObject('options', given)
    const { retry, timeoutMs, ...options } = given
    const listener = this.#listener(options)
    await startListening(listener, callbacks, { retry, timeoutMs })
    return listener
  }

  /**
   * Leases a connection of the pool, until it is closed. Opens one if none is free, and waits if the pool is full.
   *
   * Rejects with {@link ConnectionFailedError} when no server can be reached, with {@link ConnectionTlsError} when it
   * cannot be reached with the encryption asked for, with {@link ConnectionPoolConfigurationError} when a file of
   * certificates or keys cannot be used, with {@link DatabaseError} when the server refuses, with
   * {@link ConnectionPoolExecuteError} when the pool is closed, or no connection became free within `timeoutMs` or else
   * `acquireTimeoutSec`: the message says who holds how many. Rejects with {@link ConnectionTimeoutError} when that time
   * ends while it connects.
   *
   * @param options - Bounds of the wait. @default `acquireTimeoutSec`
   */
  async connection(options?: CallOptions): Promise<Connection> {
    const bounds = resolveCallOptions(options)
    return Connection.leased(
      await this.#leases.acquire('`pool.connection()`', bounds),
      this.#leases.source,
    )
  }

  /** Leases a connection of the pool: psqlpy's name of {@link ConnectionPool.connection}. */
  async acquire(options?: CallOptions): Promise<Connection> {
    return this.connection(options)
  }

  /**
   * Sends a notification: calls `pg_notify(channel, payload)` on a connection of the pool, in one round trip. Resolves
   * once it is committed. Nothing is prepared for it, so a pooler in transaction mode is no obstacle.
   *
   * A channel with a schema takes a value that fits it, and its JSON is sent.
   *
   * Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong, and as
   * {@link ConnectionPool.connection} does.
   *
   * @param channel - The name of the channel: 1 to 63 bytes without NUL, case-sensitive.
   * @param payload - The payload: at most 7999 bytes without NUL. @default the empty text
   * @param options - Bounds of the call, the wait for a connection included. @default `acquireTimeoutSec` for that wait
   */
  async notify<Name extends keyof Schemas & string>(
    channel: Name,
    payload: ChannelInput<Schemas[Name]>,
    options?: CallOptions,
  ): Promise<void>
  /** Sends text to a channel of a pool without schemas. */
  async notify(
    channel: TextChannel<Schemas>,
    payload?: string,
    options?: CallOptions,
  ): Promise<void>
  async notify(channel: string, payload?: unknown, options?: CallOptions): Promise<void> {
    const text = this.#payloads.encodeOne(channel, payload)
    await this.#send('`pool.notify()`', channel, [text], options)
  }

  /**
   * Sends several notifications to a channel in one statement: all of them, in their order, or none. Resolves once they are
   * committed. PostgreSQL delivers equal payloads of one transaction once. An empty list sends nothing. It takes one round
   * trip, as {@link ConnectionPool.notify} does.
   *
   * Takes payloads and rejects as {@link ConnectionPool.notify} does; every payload is checked before anything is sent.
   *
   * @param channel - The name of the channel.
   * @param payloads - The payloads.
   * @param options - Bounds of the call, the wait for a connection included. @default `acquireTimeoutSec` for that wait
   */
  async notifyMany<Name extends keyof Schemas & string>(
    channel: Name,
    payloads: readonly ChannelInput<Schemas[Name]>[],
    options?: CallOptions,
  ): Promise<void>
  /** Sends texts to a channel of a pool without schemas. */
  async notifyMany(
    channel: TextChannel<Schemas>,
    payloads: readonly string[],
    options?: CallOptions,
  ): Promise<void>
  async notifyMany(
    channel: string,
    payloads: readonly unknown[],
    options?: CallOptions,
  ): Promise<void> {
    const texts = this.#payloads.encodeMany(channel, payloads)
    await this.#notifyMany('`pool.notifyMany()`', channel, texts, options)
  }

  async #notifyMany(
    holder: string,
    channel: string,
    texts: string[],
    options: CallOptions | undefined,
  ): Promise<void> {
    if (texts.length === 0) {
      const { signal } = resolveCallOptions(options)
      signal?.throwIfAborted()
      this.#checkOpen()
      return
    }
    await this.#send(holder, channel, texts, options)
  }

  #send(
    holder: string,
    channel: string,
    texts: string[],
    options: CallOptions | undefined,
  ): Promise<void> {
    return observedNotify(this.#observation, channel, texts, () =>
      this.#leases.use(holder, options, (connection, bounds) =>
        notify(connection, channel, texts, bounds),
      ),
    )
  }

  /**
   * Makes a notifier, which gathers payloads of a channel for a moment and sends them as {@link ConnectionPool.notifyMany}
   * does: for code that notifies more often than anybody needs to hear. It takes payloads as {@link ConnectionPool.notify}
   * does.
   *
   * Closing the pool gives up the payloads that wait: close the notifier first.
   *
   * @param channel - The name of the channel.
   * @param options - How long payloads wait, and how many. @default those of {@link NotifierOptions}
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
   * {@link ConnectionPoolExecuteError} when the pool is closed.
   */
  notifier<Name extends keyof Schemas & string>(
    channel: Name,
    options?: NotifierOptions,
  ): Notifier<ChannelInput<Schemas[Name]>>
  /** Makes a notifier of text for a channel of a pool without schemas. */
  notifier(channel: TextChannel<Schemas>, options?: NotifierOptions): Notifier
  notifier(channel: string, options?: NotifierOptions): Notifier<never> {
    this.#checkOpen()
    checkChannel(channel)
    const owner: NotifierOwner = {
      checkOpen: this.#checkOpen,
      encode: (payload) => this.#payloads.encodeOne(channel, payload),
      send: (texts, bounds) => this.#notifyMany('`pool.notifier()`', channel, texts, bounds),
      onWaiting: (notifier, waiting) => {
        if (waiting) this.#notifiers.add(notifier)
        else this.#notifiers.delete(notifier)
      },
    }
    return new Notifier<never>(owner, resolveNotifierOptions(options))
  }

  /**
   * Runs one statement on a connection of the pool, as {@link Queryable.execute} does. Parameters are a list, and the options are those of
   * every call: for parameters by name, `prepared`, `rowMode` and the like take a connection. So do the methods below.
   */
  async execute<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: readonly QueryParameter[],
    options?: CallOptions,
  ): Promise<QueryResult<Row>> {
    const values = asTheyAre(params)
    return this.#leases.use('`pool.execute()`', options, (connection, bounds) =>
      connection.execute<Row>(sql, values, bounds),
    )
  }

  /** Runs one statement on a connection of the pool, as {@link Queryable.fetch} does. */
  async fetch<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: readonly QueryParameter[],
    options?: CallOptions,
  ): Promise<QueryResult<Row>> {
    const values = asTheyAre(params)
    return this.#leases.use('`pool.fetch()`', options, (connection, bounds) =>
      connection.fetch<Row>(sql, values, bounds),
    )
  }

  /** Runs a statement that returns one row, as {@link Queryable.fetchRow} does, on a connection of the pool. */
  async fetchRow<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: readonly QueryParameter[],
    options?: CallOptions,
  ): Promise<Row> {
    const values = asTheyAre(params)
    return this.#leases.use('`pool.fetchRow()`', options, (connection, bounds) =>
      connection.fetchRow<Row>(sql, values, bounds),
    )
  }

  /** Runs a statement that returns one row or none, as {@link Queryable.fetchRowOrNull} does, on a connection of the pool. */
  async fetchRowOrNull<Row extends object = Record<string, unknown>>(
    sql: string,
    params?: readonly QueryParameter[],
    options?: CallOptions,
  ): Promise<Row | null> {
    const values = asTheyAre(params)
    return this.#leases.use('`pool.fetchRowOrNull()`', options, (connection, bounds) =>
      connection.fetchRowOrNull<Row>(sql, values, bounds),
    )
  }

  /** Runs a statement that returns one value, as {@link Queryable.fetchVal} does, on a connection of the pool. */
  async fetchVal<Value = unknown>(
    sql: string,
    params?: readonly QueryParameter[],
    options?: CallOptions,
  ): Promise<Value> {
    const values = asTheyAre(params)
    return this.#leases.use('`pool.fetchVal()`', options, (connection, bounds) =>
      connection.fetchVal<Value>(sql, values, bounds),
    )
  }

  /** What durable subscriptions need in the database, and what is told of all of them. */
  get durable(): Durable {
    return new Durable(this.#durableOwner())
  }

  /**
   * Publishes an event for durable subscriptions, as {@link Queryable.publish} does, on a connection of the pool. Returns its id. On a
   * channel with a schema the payload is what the schema takes, and checked by it.
   *
   * Rejects with {@link DurableError} when durable subscriptions are not installed or the role may not publish, and as
   * {@link ConnectionPool.execute} does.
   *
   * @param channel - The channel: 1 to 63 bytes.
   * @param payload - The payload: text, or a value that fits the schema of the channel. With the key it may have up to 256 MiB.
   */
  async publish<Name extends keyof Schemas & string>(
    channel: Name,
    payload: ChannelInput<Schemas[Name]>,
    options?: PublishOptions,
  ): Promise<bigint>
  /** Publishes text to a channel of a pool without schemas. */
  async publish(
    channel: TextChannel<Schemas>,
    payload: string,
    options?: PublishOptions,
  ): Promise<bigint>
  async publish(channel: string, payload: unknown, options?: PublishOptions): Promise<bigint> {
    checkChannel(channel)
    const text = this.#schemas ? this.#schemas.encode(channel, payload) : payload
    const { signal, timeoutMs, ...event } = resolvePublishOptions(options)
    return explained(
      this.#leases.use('`pool.publish()`', { signal, timeoutMs }, (connection, bounds) =>
        // It checks that it is text.
        connection.publish(channel, text as string, { ...event, ...bounds }),
      ),
    )
  }

  /**
   * Makes a durable subscription: {@link Subscription.run} or a loop works its events. {@link Durable.install} has to have been called
   * once in the database. The payloads of a pool with schemas are what those make of them, and an event's `channel` tells which one.
   *
   * @param name - Its name: those of one name share the events, in all processes.
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong,
   * {@link ConnectionPoolExecuteError} when the pool is closed.
   */
  subscription<Name extends keyof Schemas & string>(
    name: string,
    options: SubscriptionOptions<Name>,
  ): Subscription<DurableEventOf<Schemas, Name>>
  /** Makes a durable subscription to channels of a pool without schemas: the payloads are text. */
  subscription(name: string, options: SubscriptionOptions<TextChannel<Schemas>>): Subscription
  subscription(name: string, options: SubscriptionOptions): Subscription<DurableEvent<never>> {
    this.#checkOpen()
    checkSubscriptionName(name)
    return new Subscription(this.#durableOwner(), name, resolveSubscriptionOptions(options))
  }

  #durableOwner(): DurableOwner {
    return {
      checkOpen: this.#checkOpen,
      maxConnections: () => this.status().maxSize,
      connection: (options) => this.connection(options),
      listener: (options) => this.#listener(options),
      warn: (fields, message) => {
        process.emitWarning(message, { type: 'PglistenWarning', code: 'PGLISTEN_DURABLE' })
        const { logger } = this.#observation
        if (logger) logTo(logger, 'warn', fields, message)
      },
      observation: this.#observation,
      parse: this.#schemas?.parser(undefined),
    }
  }

  /**
   * Ends a backend that holds the server's queue of notifications back, as a `warning` event of the kind `queue` has named it:
   * calls `pg_terminate_backend()`, if the backend is still the same. What it has not committed is rolled back.
   *
   * Rejects as {@link ConnectionPool.execute} does, such as with {@link DatabaseError} when the role may not
   * (`pg_signal_backend`).
   *
   * @param suspect - One of {@link QueueReport.suspects}.
   * @param options - Bounds of the call. @default `acquireTimeoutSec` for the wait for a connection
   * @returns Whether it was ended; `false` when it is gone already.
   */
  async endQueueHolder(
    suspect: Pick<QueueSuspect, 'processId' | 'backendStart'>,
    options?: CallOptions,
  ): Promise<boolean> {
    return endQueueHolder(this.#leases, suspect, options)
  }

  /** Returns the numbers of connections and of calls that wait for one. */
  status(): ConnectionPoolStatus {
    const { maxSize, size, available, waiting } = this.#native.status()
    return { maxSize, size, available, waiting }
  }

  /**
   * Changes the most connections that the pool may have. Connections beyond it are closed when their leases end.
   *
   * @param size - An integer from 1 to 262143.
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when it is not.
   */
  resize(size: number): void {
    checkPoolSize(size)
    this.#native.resize(size)
  }

  /**
   * Shuts the pool's listeners down and closes every connection. Leased connections are closed when their leases end,
   * or after `timeoutMs`, when the server is asked to cancel their statements.
   *
   * Resolves once the server's sessions are gone; while connections are leased, at most 1 s after `timeoutMs`. A second
   * call waits for the first. Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong,
   * and closes nothing then.
   */
  async close(options?: PoolCloseOptions): Promise<void> {
    const timeoutMs = resolveCloseOptions(options)
    this.#closing ??= this.#close(timeoutMs)
    await this.#closing
  }

  /** Closes the pool, as {@link ConnectionPool.close} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [inspectCustom](...how: InspectArguments): string {
    const fields = {
      hosts: this.#native.hosts(),
      isClosed: this.#closing !== undefined,
      ...this.status(),
    }
    return printed('ConnectionPool', fields, how)
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#queueWatch?.stop()
    for (const notifier of this.#notifiers)
      notifier.abandon(new ConnectionPoolExecuteError('the pool is closed'))
    const listeners = this.#listeners.present().map((listener) => listener.shutdown({ timeoutMs }))
    const closed = bridge.call<void>((id) => this.#native.close(id, timeoutMs))
    await Promise.all([...listeners, closed])
  }
}

brand(ConnectionPool, 'ConnectionPool')
