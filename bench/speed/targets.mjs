// What this package is meant to reach, as ratios within one run. They are told, and nothing fails on them.

import { figure } from './statistics.mjs'

/**
 * @typedef {import('./statistics.mjs').Figure} Figure
 * @typedef {import('./statistics.mjs').Runs} Runs
 *
 * @typedef {object} Target
 * @property {string} title
 * @property {(runs: Runs) => number[]} values What is judged by its median.
 * @property {number} bound
 * @property {boolean} [atLeast] The value is to be the bound or more, not less.
 * @property {string} [unit]
 *
 * @typedef {{ title: string, value: Figure, bound: string, reached: boolean }} Verdict
 *
 * @typedef {readonly [id: string, name: string]} Entry A contestant in a case.
 */

/** @param {string} measure @param {Entry} entry @returns {(runs: Runs) => number[]} */
const own =
  (measure, [id, name]) =>
  (runs) =>
    (runs[id]?.[name] ?? []).map((run) => run[measure] ?? Number.NaN)

/**
 * The ratios of two contestants, or of one in two cases: each run with the one of the same turn. What makes the machine slow
 * for a while does it to both, and so does not count.
 * @param {string} measure
 * @param {Entry} ours
 * @param {Entry} theirs
 * @returns {(runs: Runs) => number[]}
 */
const ratios = (measure, ours, theirs) => (runs) => {
  const [above, below] = [own(measure, ours)(runs), own(measure, theirs)(runs)]
  if (above.length === 0 || below.length === 0) return []
  if (above.length !== below.length) {
    throw new RangeError(
      `Expected ${ours.join(', ')} to be done as often as ${theirs.join(', ')}, got ${above.length} and ${below.length}`,
    )
  }
  return above.map((value, index) => value / (below[index] ?? Number.NaN))
}

/** @type {readonly Target[]} */
export const TARGETS = [
  ...[
    { name: 'pglisten callback', bytes: 40, bound: 0.35 },
    { name: 'pglisten callback', bytes: 1000, bound: 0.25 },
    { name: 'pglisten batches', bytes: 40, bound: 0.25 },
    { name: 'pglisten batches', bytes: 1000, bound: 0.2 },
  ].map(({ name, bytes, bound }) => ({
    title: `CPU of the JavaScript thread for each notification of ${bytes} B, ${name} : pg`,
    values: ratios('threadNs', [`burst-${bytes}`, name], [`burst-${bytes}`, 'pg']),
    bound,
  })),
  {
    title: 'Burst rate at 40 B, pglisten callback : pg',
    values: ratios('perSecond', ['burst-40', 'pglisten callback'], ['burst-40', 'pg']),
    bound: 1.5,
    atLeast: true,
  },
  {
    title: 'Burst rate at 40 B, pglisten callback : raw socket',
    values: ratios('perSecond', ['burst-40', 'pglisten callback'], ['burst-40', 'raw socket']),
    bound: 0.6,
    atLeast: true,
  },
  ...[
    { measure: 'p50Us', what: 'p50', bound: 1.2 },
    { measure: 'p99Us', what: 'p99', bound: 1.1 },
  ].map(({ measure, what, bound }) => ({
    title: `Latency at 1,000 a second, ${what}, pglisten callback : pg`,
    values: ratios(measure, ['latency-1000', 'pglisten callback'], ['latency-1000', 'pg']),
    bound,
  })),
  {
    title: 'Longest delay of the event loop during the burst of 40 B',
    values: own('delayMs', ['burst-40', 'pglisten callback']),
    bound: 10,
    unit: 'ms',
  },
  {
    title: 'The same, pglisten callback : pg',
    values: ratios('delayMs', ['burst-40', 'pglisten callback'], ['burst-40', 'pg']),
    bound: 1,
  },
  ...['threadNs', 'processNs'].map((measure) => ({
    title: `All of 10,000 channels : one of them, CPU of the ${measure === 'threadNs' ? 'JavaScript thread' : 'process'} for each notification`,
    values: ratios(
      measure,
      ['channels-10000', 'pglisten callback'],
      ['channels-one', 'pglisten callback'],
    ),
    bound: 1.2,
  })),
  {
    title: '100 callbacks of one channel : one, CPU of the JavaScript thread',
    values: ratios(
      'threadNs',
      ['consumers-100', 'pglisten callback'],
      ['consumers-1', 'pglisten callback'],
    ),
    bound: 50,
  },
  ...['pglisten callback', 'pglisten iterator', 'pglisten batches'].map((name) => ({
    title: `Memory held by one payload in 1,000 : its bytes, ${name}`,
    values: own('heldRatio', ['retain', name]),
    bound: 3,
  })),
  ...['require', 'import'].map((format) => ({
    title: `${format} of the package, above an empty program`,
    values: own(`${format}Ms`, ['loading', 'pglisten']),
    bound: 15,
    unit: 'ms',
  })),
  {
    title: 'The stripped addon',
    values: own('mb', ['binary', 'pglisten']),
    bound: 5,
    unit: 'MB',
  },
]

/** Those of which there are figures. @param {Runs} runs @returns {Verdict[]} */
export function judge(runs) {
  return TARGETS.flatMap(({ title, values, bound, atLeast = false, unit = '×' }) => {
    const known = values(runs).filter((value) => !Number.isNaN(value))
    if (known.length === 0) return []
    const value = figure(known)
    return [
      {
        title,
        value,
        bound: `${atLeast ? 'at least' : 'at most'} ${bound} ${unit}`,
        reached: atLeast ? value.median >= bound : value.median <= bound,
      },
    ]
  })
}
