// `npm run parity`: the same programs with psqlpy and with this build, against one server, and what they came to side by side.
//
//   node --import=tsx main.ts PYTHON

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, promisify } from 'node:util'
import { ConnectionPool } from 'pglisten'
import { startServer } from '../../lab/server/dev-server.mjs'
import { within } from '../../lab/wait.js'
import { canonical } from './canonical.js'
import { compare, type Comparison, type Notes, type Outcome } from './comparison.js'
import { DIFFERENCES } from './differences.js'
import { CONNECTIONS } from './pglisten/connections.js'
import { COPYING } from './pglisten/copying.js'
import { CURSORS } from './pglisten/cursors.js'
import { PREPARED } from './pglisten/prepared.js'
import { TRANSACTIONS } from './pglisten/transactions.js'
import { VALUES } from './pglisten/values.js'
import { Pending, ported, type Program } from './port.js'

const PROGRAMS: Record<string, Program> = {
  ...CONNECTIONS,
  ...TRANSACTIONS,
  ...CURSORS,
  ...PREPARED,
  ...COPYING,
  ...VALUES,
}
const RUN = fileURLToPath(new URL('psqlpy/run.py', import.meta.url))
const MEMBERS = fileURLToPath(new URL('psqlpy/members.py', import.meta.url))
const LISTED = new URL('members.json', import.meta.url)
const DEADLINE_MS = 30_000

const [python = ''] = process.argv.slice(2)
const totals = { same: 0, different: 0, pending: 0, wrong: 0 }
/** Differences that were found to be there, as `program, label`. */
const verified = new Set<string>()
const lacking = new Map<string, string[]>()
await checkMembers()
const server = await startServer()
try {
  for (const [name, program] of Object.entries(PROGRAMS)) {
    try {
      const theirs = await withPsqlpy(name)
      const ours = await withPglisten(program)
      if (ours.lacks !== undefined) {
        lacking.set(ours.lacks, [...(lacking.get(ours.lacks) ?? []), name])
      }
      tell(name, compare(theirs, ours, DIFFERENCES[name]))
    } catch (error) {
      totals.wrong += 1
      console.log(`✘ ${name}: ${String(error)}`)
    }
  }
} finally {
  await server.stop()
}
for (const name of Object.keys(DIFFERENCES).filter((name) => !(name in PROGRAMS))) {
  totals.wrong += 1
  console.log(`✘ ${name}: there is no such program, though it is said to differ`)
}

console.log('\nDifferent on purpose:\n')
for (const [program, labels] of Object.entries(DIFFERENCES)) {
  for (const [label, { psqlpy, pglisten, reason }] of Object.entries(labels)) {
    const place = `${program}, ${label}`
    const values = `psqlpy ${JSON.stringify(psqlpy)}, pglisten ${JSON.stringify(pglisten)}`
    const mark = verified.has(place) ? '' : ' (not seen in this run)'
    console.log(`- ${place}: ${values}. ${reason}.${mark}`)
  }
}
if (lacking.size > 0) {
  console.log('\nPending, because this build has not yet:\n')
  for (const [what, programs] of lacking) console.log(`- \`${what}\`: ${programs.join(', ')}`)
}
const { same, different, pending, wrong } = totals
console.log(
  `\n${same} the same, ${different} different on purpose, ${pending} pending, ${wrong} wrong`,
)
process.exitCode = wrong > 0 ? 1 : 0

function tell(name: string, { same, different, pending, wrong }: Comparison): void {
  totals.same += same.length
  totals.different += different.length
  totals.pending += pending.length
  totals.wrong += wrong.length
  for (const label of different) verified.add(`${name}, ${label}`)
  const counts = [
    `${same.length} the same`,
    ...(different.length > 0 ? [`${different.length} different on purpose`] : []),
    ...(pending.length > 0 ? [`pending: ${pending.join('; ')}`] : []),
  ]
  const mark = wrong.length > 0 ? '✘' : pending.length > 0 ? '…' : '✔'
  console.log(`${mark} ${name}: ${counts.join(', ')}`)
  for (const line of wrong) console.log(`    ${line}`)
}

/** Holds the list of psqlpy's members, by which its page is checked, against psqlpy. */
async function checkMembers(): Promise<void> {
  const { stdout } = await promisify(execFile)(python, ['-B', MEMBERS])
  const listed: unknown = JSON.parse(await readFile(LISTED, 'utf8'))
  if (isDeepStrictEqual(JSON.parse(stdout), listed)) return
  totals.wrong += 1
  console.log(`✘ members.json is not what psqlpy has:\n${stdout}`)
}

async function withPsqlpy(name: string): Promise<Notes> {
  const options = { timeout: DEADLINE_MS, killSignal: 'SIGKILL' as const }
  try {
    const { stdout } = await promisify(execFile)(python, ['-B', RUN, server.dsn, name], options)
    return JSON.parse(stdout) as Notes
  } catch (error) {
    // psqlpy can abort at the end of its process, when everything is said.
    const { stdout } = error as { stdout?: string }
    if (stdout?.endsWith('}\n')) return JSON.parse(stdout) as Notes
    throw error
  }
}

async function withPglisten(program: Program): Promise<Outcome> {
  await using pool = new ConnectionPool({ dsn: server.dsn, maxDbPoolSize: 1 })
  await using connection = await pool.connection()
  const notes: Notes = {}
  const say = (label: string, value: unknown) => {
    notes[label] = canonical(value)
  }
  try {
    await within(program(ported(connection), say), { timeoutMs: DEADLINE_MS })
    return { notes }
  } catch (error) {
    if (!(error instanceof Pending)) throw error
    return { notes, lacks: error.message }
  }
}
