// `npm run fuzz`: sessions with a server one of whose messages is wrong.

import { parseArgs } from 'node:util'
import { startServer } from '../lab/server/dev-server.mjs'
import { onInterrupt, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

const HELP = `Usage: npm run fuzz -- [options]

Each session runs statements and a listener against a real server, by a proxy that changes, cuts, doubles or swallows one of the
server's messages in each connection. Every call must end in time, with a result or an error of the package, and memory must stay
as it is.

  --sessions N  how many, 1 to 1000000 (default 10000)
  --seed S      repeat the changes of another run (default: random)
  --help        this text

Exit code: 0 when every promise was kept, 1 otherwise.`

function wanted() {
  try {
    const { values } = parseArgs({
      options: {
        sessions: { type: 'string', default: '10000' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
        help: { type: 'boolean', default: false },
      },
    })
    const [sessions, seed] = [Number(values.sessions), Number(values.seed)]
    if (!(Number.isInteger(sessions) && sessions >= 1 && sessions <= 1e6)) {
      throw new TypeError(
        `Expected --sessions to be an integer from 1 to 1000000, got ${values.sessions}`,
      )
    }
    if (!Number.isSafeInteger(seed)) {
      throw new TypeError(`Expected --seed to be a whole number, got ${values.seed}`)
    }
    return { help: values.help, sessions, seed }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

await runMain(async () => {
  const { help, sessions, seed } = wanted()
  if (help) {
    console.log(HELP)
    return 0
  }
  await setup()
  const server = await startServer()
  onInterrupt(() => server.stop('immediate'))
  try {
    const args = [
      '--expose-gc',
      'lab/fuzz/fuzz-main.mjs',
      server.dsn,
      String(sessions),
      String(seed),
    ]
    const { ok } = await run(process.execPath, args)
    return ok ? 0 : 1
  } finally {
    await server.stop()
  }
})
