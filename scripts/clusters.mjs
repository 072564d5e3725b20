// `npm run clusters`: what listeners miss when a cluster that Patroni keeps changes its leader. Prints a Markdown table.
//
// It needs etcd, HAProxy and PostgreSQL of the system (Debian: etcd-server haproxy postgresql). Patroni is installed from PyPI
// into a temporary folder, unless `--patroni FILE` names one. `--only TEXT` runs the events with that text in their name. `--relay` looks
// at the streams of relays in place of listeners, for which it also needs a nats-server: CONTRIBUTING.md says where from.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

/** Patroni runs as another account, for which a Python in a home folder may be out of reach. */
const SYSTEM_PYTHON = '/usr/bin/python3'
const PACKAGES = ['patroni[etcd3]==4.1.5', 'psycopg[binary]==3.3.9']

await runMain(async () => {
  const { patroni, only, relay } = options()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-patroni-'))
  const cleanUp = () => fs.rmSync(folder, { recursive: true, force: true })
  onInterrupt(cleanUp)
  try {
    await setup()
    const program = patroni ?? (await install(folder))
    const main = relay ? 'lab/relay/failover.ts' : 'lab/cluster/cluster-main.ts'
    const args = ['--import=tsx', main, program]
    if (only !== undefined) args.push(only)
    const { ok } = await run(process.execPath, args)
    return ok ? 0 : 1
  } finally {
    cleanUp()
  }
})

/** @param {string} folder */
async function install(folder) {
  // The servers' account runs it.
  fs.chmodSync(folder, 0o755)
  for (const [command, ...args] of [
    [SYSTEM_PYTHON, '-m', 'venv', folder],
    [path.join(folder, 'bin', 'pip'), 'install', '--quiet', ...PACKAGES],
  ]) {
    const { ok, output } = await run(/** @type {string} */ (command), args, { output: 'keep' })
    if (!ok) throw new SetupError(`Patroni cannot be installed:\n${output}`)
  }
  return path.join(folder, 'bin', 'patroni')
}

function options() {
  try {
    return parseArgs({
      options: {
        patroni: { type: 'string' },
        only: { type: 'string' },
        relay: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}
