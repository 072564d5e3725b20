// The demo's command line.

import { parseArgs } from 'node:util'

export const HELP = `Usage: npm run demo -- [options]

Several clients insert and update orders; a trigger notifies; a callback on two channels
and an iterator listen at the same time. In the end everything is checked against the tables.

  --rows N      row changes to commit, 1 to 2000000 (default 20000)
  --clients N   concurrent writing clients, 1 to 64 (default 4)
  --dsn DSN     use this server instead of a disposable one; the demo works in a schema of
                its own and drops it in the end
  --help        this text

Exit code: 0 when nothing is missing or out of order, 1 otherwise, 2 for a wrong option.`

/**
 * @typedef {{ help: boolean, rows: number, clients: number, dsn?: string | undefined }} Options
 */

/**
 * @param {string[]} args
 * @returns {Options | { problem: string }}
 */
export function parseOptions(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        rows: { type: 'string', default: '20000' },
        clients: { type: 'string', default: '4' },
        dsn: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.dsn === '')
      throw new RangeError('Expected --dsn to be a connection string, got nothing')
    return {
      help: values.help,
      rows: wholeNumber('--rows', values.rows, 2_000_000),
      clients: wholeNumber('--clients', values.clients, 64),
      dsn: values.dsn,
    }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) }
  }
}

/** @param {string} name @param {string} text @param {number} max */
function wholeNumber(name, text, max) {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value
  throw new RangeError(`Expected ${name} to be a whole number from 1 to ${max}, got \`${text}\``)
}
