// Runs the cases with two builds of this package in turn, the working tree's and another commit's, and tells in which the
// working tree's is slower. The harness is the working tree's for both.

import fs from 'node:fs'
import path from 'node:path'
import { Client } from 'pg'
import { startServer } from '../../lab/server/dev-server.mjs'
import { root } from '../../scripts/lib/run.mjs'
import { SetupError, runMain } from '../../scripts/lib/setup.mjs'
import { baselineOf, isBuilt } from './baseline.mjs'
import { FEW_PAIRS, comparedCases } from './compared-cases.mjs'
import { PAIRS_TO_JUDGE, compare } from './comparison.mjs'
import { readOptions } from './options.mjs'
import { comparisonTable } from './report.mjs'
import { toJson } from './results-file.mjs'
import { RAW, run } from './run.mjs'
import { measures } from './statistics.mjs'
import { machine, progress } from './surroundings.mjs'

/**
 * @typedef {import('./plan.mjs').Case} Case
 * @typedef {'this' | 'that'} Build
 * @typedef {Record<Build, import('./statistics.mjs').Measures[]>} Pairs The first of each list are the first pair.
 */

await runMain(async () => {
  const options = readOptions()
  const baseline = await baselineOf(options.against ?? '')
  if (!isBuilt(baseline)) throw new SetupError(`${baseline.name} is not built`)
  const cases = comparedCases(options)
  /** @type {Record<Build, string>} */
  const folders = { this: fs.realpathSync(root), that: fs.realpathSync(baseline.folder) }
  const runs = await runAll(cases, folders, options)

  const comparisons = Object.fromEntries(
    Object.entries(runs).map(([id, pairs]) => [id, compare(pairs.this, pairs.that)]),
  )
  const file = path.join(root, 'target', 'bench-against', `${baseline.name}.json`)
  const environment = {
    date: new Date().toISOString(),
    machine: machine(),
    node: [process.version, ...options.nodeFlags].join(' '),
    that: baseline.sha,
  }
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, toJson({ environment, cases, comparisons, runs }))

  console.log(`\nThis working tree : ${baseline.name}; above 1 this one is worse.\n`)
  console.log(comparisonTable(comparisons))
  console.log(`\nEach run is in ${path.relative(process.cwd(), file)}`)
  return tell(comparisons)
})

/** @param {Record<string, import('./comparison.mjs').Comparison[]>} comparisons @returns {number} The exit code. */
function tell(comparisons) {
  const slower = Object.entries(comparisons).filter(([, all]) =>
    all.some(({ verdict }) => verdict === 'slower'),
  )
  const verdicts = new Set(
    Object.values(comparisons)
      .flat()
      .map(({ verdict }) => verdict),
  )
  const isTooFew = verdicts.has('too few')
  const isUnsteady = verdicts.has('unsteady')
  if (isTooFew) {
    console.log(`Times and rates are not judged: that takes ${PAIRS_TO_JUDGE} pairs or more.`)
  }
  if (isUnsteady) {
    console.log('Instructions are not judged: no two runs of a build agree. Is the machine busy?')
  }
  if (slower.length > 0) console.log(`Slower in ${slower.map(([id]) => id).join(', ')}`)
  else if (!isTooFew && !isUnsteady) console.log('Not slower in any case')
  return slower.length > 0 ? 1 : 0
}

/**
 * Does all cases once before any is done again, so that a slow minute is in all of them.
 * @param {readonly Case[]} cases @param {Record<Build, string>} folders @param {import('./options.mjs').Options} options
 */
async function runAll(cases, folders, { pairs, nodeFlags }) {
  /** @type {Record<string, Pairs>} */
  const runs = {}
  const left = new Set(cases)
  const server = await startServer()
  const notifier = new Client({ connectionString: server.dsn })
  try {
    await notifier.connect()
    for (let pair = 0; pair < pairs; pair += 1) {
      for (const one of left) {
        if (pair >= (FEW_PAIRS[one.id] ?? Infinity)) continue
        progress(`pair ${pair + 1} of ${pairs}, ${one.id}`)
        const scene = { dsn: server.dsn, raw: RAW, notifier, nodeFlags }
        try {
          const measured = await runPair(scene, one, folders, pair)
          const ofCase = (runs[one.id] ??= { this: [], that: [] })
          for (const build of /** @type {const} */ (['this', 'that'])) {
            ofCase[build].push(measured[build])
          }
        } catch (error) {
          if (!one.optional) throw error
          left.delete(one)
          progress(`left out: ${/** @type {Error} */ (error).message}\n`)
        }
      }
    }
  } finally {
    await notifier.end()
    await server.stop()
  }
  return runs
}

/**
 * Each build comes first in every other pair, so that neither gains by its place.
 * @param {Omit<import('./run.mjs').Scene, 'packageFolder'>} scene @param {Case} one @param {Record<Build, string>} folders
 * @param {number} pair
 */
async function runPair(scene, one, folders, pair) {
  const [name = ''] = one.contestants
  const once = async (/** @type {Build} */ build) => {
    const report = await run({ ...scene, packageFolder: folders[build] }, name, one)
    return measures(report, one.task.kind)
  }
  if (pair % 2 === 0) return { this: await once('this'), that: await once('that') }
  return { that: await once('that'), this: await once('this') }
}
