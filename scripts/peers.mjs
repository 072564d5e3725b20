// `npm run peers`: other clients under the same faults as this one; installs them beside it, not in the project.

import { onInterrupt, root, run } from './run.mjs'
import { SetupError, runMain, setup } from './setup.mjs'

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  const install = ['ci', '--prefix', `${root}bench`, '--no-audit', '--no-fund']
  const { ok, output } = await run('npm', [...install, '--ignore-scripts'], { output: 'keep' })
  if (!ok) throw new SetupError(`The other clients could not be installed:\n${output}`)
  const peers = await run(process.execPath, ['--import=tsx', 'bench/peers/main.mjs'])
  return peers.ok ? 0 : 1
})
