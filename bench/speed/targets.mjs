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

/** @type {Record<string, string>} */
const WHOSE = { threadNs: 'JavaScript thread', processNs: 'process' }

/** @type {readonly Target[]} */
export const TARGETS = [
  ...[
    { rate: 1000, measure: 'threadNs', bound: 0.5 },
    { rate: 1000, measure: 'processNs', bound: 1 },
    { rate: 8000, measure: 'threadNs', bound: 0.3 },
    { rate: 8000, measure: 'processNs', bound: 0.7 },
  ].map(({ rate, measure, bound }) => ({
    title: `${rate.toLocaleString('en')} a second, CPU of the ${WHOSE[measure]}, pglisten callback : pg`,
    values: ratios(measure, [`steady-${rate}`, 'pglisten callback'], [`steady-${rate}`, 'pg']),
    bound,
  })),
  ...[
    { id: 'steady-1000', what: '1,000 a second', p50Us: 1.05, p99Us: 1 },
    { id: 'busy-1000', what: '1,000 a second beside busy processes', p50Us: 1.15, p99Us: 1.1 },
  ].flatMap(({ id, what, ...bounds }) =>
    Object.entries(bounds).map(([measure, bound]) => ({
      title: `${what}, latency ${measure.slice(0, 3)}, pglisten callback : pg`,
      values: ratios(measure, [id, 'pglisten callback'], [id, 'pg']),
      bound,
    })),
  ),
  {
    title:
      'Burst of 40 B to an asynchronous handler, CPU of the JavaScript thread, pglisten callback : pg',
    values: ratios('threadNs', ['burst-async', 'pglisten callback'], ['burst-async', 'pg']),
    bound: 1,
  },
  {
    title: '8,000 a second, latency p50, pglisten callback',
    values: own('p50Us', ['steady-8000', 'pglisten callback']),
    bound: 1000,
    unit: 'µs',
  },
  ...[
    { name: 'callback', bytes: 40, bound: 0.28 },
    { name: 'batches', bytes: 40, bound: 0.2 },
    { name: 'columns', bytes: 40, bound: 0.1 },
    { name: 'iterator', bytes: 40, bound: 0.4 },
    { name: 'callback', bytes: 1000, bound: 0.18 },
    { name: 'batches', bytes: 1000, bound: 0.15 },
    { name: 'columns', bytes: 1000, bound: 0.13 },
  ].map(({ name, bytes, bound }) => ({
    title: `Burst of 300,000 of ${bytes} B, CPU of the JavaScript thread, pglisten ${name} : pg`,
    values: ratios(
      'threadNs',
      [`burst-300k-${bytes}`, `pglisten ${name}`],
      [`burst-300k-${bytes}`, 'pg'],
    ),
    bound,
  })),
  ...[16, 40].map((bytes) => ({
    title: `Burst rate at ${bytes} B, pglisten callback : pg`,
    values: ratios('perSecond', [`burst-${bytes}`, 'pglisten callback'], [`burst-${bytes}`, 'pg']),
    bound: 2,
    atLeast: true,
  })),
  {
    title: 'Burst rate at 40 B, pglisten callback : raw socket',
    values: ratios('perSecond', ['burst-40', 'pglisten callback'], ['burst-40', 'raw socket']),
    bound: 0.9,
    atLeast: true,
  },
  ...[40, 1000].map((bytes) => ({
    title: `Longest delay of the event loop during the burst of ${bytes} B`,
    values: own('delayMs', [`burst-300k-${bytes}`, 'pglisten callback']),
    bound: 6,
    unit: 'ms',
  })),
  {
    title: 'Delivered with `coalesce` of 1,000,000 notifications of 1,000 payloads',
    values: own('delivered', ['coalesce', 'pglisten coalesce']),
    bound: 1000,
    unit: '',
  },
  ...[
    { measure: 'threadMs', what: 'CPU of the JavaScript thread' },
    { measure: 'grownMb', what: 'memory above the start' },
  ].map(({ measure, what }) => ({
    title: `The same, ${what}, with : without \`coalesce\``,
    values: ratios(measure, ['coalesce', 'pglisten coalesce'], ['coalesce', 'pglisten shared']),
    bound: 0.05,
  })),
  ...['threadNs', 'processNs'].map((measure) => ({
    title: `All of 10,000 channels : one of them, CPU of the ${WHOSE[measure]} for each notification`,
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
