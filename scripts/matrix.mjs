// Tries the tarballs of `npm run package` as a user would: an empty folder, no Rust, no scripts, the README's first
// example against a real server; once for each runtime and each way to load the package. Prints a Markdown table.
//
//   npm run matrix                   every runtime, package manager, bundler and test runner, each installed from npm
//   npm run matrix -- --tools NAME   only the bundlers and test runners whose names have that text in them
//   npm run matrix -- --docs         only the programs of the documentation, on every Node
//   npm run matrix -- --here         only the Node that runs this
//   npm run matrix -- --dsn DSN      on a server of your own; it needs the right to notify

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { startServer } from '../lab/server/dev-server.mjs'
import { tryManagers } from './release/managers.mjs'
import { exampleOf } from './release/readme-example.mjs'
import { onInterrupt, root, runTool } from './lib/run.mjs'
import { installRuntimes, runtimeHere } from './release/runtimes.mjs'
import { SetupError, runMain } from './lib/setup.mjs'
import { tryTools } from './release/tools/tools.mjs'
import { attempt, compile, installPackages, loadingTime } from './release/trial.mjs'

/** @type {import('../lab/server/dev-server.mjs').DevServer | undefined} */
let server
const packages = path.join(root, 'target', 'tarballs')
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-matrix-'))
const cleanUp = async () => {
  await server?.stop('immediate')
  fs.rmSync(folder, { recursive: true, force: true })
}

await runMain(async () => {
  const { here, dsn, tools, docs } = options()
  onInterrupt(cleanUp)
  try {
    server = dsn === undefined ? await startServer() : undefined
    const database =
      dsn ?? /** @type {import('../lab/server/dev-server.mjs').DevServer} */ (server).dsn
    if (tools !== undefined) {
      const tried = await tryTools(folder, packages, database, tools)
      return tried.ok ? 0 : 1
    }
    const runtimes = here ? [runtimeHere()] : await installRuntimes(path.join(folder, 'runtimes'))
    if (docs) return (await tryDocs(runtimes)) ? 0 : 1
    const user = path.join(folder, 'user')
    const facts = await installPackages(user, packages)
    const example = exampleOf(path.join(root, 'README.md'))
    const programs = await compile(user, example)

    console.log(`\n| Runtime | ${programs.map(({ title }) => title).join(' | ')} |`)
    console.log(`| --- |${' --- |'.repeat(programs.length)}`)
    let failures = 0
    for (const runtime of runtimes) {
      const cells = []
      for (const program of programs) {
        const result = await attempt(runtime, program, { user, dsn: database, example })
        if (!result.ok) failures += 1
        cells.push(result.text)
      }
      console.log(`| ${runtime.name} | ${cells.join(' | ')} |`)
    }
    console.log(`\n${facts} ${await loadingTime(user)}`)
    if (here) return failures > 0 ? 1 : 0
    const areRight = await tryDocs(runtimes)
    const managers = await tryManagers(folder, packages)
    console.log(`\n${managers.lines.join('\n')}`)
    // Some of the tools are programs for this platform.
    const hasTools = process.platform === 'linux' && process.arch === 'x64'
    const tried = hasTools
      ? await tryTools(folder, packages, database)
      : { ok: true, lines: ['Bundlers, test runners and compilers are tried on Linux x64 only.'] }
    console.log(`\n${tried.lines.join('\n')}`)
    return failures > 0 || !areRight || !managers.ok || !tried.ok ? 1 : 0
  } finally {
    await cleanUp()
  }
})

/** Runs the programs of the documentation on each Node. @param {import('./release/runtimes.mjs').Runtime[]} runtimes */
async function tryDocs(runtimes) {
  console.log('\n| Runtime | programs of the documentation |\n| --- | --- |')
  let areRight = true
  // One of the programs is run by another account.
  fs.chmodSync(folder, 0o755)
  for (const { name, program, kind } of runtimes) {
    if (kind !== 'node') continue
    const env = { PGLISTEN_DOCS_NODE: program }
    const { ok, output } = await runTool('ava/entrypoints/cli.mjs', ['__test__/docs/*.spec.ts'], {
      output: 'keep',
      env,
    })
    areRight &&= ok
    const told = /^ *\d+ tests? (?:passed|failed)$/gm
    console.log(`| ${name} | ${(output.match(told) ?? []).map((line) => line.trim()).join(', ')} |`)
    if (!ok) console.error(output)
  }
  return areRight
}

function options() {
  try {
    return parseArgs({
      options: {
        here: { type: 'boolean' },
        docs: { type: 'boolean' },
        dsn: { type: 'string' },
        tools: { type: 'string' },
      },
    }).values
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error))
  }
}
