// The command line of `npm run bench:durable`.

import { parseArgs } from 'node:util'
import { SetupError } from '../../scripts/lib/setup.mjs'

export const CASES = ['publish', 'consume', 'drain', 'latency', 'queues']

const HELP = `npm run bench:durable -- [options]

  --rounds N     how many rounds (default 5); in each, all contestants do each case once
  --only TEXT    only these cases, such as consume,latency
  --seconds N    how long writers write (default 3)
  --events N     the most events of a case of \`consume\` (default 200000)
  --bin FOLDER   the programs of another PostgreSQL than the installed one
  --help         this text

Cases: ${CASES.join(', ')}`

export function readOptions() {
  const values = parse()
  if (values.help) {
    console.log(HELP)
    process.exit()
  }
  const cases = values.only === undefined ? CASES : values.only.split(',')
  const unknown = cases.find((name) => !CASES.includes(name))
  if (unknown !== undefined) {
    throw new SetupError(`Expected --only to be some of ${CASES.join(', ')}, got ${unknown}`)
  }
  return {
    cases,
    rounds: whole('rounds', values.rounds),
    seconds: whole('seconds', values.seconds),
    events: whole('events', values.events),
    bin: values.bin,
  }
}

function parse() {
  try {
    return parseArgs({
      options: {
        rounds: { type: 'string', default: '5' },
        only: { type: 'string' },
        seconds: { type: 'string', default: '3' },
        events: { type: 'string', default: '200000' },
        bin: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}

/** @param {string} name @param {string} text */
function whole(name, text) {
  const number = Number(text)
  if (Number.isInteger(number) && number > 0) return number
  throw new SetupError(`Expected --${name} to be a whole number from 1 on, got ${text}`)
}
