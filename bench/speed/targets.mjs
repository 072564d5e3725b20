// What this package is meant to reach, as ratios within one run. They are told, and nothing fails on them.

/**
 * @typedef {import('./statistics.mjs').Figures} Figures
 * @typedef {Record<string, Record<string, Figures>>} Results By case, then by contestant.
 *
 * @typedef {object} Target
 * @property {string} title
 * @property {(results: Results) => number} value
 * @property {number} bound
 * @property {boolean} [atLeast] The value is to be the bound or more, not less.
 * @property {string} [unit]
 *
 * @typedef {{ title: string, value: number, bound: string, reached: boolean }} Verdict
 */

/** @param {Results} results @param {string} id @param {string} name @param {string} measure */
const median = (results, id, name, measure) => results[id]?.[name]?.[measure]?.median ?? Number.NaN

/**
 * The ratio of two contestants, or of one in two cases.
 * @param {string} measure
 * @param {readonly [id: string, name: string]} ours
 * @param {readonly [id: string, name: string]} theirs
 */
const ratio = (measure, ours, theirs) => (/** @type {Results} */ results) =>
  median(results, ...ours, measure) / median(results, ...theirs, measure)

/** @type {readonly Target[]} */
export const TARGETS = [
  ...[
    { name: 'pglisten callback', bytes: 40, bound: 0.35 },
    { name: 'pglisten callback', bytes: 1000, bound: 0.25 },
    { name: 'pglisten batches', bytes: 40, bound: 0.25 },
    { name: 'pglisten batches', bytes: 1000, bound: 0.2 },
  ].map(({ name, bytes, bound }) => ({
    title: `CPU of the JavaScript thread for each notification of ${bytes} B, ${name} : pg`,
    value: ratio('threadNs', [`burst-${bytes}`, name], [`burst-${bytes}`, 'pg']),
    bound,
  })),
  {
    title: 'Burst rate at 40 B, pglisten callback : pg',
    value: ratio('perSecond', ['burst-40', 'pglisten callback'], ['burst-40', 'pg']),
    bound: 1.5,
    atLeast: true,
  },
  {
    title: 'Burst rate at 40 B, pglisten callback : raw socket',
    value: ratio('perSecond', ['burst-40', 'pglisten callback'], ['burst-40', 'raw socket']),
    bound: 0.6,
    atLeast: true,
  },
  ...[
    { measure: 'p50Us', what: 'p50', bound: 1.2 },
    { measure: 'p99Us', what: 'p99', bound: 1.1 },
  ].map(({ measure, what, bound }) => ({
    title: `Latency at 1,000 a second, ${what}, pglisten callback : pg`,
    value: ratio(measure, ['latency-1000', 'pglisten callback'], ['latency-1000', 'pg']),
    bound,
  })),
  {
    title: 'Longest delay of the event loop during the burst of 40 B',
    value: (results) => median(results, 'burst-40', 'pglisten callback', 'delayMs'),
    bound: 10,
    unit: 'ms',
  },
  {
    title: 'The same, pglisten callback : pg',
    value: ratio('delayMs', ['burst-40', 'pglisten callback'], ['burst-40', 'pg']),
    bound: 1,
  },
  ...['threadNs', 'processNs'].map((measure) => ({
    title: `All of 10,000 channels : one of them, CPU of the ${measure === 'threadNs' ? 'JavaScript thread' : 'process'} for each notification`,
    value: ratio(
      measure,
      ['channels-10000', 'pglisten callback'],
      ['channels-one', 'pglisten callback'],
    ),
    bound: 1.2,
  })),
  {
    title: '100 callbacks of one channel : one, CPU of the JavaScript thread',
    value: ratio(
      'threadNs',
      ['consumers-100', 'pglisten callback'],
      ['consumers-1', 'pglisten callback'],
    ),
    bound: 50,
  },
  ...['pglisten callback', 'pglisten iterator', 'pglisten batches'].map((name) => ({
    title: `Memory held by one payload in 1,000 : its bytes, ${name}`,
    value: (/** @type {Results} */ results) => median(results, 'retain', name, 'heldRatio'),
    bound: 3,
  })),
  ...['require', 'import'].map((format) => ({
    title: `${format} of the package, above an empty program`,
    value: (/** @type {Results} */ results) =>
      median(results, 'loading', 'pglisten', `${format}Ms`),
    bound: 15,
    unit: 'ms',
  })),
  {
    title: 'The stripped addon',
    value: (results) => median(results, 'binary', 'pglisten', 'mb'),
    bound: 5,
    unit: 'MB',
  },
]

/** Those of which there are figures. @param {Results} results @returns {Verdict[]} */
export function judge(results) {
  return TARGETS.flatMap(({ title, value, bound, atLeast = false, unit = '×' }) => {
    const got = value(results)
    if (Number.isNaN(got)) return []
    return [
      {
        title,
        value: got,
        bound: `${atLeast ? 'at least' : 'at most'} ${bound} ${unit}`,
        reached: atLeast ? got >= bound : got <= bound,
      },
    ]
  })
}
