// A process in which one contestant does one case and is measured doing it. Prints one line of JSON.
//
//   node contestant.mjs '{"contestant": "pg", "id": "fetch5", "dsn": "…", "kind": "whole", "count": 100000, …}'

import { Missing } from './work.mjs'
import { Spent } from './spent.mjs'

/**
 * @typedef {import('./plan.mjs').Case & { contestant: string, dsn: string }} Task
 *
 * @typedef {object} Measured
 * @property {number} time In milliseconds, of all; or of one statement, the median, where each is measured.
 * @property {number | null} threadMs The JavaScript thread's time on a processor, for the same.
 * @property {number} processMs The same of all threads.
 * @property {number} peakMb The most memory that the process ever had.
 */

const task = /** @type {Task} */ (JSON.parse(process.argv[2] ?? ''))

/** @param {readonly number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN

try {
  say(await measured())
} catch (error) {
  if (!(error instanceof Missing)) throw error
  say({ missing: error.message })
}

/** @returns {Promise<Measured>} */
async function measured() {
  const { contestant, dsn, id, kind, count, warmUps, repeats } = task
  const [client] = contestant.split(' ')
  const { connect } = await import(`./clients/${client}.mjs`)
  const work = /** @type {import('./work.mjs').Contestants} */ (await connect(dsn, count))[
    contestant
  ]?.[id]
  if (!work) throw new Missing(`case ${id}`)
  const measure = kind === 'each' ? each : whole
  for (let warmUp = 0; warmUp < warmUps; warmUp += 1) await measure(work, count)
  const all = []
  for (let repeat = 0; repeat < repeats; repeat += 1) all.push(await measure(work, count))
  const thread = all.map(({ threadMs }) => threadMs).filter((ms) => ms !== null)
  return {
    time: median(all.map(({ time }) => time)),
    threadMs: thread.length > 0 ? median(thread) : null,
    processMs: median(all.map(({ processMs }) => processMs)),
    peakMb: process.resourceUsage().maxRSS / 1024,
  }
}

/** @param {import('./work.mjs').Work} work */
async function whole({ before, run }) {
  await before?.()
  const spent = new Spent()
  const from = performance.now()
  await run(0)
  return { time: performance.now() - from, ...spent.end() }
}

/** @param {import('./work.mjs').Work} work @param {number} count */
async function each({ before, run }, count) {
  await before?.()
  const times = new Float64Array(count)
  const spent = new Spent()
  for (let turn = 0; turn < count; turn += 1) {
    const from = performance.now()
    await run(turn)
    times[turn] = performance.now() - from
  }
  const { threadMs, processMs } = spent.end()
  return {
    time: median([...times]),
    threadMs: threadMs === null ? null : threadMs / count,
    processMs: processMs / count,
  }
}

/** Says it and ends, whatever the client still has open. @param {Measured | { missing: string }} what */
function say(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`, () => process.exit())
}
