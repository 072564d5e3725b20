// A table of what has a number.

/** How many entries stand together. */
const PAGE = 256

interface Page<Value> {
  readonly values: (Value | undefined)[]
  /** How many there are. */
  size: number
}

/**
 * Values by number, where numbers are given out one after the other and never again. Of thousands that are asked for at
 * random each is found with about one look into memory that no cache holds; with a `Map` it is several.
 */
export class Numbered<Value extends object> {
  /** Those that have entries, and the newest: what comes and goes at once is not to make one each time. */
  readonly #pages = new Map<number, Page<Value>>()
  #newest = 0

  get(number: number): Value | undefined {
    return this.#pages.get(Math.floor(number / PAGE))?.values[number % PAGE]
  }

  /** Adds an entry, whose number must be new. */
  set(number: number, value: Value): void {
    const key = Math.floor(number / PAGE)
    let page = this.#pages.get(key)
    if (!page) {
      if (this.#pages.get(this.#newest)?.size === 0) this.#pages.delete(this.#newest)
      this.#newest = key
      page = { values: Array.from({ length: PAGE }, () => undefined), size: 0 }
      this.#pages.set(key, page)
    }
    page.values[number % PAGE] = value
    page.size += 1
  }

  /** Forgets an entry, if there is one. */
  delete(number: number): void {
    const key = Math.floor(number / PAGE)
    const page = this.#pages.get(key)
    if (page?.values[number % PAGE] === undefined) return
    page.values[number % PAGE] = undefined
    page.size -= 1
    if (page.size === 0 && key !== this.#newest) this.#pages.delete(key)
  }
}
