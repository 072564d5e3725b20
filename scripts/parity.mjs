// `npm run parity`: short programs with psqlpy and with this package, against one server, and whether they come to the same.

import { onInterrupt, run } from './lib/run.mjs'
import { installPsqlpy } from './lib/python-client.mjs'
import { runMain, setup } from './lib/setup.mjs'

await runMain(async () => {
  // The folder is removed when the process exits.
  onInterrupt(() => {})
  await setup()
  console.log('Installing psqlpy')
  const { python, remove } = await installPsqlpy()
  try {
    const program = '__test__/psqlpy-parity/main.ts'
    const { ok } = await run(process.execPath, ['--import=tsx', program, python])
    return ok ? 0 : 1
  } finally {
    remove()
  }
})
