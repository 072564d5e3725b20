// `npm run bench:queries`: statements, beside other clients; installs and builds what that needs.

import { root, run } from '../lib/run.mjs'
import { runMain, setup } from '../lib/setup.mjs'
import { installPeers } from '../lib/install-peers.mjs'
import { readOptions } from '../../bench/queries/options.mjs'

await runMain(async () => {
  // Wrong options are told before minutes are spent on building.
  readOptions()
  await setup()
  await installPeers()
  const bench = await run(process.execPath, [
    `${root}bench/queries/main.mjs`,
    ...process.argv.slice(2),
  ])
  return bench.ok ? 0 : 1
})
