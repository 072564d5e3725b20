// `npm run peers`: other clients under the same faults as this one; with `--holes` under holes in the network.

import { parseArgs } from 'node:util'
import { installPeers } from './lib/install-peers.mjs'
import { onInterrupt, run } from './lib/run.mjs'
import { runMain, setup } from './lib/setup.mjs'

const { values } = parseArgs({ options: { holes: { type: 'boolean', default: false } } })
const program = values.holes ? 'holes.mjs' : 'main.mjs'

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  await installPeers()
  const peers = await run(process.execPath, ['--import=tsx', `bench/peers/${program}`])
  return peers.ok ? 0 : 1
})
