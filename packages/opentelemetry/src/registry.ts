// The pools and listeners of the process. They are held weakly: to be observed keeps nothing alive.
import type {
  ConnectionPool,
  ConnectionPoolStatus,
  Listener,
  ListenerState,
  ListenerStats,
} from 'pglisten'
import { hear } from './calls.js'

const TOTALS = [
  ...(['received', 'delivered', 'dropped', 'coalesced', 'filtered'] as const),
  ...(['callbackErrors', 'reconnects'] as const),
]

/** The counts of a listener that only grow. */
export type Totals = Pick<ListenerStats, (typeof TOTALS)[number]>

/** The listeners of one name, added up. */
export interface ListenerGroup extends Totals {
  /** The option `name` of the listeners. */
  readonly name: string | undefined
  states: Map<ListenerState, number>
  buffered: number
  bufferedBytes: number
  callbacksInFlight: number
  /** The longest of them, in milliseconds, as the two below. */
  oldestBufferedAgeMs: number | undefined
  oldestCallbackAgeMs: number | undefined
  lastRoundTripMs: number | undefined
}

/** The pools of one name, added up. */
export interface PoolGroup extends ConnectionPoolStatus {
  readonly name: string
}

/** A listener with whatever payloads. */
export type AnyListener = Listener<Record<string, unknown>>

/** A listener, and what it had counted when it was last asked. */
interface KnownListener {
  readonly name: string | undefined
  readonly reference: WeakRef<AnyListener>
  totals: Totals
}

interface KnownPool {
  name: string
  readonly reference: WeakRef<ConnectionPool>
}

/** The name of the pools that were given none. */
const UNNAMED_POOL = 'pglisten'

/** Knows the pools and listeners that were made since it began, and those that it was told of. */
export class Registry {
  readonly #listeners = new Set<KnownListener>()
  readonly #pools = new Set<KnownPool>()
  /** Those that a message told of, by their number. */
  readonly #byId = new Map<number, KnownListener>()
  readonly #known = new WeakMap<object, KnownListener | KnownPool>()
  /** The totals of the listeners that were collected, by name: a count must not shrink. */
  readonly #collected = new Map<string | undefined, Totals>()
  readonly #collections = new FinalizationRegistry<() => void>((forget) => forget())
  readonly #onListener: (name: string | undefined) => void

  /** `onListener` is called with the name of each listener that is new. */
  constructor(onListener: (name: string | undefined) => void) {
    this.#onListener = onListener
  }

  /** Subscribes to what tells of new pools and listeners. Returns a function that ends that. */
  hear(): () => void {
    const ends = [
      hear('pglisten:pool', ({ pool }) => this.addPool(pool as ConnectionPool)),
      hear('pglisten:listener', ({ instance, listener, listenerId }) =>
        this.addListener(instance as AnyListener, listener, listenerId),
      ),
      // A listener that is closed may be collected before anybody asks for its counts again.
      hear('pglisten:session', ({ event, listenerId }) => {
        if (event === 'closed') this.#read(listenerId)
      }),
    ]
    return () => {
      for (const end of ends) end()
    }
  }

  /** Adds a pool, or gives one a name. */
  addPool(pool: ConnectionPool, name?: string): void {
    const before = this.#known.get(pool) as KnownPool | undefined
    if (before) {
      before.name = name ?? before.name
      return
    }
    const known = { name: name ?? UNNAMED_POOL, reference: new WeakRef(pool) }
    this.#pools.add(known)
    this.#known.set(pool, known)
    this.#collections.register(pool, () => this.#pools.delete(known))
  }

  /** Adds a listener. */
  addListener(listener: AnyListener, name: string | undefined, id?: number): void {
    if (this.#known.has(listener)) return
    const known: KnownListener = { name, reference: new WeakRef(listener), totals: noTotals() }
    this.#listeners.add(known)
    if (id !== undefined) this.#byId.set(id, known)
    this.#known.set(listener, known)
    this.#collections.register(listener, () => {
      this.#listeners.delete(known)
      if (id !== undefined) this.#byId.delete(id)
      const collected = this.#collected.get(name) ?? noTotals()
      this.#collected.set(name, collected)
      addTotals(collected, known.totals)
    })
    this.#onListener(name)
  }

  /** The name of a pool. */
  poolName(pool: object): string {
    return (this.#known.get(pool) as KnownPool | undefined)?.name ?? UNNAMED_POOL
  }

  /** The names of all listeners that there were. */
  get listenerNames(): ReadonlySet<string | undefined> {
    return new Set([...this.#collected.keys(), ...[...this.#listeners].map(({ name }) => name)])
  }

  /** The present numbers of all listeners. */
  listeners(): ListenerGroup[] {
    const groups = new Map<string | undefined, ListenerGroup>()
    const groupOf = (name: string | undefined) => {
      const group = groups.get(name) ?? emptyGroup(name)
      groups.set(name, group)
      return group
    }
    for (const [name, totals] of this.#collected) addTotals(groupOf(name), totals)
    for (const known of this.#listeners) {
      const group = groupOf(known.name)
      const listener = known.reference.deref()
      if (listener) addPresent(group, listener, readTotals(known, listener))
      addTotals(group, known.totals)
    }
    return [...groups.values()]
  }

  /** The present numbers of all pools. */
  pools(): PoolGroup[] {
    const groups = new Map<string, PoolGroup>()
    for (const { name, reference } of this.#pools) {
      const status = reference.deref()?.status()
      if (!status) continue
      const group = groups.get(name) ?? { name, maxSize: 0, size: 0, available: 0, waiting: 0 }
      groups.set(name, group)
      for (const key of ['maxSize', 'size', 'available', 'waiting'] as const)
        group[key] += status[key]
    }
    return [...groups.values()]
  }

  /** Notes what a listener has counted. */
  #read(id: number): void {
    const known = this.#byId.get(id)
    const listener = known?.reference.deref()
    if (known && listener) readTotals(known, listener)
  }
}

/** Notes what a listener has counted. */
function readTotals(known: KnownListener, listener: AnyListener): ListenerStats {
  const stats = listener.stats()
  for (const key of TOTALS) known.totals[key] = stats[key]
  return stats
}

function addPresent(group: ListenerGroup, listener: AnyListener, stats: ListenerStats): void {
  const { state } = listener
  group.states.set(state, (group.states.get(state) ?? 0) + 1)
  for (const key of ['buffered', 'bufferedBytes', 'callbacksInFlight'] as const)
    group[key] += stats[key]
  for (const key of ['oldestBufferedAgeMs', 'oldestCallbackAgeMs', 'lastRoundTripMs'] as const) {
    const value = stats[key]
    if (value !== undefined) group[key] = Math.max(group[key] ?? 0, value)
  }
}

function emptyGroup(name: string | undefined): ListenerGroup {
  return {
    name,
    ...noTotals(),
    states: new Map(),
    buffered: 0,
    bufferedBytes: 0,
    callbacksInFlight: 0,
    oldestBufferedAgeMs: undefined,
    oldestCallbackAgeMs: undefined,
    lastRoundTripMs: undefined,
  }
}

function noTotals(): Totals {
  return Object.fromEntries(TOTALS.map((key) => [key, 0])) as unknown as Totals
}

function addTotals(sum: Totals, totals: Totals): void {
  for (const key of TOTALS) sum[key] += totals[key]
}
