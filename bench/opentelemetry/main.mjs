// What `pglisten-opentelemetry` costs the JavaScript thread for each notification: pairs of runs with and without it, one right
// after the other, each first in every other pair. Prints the median of the ratios of the pairs, with its 95 % interval.
//
//   npm run build && node bench/opentelemetry/main.mjs [rounds] [metrics | all | spans]

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startServer } from '../../lab/server/dev-server.mjs'

const CLIENT = fileURLToPath(new URL('client.mjs', import.meta.url))
const [, , rounds = '15', only] = process.argv
const CASES = [
  { kind: 'sync', mode: 'metrics', count: 200_000, bursts: 10 },
  { kind: 'async', mode: 'metrics', count: 100_000, bursts: 5 },
  { kind: 'waiting', mode: 'metrics', count: 50_000, bursts: 2 },
  { kind: 'sync', mode: 'all', count: 20_000, bursts: 2 },
  { kind: 'async', mode: 'spans', count: 20_000, bursts: 2 },
].filter(({ mode }) => only === undefined || mode === only)

const server = await startServer()

/** @param {(typeof CASES)[number]} about @returns {Promise<number>} */
async function measured(about) {
  const asked = JSON.stringify({ dsn: server.dsn, ...about })
  const { stdout } = await promisify(execFile)(process.execPath, [CLIENT, asked])
  return JSON.parse(stdout).ns
}

/** @param {number[]} values */
const sorted = (values) => values.toSorted((a, b) => a - b)

/** @param {number[]} values */
function median(values) {
  const all = sorted(values)
  const half = all.length / 2
  return ((all[Math.ceil(half) - 1] ?? 0) + (all[Math.floor(half)] ?? 0)) / 2
}

/** The interval of the median by the order of the values: the narrowest that holds it in 95 % of all samples. @param {number[]} values */
function interval(values) {
  const all = sorted(values)
  const { length } = all
  // The chance that at most `k` of the values are below the median.
  let chance = 0
  let term = 0.5 ** length
  let k = 0
  while (chance + term <= 0.025) {
    chance += term
    k += 1
    term *= (length - k + 1) / k
  }
  const outer = Math.max(0, k - 1)
  return [all[outer], all[length - 1 - outer]]
}

const pairs = CASES.map(() => /** @type {{ off: number, on: number }[]} */ ([]))
try {
  for (let round = 0; round < Number(rounds); round += 1) {
    for (const [index, about] of CASES.entries()) {
      const { mode } = about
      const order = round % 2 === 0 ? ['off', mode] : [mode, 'off']
      /** @type {Record<string, number>} */
      const spent = {}
      for (const one of order) spent[one] = await measured({ ...about, mode: one })
      pairs[index]?.push({ off: spent['off'] ?? 0, on: spent[mode] ?? 0 })
    }
  }
} finally {
  await server.stop()
}

console.log('| callback | instrumentation | ns without | ns with | ratio | 95 % interval |')
console.log('|---|---|---|---|---|---|')
for (const [index, { kind, mode }] of CASES.entries()) {
  const all = pairs[index] ?? []
  const ratios = all.map(({ off, on }) => on / off)
  const [low = 0, high = 0] = interval(ratios)
  const cells = [
    ...[kind, mode, median(all.map(({ off }) => off)).toFixed(0)],
    median(all.map(({ on }) => on)).toFixed(0),
    ...[median(ratios).toFixed(3), `${low.toFixed(3)} – ${high.toFixed(3)}`],
  ]
  console.log(`| ${cells.join(' | ')} |`)
}
