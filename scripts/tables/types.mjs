// `npm run types`: what each type of PostgreSQL is in JavaScript, here and in other clients, written into docs/types.md.

import { onInterrupt, run } from '../lib/run.mjs'
import { runMain, setup } from '../lib/setup.mjs'

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  const { ok } = await run(process.execPath, ['--import=tsx', 'lab/types/main.ts'])
  return ok ? 0 : 1
})
