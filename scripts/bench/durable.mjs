// `npm run bench:durable`: durable subscriptions beside what else could be done; installs and builds what that needs.

import { root, run } from '../lib/run.mjs'
import { runMain, setup } from '../lib/setup.mjs'
import { readOptions } from '../../bench/durable/options.mjs'

await runMain(async () => {
  // Wrong options are told before minutes are spent on building.
  readOptions()
  await setup()
  const bench = await run(process.execPath, [
    `${root}bench/durable/main.mjs`,
    ...process.argv.slice(2),
  ])
  return bench.ok ? 0 : 1
})
