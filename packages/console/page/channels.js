// The table of channels, and the form that adds one.

import { Sparkline, followColours, slotColour } from './charts.js'
import { byId, formatNumber, make, setText } from './dom.js'
import { act } from './link.js'

/** @typedef {{ row: HTMLTableRowElement, rate: HTMLElement, total: HTMLElement, spark: Sparkline }} Row */

/** @param {import('./store.js').Store} store */
export function showChannels(store) {
  const body = byId('channel-rows', HTMLTableSectionElement)
  const empty = byId('no-channels', HTMLParagraphElement)
  const error = byId('channel-error', HTMLParagraphElement)
  const form = byId('channel-form', HTMLFormElement)
  const field = byId('channel-name', HTMLInputElement)
  const table = /** @type {HTMLTableElement} */ (body.parentElement)
  /** @type {Map<string, Row>} */
  const rows = new Map()

  /** @param {import('./store.js').Channel} channel @returns {Row} */
  const makeRow = (channel) => {
    const { name, slot } = channel
    const swatch = make('span', { class: 'swatch', 'aria-hidden': 'true' })
    swatch.style.setProperty('--swatch', `var(${slotColour(slot)})`)
    const label = make(
      'div',
      { class: 'channel-name', title: name },
      swatch,
      make('span', {}, name),
    )
    const frame = make('div', { class: 'spark-frame', 'aria-hidden': 'true' })
    const rate = make('td', { class: 'figure' })
    const total = make('td', { class: 'figure' })
    const remove = make(
      'button',
      {
        type: 'button',
        class: 'quiet',
        'aria-label': `Stop listening to ${name}`,
        title: 'Stop listening',
      },
      '✕',
    )
    remove.addEventListener('click', () => void attempt('/channels/remove', name))
    const row = make(
      'tr',
      {},
      make('td', {}, label),
      make('td', { class: 'spark' }, frame),
      rate,
      total,
      make('td', {}, remove),
    )
    return { row, rate, total, spark: new Sparkline(frame, channel) }
  }

  /** @param {string} action @param {string} channel @returns {Promise<boolean>} */
  const attempt = async (action, channel) => {
    setText(error, '')
    try {
      await act(action, { channel })
      return true
    } catch (failure) {
      setText(error, /** @type {Error} */ (failure).message)
      return false
    }
  }

  const updateFigures = () => {
    for (const [name, { rate, total, spark }] of rows) {
      const channel = store.channels.get(name)
      if (!channel) continue
      setText(rate, formatNumber(channel.seconds.at(-1) ?? 0))
      setText(total, formatNumber(channel.total))
      spark.update(channel.seconds)
    }
  }

  store.follow(['channels'], () => {
    for (const [name, { row, spark }] of rows) {
      if (store.channels.has(name)) continue
      spark.destroy()
      row.remove()
      rows.delete(name)
    }
    for (const channel of store.channels.values()) {
      if (rows.has(channel.name)) continue
      const made = makeRow(channel)
      rows.set(channel.name, made)
      body.append(made.row)
    }
    empty.hidden = rows.size > 0
    table.hidden = rows.size === 0
    updateFigures()
  })
  store.follow(['second'], updateFigures)
  followColours(() => {
    for (const { spark } of rows.values()) spark.recolour()
  })

  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void attempt('/channels/add', field.value).then((isAdded) => {
      if (isAdded) form.reset()
    })
  })
}
