// `npm run tls-table`: what each mode of encryption does with each kind of server and certificate, compared with psql.

import { onInterrupt, run } from '../lib/run.mjs'
import { runMain, setup } from '../lib/setup.mjs'

await runMain(async () => {
  onInterrupt(() => {})
  await setup()
  const args = ['--import=tsx', 'lab/tls/tls-table-main.ts', ...process.argv.slice(2)]
  const { ok } = await run(process.execPath, args)
  return ok ? 0 : 1
})
