// A bounded map: when it is full, the entry that was used least recently makes room.

/** @internal A map from texts that keeps the entries that were used last. */
export class RecentlyUsed<Value> {
  readonly #max: number
  /** In the order of their last use: a `Map` keeps the order in which its entries were set. */
  readonly #entries = new Map<string, Value>()

  constructor(max: number) {
    this.#max = max
  }

  get(key: string): Value | undefined {
    const value = this.#entries.get(key)
    if (value === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, value)
    return value
  }

  set(key: string, value: Value): void {
    this.#entries.set(key, value)
    if (this.#entries.size <= this.#max) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }
}
