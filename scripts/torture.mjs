// `npm run torture -- --seconds N`: durable subscriptions under torture, for longer than in the tests.

import { run } from './lib/run.mjs'
import { runMain, setup } from './lib/setup.mjs'

await runMain(async () => {
  await setup()
  const program = ['--import=tsx', 'lab/durable/torture-main.ts', ...process.argv.slice(2)]
  const { ok } = await run(process.execPath, program)
  return ok ? 0 : 1
})
