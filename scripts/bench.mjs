// `npm run bench`: this package beside other clients and the bare socket; installs and builds what that needs.

import { onInterrupt, root, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'
import { installPeers } from './lib/install-peers.mjs'

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  await installPeers()
  const build = ['build', '--release', '--locked', '--package', 'pglisten-bench-raw']
  const { ok, output } = await run('cargo', build, { output: 'keep' })
  if (!ok) throw new SetupError(`Building the raw ends of the wire failed:\n${output}`)
  const bench = await run(process.execPath, [
    `${root}bench/speed/main.mjs`,
    ...process.argv.slice(2),
  ])
  return bench.ok ? 0 : 1
})
