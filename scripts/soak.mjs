// `npm run soak`: faults strike listeners at random, and the oracle judges what they saw.

import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

const HELP = `Usage: npm run soak -- [options]

Writers commit numbered rows and notify them; every few seconds a fault strikes the server, the session or the
network of a listener with three consumers, and of fifty others in three threads that share its session. In the end
what they saw is held against the table.

  --minutes N   how long the faults strike, 0.1 to 1440 (default 10)
  --seed S      repeat the faults of another run (default: random)
  --help        this text

Exit code: 0 when every promise was kept, 1 otherwise.`

const MAX_MINUTES = 1440
const SEEDS = 1e9

function wanted() {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '10' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * SEEDS)) },
        help: { type: 'boolean', default: false },
      },
    })
    const [minutes, seed] = [Number(values.minutes), Number(values.seed)]
    if (!(minutes >= 0.1 && minutes <= MAX_MINUTES)) {
      throw new TypeError(
        `Expected --minutes to be from 0.1 to ${MAX_MINUTES}, got ${values.minutes}`,
      )
    }
    if (!Number.isSafeInteger(seed)) {
      throw new TypeError(`Expected --seed to be a whole number, got ${values.seed}`)
    }
    return { help: values.help, minutes, seed }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

await runMain(async () => {
  const { help, minutes, seed } = wanted()
  if (help) {
    console.log(HELP)
    return 0
  }
  onInterrupt(() => {})
  await setup()
  const args = ['--import=tsx', 'lab/soak/soak-main.ts', String(minutes), String(seed)]
  const { ok } = await run(process.execPath, args)
  return ok ? 0 : 1
})
