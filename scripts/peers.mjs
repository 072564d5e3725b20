// `npm run peers`: other clients under the same faults as this one.

import { installPeers } from './lib/install-peers.mjs'
import { onInterrupt, run } from './lib/run.mjs'
import { runMain, setup } from './lib/setup.mjs'

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  await installPeers()
  const peers = await run(process.execPath, ['--import=tsx', 'bench/peers/main.mjs'])
  return peers.ok ? 0 : 1
})
