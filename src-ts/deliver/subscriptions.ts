// What a listener is subscribed to: its channels, and who wants them.
import { AsyncResource } from 'node:async_hooks'
import type { Connection } from '../query/connection.js'
import { Numbered } from './numbered.js'

/**
 * Called for each notification of a channel.
 *
 * @param connection - A connection of the pool, leased at its first use; it goes back when the callback settles.
 * @param payload - The text as sent, or what `parse` made of it.
 * @param channel - The channel, exactly as it was subscribed to.
 * @param processId - The process id of the notifying backend.
 * @returns When a promise, the next notification waits until it settles.
 */
export type ListenerCallback<Payload = string, Channel extends string = string> = (
  connection: Connection,
  payload: Payload,
  channel: Channel,
  processId: number,
) => unknown

/**
 * A callback as it was registered. The same function can be registered several times. Called from a wake of Rust, it would
 * run in nobody's asynchronous context: it has that of its registration.
 */
export class Registration<
  Args extends unknown[] = [Connection, unknown, string, number],
> extends AsyncResource {
  readonly callback: (...args: Args) => unknown
  /** Becomes `false` when it is removed: a delivery that is under way then leaves it out. */
  active = true

  constructor(callback: (...args: Args) => unknown) {
    super('PglistenCallback')
    this.callback = callback
  }
}

/** A channel that somebody wants. */
export class Subscription {
  readonly name: string
  /** The lowest number under which callbacks want it: what came before they were cleared is not for new ones. */
  callableFrom: number
  /** The only registration, if there is just one: it is found without the array, which no cache holds for thousands. */
  only: Registration | undefined
  /**
   * The number of its notifications. A channel that is removed and added again gets a new one, so that what was under
   * way for the old one finds nobody.
   */
  id: number
  /** All the numbers that it has had. */
  readonly ids: number[]
  /** Whether `addChannel()` asked for it. */
  explicit = false
  /** Resolves once the LISTEN is committed; `undefined` while no session was asked for it. */
  ready: Promise<void> | undefined
  #registrations: readonly Registration[] = []

  constructor(name: string, id: number) {
    this.name = name
    this.id = id
    this.ids = [id]
    this.callableFrom = id
  }

  /** Replaced, never changed, so that a delivery can go through them while they change. */
  get registrations(): readonly Registration[] {
    return this.#registrations
  }

  set registrations(registrations: readonly Registration[]) {
    this.#registrations = registrations
    this.only = registrations.length === 1 ? registrations[0] : undefined
  }

  /** Whether callbacks want it. */
  get isCalled(): boolean {
    return this.only !== undefined || this.#registrations.length > 0
  }

  get wanted(): boolean {
    return this.explicit || this.isCalled
  }
}

/** The channels of a listener, by name and by number. */
export class Subscriptions {
  readonly #byName = new Map<string, Subscription>()
  readonly #byId = new Numbered<Subscription>()
  #lastId = 0
  /** What was asked for last: most notifications are of the same channel as the one before. */
  #recentId = 0
  #recent: Subscription | undefined

  get names(): string[] {
    return [...this.#byName.keys()]
  }

  [Symbol.iterator](): IterableIterator<Subscription> {
    return this.#byName.values()
  }

  get(name: string): Subscription | undefined {
    return this.#byName.get(name)
  }

  byId(id: number): Subscription | undefined {
    if (id !== this.#recentId) {
      this.#recentId = id
      this.#recent = this.#byId.get(id)
    }
    return this.#recent
  }

  /** The channel of that name, made if need be. */
  open(name: string): Subscription {
    let subscription = this.#byName.get(name)
    if (!subscription) {
      subscription = new Subscription(name, this.#nextId())
      this.#byName.set(name, subscription)
      this.#byId.set(subscription.id, subscription)
    }
    return subscription
  }

  /** Gives a channel another number, from which on callbacks want it. Iterators still know the old one. */
  renumber(subscription: Subscription): void {
    subscription.id = this.#nextId()
    subscription.ids.push(subscription.id)
    subscription.callableFrom = subscription.id
    this.#byId.set(subscription.id, subscription)
  }

  /** Forgets a channel. */
  delete(subscription: Subscription): void {
    if (this.#byName.get(subscription.name) === subscription) this.#byName.delete(subscription.name)
    for (const id of subscription.ids) this.#byId.delete(id)
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

  /** Those that have callbacks. */
  get called(): string[] {
    return [...this]
      .filter((subscription) => subscription.isCalled)
      .map((subscription) => subscription.name)
  }
}
