// `npm run test:servers`: the behaviour tests on each major version of PostgreSQL in turn. Prints a line for each.
//
//   npm run test:servers                  all versions
//   npm run test:servers -- 14 17         these
//   npm run test:servers -- 14 --files '__test__/listen/*.spec.ts'
//
// Another server, such as a version that is not released yet: PGLISTEN_TEST_DSN=… npm test, with a superuser's DSN.

import { parseArgs } from 'node:util'
import { onInterrupt, run } from './lib/run.mjs'
import { VERSIONS, checkVersions, installServer } from './lib/servers.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

/** The tests of what a server has to do with. */
const FILES = ['cli', 'connect', 'contract', 'durable', 'faults', 'listen', 'psqlpy', 'query'].map(
  (folder) => `__test__/${folder}/**/*.spec.ts`,
)

await runMain(async () => {
  const { versions, files } = wanted()
  onInterrupt(() => {})
  await setup()
  const lines = []
  let isGood = true
  for (const version of versions) {
    const bin = await installServer(version)
    console.log(`\nPostgreSQL ${version}`)
    const { ok, output } = await run(process.execPath, ['scripts/test.mjs', ...files], {
      output: 'both',
      env: { PGLISTEN_TEST_POSTGRES: bin },
    })
    isGood &&= ok
    lines.push(`PostgreSQL ${version}: ${output.trimEnd().split('\n').at(-1)}`)
  }
  console.log(`\n${lines.join('\n')}`)
  return isGood ? 0 : 1
})

function wanted() {
  try {
    const { values, positionals } = parseArgs({
      options: { files: { type: 'string', multiple: true } },
      allowPositionals: true,
    })
    checkVersions(positionals)
    const versions = positionals.length > 0 ? positionals : Object.keys(VERSIONS)
    return { versions, files: values.files ?? FILES }
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}
