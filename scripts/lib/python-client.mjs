// psqlpy in a Python environment of its own, in a temporary folder.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { run } from './run.mjs'
import { SetupError } from './setup.mjs'

export const PSQLPY = 'psqlpy==0.13.1'

/** @typedef {{ python: string, remove: () => void }} PythonClient `python` runs programs that import psqlpy. */

/** Makes the environment. @returns {Promise<PythonClient>} Rejects with {@link SetupError} when that is not possible here. */
export async function installPsqlpy() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-psqlpy-'))
  const remove = () => fs.rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  const programs = process.platform === 'win32' ? 'Scripts' : 'bin'
  const python = path.join(folder, programs, 'python')
  for (const [command, ...args] of [
    ['python3', '-m', 'venv', folder],
    [python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', PSQLPY],
  ]) {
    const { ok, output } = await run(command ?? '', args, { output: 'keep' })
    if (ok) continue
    remove()
    throw new SetupError(`${PSQLPY} could not be installed:\n${output.trim().slice(-1000)}`)
  }
  return { python, remove }
}
