// `npm run example -- <name>`: runs a program of `examples/` on the server of `DATABASE_URL`, or on a disposable one.
//
// Before a program creates tables in the database of `DATABASE_URL` it asks, or wants `--install` where nobody can be asked.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import {
  createdBy,
  examples,
  installExamples,
  knowsInstall,
  prepareExample,
} from '../lib/examples.mjs'
import { onInterrupt, root } from '../lib/run.mjs'
import { SetupError, runMain, setup } from '../lib/setup.mjs'

/** One Ctrl-C may arrive twice: from the terminal, and from npm. */
const SAME_KEY_MS = 200

await runMain(async () => {
  const [name, ...args] = process.argv.slice(2)
  const all = examples()
  const example = all.find((it) => it.name === name)
  if (example === undefined) {
    const names = all.map((it) => it.name).join(', ')
    throw new SetupError(`Expected one of ${names}, got ${name ?? 'nothing'}`)
  }
  const given = process.env['DATABASE_URL']
  if (given !== undefined && !args.includes('--install')) await askBefore(example)
  // What installs and builds ends with this command; later the program hears signals itself.
  const leaveSignals = onInterrupt(() => {})
  await setup()
  if (example.usesPackages) await installExamples()
  const program = await prepareExample(example)
  leaveSignals()
  // This command has asked already on behalf of a program that does not know the option.
  const passed = knowsInstall(example) ? args : args.filter((it) => it !== '--install')
  if (given !== undefined) return runProgram(program, given, passed)
  const { startServer } = await import('../../lab/server/dev-server.mjs')
  const server = await startServer()
  try {
    console.log(`For another terminal: export DATABASE_URL=${server.dsn}\n`)
    // On this server an example may create what it needs.
    const install = knowsInstall(example) ? ['--install'] : []
    return await runProgram(program, server.dsn, [...install, ...passed])
  } finally {
    await server.stop()
  }
})

/** @param {import('../lib/examples.mjs').Example} example */
async function askBefore(example) {
  const created = createdBy(example)
  if (created.length === 0) return
  const what = `${example.name} creates in the database of DATABASE_URL, unless they are there: ${created.join(', ')}`
  if (!process.stdin.isTTY) {
    throw new SetupError(`${what}. Expected --install, as nobody can be asked, got nothing`)
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const answer = await terminal.question(`${what}. Go on? [y/N] `)
  terminal.close()
  if (!/^y(es)?$/i.test(answer.trim())) throw new SetupError('Nothing was done.')
}

/** @param {{ command: string, args: string[] }} program @param {string} dsn @param {string[]} args */
async function runProgram({ command, args: before }, dsn, args) {
  const program = spawn(command, [...before, ...args], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: dsn },
    stdio: ['ignore', 'inherit', 'inherit'],
    // In a group of its own, so that each signal reaches it once, from here.
    detached: process.platform !== 'win32',
  })
  let last = -Infinity
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => {
      if (performance.now() - last > SAME_KEY_MS) program.kill(signal)
      last = performance.now()
    })
  }
  const [code] = await once(program, 'exit')
  return code ?? 1
}
