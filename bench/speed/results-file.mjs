// The JSON of a run, laid out so that each single measurement is one line: short enough to read, and to compare by line.

/** How many levels of each part are spread over lines; everything below is one line. @type {Record<string, number>} */
const LEVELS = { environment: 1, cases: 1, results: 2, verdicts: 1, comparisons: 1, runs: 3 }

/** @param {Record<string, unknown>} outcome @returns {string} */
export function toJson(outcome) {
  const parts = Object.entries(outcome).map(([name, part]) =>
    entry(name, lines(part, LEVELS[name] ?? 0, '  ')),
  )
  return `{\n  ${parts.join(',\n  ')}\n}\n`
}

/** @param {unknown} value @param {number} levels @param {string} indent @returns {string} */
function lines(value, levels, indent) {
  if (levels === 0 || typeof value !== 'object' || value === null) return JSON.stringify(value)
  const inner = `${indent}  `
  const isList = Array.isArray(value)
  const entries = isList
    ? value.map((item) => lines(item, levels - 1, inner))
    : Object.entries(value).map(([name, item]) => entry(name, lines(item, levels - 1, inner)))
  if (entries.length === 0) return isList ? '[]' : '{}'
  const body = entries.map((text) => `${inner}${text}`).join(',\n')
  return isList ? `[\n${body}\n${indent}]` : `{\n${body}\n${indent}}`
}

/** @param {string} name @param {string} value */
const entry = (name, value) => `${JSON.stringify(name)}: ${value}`
