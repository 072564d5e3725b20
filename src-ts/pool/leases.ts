// The leases of a pool: who takes a connection out of it, for a call or until it is closed, and waits if need be.
import type { NativeLease, NativePool } from '#native'
import { bridge } from '../native/bridge.js'
import { clearTimeout, setTimeout } from '../native/timers.js'
import type { ResolvedPoolOptions } from '../options/pool/resolve.js'
import { bounded, countdown, resolveCallOptions, type CallOptions } from '../query/bounds.js'
import { Connection, type LeaseSource } from '../query/connection.js'
import type { PoolListeners } from './listeners.js'

/** After this long a call that waits for a connection is told of, in milliseconds. */
const LONG_WAIT_MS = 1000

/** @internal Leases the connections of a pool. */
export class PoolLeases {
  readonly #native: NativePool
  readonly #acquireTimeoutMs: number
  readonly #checkOpen: () => void
  readonly #listeners: PoolListeners
  /** Leases connections, and says how their values are read and written. */
  readonly source: LeaseSource

  constructor(
    native: NativePool,
    { acquireTimeoutMs, types, observation }: ResolvedPoolOptions,
    checkOpen: () => void,
    listeners: PoolListeners,
  ) {
    this.#native = native
    this.#acquireTimeoutMs = acquireTimeoutMs
    this.#checkOpen = checkOpen
    this.#listeners = listeners
    const lease = (channel?: string) =>
      this.acquire(channel === undefined ? 'gap callbacks' : `what handles channel \`${channel}\``)
    this.source = Object.assign(lease, { types, observation })
  }

  async acquire(holder: string, options: CallOptions = {}): Promise<NativeLease> {
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

  /** Lets `work` use a connection of the pool, within the bounds of the whole call. */
  async use<Result>(
    holder: string,
    options: CallOptions | undefined,
    work: (connection: Connection, bounds: CallOptions) => Promise<Result>,
  ): Promise<Result> {
    const left = countdown(resolveCallOptions(options))
    // No `await using`: a context of `vm` on Node 20 and 22 has no `Symbol.asyncDispose`.
    const connection = Connection.leased(await this.acquire(holder, left()), this.source)
    try {
      return await work(connection, left())
    } finally {
      await connection.close()
    }
  }

  /** Tells the pool's listeners that a call finds no connection: a callback may be waiting for itself. */
  #warnOfWait(holder: string): void {
    const { maxSize, available, size } = this.#native.status()
    if (available > 0 || size < maxSize) return
    const message =
      `${holder} has waited for a connection of the pool for ${LONG_WAIT_MS} ms: all ${maxSize} are in use, ` +
      `held by ${this.#native.holders()}. A callback that holds one and waits for another may wait for itself`
    for (const listener of this.#listeners.present())
      listener.report('warning', { kind: 'pool', message })
  }
}
