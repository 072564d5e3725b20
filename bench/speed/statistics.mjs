// Medians, and what lies around them.

/** @typedef {{ median: number, min: number, max: number }} Figure */

/** @param {readonly number[]} values @returns {Figure} */
export function figure(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN
  const high = sorted[Math.floor(middle)] ?? Number.NaN
  return { median: (low + high) / 2, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

/**
 * What a run came to, in the units that are shown.
 * @param {import('./run.mjs').Report} report
 * @param {import('./contestant.mjs').Task['kind']} kind
 * @returns {Record<string, number | null>}
 */
export function measures(report, kind) {
  const said = report[kind]
  switch (kind) {
    case 'burst':
      return {
        perSecond: (said.count - 1) / (said.spanNs / 1e9),
        threadNs: said.threadCpuNs == null ? null : said.threadCpuNs / said.count,
        processNs: said.processCpuNs / said.count,
        delayMs: said.longestDelayMs ?? null,
        ownDelayMs: said.longestOwnDelayMs ?? null,
        peakMb: said.peakBytes === undefined ? null : said.peakBytes / 2 ** 20,
      }
    case 'latency':
      return {
        p50Us: said.p50Ns / 1e3,
        p99Us: said.p99Ns / 1e3,
        p999Us: said.p999Ns / 1e3,
      }
    case 'retain':
      return { heldRatio: said.heldBytes / said.keptBytes, heldMb: said.heldBytes / 2 ** 20 }
    case 'start':
      return { firstMs: said.firstNs / 1e6 }
  }
}
