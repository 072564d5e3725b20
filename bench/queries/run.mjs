// Runs one contestant in one case, in a process of its own.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { texts } from './tables.mjs'

/** @typedef {import('./contestant.mjs').Measured} Measured */

const HERE = new URL('.', import.meta.url)
const CONTESTANT = fileURLToPath(new URL('contestant.mjs', HERE))
const PYTHON_CONTESTANT = fileURLToPath(new URL('contestant.py', HERE))
/** Far beyond what any case takes: whoever needs longer does not finish. */
const DEADLINE_MS = 120_000

/** Why a contestant has no figures in a case. */
export class LeftOut extends Error {}

/**
 * @param {{ dsn: string, python: string | undefined }} scene
 * @param {import('./plan.mjs').Case} one @param {string} contestant
 * @returns {Promise<Measured>} Rejects with {@link LeftOut} when it cannot do the case.
 */
export async function run({ dsn, python }, one, contestant) {
  const task = JSON.stringify({ ...one, contestant, dsn, texts: texts(one.count) })
  const isPython = contestant.startsWith('psqlpy')
  if (isPython && python === undefined) throw new LeftOut('psqlpy could not be installed')
  const [program, args] = isPython
    ? [python ?? '', [PYTHON_CONTESTANT, task]]
    : [process.execPath, [CONTESTANT, task]]
  const options = { timeout: DEADLINE_MS, killSignal: /** @type {const} */ ('SIGKILL') }
  const stdout = await outputOf(program, args, options)
  const said = JSON.parse(stdout)
  if ('missing' in said) throw new LeftOut(`this build has no ${said.missing}`)
  return said
}

/** @param {string} program @param {string[]} args @param {import('node:child_process').ExecFileOptions} options */
async function outputOf(program, args, options) {
  try {
    const { stdout } = await promisify(execFile)(program, args, options)
    return String(stdout)
  } catch (error) {
    const { killed, stderr, stdout } =
      /** @type {{ killed?: boolean, stderr?: string, stdout?: string }} */ (error)
    if (killed) throw new LeftOut(`did not end within ${DEADLINE_MS / 1000} s`)
    // psqlpy can abort at the end of its process, when everything is said.
    if (stdout?.endsWith('}\n')) return stdout
    throw new LeftOut(`failed: ${stderr?.trim().split('\n').at(-1) ?? String(error)}`)
  }
}
