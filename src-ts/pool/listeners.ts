// The listeners of a pool, as far as they are still there: the pool does not keep them.
import type { Listener } from '../listen/listener.js'

/** @internal The listeners that a pool has made. */
export class PoolListeners {
  readonly #references = new Set<WeakRef<Listener<Record<string, unknown>>>>()
  /** When there are so many, those that were collected are looked for: adding one costs the same on average, however many there are. */
  #most = 64

  add(listener: Listener<Record<string, unknown>>): void {
    this.#references.add(new WeakRef(listener))
    if (this.#references.size < this.#most) return
    for (const reference of this.#references)
      if (!reference.deref()) this.#references.delete(reference)
    this.#most = Math.max(64, 2 * this.#references.size)
  }

  /** Those that were not collected as garbage. */
  present(): Listener<Record<string, unknown>>[] {
    return [...this.#references].flatMap((reference) => reference.deref() ?? [])
  }
}
