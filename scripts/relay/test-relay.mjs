// `npm run test:relay`: relays to NATS under faults by chance, on each nats-server there is, judged by the table of what was committed.

import { parseArgs } from 'node:util'
import { onInterrupt, run } from '../lib/run.mjs'
import { SetupError, runMain, setup } from '../lib/setup.mjs'

const HELP = `Usage: npm run test:relay -- [options]

Two relays of one stream, each a process. A writer commits numbered rows and notifies them; faults strike the relays, nats-server,
PostgreSQL, the networks between them, and the stream. In the end the stream is held against what was committed.

  --faults N       how many faults strike at least, 1 to 100000 (default 60)
  --minutes M      for how long they strike at least, 0 to 1440 (default 0)
  --source NAME    channels, durable, or both (default both)
  --seed S         repeat the faults of another run (default: random)
  --help           this text

It runs on each nats-server of target/tools/nats-server/VERSION/ and of the PATH, or on that of PGLISTEN_NATS_SERVER.

Exit code: 0 when every promise was kept, 1 otherwise.`

const SOURCES = ['channels', 'durable']

function wanted() {
  try {
    const { values } = parseArgs({
      options: {
        faults: { type: 'string', default: '60' },
        minutes: { type: 'string', default: '0' },
        source: { type: 'string', default: 'both' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
        help: { type: 'boolean', default: false },
      },
    })
    const [faults, seed] = [Number(values.faults), Number(values.seed)]
    const minutes = Number(values.minutes)
    if (!(Number.isInteger(faults) && faults >= 1 && faults <= 100_000))
      throw new TypeError(
        `Expected --faults to be an integer from 1 to 100000, got ${values.faults}`,
      )
    if (!(minutes >= 0 && minutes <= 1440) || values.minutes.trim() === '')
      throw new TypeError(
        `Expected --minutes to be a number from 0 to 1440, got ${values.minutes || 'an empty text'}`,
      )
    if (!Number.isSafeInteger(seed))
      throw new TypeError(`Expected --seed to be a whole number, got ${values.seed}`)
    const { source } = values
    if (source !== 'both' && !SOURCES.includes(source))
      throw new TypeError(`Expected --source to be channels, durable or both, got ${source}`)
    const sources = source === 'both' ? SOURCES : [source]
    return { help: values.help, faults, minutes, seed, sources }
  } catch (error) {
    throw new SetupError(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
  }
}

await runMain(async () => {
  const { help, faults, minutes, seed, sources } = wanted()
  if (help) {
    console.log(HELP)
    return 0
  }
  onInterrupt(() => {})
  await setup()
  let code = 0
  for (const source of sources) {
    const program = [
      '--import=tsx',
      'lab/relay/chaos-main.ts',
      String(faults),
      String(seed),
      source,
      String(minutes),
    ]
    const { ok } = await run(process.execPath, program)
    if (!ok) code = 1
  }
  return code
})
