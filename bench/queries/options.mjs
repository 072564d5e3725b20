// The command line of `npm run bench:queries`.

import { parseArgs } from 'node:util'
import { SetupError } from '../../scripts/lib/setup.mjs'
import { PLAN } from './plan.mjs'

/**
 * @typedef {object} Options
 * @property {number} rounds
 * @property {readonly import('./plan.mjs').Case[]} cases
 * @property {boolean} quick
 * @property {boolean} write
 */

const HELP = `npm run bench:queries -- [options]

  --rounds N    how many rounds (default 5); in each, all contestants do each case once
  --only TEXT   only these cases, such as fetch5,copyIn
  --quick       a hundredth of the rows and statements: to try the benchmark, not to measure
  --write       write the tables into bench/results, as queries.md
  --help        this text

Cases: ${PLAN.map(({ id }) => id).join(', ')}`

/** @returns {Options} Ends the process where only help is asked for. */
export function readOptions() {
  const values = parse()
  if (values.help) {
    console.log(HELP)
    process.exit()
  }
  if (values.quick && values.write) throw new SetupError('Expected --quick without --write')
  return {
    rounds: rounds(values.rounds),
    cases: values.quick ? chosen(values.only).map(hundredth) : chosen(values.only),
    quick: values.quick,
    write: values.write,
  }
}

/** @param {import('./plan.mjs').Case} one @returns {import('./plan.mjs').Case} */
const hundredth = (one) => ({ ...one, count: Math.ceil(one.count / 100) })

function parse() {
  try {
    return parseArgs({
      options: {
        rounds: { type: 'string', default: '5' },
        only: { type: 'string' },
        quick: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}

/** @param {string} text */
function rounds(text) {
  const number = Number(text)
  if (Number.isInteger(number) && number > 0) return number
  throw new SetupError(`Expected --rounds to be a whole number from 1 on, got ${text}`)
}

/** @param {string | undefined} text */
function chosen(text) {
  if (text === undefined) return PLAN
  const wanted = text.split(',')
  const unknown = wanted.find((id) => !PLAN.some((one) => one.id === id))
  if (unknown === undefined) return PLAN.filter(({ id }) => wanted.includes(id))
  const known = PLAN.map(({ id }) => id).join(', ')
  throw new SetupError(`Expected --only to be some of ${known}, got ${unknown}`)
}
