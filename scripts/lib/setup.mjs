// Brings a clone to where tests and demo can run: installs and builds what is missing or outdated, nothing else.

import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { buildProgress } from './build-progress.mjs'
import { root, run } from './run.mjs'

const NATIVE_SOURCES = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'src-rs', '.cargo']
const NATIVE_OUTPUTS = ['native']
const TS_SOURCES = [
  'index.ts',
  'src-ts',
  'native/index.d.ts',
  'tsconfig.json',
  'tsconfig.build.json',
  'packages/opentelemetry/src',
  'packages/opentelemetry/tsconfig.json',
  'packages/relay-nats/src',
  'packages/relay-nats/tsconfig.json',
]
const TS_OUTPUTS = [
  'dist',
  'index.d.ts',
  'index.d.ts.map',
  'packages/opentelemetry/dist',
  'packages/relay-nats/dist',
]

/** What is generated and committed nevertheless, because users and reviewers read it. */
const GENERATED = ['index.d.ts', 'native/index.d.ts']

/** What cargo is asked for the addon with fail points. */
export const FAIL_POINTS_BUILD = ['build', '--lib', '--locked', '--features', 'failpoints']

/** Something in the environment that the user has to change; its message says what. */
export class SetupError extends Error {}

/**
 * @returns {Promise<{ drifted: string[] }>} The committed generated files that were not what their sources say.
 */
export async function setup() {
  requireNode()
  await installPackages()
  const before = new Map(GENERATED.map((file) => [file, digest([file])]))
  if (isOutdated('native', NATIVE_SOURCES, NATIVE_OUTPUTS)) {
    await requireRust()
    await buildNative()
    stamp('native', NATIVE_SOURCES, NATIVE_OUTPUTS)
  }
  if (isOutdated('ts', TS_SOURCES, TS_OUTPUTS)) {
    console.log('Building the TypeScript facade')
    await build('TypeScript facade', ['run', 'build:ts'])
    stamp('ts', TS_SOURCES, TS_OUTPUTS)
  }
  return { drifted: GENERATED.filter((file) => digest([file]) !== before.get(file)) }
}

/**
 * Makes a copy of the package whose addon has fail points: `src-rs/core/base/fail_point.rs` says what those are. The addon is not
 * optimized, and its crates are those of the Rust tests, as far as they are the same.
 * @returns {Promise<string>} The folder of the copy.
 */
export async function setupWithFailPoints() {
  await setup()
  const folder = 'target/failpoints'
  const sources = [...NATIVE_SOURCES, 'package.json', 'dist']
  if (!isOutdated('failpoints', sources, [folder])) return path.join(root, folder)
  console.log('Building the native addon with fail points')
  const flags = [...FAIL_POINTS_BUILD, '--message-format=json-render-diagnostics']
  const { ok, output } = await run('cargo', flags, { output: 'keep' })
  const library = output
    .split('\n')
    .filter((line) => line.includes('"compiler-artifact"') && line.includes('"cdylib"'))
    .map((line) => JSON.parse(line).filenames[0])
    .at(-1)
  if (!ok || library === undefined) {
    throw new SetupError(`Building the native addon with fail points failed:\n${output}`)
  }
  const copy = path.join(root, folder)
  fs.rmSync(copy, { recursive: true, force: true })
  fs.cpSync(path.join(root, 'dist'), path.join(copy, 'dist'), { recursive: true })
  fs.copyFileSync(path.join(root, 'package.json'), path.join(copy, 'package.json'))
  fs.mkdirSync(path.join(copy, 'native'))
  for (const name of addons()) fs.copyFileSync(library, path.join(copy, 'native', name))
  stamp('failpoints', sources, [folder])
  return copy
}

/** The addons that were built here; one, unless the folder is shared with another system. */
export const addons = () =>
  fs.readdirSync(path.join(root, 'native')).filter((name) => name.endsWith('.node'))

export function requireNode() {
  const wanted = manifest('package.json').engines.node
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const fits = wanted.split('||').some((/** @type {string} */ range) => {
    const match = /^\s*(\^|>=)(\d+)(?:\.(\d+))?/.exec(range)
    if (match === null) return false
    const [, operator, fromMajor, fromMinor = 0] = match
    if (operator === '>=' && major > Number(fromMajor)) return true
    return major === Number(fromMajor) && minor >= Number(fromMinor)
  })
  if (!fits) throw new SetupError(`Node ${wanted} is needed; this is ${process.versions.node}.`)
}

export async function requireRust() {
  const wanted = /^rust-version = "(\d+)\.(\d+)/m.exec(read('Cargo.toml'))
  const { ok, output } = await run('cargo', ['--version'], { output: 'keep' })
  if (!ok) {
    throw new SetupError(
      'The native addon is built with Rust, but `cargo` does not run. Install Rust from https://rustup.rs ' +
        `and try again.\n${output}`,
    )
  }
  const found = /(\d+)\.(\d+)/.exec(output)
  if (wanted === null || found === null) return
  const newer = Number(found[1]) - Number(wanted[1]) || Number(found[2]) - Number(wanted[2])
  if (newer < 0) {
    throw new SetupError(
      `Rust ${wanted[1]}.${wanted[2]} or newer is needed; this is ${output.trim()}. Try \`rustup update\`.`,
    )
  }
}

export async function installPackages() {
  if (packagesAreInstalled()) return
  console.log('Installing the npm packages')
  const { ok } = await run('npm', ['ci', '--no-audit', '--no-fund'])
  if (!ok) throw new SetupError('`npm ci` failed; its reason is above.')
}

/** npm keeps beside the packages the lock file of what it installed. */
function packagesAreInstalled() {
  if (!fs.existsSync(path.join(root, 'node_modules/.package-lock.json'))) return false
  const installed = manifest('node_modules/.package-lock.json').packages
  return Object.entries(manifest('package-lock.json').packages).every(([name, wanted]) => {
    const found = installed[name]
    // Other platforms' packages are optional and absent.
    return name === '' || (found === undefined ? wanted.optional : found.version === wanted.version)
  })
}

/** A clone's first build is told in advance: it compiles every crate, and takes minutes in which nothing else happens. */
async function buildNative() {
  const first = !fs.existsSync(stampFile('native'))
  console.log(
    first
      ? 'Building the native addon: the first time this takes some minutes'
      : 'Building the native addon',
  )
  const progress = buildProgress()
  try {
    if (first) progress.expect(await countCrates())
    await build('native addon', ['run', 'build:native'], (chunk) => progress.read(chunk))
  } finally {
    progress.end()
  }
}

/** How many crates the addon is made of on this system, itself among them; cargo downloads them for that. */
async function countCrates() {
  const args = ['tree', '--locked', '--quiet', '--edges', 'no-dev', '--prefix', 'none']
  const { ok, output } = await run('cargo', args, { output: 'keep' })
  if (!ok) return undefined
  // A crate that several others use is named for each of them, marked after the first time.
  const lines = output.split('\n').map((line) => /^\S+ v\S+/.exec(line)?.[0])
  return new Set(lines.filter((line) => line !== undefined)).size
}

/** @param {string} what @param {string[]} args @param {(chunk: string) => void} [onOutput] */
async function build(what, args, onOutput) {
  const { ok, output } = await run('npm', args, { output: 'keep', onOutput })
  if (!ok) throw new SetupError(`Building the ${what} failed:\n${output}`)
}

/** @param {string} name */
const stampFile = (name) => path.join(root, 'target', 'stamps', name)

/** Content, not times: a checkout of another branch and back builds nothing. */
const state = (/** @type {string[]} */ sources, /** @type {string[]} */ outputs) =>
  `${process.platform}-${process.arch} ${digest(sources)} ${digest(outputs)}\n`

/** @param {string} name @param {string[]} sources @param {string[]} outputs */
function isOutdated(name, sources, outputs) {
  const file = stampFile(name)
  return !fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== state(sources, outputs)
}

/** @param {string} name @param {string[]} sources @param {string[]} outputs */
function stamp(name, sources, outputs) {
  fs.mkdirSync(path.dirname(stampFile(name)), { recursive: true })
  fs.writeFileSync(stampFile(name), state(sources, outputs))
}

/** @param {string[]} entries Files and folders below the project's. */
function digest(entries) {
  const hash = createHash('sha256')
  for (const entry of entries) {
    for (const file of filesOf(entry)) {
      hash
        .update(`${file}\0`)
        .update(fs.readFileSync(path.join(root, file)))
        .update('\0')
    }
  }
  return hash.digest('hex')
}

/** @param {string} entry @returns {string[]} */
function filesOf(entry) {
  const stat = fs.statSync(path.join(root, entry), { throwIfNoEntry: false })
  if (stat === undefined) return []
  if (!stat.isDirectory()) return [entry]
  const names = fs.readdirSync(path.join(root, entry)).sort()
  return names.flatMap((name) => filesOf(`${entry}/${name}`))
}

/** @param {string} file */
const read = (file) => fs.readFileSync(path.join(root, file), 'utf8')

/** @param {string} file @returns {any} */
const manifest = (file) => JSON.parse(read(file))

const PARENT_POLL_MS = 200

/**
 * Ends this command as SIGTERM does when the shell between npm and it is gone. npm hands a SIGTERM on to that shell alone, which ends
 * without handing it on.
 */
function endWithNpm() {
  if (process.env['npm_lifecycle_event'] === undefined || process.platform === 'win32') return
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    process.kill(process.pid, 'SIGTERM')
  }, PARENT_POLL_MS)
  timer.unref()
}

/**
 * Runs `main` as a script: a {@link SetupError} is told without a stack.
 * @param {() => Promise<number | void>} main
 */
export async function runMain(main) {
  endWithNpm()
  try {
    process.exitCode = (await main()) ?? 0
  } catch (error) {
    console.error(error instanceof SetupError ? error.message : error)
    process.exitCode = 1
  }
}
