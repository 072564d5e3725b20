// The subscriptions of a listener: each of its channels, and the callbacks that want it.
import { AsyncResource } from 'node:async_hooks'
import type { Connection } from '../query/connection.js'
import { Numbered } from './numbered.js'

/**
 * Called for each notification of a channel.
 *
 * @param connection - A connection of the pool, leased at its first use; the lease ends when the callback settles.
 * @param payload - The value that `parse` returned, or the text as sent.
 * @param channel - The name of the channel, exactly as in the subscription.
 * @param processId - The process id of the notifying backend.
 * @returns Anything. While a returned promise is pending, the next notification waits, unless `concurrency` allows
 * more.
 */
export type ListenerCallback<Payload = string, Channel extends string = string> = (
  connection: Connection,
  payload: Payload,
  channel: Channel,
  processId: number,
) => unknown

/**
 * One registration of a callback; the same function can be registered several times. The callback runs in the
 * asynchronous context of its registration, because a wake of Rust has none.
 */
export class Registration<
  Args extends unknown[] = [Connection, unknown, string, number],
> extends AsyncResource {
  readonly callback: (...args: Args) => unknown
  /** `false` once the registration is removed: a delivery that is under way then leaves the callback out. */
  active = true
  /** Whether the callback has returned a promise at its last call, as far as that is known. */
  returnsPromises = true

  constructor(callback: (...args: Args) => unknown) {
    super('PglistenCallback')
    this.callback = callback
  }
}

const NO_REGISTRATIONS: readonly Registration[] = []

/** The {@link Subscription.ready} of all LISTENs that are committed: one promise for all. */
const COMMITTED = Promise.resolve()

/** The subscription to one channel. */
export class Subscription {
  readonly name: string
  /**
   * The lowest number that callbacks take: a lower one belongs to notifications from before the callbacks were cleared.
   */
  callableFrom: number
  /**
   * The registration, if there is exactly one. With thousands of channels a look into their arrays would miss the
   * cache.
   */
  only: Registration | undefined
  /**
   * The number under which notifications of the channel cross. A channel that is removed and added again gets a new
   * number, so that notifications under way with the old number find no subscription.
   */
  id: number
  /** Whether `addChannel()`, or the listener's options, asked for the channel. */
  explicit = false
  /** The calls of `addChannel()` that wait for the LISTEN. */
  adding = 0
  /** Whether {@link Subscription.explicit} is only due to calls that still wait. */
  tentative = false
  /** The streams of `subscribe()` that hold the channel. */
  holds = 0
  /** Resolves once the LISTEN is committed; `undefined` while no session was asked to LISTEN. */
  ready: Promise<void> | undefined
  /** The registrations, if there is not exactly one. */
  #registrations = NO_REGISTRATIONS
  /** The numbers before the present one under which there may be notifications. Made for the first. */
  #formerIds: number[] | undefined

  constructor(name: string, id: number) {
    this.name = name
    this.id = id
    this.callableFrom = id
  }

  /** The registered callbacks. The array is replaced and never changed, because a delivery may be iterating over it. */
  get registrations(): readonly Registration[] {
    return this.only ? [this.only] : this.#registrations
  }

  set registrations(registrations: readonly Registration[]) {
    this.only = registrations.length === 1 ? registrations[0] : undefined
    // Thousands of listeners mostly have one callback each, which needs no array.
    this.#registrations = this.only ? NO_REGISTRATIONS : registrations
  }

  /** The present number, and those before it under which there may be notifications. */
  get ids(): number[] {
    return [...(this.#formerIds ?? []), this.id]
  }

  /** Whether there may be notifications of the subscription under a number. */
  hasId(id: number): boolean {
    return id === this.id || this.#formerIds?.includes(id) === true
  }

  /** Gives the subscription another number. */
  setId(id: number): void {
    this.#formerIds ??= []
    this.#formerIds.push(this.id)
    this.id = id
  }

  /** Keeps those of the former numbers that are among `used`. Returns the others. */
  forgetIds(used: ReadonlySet<number>): number[] {
    const former = this.#formerIds ?? []
    const kept = former.filter((id) => used.has(id))
    this.#formerIds = kept.length > 0 ? kept : undefined
    return former.filter((id) => !used.has(id))
  }

  /** Notes that the LISTEN for which {@link Subscription.ready} waited is committed. */
  committed(ready: Promise<void>): void {
    if (this.ready === ready) this.ready = COMMITTED
  }

  /** Whether the channel has callbacks. */
  get isCalled(): boolean {
    return this.only !== undefined || this.#registrations.length > 0
  }

  /** Whether the channel is to stay subscribed. */
  get wanted(): boolean {
    return this.explicit || this.holds > 0 || this.isCalled
  }
}

/** The subscriptions of a listener, by the name and by the numbers of their channels. */
export class Subscriptions {
  /** The only one, before there are several: most of thousands of listeners have no other. */
  #only: Subscription | undefined
  /** Made with the second one, and kept from then on. */
  #tables: { byName: Map<string, Subscription>; byId: Numbered<Subscription> } | undefined
  #lastId = 0
  /** The number that was looked up last: most notifications are of the same channel as the one before. */
  #recentId = 0
  #recent: Subscription | undefined

  /** The names of all channels, in the order in which they were added. */
  get names(): string[] {
    return [...this].map((subscription) => subscription.name)
  }

  [Symbol.iterator](): IterableIterator<Subscription> {
    return (this.#tables?.byName ?? (this.#only ? [this.#only] : [])).values()
  }

  /** Finds a subscription by the name of its channel. */
  get(name: string): Subscription | undefined {
    if (this.#tables) return this.#tables.byName.get(name)
    return this.#only?.name === name ? this.#only : undefined
  }

  /** Finds a subscription by one of its numbers. */
  byId(id: number): Subscription | undefined {
    if (id !== this.#recentId) {
      this.#recentId = id
      const only = this.#only?.hasId(id) ? this.#only : undefined
      this.#recent = this.#tables ? this.#tables.byId.get(id) : only
    }
    return this.#recent
  }

  /** Finds the subscription to a channel, or makes it. */
  open(name: string): Subscription {
    const known = this.get(name)
    if (known) return known
    const subscription = new Subscription(name, this.#nextId())
    if (this.#tables) this.#add(subscription)
    else if (this.#only) {
      this.#tables = { byName: new Map(), byId: new Numbered() }
      this.#add(this.#only)
      this.#add(subscription)
      this.#only = undefined
    } else this.#only = subscription
    return subscription
  }

  #add(subscription: Subscription): void {
    this.#tables?.byName.set(subscription.name, subscription)
    for (const id of subscription.ids) this.#tables?.byId.set(id, subscription)
  }

  /**
   * Gives a subscription another number. Callbacks take only notifications with the new one, iterators those with any.
   */
  renumber(subscription: Subscription): void {
    subscription.setId(this.#nextId())
    subscription.callableFrom = subscription.id
    this.#tables?.byId.set(subscription.id, subscription)
  }

  /** Forgets the former numbers of all subscriptions but for those under which there are notifications somewhere. */
  forgetFormer(used: ReadonlySet<number>): void {
    for (const subscription of this) {
      for (const id of subscription.forgetIds(used)) this.#tables?.byId.delete(id)
    }
    this.#forgetRecent()
  }

  /** Removes a subscription. */
  delete(subscription: Subscription): void {
    if (this.#only === subscription) this.#only = undefined
    const tables = this.#tables
    if (tables?.byName.get(subscription.name) === subscription)
      tables.byName.delete(subscription.name)
    for (const id of subscription.ids) tables?.byId.delete(id)
    this.#forgetRecent()
  }

  #forgetRecent(): void {
    this.#recentId = 0
    this.#recent = undefined
  }

  #nextId(): number {
    this.#forgetRecent()
    this.#lastId += 1
    return this.#lastId
  }

  /** The names of the channels that have callbacks. */
  get called(): string[] {
    return [...this]
      .filter((subscription) => subscription.isCalled)
      .map((subscription) => subscription.name)
  }
}
