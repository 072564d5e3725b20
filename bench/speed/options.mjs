// The command line of `npm run bench`.

import { parseArgs } from 'node:util'
import { root } from '../../scripts/lib/run.mjs'
import { SetupError } from '../../scripts/lib/setup.mjs'
import { PAIRS_TO_JUDGE } from './comparison.mjs'

/**
 * @typedef {object} Options
 * @property {number} rounds
 * @property {readonly string[]} only
 * @property {readonly string[]} nodeFlags For the contestants.
 * @property {string} out
 * @property {string | undefined} against The commit to compare with; the other clients are left out then.
 * @property {string | undefined} beside The commit whose build is one contestant more.
 * @property {boolean} sessions Whether many listeners in one process are measured.
 * @property {number} pairs
 * @property {string} contestant
 */

const LEAST_PAIRS = 3

const HELP = `npm run bench -- [options]

This package beside other clients:
  --rounds N    how many rounds (default 5); in each, all contestants do each case, some more than once
  --beside COMMIT  that commit's build takes part as "pglisten before", in the cases that were made for it
  --out FOLDER  where the results go (default bench/results)

This working tree's build beside that of another commit:
  --against COMMIT   the other commit; it is built in target/baseline, once
  --pairs N          how many pairs of runs of each case (default ${PAIRS_TO_JUDGE}, which is also the fewest that are judged)
  --contestant NAME  who does the cases (default "pglisten callback")

Many listeners in one process, with --against beside another commit too:
  --sessions    start-up, memory, the rate of NOTIFY and the cost of a delivery, for 1 to 10,000 listeners

Both:
  --only TEXT   only the cases whose names contain one of these, such as burst-40,latency; the whole name of a case
                means that case alone
  --node FLAGS  flags for the Node of the contestants, such as --node=--no-opt
  --help        this text`

/** Those that mean something in one mode only. */
const ALONE = /** @type {const} */ (['rounds', 'out', 'beside'])
const AGAINST = /** @type {const} */ (['pairs', 'contestant'])

/** @returns {Options} Ends the process where only help is asked for. */
export function readOptions() {
  const values = parse()
  if (values.help) {
    console.log(HELP)
    process.exit()
  }
  const meaningless = values.against === undefined ? AGAINST : ALONE
  for (const name of meaningless) {
    if (values[name] === undefined) continue
    throw new SetupError(
      `Expected --${name} ${values.against === undefined ? 'only with' : 'not with'} --against`,
    )
  }
  return {
    rounds: wholeNumber('rounds', values.rounds, 5, 1),
    only: (values.only ?? '').split(',').filter((part) => part !== ''),
    nodeFlags: (values.node ?? '').split(' ').filter((flag) => flag !== ''),
    out: values.out ?? `${root}bench/results`,
    against: values.against,
    beside: values.beside,
    pairs: wholeNumber('pairs', values.pairs, PAIRS_TO_JUDGE, LEAST_PAIRS),
    contestant: values.contestant ?? 'pglisten callback',
    sessions: values.sessions,
  }
}

function parse() {
  const text = /** @type {const} */ ({ type: 'string' })
  try {
    return parseArgs({
      options: {
        rounds: text,
        out: text,
        against: text,
        beside: text,
        pairs: text,
        contestant: text,
        only: text,
        node: text,
        sessions: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}

/** @param {string} name @param {string | undefined} text @param {number} otherwise @param {number} least */
function wholeNumber(name, text, otherwise, least) {
  if (text === undefined) return otherwise
  const number = Number(text)
  if (!Number.isInteger(number) || number < least) {
    throw new SetupError(`Expected --${name} to be a whole number from ${least} on, got ${text}`)
  }
  return number
}
