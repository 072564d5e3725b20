// `npm run platforms`: the addon of each platform, compiled, checked and run under an emulator.

import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { SetupError, installPackages, requireNode, requireRust, runMain } from './lib/setup.mjs'

const HELP = `Usage: npm run platforms -- [options]

Makes the addon of every platform that this machine has the tools for. Where a Node.js of the platform can run here (qemu, Wine,
musl's dynamic linker), it runs the README's example, loses its session, and counts 10,000 notifications, in plain TCP and with TLS.
The rest is compiled as far as it goes without the system's libraries. Prints a table, which says what is missing for each row.

  --only TEXT   the rows whose names have TEXT in them (may be given more than once)
  --help        this text

Exit code: 0 when everything that was tried passed, 1 otherwise; what could not be tried is no failure.`

function wanted() {
  try {
    return parseArgs({
      options: {
        only: { type: 'string', multiple: true, default: [] },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

await runMain(async () => {
  const { help, only } = wanted()
  if (help) {
    console.log(HELP)
    return 0
  }
  onInterrupt(() => {})
  requireNode()
  await requireRust()
  await installPackages()
  const built = await run(process.execPath, ['scripts/build-ts.mjs'])
  if (!built.ok) throw new SetupError('Building the TypeScript facade failed.')
  const args = ['--import=tsx', 'lab/platforms/platforms-main.ts', ...only]
  const { ok } = await run(process.execPath, args)
  return ok ? 0 : 1
})
