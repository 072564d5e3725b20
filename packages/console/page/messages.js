// The list of messages with its search, its pause, and the message that is chosen.

import { byId, formatExactTime, formatNumber, make, setText } from './dom.js'
import { slotColour } from './charts.js'
import { layOut } from './json-text.js'
import { VirtualList } from './list.js'

/** So much of a payload is shown in the list. */
const PREVIEW_LENGTH = 300

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./store.js').Item} Item
 * @typedef {import('./store.js').Message} Message
 */

/** Shows the list. @param {Store} store */
export function showMessages(store) {
  return new Messages(store)
}

class Messages {
  #store
  #frame = byId('list', HTMLDivElement)
  #search = byId('search', HTMLInputElement)
  #pause = byId('pause', HTMLButtonElement)
  #detail = byId('detail', HTMLElement)
  #list
  /** The items that stand still, and the key of the newest of them; `null` while the list moves. @type {Item[] | null} */
  #held = null
  /** Whether scrolling has stopped the list, so that scrolling back lets it go on. */
  #isHeldByScroll = false
  #isDirty = false
  /** @type {Message | null} */
  #chosen = null

  /** @param {Store} store */
  constructor(store) {
    this.#store = store
    /** @type {VirtualList<Item>} */
    this.#list = new VirtualList(this.#frame, byId('list-space', HTMLDivElement), {
      key: ({ key }) => key,
      make: makeRow,
      fill: (item, row) => this.#fill(item, row),
    })
    store.follow(['items', 'channels'], () => this.#refreshSoon())
    store.follow(['second', 'settings'], () => this.#tellSampling())
    this.#search.addEventListener('input', () => this.#refreshSoon())
    this.#pause.addEventListener('click', () => (this.#held ? this.#resume() : this.#hold()))
    this.#frame.addEventListener('scroll', () => this.#followScroll(), { passive: true })
    this.#frame.addEventListener('click', (event) => this.#followClick(event))
    this.#frame.addEventListener('keydown', (event) => this.#followKey(event))
    this.#detail.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#close()
    })
    byId('detail-close', HTMLButtonElement).addEventListener('click', () => this.#close())
    const copy = byId('detail-copy', HTMLButtonElement)
    copy.addEventListener('click', () => void this.#copy(copy))
  }

  /** Shows what is new at the next frame: once, however much there is. */
  #refreshSoon() {
    if (this.#isDirty) return
    this.#isDirty = true
    requestAnimationFrame(() => {
      this.#isDirty = false
      this.#refresh()
    })
  }

  #refresh() {
    const items = this.#held ?? this.#store.items
    const wanted = this.#search.value.toLowerCase()
    const found = wanted === '' ? items : items.filter((item) => matches(item, wanted))
    this.#list.show(found.toReversed())
    this.#frame.hidden = found.length === 0
    const empty = byId('no-messages', HTMLParagraphElement)
    empty.hidden = found.length > 0
    setText(empty, items.length === 0 ? 'No message yet.' : 'No message on this page matches.')
    this.#tellPause()
  }

  #hold() {
    this.#held = [...this.#store.items]
    this.#refresh()
  }

  #resume() {
    this.#held = null
    this.#isHeldByScroll = false
    this.#frame.scrollTop = 0
    this.#refresh()
  }

  #tellPause() {
    const newest = this.#held?.at(-1)
    const newer =
      this.#held === null
        ? 0
        : this.#store.items.length - 1 - this.#store.items.findLastIndex((it) => it === newest)
    const count = newer > 0 ? ` (${formatNumber(newer)} newer)` : ''
    setText(this.#pause, this.#held === null ? 'Pause' : `Resume${count}`)
    this.#pause.setAttribute('aria-pressed', String(this.#held !== null))
  }

  #tellSampling() {
    const { lastSecond, settings } = this.#store
    const { shown, seen } = lastSecond
    setText(
      byId('sampling', HTMLParagraphElement),
      seen > shown
        ? `Showing ${formatNumber(shown)} of ${formatNumber(seen)} a second; all are counted`
        : `Showing all, up to ${formatNumber(settings.rate)} a second`,
    )
  }

  #followScroll() {
    const isAtTop = this.#frame.scrollTop < 4
    if (!isAtTop && this.#held === null) {
      this.#isHeldByScroll = true
      this.#hold()
    } else if (isAtTop && this.#isHeldByScroll && this.#chosen === null) this.#resume()
  }

  /** @param {MouseEvent} event */
  #followClick({ target }) {
    const row = target instanceof Element ? target.closest('.row') : null
    if (!(row instanceof HTMLElement)) return
    const item = this.#list.entries.find(({ key }) => key === row.dataset['key'])
    if (item) this.#choose(item)
  }

  /** @param {KeyboardEvent} event */
  #followKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return
    const { entries, chosenIndex, pageSize } = this.#list
    const last = entries.length - 1
    /** @type {{ [key: string]: number }} */
    const targets = {
      ArrowDown: chosenIndex + 1,
      ArrowUp: Math.max(0, chosenIndex - 1),
      PageDown: chosenIndex + pageSize,
      PageUp: Math.max(0, chosenIndex - pageSize),
      Home: 0,
      End: last,
    }
    const target = targets[event.key]
    if (target !== undefined) {
      const index = Math.min(target, last)
      const item = entries[index]
      if (item) this.#choose(item)
      this.#list.reveal(index)
    } else if (event.key === 'Escape') this.#close()
    else if (event.key === ' ') this.#pause.click()
    else return
    event.preventDefault()
  }

  /** Chooses an item. The list stands still from then on: what one reads must not move. @param {Item} item */
  #choose(item) {
    if (this.#held === null) this.#hold()
    this.#list.choose(item.key)
    this.#chosen = item.kind === 'message' ? item.message : null
    this.#detail.hidden = this.#chosen === null
    if (this.#chosen) this.#showDetail(this.#chosen)
  }

  #close() {
    this.#chosen = null
    this.#list.choose(null)
    this.#detail.hidden = true
    this.#frame.focus({ preventScroll: true })
  }

  /** @param {Message} message */
  #showDetail({ id, at, channel, processId, payload }) {
    setText(byId('detail-title', HTMLHeadingElement), `Message ${formatNumber(id)}`)
    const bytes = new TextEncoder().encode(payload).length
    const parts = layOut(payload)
    const facts = [
      ['Channel', channel],
      ['Read at', `${formatExactTime(at)} by the console's clock`],
      ['Sent by', `process ${processId}`],
      ['Payload', `${formatNumber(bytes)} bytes${parts ? ', JSON' : ''}`],
    ]
    byId('detail-facts', HTMLDListElement).replaceChildren(
      ...facts.flatMap(([name = '', value = '']) => [make('dt', {}, name), make('dd', {}, value)]),
    )
    const shown = (parts ?? [{ text: payload, kind: 'plain' }]).map(({ text, kind }) =>
      kind === 'plain' ? text : make('span', { class: `json-${kind}` }, text),
    )
    byId('detail-payload', HTMLPreElement).replaceChildren(...shown)
  }

  /** @param {HTMLButtonElement} button */
  async #copy(button) {
    const isCopied = await navigator.clipboard.writeText(this.#chosen?.payload ?? '').then(
      () => true,
      () => false,
    )
    setText(button, isCopied ? 'Copied' : 'Not allowed')
    setTimeout(() => setText(button, 'Copy'), 1500)
  }

  /** @param {Item} item @param {HTMLElement} row */
  #fill(item, row) {
    const [time, name, payload] = /** @type {[HTMLElement, HTMLElement, HTMLElement]} */ ([
      ...row.children,
    ])
    const [swatch, label] = /** @type {[HTMLElement, HTMLElement]} */ ([...name.children])
    row.classList.toggle('break', item.kind === 'note')
    if (item.kind === 'note') {
      time.textContent = formatExactTime(item.at)
      label.textContent = item.text
      payload.textContent = ''
      return
    }
    const { at, channel } = item.message
    const slot = this.#store.channels.get(channel)?.slot
    swatch.style.setProperty('--swatch', `var(${slotColour(slot ?? Infinity)})`)
    time.textContent = formatExactTime(at)
    label.textContent = channel
    payload.textContent = item.message.payload.slice(0, PREVIEW_LENGTH)
  }
}

function makeRow() {
  const swatch = make('span', { class: 'swatch', 'aria-hidden': 'true' })
  return make(
    'div',
    { class: 'row' },
    make('time'),
    make('div', { class: 'channel-name' }, swatch, make('span')),
    make('div', { class: 'payload clip' }),
  )
}

/** @param {Item} item @param {string} wanted In lower case. */
function matches(item, wanted) {
  if (item.kind === 'note') return true
  const { channel, payload } = item.message
  return channel.toLowerCase().includes(wanted) || payload.toLowerCase().includes(wanted)
}
