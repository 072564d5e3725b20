// A sparse table of values that are found by number.

/** The number of entries in a page. */
const PAGE = 256

interface Page<Value> {
  readonly values: (Value | undefined)[]
  /** The number of values that are not `undefined`. */
  size: number
}

/**
 * Values by number, for numbers that are given out in ascending order and never again. With thousands of values that
 * are looked up at random, a look-up misses the processor's cache about once; in a `Map` it would miss several times.
 */
export class Numbered<Value extends object> {
  /**
   * Pages with entries, plus the newest even if empty, so that adding and removing one value in turn allocates no page.
   */
  readonly #pages = new Map<number, Page<Value>>()
  /** The key of the newest page. */
  #newest = 0

  /** Finds a value. */
  get(number: number): Value | undefined {
    return this.#pages.get(Math.floor(number / PAGE))?.values[number % PAGE]
  }

  /** Adds a value, whose number must be new. */
  set(number: number, value: Value): void {
    const key = Math.floor(number / PAGE)
    let page = this.#pages.get(key)
    if (!page) {
      if (this.#pages.get(this.#newest)?.size === 0) this.#pages.delete(this.#newest)
      this.#newest = key
      page = { values: [], size: 0 }
      this.#pages.set(key, page)
    }
    const place = number % PAGE
    // It grows without holes, which would make each look-up slower.
    while (page.values.length < place) page.values.push(undefined)
    page.values[place] = value
    page.size += 1
  }

  /** Removes a value. Does nothing if there is none. */
  delete(number: number): void {
    const key = Math.floor(number / PAGE)
    const page = this.#pages.get(key)
    if (page?.values[number % PAGE] === undefined) return
    page.values[number % PAGE] = undefined
    page.size -= 1
    if (page.size === 0 && key !== this.#newest) this.#pages.delete(key)
  }
}
