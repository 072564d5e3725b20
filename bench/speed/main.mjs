// Runs the plan in interleaved rounds, so that a machine that is slower for a while is so for everybody, and writes what it
// came to.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { startServer } from '../../scripts/dev-server.mjs'
import { root } from '../../scripts/run.mjs'
import { chart } from './chart.mjs'
import { loading } from './loading.mjs'
import { plan } from './plan.mjs'
import { caseTable, markdown, verdictTable } from './report.mjs'
import { run } from './run.mjs'
import { figures, measures } from './statistics.mjs'
import { judge } from './targets.mjs'

/** @typedef {import('./statistics.mjs').Measures} Measures */

const HELP = `npm run bench -- [options]

  --rounds N    how often each contestant does each task (default 5)
  --only TEXT   only the cases whose names contain one of these, such as burst-40,latency
  --node FLAGS  flags for the Node of the contestants, such as --node=--no-opt
  --out FOLDER  where the results go (default bench/results)`
const CHARTED = 'burst-40'
const LOADED = ['pglisten', 'pg', 'postgres', 'pg-listen']
/** Loading takes little, and its times vary. */
const LOADING_ROUNDS = 4

const options = readOptions()
const RAW = `${root}target/release/pglisten-bench-raw${process.platform === 'win32' ? '.exe' : ''}`
const python = ['psqlpy', 'asyncpg'].filter(hasPython).map((name) => `python ${name}`)
const cases = [
  ...plan(python),
  { id: 'loading', title: 'Loading the package, above an empty program' },
  { id: 'binary', title: 'The stripped addon' },
].filter(({ id }) => options.only.length === 0 || options.only.some((part) => id.includes(part)))
if (cases.length === 0)
  throw new Error(`No case is called anything like ${options.only.join(', ')}`)

const server = await startServer()
const notifier = new Client({ connectionString: server.dsn })
await notifier.connect()
const scene = { dsn: server.dsn, raw: RAW, notifier, nodeFlags: options.nodeFlags }

/** @type {import('./targets.mjs').Results} */
const results = {}
try {
  for (const one of cases) {
    results[one.id] = await runCase(one)
    console.log(`\n${caseTable(one.title, results[one.id] ?? {})}`)
  }
} finally {
  await notifier.end()
  await server.stop()
}
const outcome = { environment: environment(), cases, results, verdicts: judge(results) }
console.log(`\n${verdictTable(outcome.verdicts)}`)
write(outcome)

/** @param {(typeof cases)[number]} one */
async function runCase(one) {
  /** @type {Map<string, Measures[]>} */
  const runs = new Map()
  const add = (/** @type {string} */ name, /** @type {Measures} */ measured) =>
    runs.set(name, [...(runs.get(name) ?? []), measured])
  if (one.id === 'binary') add('pglisten', { mb: addonBytes() / 1e6 })
  if (one.id === 'loading') {
    for (let round = 1; round <= options.rounds * LOADING_ROUNDS; round += 1) {
      progress(`loading, round ${round}`)
      for (const [name, took] of Object.entries(await loading(LOADED))) add(name, took)
    }
  }
  if ('task' in one) {
    const rounds = options.rounds * (one.times ?? 1)
    for (let round = 0; round < rounds; round += 1) {
      for (let turn = 0; turn < one.contestants.length; turn += 1) {
        // Nobody is always behind the same one.
        const name = one.contestants[(turn + round) % one.contestants.length]
        progress(`${one.id}, round ${round + 1} of ${rounds}: ${name}`)
        add(name, measures(await run(scene, name, one), one.task.kind))
      }
    }
  }
  const names = 'task' in one ? one.contestants : [...runs.keys()]
  return Object.fromEntries(names.map((name) => [name, figures(runs.get(name) ?? [])]))
}

/** @param {import('./report.mjs').Outcome} outcome */
function write(outcome) {
  fs.mkdirSync(options.out, { recursive: true })
  const file = (/** @type {string} */ name) => `${options.out}/${name}`
  fs.writeFileSync(file('results.json'), `${JSON.stringify(outcome, undefined, 2)}\n`)
  fs.writeFileSync(file('results.md'), markdown(outcome))
  const picture = chart(outcome.results, CHARTED)
  if (picture) fs.writeFileSync(file('chart.svg'), picture)
  console.log(`\nWritten to ${options.out}`)
}

/** @param {string} text */
function progress(text) {
  process.stderr.write(process.stderr.isTTY ? `\r\u001B[K${text}` : `${text}\n`)
}

function environment() {
  const [cpu] = os.cpus()
  const version = (/** @type {string} */ name) =>
    JSON.parse(
      fs.readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8'),
    ).version
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${os.cpus().length} × ${cpu?.model ?? 'unknown'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`,
    node: [process.version, ...options.nodeFlags].join(' '),
    contestants: ['pg', 'postgres', 'pg-listen']
      .map((name) => `${name} ${version(name)}`)
      .concat(python)
      .join(', '),
    rounds: String(options.rounds),
  }
}

function addonBytes() {
  const folder = `${root}native/`
  const name = fs.readdirSync(folder).find((name) => name.endsWith('.node'))
  return name === undefined ? Number.NaN : fs.statSync(folder + name).size
}

/** @param {string} name */
function hasPython(name) {
  try {
    execFileSync('python3', ['-c', `import ${name}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: '' },
      node: { type: 'string', default: '' },
      out: { type: 'string', default: `${root}bench/results` },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(HELP)
    process.exit()
  }
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new TypeError(`Expected --rounds to be a whole number from 1 on, got ${values.rounds}`)
  }
  const only = values.only.split(',').filter((part) => part !== '')
  const nodeFlags = values.node.split(' ').filter((flag) => flag !== '')
  return { rounds, only, nodeFlags, out: values.out }
}
