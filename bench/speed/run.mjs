// Runs one contestant at one task: starts its process, sends it what it is to receive, and gives what it measured.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import { BASELINE } from './plan.mjs'
import { root } from '../../scripts/lib/run.mjs'

/**
 * @typedef {import('./plan.mjs').Case} Case
 * @typedef {Record<string, any>} Report What a contestant said last.
 *
 * @typedef {object} Scene
 * @property {string} dsn
 * @property {string} raw The program of `bench/raw`.
 * @property {import('pg').Client} notifier
 * @property {readonly string[]} nodeFlags For the contestants.
 * @property {string} packageFolder Of the build of this package that is measured; without symbolic links.
 * @property {string} [baselineFolder] Of another build of it, which takes part as a contestant.
 */

/** The program of `bench/raw`, as `npm run bench` builds it. */
export const RAW = `${root}target/release/pglisten-bench-raw${process.platform === 'win32' ? '.exe' : ''}`
const CONTESTANT = fileURLToPath(new URL('contestant.mjs', import.meta.url))
const PYTHON = fileURLToPath(new URL('contestant.py', import.meta.url))
/** Far beyond what any run takes: whoever needs longer does not finish. */
const DEADLINE_MS = 120_000
/** How far notifications are from each other that come alone, although every step of who takes them is counted. */
const LONE_MS = 1000
/** How many different payloads there are in each transaction where they are the same in all. */
const KEYS = 1000
/** More in one transaction would only fill the server's memory. */
const TRANSACTION = 500_000

/** @param {Scene} given @param {string} name @param {Case} one @returns {Promise<Report>} */
export async function run(given, name, one) {
  const { baselineFolder } = given
  const scene =
    name === BASELINE && baselineFolder !== undefined
      ? { ...given, packageFolder: baselineFolder }
      : given
  const child = start(scene, name, one)
  const lines = readline.createInterface({ input: child.stdout })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
    errors += text
  })
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
  /** @type {NodeJS.Timeout | undefined} */
  let alone
  try {
    for await (const line of lines) {
      const said = /** @type {Report} */ (JSON.parse(line))
      if (said['up']) {
        if (name.startsWith('pglisten')) checkLoaded(scene, said['loaded'])
        await feedFirst(scene, one, child.stdin)
      } else if (said['warm'] && one.task.kind === 'lone') {
        alone = setInterval(() => {
          notify(scene, one, 1).catch(() => {
            child.kill()
          })
        }, LONE_MS)
      } else if (said['warm'] && one.task.kind === 'behind') {
        await notifyOverAndOver(scene, one)
        child.stdin.write('.')
        await scene.notifier.query("SELECT pg_notify('bench_0', 'end')")
      } else if (said['warm']) await notify(scene, one, one.task.count)
      else return said
    }
    const how = child.signalCode ?? child.exitCode ?? 'nothing said'
    throw new Error(`${name} at ${one.id} ended early (${how}) ${errors.trim().slice(-500)}`)
  } finally {
    clearTimeout(deadline)
    clearInterval(alone)
    lines.close()
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
}

/** Two builds lie below one another, and are of one version. @param {Scene} scene @param {import('./contestant.mjs').Loaded} loaded */
function checkLoaded({ packageFolder }, { facade, addons, version }) {
  const folders = addons.map((addon) => path.dirname(addon))
  if (
    facade === path.join(packageFolder, 'dist', 'index.js') &&
    folders.length === 1 &&
    folders[0] === path.join(packageFolder, 'native')
  ) {
    return
  }
  throw new Error(
    `Expected the build of ${packageFolder}, got version ${version} with ${[facade, ...addons].join(' and ')}`,
  )
}

/** @param {Scene} scene @param {string} name @param {Case} one */
function start({ dsn, raw, nodeFlags, packageFolder }, name, one) {
  const task = { client: name, packageFolder, dsn, ...one.task }
  const stdio = /** @type {['pipe', 'pipe', 'pipe']} */ (['pipe', 'pipe', 'pipe'])
  if (name === 'raw socket') {
    const args = ['floor', 'bench_0', String(task.warmUp), String(task.count)]
    return spawn(raw, args, { env: libpqVariables(dsn), stdio })
  }
  if (name.startsWith('python ')) return spawn('python3', [PYTHON, JSON.stringify(task)], { stdio })
  const flags = task.kind === 'retain' ? [...nodeFlags, '--expose-gc'] : nodeFlags
  const args = [...flags, CONTESTANT, JSON.stringify(task)]
  if (task.kind === 'lone') {
    return spawn(raw, ['steps', String(task.count), process.execPath, ...args], { stdio })
  }
  return spawn(process.execPath, args, { stdio })
}

/** What a contestant gets once it listens. @param {Scene} scene @param {Case} one @param {import('node:stream').Writable} stdin */
async function feedFirst(scene, one, stdin) {
  const { kind, warmUp, count } = one.task
  if (kind === 'statements') return
  if (kind === 'latency' || kind === 'steady') await sendBesideOthers(scene, one, warmUp + count)
  else if (kind === 'lone') {
    await send(scene, one, warmUp)
    // Now its steps are to be counted.
    stdin.write('.')
  } else await notify(scene, one, kind === 'start' ? 1 : warmUp)
}

/** Does as {@link send}, with every processor loaded by a process of its own if the case asks for that. @type {typeof send} */
async function sendBesideOthers(scene, one, count) {
  const others = Array.from({ length: one.isBusy ? os.availableParallelism() : 0 }, () =>
    spawn(process.execPath, ['--eval', 'for (;;);'], { stdio: 'ignore' }),
  )
  try {
    await send(scene, one, count)
  } finally {
    for (const other of others) other.kill('SIGKILL')
  }
}

/** Notifies over and over at the rate of the case. @param {Scene} scene @param {Case} one @param {number} count */
async function send({ dsn, raw }, { rate }, count) {
  const args = ['send', 'bench_0', String(rate), String(count)]
  const child = spawn(raw, args, {
    env: libpqVariables(dsn),
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error('the sender failed')
}

/** Notifies `count` times, in as few transactions as is sensible. @param {Scene} scene @param {Case} one @param {number} count */
async function notify({ notifier }, { task, bytes = 16, only }, count) {
  for (let sent = 0; sent < count; sent += TRANSACTION) {
    // Different payloads: PostgreSQL folds equal ones of one transaction.
    await notifier.query(
      `SELECT count(pg_notify('bench_' || coalesce($1, n % $2::int), lpad(n::text, $3::int, '0')))
         FROM generate_series(1, $4::int) AS n`,
      [only ?? null, task.channels, bytes, Math.min(TRANSACTION, count - sent)],
    )
  }
}

/** Notifies of a thousand keys in each transaction, the same ones in all. @param {Scene} scene @param {Case} one */
async function notifyOverAndOver({ notifier }, { task, bytes = 16 }) {
  for (let sent = 0; sent < task.count; sent += KEYS) {
    await notifier.query(
      `SELECT count(pg_notify('bench_0', lpad(n::text, $1::int, '0'))) FROM generate_series(1, $2::int) AS n`,
      [bytes, KEYS],
    )
  }
}

/** @param {string} dsn */
function libpqVariables(dsn) {
  const { hostname, port, username, password, pathname } = new URL(dsn)
  return {
    PGHOST: hostname,
    PGPORT: port,
    PGUSER: username,
    PGPASSWORD: password,
    PGDATABASE: pathname.slice(1),
  }
}
