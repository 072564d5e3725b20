// The cases in which two builds of this package are compared.

import { SetupError } from '../../scripts/lib/setup.mjs'
import { chosen, plan } from './plan.mjs'

/** @typedef {import('./plan.mjs').Case} Case */

/** What is compared unless somebody chooses: each way that notifications come, and statements. */
const USUAL = [
  ...['burst-40', 'burst-async', 'latency-1000', 'lone'],
  ...['channels-100', 'channels-10000', 'consumers-10', 'statements'],
]

/**
 * Shorter than in the plan, so that many pairs fit into the time. Three seconds of warm-up are enough for V8 to compile
 * what is hot at this rate, and the three that are measured end before it collects all garbage, eight seconds after the
 * start. Both builds are equally young.
 * @type {Record<string, Partial<Case['task']>>}
 */
const SHORTER = { 'latency-1000': { warmUp: 3000, count: 3000 } }

/** Cases of which few pairs say as much as many: undisturbed counts of instructions repeat. @type {Record<string, number>} */
export const FEW_PAIRS = { lone: 5 }

/** With one contestant each. @param {import('./options.mjs').Options} options @returns {Case[]} */
export function comparedCases({ only, contestant }) {
  const cases = chosen(plan([]), only.length > 0 ? only : USUAL).flatMap((one) => {
    const ours = one.contestants.filter((name) => name.startsWith('pglisten'))
    // Where there is one way to use this package only, that is compared whoever was asked for.
    const name = ours.length === 1 ? ours[0] : ours.find((name) => name === contestant)
    if (name === undefined) return []
    return [{ ...one, contestants: [name], task: { ...one.task, ...SHORTER[one.id] } }]
  })
  if (cases.length > 0) return cases
  throw new SetupError(
    `Expected --contestant to be one of this package's in the cases, got ${contestant}`,
  )
}
