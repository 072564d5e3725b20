// Statements, beside other clients: runs the cases in interleaved rounds, so that a machine that is slower for a while is so
// for everybody, and prints what they came to.
//
//   node main.mjs [options]

import fs from 'node:fs'
import path from 'node:path'
import { Client } from 'pg'
import { startServer } from '../../lab/server/dev-server.mjs'
import { root } from '../../scripts/lib/run.mjs'
import { runMain } from '../../scripts/lib/setup.mjs'
import { installPsqlpy, PSQLPY } from '../../scripts/lib/python-client.mjs'
import { machine, progress } from '../speed/surroundings.mjs'
import { readOptions } from './options.mjs'
import { caseTable, markdown } from './report.mjs'
import { LeftOut, run } from './run.mjs'
import { twentyColumns } from './tables.mjs'

const RESULTS = path.join(root, 'bench', 'results', 'queries.md')

await runMain(async () => {
  const { rounds, cases, quick, write } = readOptions()
  const python = await pythonClient()
  const server = await startServer()
  /** @type {Map<string, import('./report.mjs').Outcomes>} */
  const outcomes = new Map(
    cases.map(({ id, contestants }) => [id, new Map(contestants.map((name) => [name, []]))]),
  )
  let version = ''
  try {
    version = await setUp(server.dsn)
    for (let round = 0; round < rounds; round += 1) {
      for (const one of cases)
        await runCase({ dsn: server.dsn, python: python?.python }, one, round)
    }
  } finally {
    await server.stop()
    python?.remove()
  }
  const tables = cases.map((one) => caseTable(one, outcomes.get(one.id) ?? new Map()))
  const text = markdown(environment(version), tables)
  console.log(`\n${text}`)
  if (write) {
    fs.writeFileSync(RESULTS, text)
    console.log(`Written to ${path.relative(process.cwd(), RESULTS)}`)
  }
  return 0

  /** @param {{ dsn: string, python: string | undefined }} scene @param {import('./plan.mjs').Case} one @param {number} round */
  async function runCase(scene, one, round) {
    const ofCase = outcomes.get(one.id) ?? new Map()
    for (const contestant of inTurn(one.contestants, round)) {
      const runs = ofCase.get(contestant)
      if (typeof runs === 'string') continue
      progress(`round ${round + 1} of ${rounds}, ${one.id}: ${contestant}`)
      try {
        runs.push(await run(scene, one, contestant))
      } catch (error) {
        if (!(error instanceof LeftOut)) throw error
        ofCase.set(contestant, error.message)
        progress(`${one.id} without ${contestant}: ${error.message}\n`)
      }
    }
  }

  /** @param {string} version Of the server. */
  function environment(version) {
    const clients = ['pg', 'pg-copy-streams', 'postgres'].map((name) => {
      const file = new URL(`../node_modules/${name}/package.json`, import.meta.url)
      return `${name} ${JSON.parse(fs.readFileSync(file, 'utf8')).version}`
    })
    const [, psqlpy] = PSQLPY.split('==')
    return {
      date: new Date().toISOString().slice(0, 10),
      machine: machine(),
      server: `PostgreSQL ${version}`,
      node: process.version,
      clients: [...clients, ...(python ? [`psqlpy ${psqlpy}`] : [])].join(', '),
      rounds: quick ? `${rounds}, with a hundredth of the rows and statements` : String(rounds),
    }
  }

  /** Makes what `fetch20` reads. @param {string} dsn @returns {Promise<string>} The server's version. */
  async function setUp(dsn) {
    const client = new Client({ connectionString: dsn })
    await client.connect()
    try {
      const twenty = cases.find(({ id }) => id === 'fetch20')
      if (twenty) await client.query(twentyColumns(twenty.count))
      const { rows } = await client.query('SHOW server_version')
      return rows[0].server_version
    } finally {
      await client.end()
    }
  }
})

/** Each is first, last and behind any other as often as another. @param {readonly string[]} names @param {number} round */
function inTurn(names, round) {
  const first = round % names.length
  const turned = [...names.slice(first), ...names.slice(0, first)]
  return round % 2 === 0 ? turned : turned.toReversed()
}

/** Without psqlpy the others are measured all the same. */
async function pythonClient() {
  try {
    progress('installing psqlpy')
    return await installPsqlpy()
  } catch (error) {
    progress(`without psqlpy: ${/** @type {Error} */ (error).message}\n`)
    return undefined
  }
}
