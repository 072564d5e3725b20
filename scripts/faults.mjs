// `npm run faults`: every fault strikes a listener, and a table says how long it took to be noticed and got over.

import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

const HELP = `Usage: npm run faults -- [--times N]

Causes each fault on a PostgreSQL and a network of its own, N times (default 3), and prints a Markdown table. Takes some
minutes. Exit code: 0 when nothing was lost outside of a gap, 1 otherwise.`

const MAX_TIMES = 1000

function wanted() {
  try {
    const { values } = parseArgs({
      options: {
        times: { type: 'string', default: '3' },
        help: { type: 'boolean', default: false },
      },
    })
    const times = Number(values.times)
    if (!Number.isInteger(times) || times < 1 || times > MAX_TIMES) {
      throw new TypeError(`Expected --times to be from 1 to ${MAX_TIMES}, got ${values.times}`)
    }
    return { help: values.help, times }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

await runMain(async () => {
  const { help, times } = wanted()
  if (help) {
    console.log(HELP)
    return 0
  }
  onInterrupt(() => {})
  await setup()
  const args = ['--import=tsx', 'lab/faults/fault-table.ts', String(times)]
  const { ok } = await run(process.execPath, args)
  return ok ? 0 : 1
})
