// The compiler of `napi build --use-napi-cross`, which is downloaded at the first build. The lock file does not have it,
// so its hash is here.

import fs from 'node:fs'
import path from 'node:path'
import { npm } from '../lib/npm.mjs'
import { root } from '../lib/run.mjs'
import { SetupError } from '../lib/setup.mjs'

/** What the registry has to say of the packages of the version that `overrides` in package.json has. npm compares a download with what the registry says. */
const HASHES = /** @type {Record<string, string>} */ ({
  'x86_64-unknown-linux-gnu':
    'sha512-u1XjhuTL/KHzOl2rQwJZXUE2JxPIEtPZZnIAFgN4uTnjIEqRK5ODKqjEwoGuMomigBDA1/DR+ANWseN8tF+Q8w==',
  'aarch64-unknown-linux-gnu':
    'sha512-wfyyjT1fLLV76ymIfU9k8mJsg3fbyPk7X1bLxZCrq94ZyW2cSVLse4oqrIk0AUjMvtZ7we0O0iesRMtNZ2nf2Q==',
})

/** @param {string} triple */
export async function checkToolchain(triple) {
  if (process.arch !== 'x64') throw new SetupError('The toolchain for glibc is known on x64 only.')
  const { overrides } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  const version = overrides['@napi-rs/cross-toolchain']
  const name = `@napi-rs/cross-toolchain-x64-target-${triple.split('-')[0]}@${version}`
  const { stdout } = await npm(['view', name, 'dist.integrity'], { cwd: root })
  if (stdout.trim() !== HASHES[triple]) {
    throw new SetupError(`The registry has another ${name} than the one that was looked at here.`)
  }
}
