// `npm run mixed`: operations of all kinds by chance, and what they leave behind.

import { parseArgs } from 'node:util'
import { startServer } from '../lab/server/dev-server.mjs'
import { onInterrupt, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

const HELP = `Usage: npm run mixed -- [options]

Runs statements of all kinds, cursors, copies and transactions by chance, among them such that fail, are cancelled, end early or lose their
backend. Each judges its own outcome. Between a fifth of the operations and the end memory, file descriptors and threads must not grow,
and afterwards the pool and the server are idle.

  --operations N  how many, 100 to 10000000 (default 100000)
  --seed S        repeat the operations of another run (default: random)
  --help          this text

Exit code: 0 when every promise was kept, 1 otherwise.`

function wanted() {
  try {
    const { values } = parseArgs({
      options: {
        operations: { type: 'string', default: '100000' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
        help: { type: 'boolean', default: false },
      },
    })
    const [operations, seed] = [Number(values.operations), Number(values.seed)]
    if (!(Number.isInteger(operations) && operations >= 100 && operations <= 1e7)) {
      throw new TypeError(
        `Expected --operations to be an integer from 100 to 10000000, got ${values.operations}`,
      )
    }
    if (!Number.isSafeInteger(seed)) {
      throw new TypeError(`Expected --seed to be a whole number, got ${values.seed}`)
    }
    return { help: values.help, operations, seed }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

await runMain(async () => {
  const { help, operations, seed } = wanted()
  if (help) {
    console.log(HELP)
    return 0
  }
  await setup()
  const server = await startServer()
  onInterrupt(() => server.stop('immediate'))
  try {
    const program = ['--expose-gc', '--import=tsx', 'lab/mixed/mixed-main.ts']
    const args = [...program, server.dsn, String(operations), String(seed)]
    const { ok } = await run(process.execPath, args)
    return ok ? 0 : 1
  } finally {
    await server.stop()
  }
})
