// A list of which only the visible rows are elements, however long it is. Rows are reused; all have one height.

const SPARE_ROWS = 6

/**
 * @template Entry
 * @typedef {object} Rendering
 * @property {(entry: Entry) => string} key What tells entries apart.
 * @property {(entry: Entry, row: HTMLElement) => void} fill Fills a row of the list with an entry.
 * @property {() => HTMLElement} make Makes an empty row.
 */

/** @template Entry */
export class VirtualList {
  /** @type {readonly Entry[]} */
  #entries = []
  #frame
  #space
  #rendering
  /** @type {HTMLElement[]} */
  #rows = []
  #rowHeight = 0
  /** The key of the entry that is chosen. @type {string | null} */
  #chosen = null

  /** @param {HTMLElement} frame Scrolls. @param {HTMLElement} space Is as high as all rows. @param {Rendering<Entry>} rendering */
  constructor(frame, space, rendering) {
    this.#frame = frame
    this.#space = space
    this.#rendering = rendering
    frame.addEventListener('scroll', () => this.render(), { passive: true })
    new ResizeObserver(() => {
      this.#rowHeight = 0
      this.render()
    }).observe(frame)
  }

  get entries() {
    return this.#entries
  }

  /** @param {readonly Entry[]} entries From the top. */
  show(entries) {
    this.#entries = entries
    this.render()
  }

  /** @param {string | null} key */
  choose(key) {
    this.#chosen = key
    this.render()
  }

  /** The place of the chosen entry; -1 when none is. */
  get chosenIndex() {
    const chosen = this.#chosen
    if (chosen === null) return -1
    return this.#entries.findIndex((entry) => this.#rendering.key(entry) === chosen)
  }

  /** Scrolls as little as is needed. @param {number} index */
  reveal(index) {
    const top = index * this.#height()
    const bottom = top + this.#height()
    const { scrollTop, clientHeight } = this.#frame
    if (top < scrollTop) this.#frame.scrollTop = top
    else if (bottom > scrollTop + clientHeight) this.#frame.scrollTop = bottom - clientHeight
  }

  /** How many rows are visible at once. */
  get pageSize() {
    return Math.max(1, Math.floor(this.#frame.clientHeight / this.#height()))
  }

  render() {
    const height = this.#height()
    this.#space.style.height = `${this.#entries.length * height}px`
    const first = Math.max(0, Math.floor(this.#frame.scrollTop / height) - SPARE_ROWS)
    const visible = Math.ceil(this.#frame.clientHeight / height) + 2 * SPARE_ROWS
    const shown = this.#entries.slice(first, first + visible)
    while (this.#rows.length < shown.length) this.#addRow()
    for (const [index, row] of this.#rows.entries()) {
      const entry = shown[index]
      row.hidden = entry === undefined
      if (entry === undefined) continue
      const key = this.#rendering.key(entry)
      if (row.dataset['key'] !== key) {
        row.dataset['key'] = key
        this.#rendering.fill(entry, row)
      }
      row.style.transform = `translateY(${(first + index) * height}px)`
      row.setAttribute('aria-posinset', String(first + index + 1))
      row.setAttribute('aria-setsize', String(this.#entries.length))
      const isChosen = key === this.#chosen
      row.setAttribute('aria-selected', String(isChosen))
      if (isChosen) this.#frame.setAttribute('aria-activedescendant', row.id)
    }
    if (this.#chosen === null) this.#frame.removeAttribute('aria-activedescendant')
  }

  #addRow() {
    const row = this.#rendering.make()
    row.id = `${this.#frame.id}-row-${this.#rows.length}`
    row.setAttribute('role', 'option')
    this.#rows.push(row)
    this.#space.append(row)
  }

  #height() {
    if (this.#rowHeight === 0) {
      const text = getComputedStyle(document.documentElement).getPropertyValue('--row')
      this.#rowHeight = Number.parseFloat(text)
    }
    return this.#rowHeight
  }
}
