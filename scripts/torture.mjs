// `npm run torture`: durable subscriptions under torture, for longer than in the tests. Prints a Markdown table.
//
//   npm run torture                                  10 s on the PostgreSQL of the tests
//   npm run torture -- --seconds 600                 longer
//   npm run torture -- 14 15 16 17 18                on each of these versions in turn

import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { checkVersions, installServer } from './lib/servers.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

const MAX_SECONDS = 86_400
const HEADER = `| PostgreSQL | for | events, each to three subscriptions | strikes | restarts of the server | lost | doubled | alien | out of order | counter turned round | the last done after |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |`

await runMain(async () => {
  const { versions, seconds } = wanted()
  onInterrupt(() => {})
  await setup()
  console.log(HEADER)
  let isRight = true
  for (const version of versions) {
    const env =
      version === undefined ? {} : { PGLISTEN_TEST_POSTGRES: await installServer(version) }
    const program = ['--import=tsx', 'lab/durable/torture-main.ts', String(seconds)]
    const { ok } = await run(process.execPath, program, { env })
    isRight &&= ok
  }
  return isRight ? 0 : 1
})

function wanted() {
  try {
    const { values, positionals } = parseArgs({
      options: { seconds: { type: 'string', default: '10' } },
      allowPositionals: true,
    })
    checkVersions(positionals)
    const seconds = Number(values.seconds)
    if (!Number.isInteger(seconds) || seconds < 1 || seconds > MAX_SECONDS) {
      throw new TypeError(
        `Expected --seconds to be from 1 to ${MAX_SECONDS}, got ${values.seconds}`,
      )
    }
    return { versions: positionals.length > 0 ? positionals : [undefined], seconds }
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}
