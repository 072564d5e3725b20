// Installs the other clients beside the project, not in it.

import { root, run } from './run.mjs'
import { SetupError } from './setup.mjs'

export async function installPeers() {
  const install = ['ci', '--prefix', `${root}bench`, '--no-audit', '--no-fund', '--ignore-scripts']
  const { ok, output } = await run('npm', install, { output: 'keep' })
  if (!ok) throw new SetupError(`The other clients could not be installed:\n${output}`)
}
