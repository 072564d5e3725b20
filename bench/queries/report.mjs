// The tables of the benchmark of statements.

import { BASE } from './plan.mjs'
import { THREAD_TIME } from './spent.mjs'
import { median, ratio } from './statistics.mjs'

/**
 * @typedef {import('./plan.mjs').Case} Case
 * @typedef {import('./contestant.mjs').Measured} Measured
 * @typedef {Map<string, Measured[] | string>} Outcomes By contestant: a measurement for each round, or why there is none.
 */

/** @param {Case} one @param {Outcomes} outcomes */
export function caseTable({ title, kind }, outcomes) {
  const [unit, scale] = kind === 'each' ? ['µs', 1000] : ['ms', 1]
  const base = outcomes.get(BASE)
  const lines = []
  const notes = []
  for (const [contestant, runs] of outcomes) {
    if (typeof runs === 'string') {
      notes.push(`Without ${contestant}: ${runs}.`)
      continue
    }
    const of = (/** @type {keyof Measured} */ name, scale = 1) => {
      const values = runs.map((run) => run[name]).filter((value) => value !== null)
      return values.length > 0 ? number(median(values) * scale) : '–'
    }
    const times = runs.map(({ time }) => time * scale)
    const span = `${number(Math.min(...times))}–${number(Math.max(...times))}`
    lines.push(
      row(
        contestant,
        `${of('time', scale)} (${span})`,
        Array.isArray(base) ? against(runs, base) : '–',
        of('threadMs', scale),
        of('processMs', scale),
        of('peakMb'),
      ),
    )
  }
  const head = row(
    'client',
    `${kind === 'each' ? 'p50' : 'time'}, ${unit}`,
    `: ${BASE}`,
    `JS thread, ${unit}`,
    `process, ${unit}`,
    'peak memory, MB',
  )
  const rule = row('---', '---:', '---:', '---:', '---:', '---:')
  const told = notes.length > 0 ? ['', ...notes] : []
  return [`## ${title}`, '', head, rule, ...lines, ...told].join('\n')
}

/** @param {readonly Measured[]} runs @param {readonly Measured[]} base */
function against(runs, base) {
  if (runs === base) return '1'
  const times = (/** @type {readonly Measured[]} */ of) => of.map(({ time }) => time)
  const { median, low, high } = ratio(times(runs), times(base))
  return `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
}

/** @param {string[]} cells */
const row = (...cells) => `| ${cells.join(' | ')} |`

/** With three digits that count, as far as there are decimals. @param {number} value */
const number = (value) =>
  value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(value >= 10 ? 1 : 2)

/** @param {Record<string, string>} environment @param {readonly string[]} tables */
export function markdown(environment, tables) {
  const told = Object.entries(environment).map(([name, value]) => `- ${name}: ${value}`)
  return [
    '# Statements, beside other clients',
    '',
    'Written by `npm run bench:queries -- --write`; [how](../README.md#statements-beside-other-clients).',
    '',
    ...told,
    `- JS thread: ${THREAD_TIME}; of psqlpy it is Python's thread`,
    '',
    tables.join('\n\n'),
    '',
  ].join('\n')
}
