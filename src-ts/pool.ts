// The pool: the public entry point, which makes connections and listeners.
import { brand } from './brand.js'
import { NativePool, type NativeLease } from '#native'
import { bridge } from './native/bridge.js'
import { type InspectArguments, inspectCustom, printed } from './native/inspect.js'
import { PasswordAsker } from './native/password.js'
import { bounded, resolveCallOptions, type CallOptions } from './query/bounds.js'
import { Connection, type LeaseSource } from './query/connection.js'
import { ConnectionPoolExecuteError } from './errors.js'
import { Listener } from './listen/listener.js'
import type { ListenerPayloads } from './listen/types.js'
import { type ListenerOptions, resolveListenerOptions } from './options/listener.js'
import { type ConnectionPoolOptions, checkPoolSize, resolvePoolOptions } from './options/pool.js'
import {
  MAX_DELAY_MS,
  checkChannel,
  checkNumber,
  checkOptions,
  checkPayload,
} from './options/validate.js'

/** After this long a call that waits for a connection is told of, in milliseconds. */
const LONG_WAIT_MS = 1000

/** How long `close()` waits for leased connections, in milliseconds. */
const CLOSE_TIMEOUT_MS = 5000

/** The options of {@link ConnectionPool.close}. */
export interface PoolCloseOptions {
  /**
   * How long leased connections are waited for, in milliseconds, from 0 to 2147483647. @default 5000
   */
  timeoutMs?: number | undefined
}

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
 */
export class ConnectionPool implements AsyncDisposable {
  readonly #native: NativePool
  readonly #acquireTimeoutMs: number
  readonly #leases: LeaseSource = (channel) =>
    this.#acquire(channel === undefined ? 'gap callbacks' : `what handles channel \`${channel}\``)
  readonly #listeners = new Set<WeakRef<Listener<ListenerPayloads>>>()
  #closing: Promise<void> | undefined

  /**
   * @param options - How to connect: options, or a DSN. Without it libpq's environment variables and the defaults
   * apply.
   * @throws {@link ConnectionPoolConfigurationError} when an option is wrong.
   */
  constructor(options?: ConnectionPoolOptions | string) {
    const resolved = resolvePoolOptions(options)
    this.#acquireTimeoutMs = resolved.acquireTimeoutMs
    const asker = resolved.askPassword && new PasswordAsker(resolved.askPassword)
    this.#native = new NativePool(
      bridge.handle,
      resolved.connect,
      resolved.maxDbPoolSize,
      resolved.connRecyclingMethod,
      resolved.limits,
      asker?.handle,
    )
    asker?.keepWith(this.#native)
  }

  /**
   * Makes a listener. The listener connects at its `startup()`, with a server session outside the pool.
   *
   * @typeParam Payloads - The type of each channel's payload, as `parse` returns it.
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong,
   * {@link ConnectionPoolExecuteError} when the pool is closed.
   */
  listener<Payloads extends ListenerPayloads = Record<string, string>>(
    options?: ListenerOptions<Payloads[keyof Payloads]>,
  ): Listener<Payloads> {
    this.#checkOpen()
    const listener = new Listener<Payloads>(
      { session: this.#native, own: this.#native },
      this.#leases,
      resolveListenerOptions(options),
      () => this.#checkOpen(),
    )
    for (const reference of this.#listeners)
      if (!reference.deref()) this.#listeners.delete(reference)
    this.#listeners.add(new WeakRef(listener as unknown as Listener<ListenerPayloads>))
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
    return Connection.leased(await this.#acquire('`pool.connection()`', bounds))
  }

  /**
   * Sends a notification: calls `pg_notify(channel, payload)` on a connection of the pool. Resolves once it is
   * committed.
   *
   * Rejects with {@link ArgumentTypeError} or {@link ArgumentRangeError} when an argument is wrong, and as
   * {@link ConnectionPool.connection} does.
   *
   * @param channel - The name of the channel: 1 to 63 bytes without NUL, case-sensitive.
   * @param payload - The payload: at most 7999 bytes without NUL. @default the empty text
   * @param options - Bounds of the call, the wait for a connection included. @default `acquireTimeoutSec` for that wait
   */
  async notify(channel: string, payload = '', options?: CallOptions): Promise<void> {
    checkChannel(channel)
    checkPayload(payload)
    const bounds = resolveCallOptions(options)
    const began = performance.now()
    await using connection = Connection.leased(await this.#acquire('`pool.notify()`', bounds))
    const { signal, timeoutMs } = bounds
    const spent = performance.now() - began
    await connection.execute('SELECT pg_catalog.pg_notify($1, $2)', [channel, payload], {
      signal,
      timeoutMs: timeoutMs === undefined ? undefined : Math.max(0, timeoutMs - spent),
    })
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
   * call returns the promise of the first.
   */
  close(options?: PoolCloseOptions): Promise<void> {
    const timeoutMs = resolveCloseOptions(options)
    this.#closing ??= this.#close(timeoutMs)
    return this.#closing
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
    const listeners = [...this.#listeners].map((reference) =>
      reference.deref()?.shutdown({ timeoutMs }),
    )
    const closed = bridge.call<void>((id) => this.#native.close(id, timeoutMs))
    await Promise.all([...listeners, closed])
  }

  async #acquire(holder: string, options: CallOptions = {}): Promise<NativeLease> {
    this.#checkOpen()
    const { signal, timeoutMs = this.#acquireTimeoutMs } = options
    const leasing = bounded({ signal, timeoutMs }, (bounds) =>
      bridge.call<NativeLease>((id) => this.#native.acquire(id, holder, bounds)),
    )
    const warning = setTimeout(() => this.#warnOfWait(holder), LONG_WAIT_MS).unref()
    try {
      return await leasing
    } finally {
      clearTimeout(warning)
    }
  }

  /** Tells the pool's listeners that a call finds no connection: a callback may be waiting for itself. */
  #warnOfWait(holder: string): void {
    const { maxSize, available, size } = this.status()
    if (available > 0 || size < maxSize) return
    const message =
      `${holder} has waited for a connection of the pool for ${LONG_WAIT_MS} ms: all ${maxSize} are in use, ` +
      `held by ${this.#native.holders()}. A callback that holds one and waits for another may wait for itself`
    for (const reference of this.#listeners) reference.deref()?.report('warning', { message })
  }

  #checkOpen(): void {
    if (this.#closing) throw new ConnectionPoolExecuteError('The pool is closed')
  }
}

brand(ConnectionPool, 'ConnectionPool')

function resolveCloseOptions(options: PoolCloseOptions = {}): number {
  checkOptions('options', options, ['timeoutMs'])
  const { timeoutMs = CLOSE_TIMEOUT_MS } = options
  checkNumber('timeoutMs', timeoutMs, { min: 0, max: MAX_DELAY_MS })
  return timeoutMs
}
