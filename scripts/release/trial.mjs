// One user: installs the tarballs into an empty folder, writes the README's example in each form, and runs it.

import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { npm } from '../lib/npm.mjs'
import { withoutIds } from './readme-example.mjs'
import { SetupError } from '../lib/setup.mjs'

/** TypeScript's own, and what a user of it has besides: the types of the oldest Node that is supported. */
const COMPILER = ['typescript@6.0.3', '@types/node@20.19.43']
const DEADLINE_MS = 60_000

/**
 * @typedef {object} Program
 * @property {string} title
 * @property {string} file What the runtime is given.
 * @property {string} [problem] Why there is nothing to run.
 */

/**
 * @param {string} user Becomes the user's folder.
 * @param {string} packages Where the tarballs are.
 * @returns {Promise<string>} What the installation took, in a sentence.
 */
export async function installPackages(user, packages) {
  const tarballs = fs.existsSync(packages)
    ? fs.readdirSync(packages).filter((name) => name.endsWith('.tgz'))
    : []
  if (tarballs.length < 2) {
    throw new SetupError(`There are no tarballs in ${packages}: run \`npm run package\` first.`)
  }
  fs.mkdirSync(user, { recursive: true })
  fs.writeFileSync(path.join(user, 'package.json'), '{"private":true}')
  const started = performance.now()
  await npm(
    [
      ...['install', '--ignore-scripts', '--no-audit', '--no-fund'],
      // Nothing that was installed before helps.
      `--cache=${path.join(user, '..', 'empty-cache')}`,
      ...tarballs.map((name) => path.join(packages, name)),
    ],
    { cwd: user, env: withoutRust(user) },
  )
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const modules = path.join(user, 'node_modules')
  const installed = fs.readdirSync(modules).filter((name) => !name.startsWith('.'))
  const megabytes = (sizeOf(modules) / 1e6).toFixed(1)
  return `Installed in ${seconds} s with an empty cache and without scripts: ${installed.length} packages (${installed.join(', ')}), ${megabytes} MB.`
}

/** An environment in which there is no compiler: the PATH has Node, and nothing else. @param {string} user */
function withoutRust(user) {
  const bin = path.join(user, '..', 'bin')
  fs.mkdirSync(bin, { recursive: true })
  const node = path.join(bin, path.basename(process.execPath))
  if (!fs.existsSync(node)) fs.symlinkSync(process.execPath, node)
  return { ...process.env, PATH: bin }
}

/** @param {string} folder @returns {number} In bytes. */
function sizeOf(folder) {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath, entry.name)).size, 0)
}

/**
 * How long a program waits for the package that it imports.
 * @param {string} user
 * @returns {Promise<string>} In a sentence.
 */
export async function loadingTime(user) {
  const program =
    "const t = performance.now(); await import('pglisten'); console.log(performance.now() - t)"
  const times = []
  for (let round = 0; round < 25; round += 1) {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { cwd: user },
    )
    times.push(Number(stdout))
  }
  // The shortest: what else the machine does can only add to it.
  const shortest = Math.min(...times).toFixed(1)
  return `Importing it takes ${shortest} ms on Node ${process.versions.node}.`
}

/**
 * Writes the example as JavaScript of both module systems, and has TypeScript make more of it, as strict as can be.
 * @param {string} user @param {import('./readme-example.mjs').Example} example
 * @returns {Promise<Program[]>}
 */
export async function compile(user, example) {
  fs.writeFileSync(path.join(user, 'example.mjs'), example.source)
  fs.writeFileSync(path.join(user, 'example.cjs'), example.commonjs)
  await npm(
    [
      ...['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'],
      ...['--no-save', '--no-package-lock', '--prefix', path.join(user, '..', 'compiler')],
      ...COMPILER,
    ],
    { cwd: path.dirname(user) },
  )
  return [
    { title: '`import`', file: 'example.mjs' },
    { title: '`require`', file: 'example.cjs' },
    await typescript(user, example, { title: 'TypeScript, `nodenext`', name: 'nodenext' }),
    await typescript(user, example, { title: '`node16`, CommonJS', name: 'node16', cjs: true }),
    await typescript(user, example, { title: '`bundler`', name: 'bundler', module: 'esnext' }),
  ]
}

/**
 * @param {string} user @param {import('./readme-example.mjs').Example} example
 * @param {{ title: string, name: string, module?: string, cjs?: boolean }} kind
 * @returns {Promise<Program>}
 */
async function typescript(user, example, { title, name, module = name, cjs = false }) {
  const extension = cjs ? 'cts' : 'mts'
  const source = cjs
    ? example.commonjs.replaceAll(/^const (\{.*\}) = require\((.*)\)$/gm, 'import $1 from $2')
    : example.source
  const compiler = path.join(user, '..', 'compiler', 'node_modules')
  fs.mkdirSync(path.join(user, name), { recursive: true })
  fs.writeFileSync(path.join(user, name, `example.${extension}`), source)
  fs.writeFileSync(
    path.join(user, name, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        ...{ target: 'es2022', module, moduleResolution: name, strict: true },
        ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
        ...{ skipLibCheck: false, types: ['node'], typeRoots: [path.join(compiler, '@types')] },
      },
      files: [`example.${extension}`],
    }),
  )
  const file = `${name}/example.${cjs ? 'cjs' : 'mjs'}`
  try {
    await promisify(execFile)(
      process.execPath,
      [path.join(compiler, 'typescript', 'bin', 'tsc'), '-p', path.join(user, name)],
      { cwd: user },
    )
    return { title, file }
  } catch (error) {
    return { title, file, problem: /** @type {{ stdout: string }} */ (error).stdout }
  }
}

/**
 * @param {import('./runtimes.mjs').Runtime} runtime @param {Program} program
 * @param {{ user: string, dsn: string, example: import('./readme-example.mjs').Example }} trial
 * @returns {Promise<{ ok: boolean, text: string }>} What goes into the table.
 */
export async function attempt(runtime, program, { user, dsn, example }) {
  const failed = (/** @type {string} */ why) => ({
    ok: false,
    text: `✘ ${why.trim().replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').slice(0, 300)}`,
  })
  if (program.problem !== undefined) return failed(program.problem)
  const flags = { node: [], bun: ['run'], deno: ['run', '--allow-all'] }[runtime.kind]
  const started = performance.now()
  try {
    const { stdout, stderr } = await promisify(execFile)(
      runtime.program,
      [...flags, program.file],
      {
        cwd: user,
        env: { ...withoutRust(user), DATABASE_URL: dsn },
        timeout: DEADLINE_MS,
        killSignal: 'SIGKILL',
      },
    )
    if (withoutIds(stdout) !== withoutIds(example.output)) {
      return failed(`printed ${JSON.stringify(stdout + stderr)}`)
    }
    return { ok: true, text: `✔ ${Math.round(performance.now() - started)} ms` }
  } catch (error) {
    const { stderr, stdout, signal, code } =
      /** @type {{ stderr: string, stdout: string, signal?: string, code?: number }} */ (error)
    const how = signal ?? `exit code ${code}`
    return failed(`${how}: ${stdout}${stderr}`)
  }
}
