// How long `pglisten listen` takes from its start until it listens, and an empty program of Node for comparison.
//
//   node bench/command-ready.mjs [RUNS]
//
// On a server of its own, or that of PGLISTEN_TEST_DSN. Runs alternate, so that other work of the machine falls on both.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { startServer } from '../lab/server/dev-server.mjs'

const runs = Number(process.argv[2] ?? 20)
const command = path.resolve(import.meta.dirname, '../bin/pglisten.js')
const given = process.env['PGLISTEN_TEST_DSN']
const server = given === undefined ? await startServer() : undefined
const env = { ...process.env, NODE_OPTIONS: '', DATABASE_URL: given ?? server?.dsn }

/** @param {string[]} args @param {boolean} untilListening */
async function time(args, untilListening) {
  const began = performance.now()
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  if (untilListening) await once(child.stderr, 'data')
  else await exited
  const took = performance.now() - began
  child.kill('SIGTERM')
  await exited
  return took
}

/** @param {number[]} times */
const told = (times) => {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (/** @type {number} */ share) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0
  return { least: at(0), median: at(0.5) }
}

const empty = []
const listening = []
for (let run = 0; run < runs; run += 1) {
  empty.push(await time(['-e', ''], false))
  listening.push(await time([command, 'listen', 'ready'], true))
}
const [base, ready] = [told(empty), told(listening)]
for (const key of /** @type {const} */ (['least', 'median'])) {
  const difference = ready[key] - base[key]
  console.log(
    `${key}: empty program ${base[key].toFixed(0)} ms, listening ${ready[key].toFixed(0)} ms, difference ${difference.toFixed(0)} ms`,
  )
}
await server?.stop()
