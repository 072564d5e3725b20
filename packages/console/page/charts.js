// Rates over time: one chart of all channels with the gaps as marks, and a small one for each channel.

// oxlint-disable-next-line import/no-absolute-path -- it is the path of a URL, under which the console serves the library.
import uPlot from '/uplot.js'
import { byId, colour, formatNumber, formatTime, setText } from './dom.js'

const CHART_HEIGHT = 220
const SPARK_SECONDS = 60
/** So many channels have a colour of their own; the others are one line. */
export const MAX_SLOTS = 8

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./store.js').Channel} Channel
 */

/** @param {number} slot The name of the colour of a channel. */
export const slotColour = (slot) => (slot < MAX_SLOTS ? `--slot-${slot}` : '--slot-other')

const narrow = matchMedia('(width < 720px)')
const darkMode = matchMedia('(prefers-color-scheme: dark)')

/** @param {() => void} follower Called when colours change. */
export function followColours(follower) {
  darkMode.addEventListener('change', follower)
}

/** Shows the chart. @param {Store} store */
export function showRates(store) {
  return new RateChart(store)
}

class RateChart {
  #store
  #frame = byId('chart', HTMLDivElement)
  #readout = byId('rates-readout', HTMLParagraphElement)
  /** @type {uPlot | undefined} */
  #chart
  /** The names of the lines that are drawn: when they change, the chart is made anew. */
  #drawn = ''
  /** @type {uPlot.AlignedData} */
  #data = [[]]
  /** @type {string[]} */
  #names = []

  /** @param {Store} store */
  constructor(store) {
    this.#store = store
    store.follow(['second', 'channels', 'gaps', 'server'], () => this.#draw())
    followColours(() => {
      this.#drawn = ''
      this.#draw()
    })
    new ResizeObserver(() => this.#chart?.setSize(this.#size())).observe(this.#frame)
  }

  #size() {
    return { width: this.#frame.clientWidth, height: CHART_HEIGHT }
  }

  #draw() {
    const { channels, secondEndedAt, settings } = this.#store
    if (secondEndedAt === 0) return
    const all = [...channels.values()]
    const coloured = all.filter(({ slot }) => slot < MAX_SLOTS)
    const others = all.filter(({ slot }) => slot >= MAX_SLOTS)
    const count = settings.seconds
    const times = Array.from(
      { length: count },
      (_, index) => Math.round(secondEndedAt / 1000) - (count - 1 - index),
    )
    this.#names = [...coloured.map(({ name }) => name), ...(others.length > 0 ? ['others'] : [])]
    this.#data = [
      times,
      ...coloured.map(({ seconds }) => align(seconds, count)),
      ...(others.length > 0 ? [add(others, count)] : []),
    ]
    const lines = JSON.stringify([this.#names, coloured.map(({ slot }) => slot)])
    if (lines === this.#drawn && this.#chart) this.#chart.setData(this.#data)
    else {
      this.#drawn = lines
      this.#chart?.destroy()
      this.#chart = new uPlot(
        this.#options(coloured.map(({ slot }) => slot)),
        this.#data,
        this.#frame,
      )
    }
    this.#tell()
  }

  /** @param {number[]} slots @returns {uPlot.Options} */
  #options(slots) {
    const axis = {
      stroke: colour('--muted'),
      grid: { stroke: colour('--grid'), width: 1 },
      ticks: { show: false },
      font: '12px system-ui, sans-serif',
    }
    const lines = this.#names.map((label, index) => ({
      label,
      stroke: colour(slotColour(slots[index] ?? MAX_SLOTS)),
      width: 1.75,
      points: { show: false },
    }))
    return {
      ...this.#size(),
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, __, max) => [0, Math.max(4, max * 1.1)] } },
      axes: [
        {
          ...axis,
          values: (_, splits) => splits.map((at) => formatTime(at * 1000).slice(0, 5)),
          incrs: [60, 120, 300],
          size: 30,
        },
        {
          ...axis,
          size: 58,
          incrs: [
            1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6,
          ],
          values: (_, splits) => splits.map(formatNumber),
        },
      ],
      series: [{}, ...lines],
      hooks: {
        drawClear: [(chart) => this.#markGaps(chart)],
        setCursor: [() => this.#tell()],
      },
    }
  }

  /** @param {uPlot} chart */
  #markGaps(chart) {
    const { ctx, bbox } = chart
    const { server, gaps } = this.#store
    const breaks = gaps.map(({ lostAt, resumedAt }) => [lostAt, resumedAt])
    if (server && server.state !== 'connected') breaks.push([server.since, Date.now()])
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
    ctx.clip()
    for (const [from = 0, to = 0] of breaks) {
      const left = chart.valToPos(from / 1000, 'x', true)
      const width = Math.max(2 * devicePixelRatio, chart.valToPos(to / 1000, 'x', true) - left)
      ctx.fillStyle = colour('--gap-fill')
      ctx.fillRect(left, bbox.top, width, bbox.height)
      ctx.fillStyle = colour('--bad')
      ctx.fillRect(left, bbox.top, width, 4 * devicePixelRatio)
    }
    ctx.restore()
  }

  /** Says in words what is under the pointer, or else the newest rate. */
  #tell() {
    const { gaps } = this.#store
    const [times = [], ...lines] = this.#data
    const pointed = this.#chart?.cursor.idx
    const index = pointed ?? times.length - 1
    const values = lines.map((line) => line[index] ?? 0)
    const total = formatNumber(values.reduce((sum, value) => sum + value, 0))
    const at = formatTime((times[index] ?? 0) * 1000)
    const busiest = values
      .map((value, line) => ({ value, name: this.#names[line] }))
      .filter(({ value }) => value > 0)
      .sort((one, other) => other.value - one.value)
      .slice(0, 3)
      .map(({ value, name }) => `${name} ${formatNumber(value)}`)
    setText(this.#readout, pointed == null ? `${total} now` : [at, ...busiest].join(' · '))
    this.#frame.setAttribute(
      'aria-label',
      `Messages a second over the last five minutes: ${total} now, ${gaps.length} gaps`,
    )
  }
}

/** A small chart of one channel's last minute, without axes. */
export class Sparkline {
  #chart
  #slot

  /** @param {HTMLElement} frame @param {Channel} channel */
  constructor(frame, { slot, seconds }) {
    this.#slot = slot
    const stroke = colour(slotColour(slot))
    this.#chart = new uPlot(
      {
        width: narrow.matches ? 48 : 88,
        height: 26,
        padding: [2, 0, 2, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false }, y: { range: (_, __, max) => [0, Math.max(1, max)] } },
        axes: [{ show: false }, { show: false }],
        series: [{}, { stroke, width: 1.5, points: { show: false } }],
      },
      sparkData(seconds),
      frame,
    )
  }

  /** @param {number[]} seconds */
  update(seconds) {
    this.#chart.setData(sparkData(seconds))
  }

  /** Takes the colour of the present mode. */
  recolour() {
    const line = this.#chart.series[1]
    const stroke = colour(slotColour(this.#slot))
    if (line) line.stroke = () => stroke
    this.#chart.redraw()
  }

  destroy() {
    this.#chart.destroy()
  }
}

/** @param {number[]} seconds @returns {uPlot.AlignedData} */
function sparkData(seconds) {
  const times = Array.from({ length: SPARK_SECONDS }, (_, index) => index)
  return [times, align(seconds.slice(-SPARK_SECONDS), SPARK_SECONDS)]
}

/** Counts at the end of so many seconds; there is nothing before the first. @param {number[]} seconds @param {number} count */
function align(seconds, count) {
  /** @type {Array<number | null>} */
  const missing = Array.from({ length: Math.max(0, count - seconds.length) }, () => null)
  return [...missing, ...seconds]
}

/** @param {Channel[]} channels @param {number} count */
function add(channels, count) {
  return Array.from({ length: count }, (_, index) =>
    channels.reduce((sum, { seconds }) => sum + (seconds.at(index - count) ?? 0), 0),
  )
}
