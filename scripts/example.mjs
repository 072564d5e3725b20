// `npm run example -- <name>`: runs a program of `examples/` on the server of `DATABASE_URL`, or on a disposable one.
//
// Before a program creates tables in the database of `DATABASE_URL` it asks, or wants `--install` where nobody can be asked.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { onInterrupt, root } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

/** One Ctrl-C may arrive twice: from the terminal, and from npm. */
const SAME_KEY_MS = 200

await runMain(async () => {
  const [name, ...args] = process.argv.slice(2)
  const names = readdirSync(`${root}examples`).filter((it) => it !== 'demo')
  if (name === undefined || !names.includes(name)) {
    throw new SetupError(`Expected one of ${names.join(', ')}, got ${name ?? 'nothing'}`)
  }
  const given = process.env['DATABASE_URL']
  if (given !== undefined && !args.includes('--install')) await askBefore(name)
  // What installs and builds ends with this command; later the program hears signals itself.
  const leaveSignals = onInterrupt(() => {})
  await setup()
  leaveSignals()
  if (given !== undefined) return runProgram(name, given, args)
  const { startServer } = await import('../lab/server/dev-server.mjs')
  const server = await startServer()
  try {
    console.log(`For another terminal: export DATABASE_URL=${server.dsn}\n`)
    // On this server an example may create what it needs.
    return await runProgram(name, server.dsn, ['--install', ...args])
  } finally {
    await server.stop()
  }
})

/** @param {string} name */
async function askBefore(name) {
  const source = readFileSync(`${root}examples/${name}/main.mts`, 'utf8')
  // A program that knows the option creates nothing without it.
  if (source.includes("'--install'")) return
  const tables = [...source.matchAll(/CREATE TABLE (?:IF NOT EXISTS )?(\w+)/g)].map(([, it]) => it)
  if (tables.length === 0) return
  const what = `${name} creates in the database of DATABASE_URL, unless they are there: ${tables.join(', ')}`
  if (!process.stdin.isTTY) {
    throw new SetupError(`${what}. Expected --install, as nobody can be asked, got nothing`)
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const answer = await terminal.question(`${what}. Go on? [y/N] `)
  terminal.close()
  if (!/^y(es)?$/i.test(answer.trim())) throw new SetupError('Nothing was done.')
}

/** @param {string} name @param {string} dsn @param {string[]} args */
async function runProgram(name, dsn, args) {
  const program = spawn(process.execPath, ['--import=tsx', `examples/${name}/main.mts`, ...args], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: dsn },
    stdio: ['ignore', 'inherit', 'inherit'],
    // In a group of its own, so that each signal reaches it once, from here.
    detached: process.platform !== 'win32',
  })
  let last = -Infinity
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
    process.on(signal, () => {
      if (performance.now() - last > SAME_KEY_MS) program.kill(signal)
      last = performance.now()
    })
  }
  const [code] = await once(program, 'exit')
  return code ?? 1
}
