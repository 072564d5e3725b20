// Commands that do something by chance, so many times, against a server of their own.

import { parseArgs } from 'node:util'
import { startServer } from '../../lab/server/dev-server.mjs'
import { onInterrupt, run } from './run.mjs'
import { SetupError, runMain, setup } from './setup.mjs'

/**
 * @typedef {object} SeededCommand
 * @property {string} help
 * @property {string} counted The name of the option that says how often.
 * @property {number} least
 * @property {number} most
 * @property {number} usual The default.
 * @property {readonly string[]} program The arguments of Node.js, before the server's DSN, how often, and the seed.
 */

/** Runs a command, with the options of the command line. @param {SeededCommand} command */
export async function runSeeded(command) {
  await runMain(async () => {
    const wanted = options(command)
    if (wanted.help) {
      console.log(command.help)
      return 0
    }
    await setup()
    const server = await startServer()
    onInterrupt(() => server.stop('immediate'))
    try {
      const chance = [server.dsn, String(wanted.times), String(wanted.seed)]
      const { ok } = await run(process.execPath, [...command.program, ...chance])
      return ok ? 0 : 1
    } finally {
      await server.stop()
    }
  })
}

/** @param {SeededCommand} command */
function options({ help, counted, least, most, usual }) {
  try {
    /** @type {Record<string, string | boolean | undefined>} */
    const values = parseArgs({
      options: {
        [counted]: { type: 'string', default: String(usual) },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
        help: { type: 'boolean', default: false },
      },
    }).values
    const [times, seed] = [Number(values[counted]), Number(values['seed'])]
    if (!(Number.isInteger(times) && times >= least && times <= most)) {
      throw new TypeError(
        `Expected --${counted} to be an integer from ${least} to ${most}, got ${values[counted]}`,
      )
    }
    if (!Number.isSafeInteger(seed)) {
      throw new TypeError(`Expected --seed to be a whole number, got ${values['seed']}`)
    }
    return { help: values['help'], times, seed }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${help}`)
  }
}
