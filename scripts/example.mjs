// `npm run example -- <name>`: runs a program of `examples/` on the server of `DATABASE_URL`, or on a disposable one.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { root } from './lib/run.mjs'
import { SetupError, runMain, setup } from './lib/setup.mjs'

/** One Ctrl-C may arrive twice: from the terminal, and from npm. */
const SAME_KEY_MS = 200

await runMain(async () => {
  const [name, ...args] = process.argv.slice(2)
  const names = readdirSync(`${root}examples`).filter((it) => it !== 'demo')
  if (name === undefined || !names.includes(name)) {
    throw new SetupError(`Expected one of ${names.join(', ')}, got ${name ?? 'nothing'}`)
  }
  await setup()
  const given = process.env['DATABASE_URL']
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
