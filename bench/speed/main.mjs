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

const HELP = `npm run bench -- [options]

  --rounds N    how many rounds (default 5); in each, all contestants do each case, as often as its plan says
  --only TEXT   only the cases whose names contain one of these, such as burst-40,latency
  --node FLAGS  flags for the Node of the contestants, such as --node=--no-opt
  --out FOLDER  where the results go (default bench/results)`
const CHARTED = 'burst-40'
const LOADED = ['pglisten', 'pg', 'postgres', 'pg-listen']

const options = readOptions()
const RAW = `${root}target/release/pglisten-bench-raw${process.platform === 'win32' ? '.exe' : ''}`
const python = ['psqlpy', 'asyncpg'].filter(hasPython).map((name) => `python ${name}`)
/** @type {(Pick<import('./plan.mjs').Case, 'id' | 'title' | 'times' | 'rounds' | 'group'> | import('./plan.mjs').Case)[]} */
const cases = [
  ...plan(python),
  // It takes little, and its times vary.
  { id: 'loading', title: 'Loading the package, above an empty program', times: 4 },
  { id: 'binary', title: 'The stripped addon', rounds: 1 },
].filter(({ id }) => options.only.length === 0 || options.only.some((part) => id.includes(part)))
if (cases.length === 0)
  throw new Error(`No case is called anything like ${options.only.join(', ')}`)
/** Those that take turns. @type {Map<string, typeof cases>} */
const groups = new Map()
for (const one of cases) {
  const name = one.group ?? one.id
  groups.set(name, [...(groups.get(name) ?? []), one])
}

const server = await startServer()
const notifier = new Client({ connectionString: server.dsn })
await notifier.connect()
const scene = { dsn: server.dsn, raw: RAW, notifier, nodeFlags: options.nodeFlags }

/** @type {import('./statistics.mjs').Runs} */
const runs = {}
try {
  for (let round = 0; round < options.rounds; round += 1) {
    for (const group of groups.values()) await runGroup(group, round)
  }
} finally {
  await notifier.end()
  await server.stop()
  // Also of a run that fails: it may have taken half an hour.
  for (const { id, title } of cases) {
    if (runs[id]) console.log(`\n${caseTable(title, medians(id))}`)
  }
}
const results = Object.fromEntries(cases.map(({ id }) => [id, medians(id)]))
const outcome = { environment: environment(), cases, results, verdicts: judge(runs), runs }
console.log(`\n${verdictTable(outcome.verdicts)}`)
write(outcome)

/** What a case came to, by contestant. @param {string} id */
function medians(id) {
  const contestants = Object.entries(runs[id] ?? {})
  return Object.fromEntries(contestants.map(([name, measured]) => [name, figures(measured)]))
}

/** @param {typeof cases} all Those of one group. @param {number} round */
async function runGroup(all, round) {
  const group = all.filter(({ rounds = Infinity }) => round < rounds)
  const most = Math.max(...group.map(({ times = 1 }) => times))
  for (let time = 0; time < most; time += 1) {
    for (const one of group) if (time < (one.times ?? 1)) await runCase(one, round, time)
  }
}

/** @param {(typeof cases)[number]} one @param {number} round @param {number} time How often it was done in this round. */
async function runCase(one, round, time) {
  const { id, times = 1 } = one
  const now = (/** @type {string} */ what) =>
    progress(`round ${round + 1} of ${options.rounds}, ${id}: ${what} ${time + 1} of ${times}`)
  if (id === 'binary') {
    add(one, 'pglisten', { mb: addonBytes() / 1e6 })
  } else if (id === 'loading') {
    now('all')
    for (const [name, took] of Object.entries(await loading(LOADED))) add(one, name, took)
  } else if ('task' in one) {
    const { task, once = [] } = one
    const contestants = one.contestants.filter((name) => time === 0 || !once.includes(name))
    // Nobody is always behind the same one.
    const first = (round * times + time) % contestants.length
    for (const name of [...contestants.slice(first), ...contestants.slice(0, first)]) {
      now(name)
      add(one, name, measures(await run(scene, name, one), task.kind))
    }
  }
}

/** @param {{ id: string }} one @param {string} name @param {import('./statistics.mjs').Measures} measured */
function add({ id }, name, measured) {
  const ofCase = (runs[id] ??= {})
  ;(ofCase[name] ??= []).push(measured)
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
