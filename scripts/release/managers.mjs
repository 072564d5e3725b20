// Has each package manager install pglisten by its name, from a registry on this machine, as users do once it is
// published: it is the package manager that picks the platform's package among eight.

import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { npm } from '../lib/npm.mjs'
import { startRegistry } from './registry.mjs'

/**
 * @typedef {object} Manager
 * @property {string} name
 * @property {string} spec What npm installs it by.
 * @property {string} script Its program, below its package.
 * @property {Record<string, string>} files What it is told by files in the user's folder.
 * @property {readonly string[]} [run] What stands before the program to run, when Node alone would not find packages.
 */

/** @type {readonly Manager[]} */
const MANAGERS = [
  { name: 'npm 11', spec: 'npm@11.21.2', script: 'bin/npm-cli.js', files: {} },
  { name: 'pnpm 10', spec: 'pnpm@10.34.8', script: 'bin/pnpm.cjs', files: {} },
  {
    name: 'Yarn 4, `node-modules`',
    spec: '@yarnpkg/cli-dist@4.18.1',
    script: 'bin/yarn.js',
    files: { '.yarnrc.yml': 'nodeLinker: node-modules\n', 'yarn.lock': '' },
  },
  {
    name: 'Yarn 4, Plug’n’Play',
    spec: '@yarnpkg/cli-dist@4.18.1',
    script: 'bin/yarn.js',
    files: { 'yarn.lock': '' },
    run: ['node'],
  },
]

/**
 * @param {string} folder For everything that this makes.
 * @param {string} packages Where the tarballs are.
 * @returns {Promise<{ ok: boolean, lines: string[] }>} Lines of a Markdown table.
 */
export async function tryManagers(folder, packages) {
  const registry = await startRegistry(packages)
  const lines = ['| `… add pglisten` with | installs and loads |', '| --- | --- |']
  let ok = true
  try {
    for (const [index, manager] of MANAGERS.entries()) {
      const home = path.join(folder, `manager-${index}`)
      try {
        await tryManager(manager, home, registry.url)
        lines.push(`| ${manager.name} | ✔ |`)
      } catch (error) {
        ok = false
        const { stdout, stderr } = /** @type {{ stdout?: string, stderr?: string }} */ (error)
        const why = `${String(error)} ${stdout ?? ''} ${stderr ?? ''}`
        lines.push(`| ${manager.name} | ✘ ${why.replaceAll(/[\s|]+/g, ' ').slice(0, 500)} |`)
      }
    }
  } finally {
    await registry.close()
  }
  return { ok, lines }
}

/** @param {Manager} manager @param {string} home @param {string} registry */
async function tryManager({ spec, script, files, run = [] }, home, registry) {
  const user = path.join(home, 'user')
  fs.mkdirSync(user, { recursive: true })
  await npm(['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', spec], {
    cwd: home,
  })
  for (const [name, text] of Object.entries({
    'package.json': '{"name":"user","private":true}',
    '.npmrc': `registry=${registry}\n`,
    'program.cjs': "console.log(typeof require('pglisten').ConnectionPool)",
    ...files,
  })) {
    fs.writeFileSync(path.join(user, name), text)
  }
  const program = path.join(home, 'node_modules', spec.replace(/@[^@]*$/, ''), script)
  const environment = Object.entries(process.env).filter(([name]) => !/^(npm|yarn)_/i.test(name))
  const options = {
    cwd: user,
    env: {
      ...Object.fromEntries(environment),
      // Neither what was installed before nor anybody's settings have a say.
      HOME: home,
      XDG_DATA_HOME: home,
      npm_config_cache: path.join(home, 'cache'),
      YARN_NPM_REGISTRY_SERVER: registry,
      YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
      YARN_ENABLE_GLOBAL_CACHE: 'false',
      YARN_ENABLE_IMMUTABLE_INSTALLS: 'false',
      // Packages of this minute are what it is about.
      YARN_NPM_MINIMAL_AGE_GATE: '0',
    },
  }
  const execute = promisify(execFile)
  const add = script.includes('npm-cli') ? 'install' : 'add'
  await execute(process.execPath, [program, add, 'pglisten'], options)
  const runner = run.length > 0 ? [program, ...run] : []
  const { stdout } = await execute(process.execPath, [...runner, 'program.cjs'], options)
  if (stdout.trim() !== 'function') throw new Error(`printed ${JSON.stringify(stdout)}`)
}
