// What a run came to, in the units that are shown, and medians of several.

/**
 * @typedef {{ median: number, min: number, max: number }} Figure
 * @typedef {Record<string, number | null>} Measures What one run came to; `null` where it cannot be told.
 * @typedef {Record<string, Figure>} Figures
 * @typedef {Record<string, Record<string, Measures[]>>} Runs What each run came to, in order; by case, then by contestant.
 * @typedef {Record<string, Record<string, Figures>>} Results The same, put together.
 */

/** @param {readonly number[]} values @returns {Figure} */
export function figure(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  const low = sorted[Math.floor(middle)] ?? Number.NaN
  const high = sorted[Math.ceil(middle)] ?? Number.NaN
  const [min = Number.NaN] = sorted
  return { median: (low + high) / 2, min, max: sorted.at(-1) ?? Number.NaN }
}

/** @param {readonly Measures[]} runs @returns {Figures} */
export function figures(runs) {
  const names = Object.keys(runs[0] ?? {})
  return Object.fromEntries(
    names.flatMap((name) => {
      const values = runs.map((run) => run[name]).filter((value) => typeof value === 'number')
      return values.length > 0 ? [[name, figure(values)]] : []
    }),
  )
}

const MEBIBYTE = 2 ** 20

/** How a report of each kind is read. @type {Record<string, (said: any) => Measures>} */
const READ = {
  burst: (said) => ({
    perSecond: (said.count - 1) / (said.spanNs / 1e9),
    threadNs: said.threadCpuNs == null ? null : said.threadCpuNs / said.count,
    processNs: said.processCpuNs / said.count,
    delayMs: said.longestDelayMs ?? null,
    peakMb: said.peakBytes === undefined ? null : said.peakBytes / MEBIBYTE,
  }),
  steady: (said) => ({
    threadNs: said.threadCpuNs == null ? null : said.threadCpuNs / said.count,
    processNs: said.processCpuNs / said.count,
    wakes: said.wakes == null ? null : said.wakes / said.count,
    p50Us: said.p50Ns / 1e3,
    p99Us: said.p99Ns / 1e3,
  }),
  behind: (said) => ({
    delivered: said.delivered,
    threadMs: said.threadCpuNs == null ? null : said.threadCpuNs / 1e6,
    grownMb: said.grownBytes / MEBIBYTE,
  }),
  latency: inMicroseconds,
  lone: (said) => ({ instructions: figure(said.instructions).median }),
  retain: (said) => ({
    heldRatio: said.heldBytes / said.keptBytes,
    heldMb: said.heldBytes / MEBIBYTE,
  }),
  start: (said) => ({ firstMs: said.firstNs / 1e6 }),
  statements: inMicroseconds,
}

/** @param {{ p50Ns: number, p99Ns: number, p999Ns: number }} said @returns {Measures} */
function inMicroseconds({ p50Ns, p99Ns, p999Ns }) {
  return { p50Us: p50Ns / 1e3, p99Us: p99Ns / 1e3, p999Us: p999Ns / 1e3 }
}

/** @param {import('./run.mjs').Report} report @param {string} kind @returns {Measures} */
export function measures(report, kind) {
  const read = READ[kind]
  if (!read || !report[kind]) throw new Error(`Expected a ${kind}, got ${JSON.stringify(report)}`)
  return read(report[kind])
}
