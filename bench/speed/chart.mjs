// The two figures that matter most, side by side, as a picture.

/** @typedef {import('./statistics.mjs').Results} Results */

const WIDTH = 860
const BAR = 22
const GAP = 10
const TOP = 58
const LABEL = 130
const PANEL = (WIDTH - LABEL - 20) / 2
/** What is left beside the longest bar for its figure. */
const FIGURE = 70

const PANELS = /** @type {const} */ ([
  {
    title: 'Event loop: CPU for each notification',
    hint: 'nanoseconds, less is better',
    measure: 'threadNs',
    show: (/** @type {number} */ value) => value.toFixed(0),
  },
  {
    title: 'Burst: notifications delivered',
    hint: 'millions a second, more is better',
    measure: 'perSecond',
    show: (/** @type {number} */ value) => (value / 1e6).toFixed(2),
  },
])

const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.hint { fill: #656d76; font-size: 12px }
.ours { fill: #1f6feb }
.theirs { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .hint { fill: #8d96a0 }
  .theirs { fill: #6e7681 }
}`

/** @param {Results} results @param {string} id The case that is drawn. @returns {string | undefined} */
export function chart(results, id) {
  const contestants = results[id]
  if (!contestants) return undefined
  const names = Object.keys(contestants).filter((name) => contestants[name]?.['threadNs'])
  const height = TOP + names.length * (BAR + GAP) + 10
  const labels = names.map((name, index) => text(LABEL - 10, index, name, 'end'))
  const panels = PANELS.map((panel, column) => {
    const left = LABEL + column * (PANEL + 10)
    const values = names.map((name) => contestants[name]?.[panel.measure]?.median ?? 0)
    const scale = (PANEL - FIGURE) / Math.max(...values)
    const bars = names.map((name, index) => {
      const value = values[index] ?? 0
      const width = (value * scale).toFixed(1)
      const kind = name.startsWith('pglisten') ? 'ours' : 'theirs'
      const y = TOP + index * (BAR + GAP)
      return `<rect class="${kind}" x="${left}" y="${y}" width="${width}" height="${BAR}" rx="3"/>${text(left + Number(width) + 6, index, panel.show(value))}`
    })
    const head = `<text class="title" x="${left}" y="20">${panel.title}</text><text class="hint" x="${left}" y="40">${panel.hint}</text>`
    return [head, ...bars].join('\n')
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Cost and rate of notifications with this package and others">`,
    `<style>${STYLE}\n</style>`,
    ...labels,
    ...panels,
    '</svg>\n',
  ].join('\n')
}

/** Text beside a bar. @param {number} x @param {number} index @param {string} content @param {string} [anchor] */
function text(x, index, content, anchor = 'start') {
  const y = TOP + index * (BAR + GAP) + BAR / 2 + 5
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}">${content}</text>`
}
