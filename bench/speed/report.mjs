// The results as Markdown: for the terminal, and for bench/results.

import { COLUMNS } from './columns.mjs'

/**
 * @typedef {import('./statistics.mjs').Figure} Figure
 * @typedef {import('./statistics.mjs').Results} Results
 * @typedef {import('./targets.mjs').Verdict} Verdict
 * @typedef {import('./comparison.mjs').Comparison} Comparison
 *
 * @typedef {object} Outcome
 * @property {Record<string, string>} environment
 * @property {{ id: string, title: string }[]} cases
 * @property {Results} results
 * @property {Verdict[]} verdicts
 * @property {import('./statistics.mjs').Runs} runs
 */

/** @param {number} value @param {number} digits */
const number = (value, digits) =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })

/** @param {Figure | undefined} figure @param {number} digits */
function cell(figure, digits) {
  if (!figure) return '–'
  const { median, min, max } = figure
  return min === max
    ? number(median, digits)
    : `**${number(median, digits)}** (${number(min, digits)}–${number(max, digits)})`
}

/** @param {readonly string[]} cells */
const row = (cells) => `| ${cells.join(' | ')} |`

/** @param {readonly string[]} head @param {readonly string[][]} body */
const table = (head, body) =>
  [row(head), row(head.map((_, index) => (index === 0 ? '---' : '---:'))), ...body.map(row)].join(
    '\n',
  )

/** One case. @param {string} title @param {Results[string]} contestants */
export function caseTable(title, contestants) {
  const names = Object.keys(contestants)
  const measures = Object.keys(COLUMNS).filter((measure) =>
    names.some((name) => contestants[name]?.[measure]),
  )
  const head = ['', ...measures.map((measure) => COLUMNS[measure]?.title ?? measure)]
  const body = names.map((name) =>
    [name].concat(
      measures.map((measure) => cell(contestants[name]?.[measure], COLUMNS[measure]?.digits ?? 0)),
    ),
  )
  return `### ${title}\n\n${table(head, body)}`
}

/** @param {readonly Verdict[]} verdicts */
export function verdictTable(verdicts) {
  const body = verdicts.map(({ title, value, bound, reached }) => [
    title,
    cell(value, 2),
    bound,
    reached ? 'reached' : '**falls short**',
  ])
  return table(['Target', 'Got', 'Bound', ''], body)
}

/** Two builds in some cases. @param {Record<string, readonly Comparison[]>} comparisons By case. */
export function comparisonTable(comparisons) {
  const body = Object.entries(comparisons).flatMap(([id, all]) =>
    all.map(({ measure, pairs, median, low, high, coverage, verdict }) => [
      id,
      COLUMNS[measure]?.title ?? measure,
      number(median, 3),
      coverage > 0 ? `${number(low, 3)}–${number(high, 3)}` : 'of counts that repeat',
      String(pairs),
      verdict === 'slower' ? '**slower**' : verdict,
    ]),
  )
  return table(['Case', 'Measure', 'this : that', '95 % interval', 'Pairs', ''], body)
}

/** The whole report. @param {Outcome} outcome */
export function markdown({ environment, cases, results, verdicts }) {
  const facts = Object.entries(environment).map(([name, value]) => `- ${name}: ${value}`)
  return [
    '# Results',
    'Written by `npm run bench`. Medians of all rounds, with the least and the most in parentheses; of ratios, that of the ratios of two runs of the same turn. How to read them is in [bench/README.md](../README.md).',
    facts.join('\n'),
    '## Targets',
    verdictTable(verdicts),
    '## Cases',
    ...cases.map(({ id, title }) => caseTable(title, results[id] ?? {})),
    '',
  ].join('\n\n')
}
