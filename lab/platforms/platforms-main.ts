// Goes through the platforms of `rows.ts`, and prints what was seen as a table.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { onInterrupt } from '../../scripts/lib/run.mjs'
import { checkAddon } from '../../scripts/release/addon-check.mjs'
import { TARGETS } from '../../scripts/release/targets.mjs'
import { TlsServer, makeAuthority } from '../tls/tls-server.js'
import { check, compileAddon } from './compile.js'
import { installNode } from './nodes.js'
import { ROWS, type Row } from './rows.js'
import { type Servers, endWine, layOut, tryPlatform } from './trial.js'

interface Outcome {
  ok: boolean
  compiles: string
  runs: string
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pglisten-platforms-'))
const wanted = process.argv.slice(2)
const rows = ROWS.filter(
  ({ triple }) => wanted.length === 0 || wanted.some((text) => triple.includes(text)),
)

// Compilers keep what they download below it.
const { HOME: home } = process.env
const tls = await TlsServer.start()
if (home !== undefined) process.env['HOME'] = home
const cleanUp = async () => {
  await tls.stop()
  fs.rmSync(folder, { recursive: true, force: true })
}
onInterrupt(cleanUp)
try {
  const { authority, issue } = makeAuthority()
  await tls.change({ certificate: issue() })
  const servers = {
    plain: `${tls.server.dsn}?sslmode=disable`,
    encrypted: `${tls.dsn}?sslmode=verify-full`,
    ca: authority.certificate,
  }
  const lines = []
  let failures = 0
  for (const row of rows) {
    const outcome = row.running === undefined ? await checkOnly(row) : await make(row, servers)
    if (!outcome.ok) failures += 1
    lines.push(
      `| \`${row.triple}\` | ${outcome.compiles} | ${outcome.runs} | ${row.remains} |`.replaceAll(
        '\n',
        ' ',
      ),
    )
  }
  console.log(`\n| Target | Compiles | Runs | Not shown here |\n| --- | --- | --- | --- |`)
  console.log(lines.join('\n'))
  process.exitCode = failures > 0 ? 1 : 0
} finally {
  await cleanUp()
}

async function checkOnly(row: Row): Promise<Outcome> {
  const runs = 'needs its own system'
  const result = await check(row)
  if ('missing' in result) return { ok: true, compiles: `needs ${result.missing}`, runs }
  return { ok: result.ok, compiles: result.ok ? 'yes, not linked' : '✘ see above', runs }
}

async function make(row: Row, servers: Servers): Promise<Outcome> {
  const { node, missing } = row.running!
  let compiles = '✘'
  const user = path.join(folder, row.triple)
  try {
    const compiled = await compileAddon(row.triple)
    if ('missing' in compiled) {
      return { ok: true, compiles: `needs ${compiled.missing}`, runs: '–' }
    }
    const checked = checkAddon(compiled.addon, TARGETS[row.publishedAs]!)
    if ('problem' in checked) throw new Error(`the addon ${checked.problem}`)
    const megabytes = (fs.statSync(compiled.addon).size / 1e6).toFixed(1)
    compiles = `${megabytes} MB, needs ${checked.needs}`
    if (missing.length > 0) return { ok: true, compiles, runs: `needs ${missing.join(', ')}` }
    layOut(user, row, compiled.addon)
    const program = await installNode(node)
    console.log(`Running on ${row.triple}`)
    return { ok: true, compiles, runs: await tryPlatform(user, row.running!, program, servers) }
  } catch (error) {
    console.error(error)
    return { ok: false, compiles, runs: `✘ ${String(error)}`.slice(0, 300) }
  } finally {
    await endWine(user)
  }
}
