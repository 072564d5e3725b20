// Tries bundlers, test runners and compilers as their users do: each installed from npm in a folder of its own, with the tarballs, and a
// program that is bundled, or run as a test, against a real server.

import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { npm } from '../../lib/npm.mjs'
import { BUNDLERS } from './bundlers.mjs'
import { COMPILERS } from './compilers.mjs'
import { RUNNERS } from './runners.mjs'

/**
 * @typedef {object} Tool
 * @property {string} name
 * @property {readonly string[]} packages What npm installs besides pglisten.
 * @property {Record<string, string>} files Texts of files in the user's folder.
 * @property {(home: Home) => Promise<void>} run Rejects when the tool fails.
 */

/**
 * @typedef {object} Home A user's folder.
 * @property {string} folder
 * @property {string} dsn
 * @property {(program: string, args?: readonly string[], options?: import('node:child_process').ExecFileOptions) => Promise<string>} execute
 * Runs a program, and gives its output.
 * @property {(script: string, args?: readonly string[], options?: import('node:child_process').ExecFileOptions) => Promise<string>} node
 * Runs a script of the folder with Node.
 */

const DEADLINE_MS = 300_000
const source = fs.readFileSync(new URL('./check.mjs', import.meta.url), 'utf8')
const commonjs = source
  .replaceAll(/^import (.+) from (.+)$/gm, 'const $1 = require($2)')
  .replace('export async function', 'exports.check = async function')

/**
 * @param {string} folder For everything that this makes.
 * @param {string} packages Where the tarballs are.
 * @param {string} dsn
 * @param {string | undefined} only Part of the names of the tools that are tried.
 * @returns {Promise<{ ok: boolean, lines: string[] }>} Lines of a Markdown table.
 */
export async function tryTools(folder, packages, dsn, only = '') {
  const tarballs = fs.readdirSync(packages).filter((name) => name.endsWith('.tgz'))
  const lines = ['| Tool | |', '| --- | --- |']
  let ok = true
  for (const [index, tool] of [...BUNDLERS, ...RUNNERS, ...COMPILERS].entries()) {
    if (!tool.name.toLowerCase().includes(only.toLowerCase())) continue
    const home = path.join(folder, `tool-${index}`)
    const started = performance.now()
    try {
      await tryTool(
        tool,
        home,
        tarballs.map((name) => path.join(packages, name)),
        dsn,
      )
      lines.push(`| ${tool.name} | ✔ ${Math.round((performance.now() - started) / 1000)} s |`)
    } catch (error) {
      ok = false
      const { stdout, stderr } = /** @type {{ stdout?: string, stderr?: string }} */ (error)
      const why = `${stderr ?? ''} ${stdout ?? ''} ${String(error)}`
      lines.push(`| ${tool.name} | ✘ ${why.replaceAll(/[\s|]+/g, ' ').slice(0, 1500)} |`)
    }
    console.log(lines.at(-1))
    fs.rmSync(home, { recursive: true, force: true })
  }
  return { ok, lines }
}

/** @param {Tool} tool @param {string} folder @param {string[]} tarballs @param {string} dsn */
async function tryTool({ packages, files, run }, folder, tarballs, dsn) {
  fs.mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries({
    'package.json': '{"name":"user","private":true}',
    'check.mjs': source,
    'check.cjs': commonjs,
    'main.mjs': "import { check } from './check.mjs'\nawait check()\nconsole.log('works')\n",
    'main.cjs': "require('./check.cjs').check().then(() => console.log('works'))\n",
    ...files,
  })) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
    fs.writeFileSync(path.join(folder, name), text)
  }
  await npm(
    [
      ...['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'],
      ...[...tarballs, ...packages],
    ],
    { cwd: folder },
  )
  /** @type {Home['execute']} */
  const execute = async (program, args = [], options = {}) => {
    const { stdout, stderr } = await promisify(execFile)(program, args, {
      ...{ cwd: folder, timeout: DEADLINE_MS, killSignal: 'SIGKILL', maxBuffer: Infinity },
      ...options,
      env: { ...process.env, NODE_OPTIONS: '', CI: '1', DATABASE_URL: dsn, ...options.env },
    })
    return stdout.toString() + stderr.toString()
  }
  await run({
    ...{ folder, dsn, execute },
    node: (script, args = [], options = {}) =>
      execute(process.execPath, [path.join(folder, script), ...args], options),
  })
}
