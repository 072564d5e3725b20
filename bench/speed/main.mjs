// Runs the plan in interleaved rounds, so that a machine that is slower for a while is so for everybody and in every case, and
// writes what it came to.

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

  --rounds N    how many rounds (default 5); in each, all contestants do each case once, or as often as its plan says
  --only TEXT   only the cases whose names contain one of these, such as burst-40,latency
  --node FLAGS  flags for the Node of the contestants, such as --node=--no-opt
  --out FOLDER  where the results go (default bench/results)`
const CHARTED = 'burst-40'
const LOADED = ['pglisten', 'pg', 'postgres', 'pg-listen']
/** Loading takes little, and its times vary: how often it is done in each round. */
const LOADING_TIMES = 4

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

/** @type {Map<string, Map<string, Measures[]>>} What was measured so far, by case, then by contestant. */
const runs = new Map()
try {
  for (let round = 0; round < options.rounds; round += 1) {
    for (const one of cases) await runCase(one, round)
  }
} finally {
  await notifier.end()
  await server.stop()
  // Also of a run that fails: it may have taken half an hour.
  for (const { id, title } of cases) {
    if (runs.has(id)) console.log(`\n${caseTable(title, medians(id))}`)
  }
}
const results = Object.fromEntries(cases.map(({ id }) => [id, medians(id)]))
const single = Object.fromEntries(
  [...runs].map(([id, contestants]) => [id, Object.fromEntries(contestants)]),
)
const verdicts = judge(results)
const outcome = { environment: environment(), cases, results, verdicts, single }
console.log(`\n${verdictTable(outcome.verdicts)}`)
write(outcome)

/** What was measured in a case, by contestant. @param {string} id */
function medians(id) {
  const contestants = [...(runs.get(id) ?? [])]
  return Object.fromEntries(contestants.map(([name, measured]) => [name, figures(measured)]))
}

/** @param {(typeof cases)[number]} one @param {number} round */
async function runCase(one, round) {
  const now = (/** @type {string} */ what) =>
    progress(`round ${round + 1} of ${options.rounds}, ${one.id}: ${what}`)
  if (one.id === 'binary' && round === 0) add(one, 'pglisten', { mb: addonBytes() / 1e6 })
  if (one.id === 'loading') {
    for (let time = 1; time <= LOADING_TIMES; time += 1) {
      now(`${time} of ${LOADING_TIMES}`)
      for (const [name, took] of Object.entries(await loading(LOADED))) add(one, name, took)
    }
  }
  if (!('task' in one)) return
  const { task, times = 1, once = [] } = one
  for (let time = 0; time < times; time += 1) {
    const contestants = one.contestants.filter((name) => time === 0 || !once.includes(name))
    // Nobody is always behind the same one.
    const first = (round * times + time) % contestants.length
    for (const name of [...contestants.slice(first), ...contestants.slice(0, first)]) {
      now(name)
      add(one, name, measures(await run(scene, name, one), task.kind))
    }
  }
}

/** @param {{ id: string }} one @param {string} name @param {Measures} measured */
function add({ id }, name, measured) {
  const ofCase = runs.get(id) ?? new Map()
  runs.set(id, ofCase.set(name, [...(ofCase.get(name) ?? []), measured]))
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
