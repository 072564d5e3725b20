// Runs the plan in interleaved rounds, so that a machine that is slower for a while is so for everybody and in every case, and
// writes what it came to.

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { Client } from 'pg'
import { startServer } from '../../lab/server/dev-server.mjs'
import { root } from '../../scripts/lib/run.mjs'
import { chart } from './chart.mjs'
import { loading } from './loading.mjs'
import { baselineOf } from './baseline.mjs'
import { readOptions } from './options.mjs'
import { chosen, plan } from './plan.mjs'
import { machine, progress } from './surroundings.mjs'
import { caseTable, markdown, verdictTable } from './report.mjs'
import { toJson } from './results-file.mjs'
import { RAW, run } from './run.mjs'
import { figures, measures } from './statistics.mjs'
import { judge } from './targets.mjs'

const CHARTED = 'burst-40'
const LOADED = ['pglisten', 'pg', 'postgres', 'pg-listen']

const options = readOptions()
const python = ['psqlpy', 'asyncpg'].filter(hasPython).map((name) => `python ${name}`)
/** @typedef {import('./plan.mjs').Case} Case */
/** @type {(Case | Omit<Case, 'task'>)[]} */
const all = [
  ...plan(python, options.beside !== undefined),
  {
    id: 'loading',
    title: 'Loading the package, above an empty program',
    contestants: LOADED.slice(0, 1),
    // It takes little, and its times vary.
    times: 4,
  },
  { id: 'binary', title: 'The stripped addon', contestants: LOADED.slice(0, 1), rounds: 1 },
]
const cases = chosen(all, options.only)
/** Those that take turns. @type {Map<string, typeof cases>} */
const groups = new Map()
for (const one of cases) {
  const name = one.group ?? one.id
  groups.set(name, [...(groups.get(name) ?? []), one])
}

const server = await startServer()
const notifier = new Client({ connectionString: server.dsn })
await notifier.connect()
const scene = {
  dsn: server.dsn,
  raw: RAW,
  notifier,
  nodeFlags: options.nodeFlags,
  packageFolder: fs.realpathSync(root),
  ...(options.beside !== undefined && {
    baselineFolder: fs.realpathSync((await baselineOf(options.beside)).folder),
  }),
}

/** @type {import('./statistics.mjs').Runs} */
const runs = {}
try {
  for (let round = 0; round < options.rounds; round += 1) {
    for (const group of groups.values()) await runGroup(group, round)
  }
} finally {
  await notifier.end()
  await server.stop()
  // Also of a run that fails: it may have taken most of an hour.
  for (const one of cases) {
    if (runs[one.id]) console.log(`\n${caseTable(one.title, medians(one))}`)
  }
}
const results = Object.fromEntries(cases.map((one) => [one.id, medians(one)]))
const outcome = { environment: environment(), cases, results, verdicts: judge(runs), runs }
console.log(`\n${verdictTable(outcome.verdicts)}`)
write(outcome)

/** What a case came to, by contestant: in the order of the plan, however they took turns. @param {(typeof cases)[number]} one */
function medians({ id, contestants }) {
  const done = runs[id] ?? {}
  const names = new Set([...contestants.filter((name) => done[name]), ...Object.keys(done)])
  return Object.fromEntries([...names].map((name) => [name, figures(done[name] ?? [])]))
}

/** @param {typeof cases} all Those of one group. @param {number} round */
async function runGroup(all, round) {
  const group = all.filter(({ rounds = Infinity }) => round < rounds)
  const most = Math.max(...group.map(({ times = 1 }) => times))
  for (let time = 0; time < most; time += 1) {
    const turn = round * most + time
    const due = group.filter(({ times = 1 }) => time < times)
    // First or last, nobody is so more often than others.
    for (const one of turn % 2 === 0 ? due : due.toReversed()) {
      await runCase(one, inTurn(comparedIn(one), turn), round)
    }
  }
  for (const one of group) await runCase(one, inTurn(one.once ?? [], round), round)
}

/** Those who are compared with each other, so that nobody else comes between them. @param {(typeof cases)[number]} one */
function comparedIn({ contestants, once = [] }) {
  return contestants.filter((name) => !once.includes(name))
}

/** Each is first, last and behind any other as often as another. @param {readonly string[]} names @param {number} turn */
function inTurn(names, turn) {
  const first = turn % names.length
  const turned = [...names.slice(first), ...names.slice(0, first)]
  return Math.floor(turn / names.length) % 2 === 0 ? turned : turned.toReversed()
}

/** @param {(typeof cases)[number]} one @param {readonly string[]} names Who does it now. @param {number} round */
async function runCase(one, names, round) {
  for (const name of names) {
    progress(`round ${round + 1} of ${options.rounds}, ${one.id}: ${name}`)
    if (one.id === 'binary') add(one, name, { mb: addonBytes() / 1e6 })
    else if (one.id === 'loading') {
      for (const [loaded, took] of Object.entries(await loading(LOADED))) add(one, loaded, took)
    } else if ('task' in one) {
      try {
        add(one, name, measures(await run(scene, name, one), one.task.kind))
      } catch (error) {
        if (!one.optional) throw error
        progress(`left out: ${/** @type {Error} */ (error).message}\n`)
      }
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
  fs.writeFileSync(file('results.json'), toJson({ ...outcome }))
  fs.writeFileSync(file('results.md'), markdown(outcome))
  const picture = chart(outcome.results, CHARTED)
  if (picture) fs.writeFileSync(file('chart.svg'), picture)
  console.log(`\nWritten to ${options.out}`)
}

function environment() {
  const version = (/** @type {string} */ name) =>
    JSON.parse(
      fs.readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url), 'utf8'),
    ).version
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: machine(),
    node: [process.version, ...options.nodeFlags].join(' '),
    contestants: ['pg', 'postgres', 'pg-listen']
      .map((name) => `${name} ${version(name)}`)
      .concat(python)
      .join(', '),
    rounds: String(options.rounds),
    ...(options.beside !== undefined && { 'pglisten before': options.beside }),
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
