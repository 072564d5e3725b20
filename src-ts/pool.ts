// The pool: where connections and listeners come from.
import { NativePool, type NativeLease } from '#native'
import { bridge } from './native/bridge.js'
import { Connection, type LeaseSource } from './query/connection.js'
import { ConnectionPoolExecuteError } from './errors.js'
import { Listener } from './listen/listener.js'
import type { ListenerPayloads } from './listen/types.js'
import { type ListenerOptions, resolveListenerOptions } from './options/listener.js'
import { type ConnectionPoolOptions, checkPoolSize, resolvePoolOptions } from './options/pool.js'
import { checkChannel, checkPayload } from './options/validate.js'

/** How long `close()` waits for connections that are in use, in milliseconds. */
const CLOSE_TIMEOUT_MS = 5000

/** What {@link ConnectionPool.status} gives. */
export interface ConnectionPoolStatus {
  /** The most connections. */
  maxSize: number
  /** Connections there are. */
  size: number
  /** Those of them that nobody has. */
  available: number
  /** How many wait for one. */
  waiting: number
}

/**
 * A pool of connections, and the maker of listeners. It opens nothing before something is asked of it.
 */
export class ConnectionPool implements AsyncDisposable {
  readonly #native: NativePool
  readonly #leases: LeaseSource = () => this.#acquire()
  readonly #listeners = new Set<WeakRef<Listener<ListenerPayloads>>>()
  #closing: Promise<void> | undefined

  /**
   * @param options - How to connect, or a DSN. Without any, libpq's environment variables apply.
   * @throws {@link ConnectionPoolConfigurationError} when an option is wrong.
   */
  constructor(options?: ConnectionPoolOptions | string) {
    const { connect, maxDbPoolSize, connRecyclingMethod } = resolvePoolOptions(options)
    this.#native = new NativePool(bridge.handle, connect, maxDbPoolSize, connRecyclingMethod)
  }

  /**
   * Makes a listener. It connects at its `startup()`, outside the pool: it takes no connection from it.
   *
   * @typeParam Payloads - The payload of each channel, as `parse` makes it.
   * @throws {@link ArgumentTypeError} or {@link ArgumentRangeError} when an option is wrong.
   */
  listener<Payloads extends ListenerPayloads = Record<string, string>>(
    options?: ListenerOptions<Payloads[keyof Payloads]>,
  ): Listener<Payloads> {
    this.#checkOpen()
    const listener = new Listener<Payloads>(
      this.#native,
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
   * Takes a connection out of the pool, or opens one, or waits for one. Close it to give it back.
   *
   * Rejects with {@link ConnectionFailedError} when no server can be reached, with {@link ConnectionTlsError} when it cannot
   * be reached with the encryption asked for, with {@link ConnectionPoolConfigurationError} when a file of certificates or
   * keys cannot be used, with {@link DatabaseError} when the server refuses, with {@link ConnectionPoolExecuteError} when
   * the pool is closed.
   */
  async connection(): Promise<Connection> {
    return Connection.leased(await this.#acquire())
  }

  /**
   * Sends a notification: `pg_notify(channel, payload)` on a connection of the pool.
   *
   * @param channel - 1 to 63 bytes, no NUL; exact case.
   * @param payload - At most 7999 bytes, no NUL. @default the empty text
   */
  async notify(channel: string, payload = ''): Promise<void> {
    checkChannel(channel)
    checkPayload(payload)
    await using connection = await this.connection()
    await connection.execute('SELECT pg_notify($1, $2)', [channel, payload])
  }

  /** How many connections there are. */
  status(): ConnectionPoolStatus {
    return this.#native.status()
  }

  /** Changes the most connections there may be. Those beyond it are closed when they are given back. */
  resize(size: number): void {
    checkPoolSize(size)
    this.#native.resize(size)
  }

  /**
   * Shuts the pool's listeners down and closes every connection: those in use when they are given back, or after 5 s,
   * when the server is asked to cancel what it is still doing for them. Resolves once the server's sessions are gone; with
   * connections that were not given back, after at most 6 s. Closing twice is closing once.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** {@link ConnectionPool.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const listeners = [...this.#listeners].map((reference) => reference.deref()?.shutdown())
    const closed = bridge.call<void>((id) => this.#native.close(id, CLOSE_TIMEOUT_MS))
    await Promise.all([...listeners, closed])
  }

  async #acquire(): Promise<NativeLease> {
    this.#checkOpen()
    return bridge.call<NativeLease>((id) => this.#native.acquire(id))
  }

  #checkOpen(): void {
    if (this.#closing) throw new ConnectionPoolExecuteError('The pool is closed')
  }
}
