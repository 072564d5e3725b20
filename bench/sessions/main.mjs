// What many listeners of one process cost: themselves, the server, and whoever notifies. Prints tables.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath, pathToFileURL } from 'node:url'
import path from 'node:path'
import { Client } from 'pg'
import { startServer } from '../../lab/server/dev-server.mjs'
import { root } from '../../scripts/lib/run.mjs'
import { baselineOf } from '../speed/baseline.mjs'
import { readOptions } from '../speed/options.mjs'

const MEASURED_MS = 3000
const CLIENT = fileURLToPath(new URL('client.mjs', import.meta.url))
const { against } = readOptions()

const server = await startServer({ settings: { max_connections: 1200 } })
/** @type {Record<string, string>} */
const folders = { ours: pathToFileURL(path.join(root, 'package.json')).href }
const kinds = ['pglisten', 'pglisten own', 'postgres']
if (against !== undefined) {
  const baseline = await baselineOf(against)
  folders[against] = pathToFileURL(path.join(baseline.folder, 'package.json')).href
  kinds.push(against)
}

/** Notifies for some seconds, each NOTIFY in a transaction of its own. @param {string[]} statements */
async function notifying(statements) {
  const client = new Client({ connectionString: server.dsn })
  await client.connect()
  let count = 0
  const from = performance.now()
  while (performance.now() - from < MEASURED_MS) {
    await client.query(statements[count % statements.length] ?? '')
    count += 1
  }
  const perSecond = count / ((performance.now() - from) / 1000)
  await client.end()
  return { perSecond }
}

/** @param {string} kind @param {number} count How many listeners. @param {number} channels 1, or one for each. */
async function measured(kind, count, channels) {
  const folder = folders[kind] ?? folders['ours']
  const child = fork(CLIENT, [JSON.stringify({ kind, dsn: server.dsn, count, channels, folder })], {
    execArgv: ['--expose-gc'],
  })
  const answer = async (/** @type {string | undefined} */ question) => {
    const answered = Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => Promise.reject(new Error(`${kind} ended`))),
    ])
    if (question !== undefined) child.send(question)
    const [said] = await answered
    return said
  }
  const { startMs, memory, settled } = await answer(undefined)
  const admin = new Client({ connectionString: server.dsn })
  await admin.connect()
  const { rows: found } = await admin.query(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'sessions'",
  )
  await admin.end()
  await answer('begin')
  const numbers =
    channels === 1 ? ['all'] : Array.from({ length: count }, (_, number) => `${number}`)
  const statements = numbers.map((it) => `NOTIFY sessions_${it === 'all' ? 0 : it}, '${it}'`)
  const notified = await notifying(statements)
  const seen = await answer('end')
  const { loopNs } = channels === 1 ? await answer('loop') : { loopNs: undefined }
  child.send('exit')
  await once(child, 'exit')
  return {
    kind,
    count,
    channels,
    sessions: found[0].n,
    startMs,
    memory,
    settled,
    ...notified,
    ...seen,
    loopNs,
  }
}

/** @param {string[][]} rows */
function printed(rows) {
  for (const [index, row] of rows.entries()) {
    console.log(`| ${row.join(' | ')} |`)
    if (index === 0) console.log(`| ${row.map(() => '---').join(' | ')} |`)
  }
}

const head = [
  'listeners',
  'contestant',
  'sessions',
  'all started, ms',
  'KiB each',
  'KiB each, settled',
  'NOTIFY/s',
  'JS CPU a delivery, us',
  'sync(), ms',
]
const rows = [head]
/** The most listeners of each. @type {Record<string, number>} */
const wanted = { [against ?? '']: 500, postgres: 10_000, pglisten: 10_000, 'pglisten own': 500 }
for (const count of [1, 100, 500, 1000, 10_000]) {
  for (const kind of kinds) {
    if (count > (wanted[kind] ?? 0)) continue
    const it = await measured(kind, count, count)
    if (it.wrong > 0) throw new Error(`${kind} heard ${it.wrong} that were not its own`)
    rows.push([
      count.toLocaleString('en-US'),
      kind,
      `${it.sessions}`,
      it.startMs.toFixed(0),
      (it.memory / 1024).toFixed(1),
      (it.settled / 1024).toFixed(1),
      it.perSecond.toFixed(0),
      (it.cpuNs / it.delivered / 1000).toFixed(1),
      it.syncMs.toFixed(0),
    ])
  }
}
printed(rows)
console.log()
const shared = [
  [
    'listeners on one channel',
    'contestant',
    'NOTIFY/s',
    'JS CPU a delivery, ns',
    'the same functions in a loop, ns',
  ],
]
for (const count of [100, 1000]) {
  for (const kind of kinds) {
    if (count > (wanted[kind] ?? 0)) continue
    const it = await measured(kind, count, 1)
    shared.push([
      count.toLocaleString('en-US'),
      kind,
      it.perSecond.toFixed(0),
      (it.cpuNs / it.delivered).toFixed(0),
      (it.loopNs ?? 0).toFixed(0),
    ])
  }
}
printed(shared)
await server.stop()
process.exit(0)
