// @ts-check
// The actions of `pglisten durable` that look after subscriptions.
'use strict'

/** @import { ConnectionPool, InstallOptions } from 'pglisten' */
/** @import { Call, Values } from '../commands/durable.js' */

const { age, shown } = require('../lib/arguments.js')
const { Ending, signalCode } = require('../lib/ending.js')
const { EXIT, Failure, UsageError } = require('../lib/errors.js')
const { Output } = require('../lib/output.js')
const { jsonLine, jsonText, visible } = require('../lib/terminal.js')

/** How far the events of a subscription are counted. */
const MOST_COUNTED = 100_000

/** @param {Call['values']} values @param {object} record @param {string} words */
function say({ json }, record, words) {
  process.stdout.write(`${json ? jsonLine(record) : words}\n`)
}

/** @param {Values} values @returns {InstallOptions} */
function installOptions({ publishers, subscribers, retention }) {
  const roles = (/** @type {string | undefined} */ list) => list?.split(',') ?? []
  const retentionMs = retention === 'never' ? false : age('--retention', retention)
  for (const role of [...roles(publishers), ...roles(subscribers)])
    if (role === '') throw new UsageError('Expected names of roles, with commas between them')
  return { publishers: roles(publishers), subscribers: roles(subscribers), retentionMs }
}

/** @param {ConnectionPool} pool @param {Call} call */
async function install(pool, { values }) {
  await pool.durable.install(installOptions(values))
  const status = await pool.durable.status()
  say(values, { installed: true, ...status }, `installed: version ${status.version}`)
  return EXIT.done
}

/** @param {ConnectionPool} pool @param {Call} call */
async function uninstall(pool, { values }) {
  const { version } = await pool.durable.status()
  await pool.durable.uninstall()
  const words = version === 0 ? 'nothing is installed' : `uninstalled: version ${version}`
  say(values, { uninstalled: version > 0, version }, words)
  return EXIT.done
}

/** @param {ConnectionPool} pool @param {Call} call */
async function status(pool, { values }) {
  const about = await pool.durable.status()
  const subscriptions = about.version === 0 ? [] : await listed(pool)
  const isRight = about.version === about.latestVersion && about.isHome
  if (values.json) {
    const withoutBigints = (/** @type {string} */ _, /** @type {unknown} */ value) =>
      typeof value === 'bigint' ? `${value}` : value
    process.stdout.write(`${jsonText({ ...about, subscriptions }, withoutBigints)}\n`)
  } else process.stdout.write(asText(about, subscriptions))
  return isRight ? EXIT.done : EXIT.failed
}

/** @typedef {Awaited<ReturnType<ConnectionPool['durable']['subscriptions']>>[number]} Info */
/** @typedef {Info & { lag: { events: number, oldest: Date | null } }} Listed */

/** How many subscriptions are asked about at a time: each takes a connection of the pool, for which the others would wait in vain. */
const LANES = 3

/** @param {ConnectionPool} pool @returns {Promise<Listed[]>} */
async function listed(pool) {
  const infos = await pool.durable.subscriptions()
  const left = infos.entries()
  /** @type {Listed[]} */
  const all = []
  const lane = async () => {
    for (const [index, info] of left) {
      const lag = await pool.fetchRow(
        'SELECT events::pg_catalog.float8 AS events, oldest FROM pglisten.lag($1, $2)',
        [info.name, MOST_COUNTED],
      )
      all[index] = Object.assign(info, { lag: /** @type {any} */ (lag) })
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return all
}

/** @param {Awaited<ReturnType<ConnectionPool['durable']['status']>>} about @param {Listed[]} subscriptions */
function asText({ version, latestVersion, isHome, retentionMs, unread }, subscriptions) {
  if (version === 0) return 'not installed: `pglisten durable install` does that\n'
  const lines = [
    `version ${version}${version === latestVersion ? '' : `, this package's is ${latestVersion}`}`,
  ]
  if (!isHome)
    lines.push(
      'the positions come from another cluster: a subscription that runs adopts them, or `durable adopt`',
    )
  lines.push(
    retentionMs === false
      ? 'events stay until they are trimmed'
      : `events that are done stay for ${retentionMs / 1000} s`,
  )
  for (const { name, channels, partitions, moved, failed, failing, lag } of subscriptions) {
    const events =
      lag.events >= MOST_COUNTED
        ? `${MOST_COUNTED} events or more`
        : `${lag.events} ${lag.events === 1 ? 'event' : 'events'}`
    const since = lag.oldest === null ? '' : `, the oldest of ${lag.oldest.toISOString()}`
    const isUnread = unread.includes(name)
    lines.push(
      `${visible(name)}: ${events} to do${since}; ${failed} given up; moved ${moved.toISOString()}` +
        (isUnread ? ', read by nobody' : ''),
      `  ${channels.map(visible).join(', ')}${partitions > 1 ? `; ${partitions} partitions` : ''}`,
    )
    if (failing) {
      const times = failing.attempts === 1 ? 'once' : `${failing.attempts} times`
      lines.push(`  event ${failing.id} has failed ${times}: ${visible(failing.error)}`)
    }
  }
  if (subscriptions.length === 0) lines.push('no subscription')
  return `${lines.join('\n')}\n`
}

/** @param {Values} values */
const keepOf = ({ keep }) => age('--keep', keep)

/** For how long `trim` keeps events. @param {ConnectionPool} pool @param {Values} values */
async function keepMsOf(pool, values) {
  const given = keepOf(values)
  if (given !== undefined) return given
  const { version, retentionMs } = await pool.durable.status()
  // Where nothing is installed, trimming says so.
  if (version === 0) return 0
  if (retentionMs === false)
    throw new UsageError(
      'The retention is `never`, which says nothing of what may go: expected `--keep SEC`, with 0 for all that is done',
    )
  return retentionMs
}

/** @param {ConnectionPool} pool @param {Call} call */
async function trim(pool, { values, tell }) {
  const onWarning = (/** @type {Error & { code?: string }} */ warning) => {
    if (warning.code === 'PGLISTEN_DURABLE') tell(visible(warning.message))
  }
  // Node would print it in its own way too.
  process.removeAllListeners('warning')
  process.on('warning', onWarning)
  const keepMs = await keepMsOf(pool, values)
  const removed = await pool.durable.trim(keepMs)
  // Warnings come in the next turn.
  await new Promise((resolve) => setImmediate(resolve))
  const which = keepMs > 0 ? `, of those older than ${keepMs / 1000} s` : ''
  say(values, { removed, keepMs }, `removed ${removed}${which}`)
  return EXIT.done
}

/** @param {ConnectionPool} pool @param {Call} call */
async function adopt(pool, { values }) {
  const { version, isHome } = await pool.durable.status()
  await pool.durable.adopt()
  const adopted = version > 0 && !isHome
  say(values, { adopted }, adopted ? 'adopted the positions' : "the positions are this cluster's")
  return EXIT.done
}

/** @param {ConnectionPool} pool @param {Call} call */
async function drop(pool, { args: [name = ''], values }) {
  if (!(await pool.durable.drop(name))) throw new Failure(`there is no subscription ${shown(name)}`)
  say(values, { dropped: name }, `dropped ${visible(name)}`)
  return EXIT.done
}

/** Fails unless there is a subscription of the name. @param {ConnectionPool} pool @param {string} name */
async function checkExists(pool, name) {
  const infos = await pool.durable.subscriptions()
  if (!infos.some((info) => info.name === name))
    throw new Failure(`there is no subscription ${shown(name)}`)
}

/** @param {ConnectionPool} pool @param {Call} call */
async function failed(pool, { args: [name = ''] }) {
  await checkExists(pool, name)
  const events = await pool.durable.failed(name)
  // Before that a signal ends the process at once.
  const ending = new Ending()
  const output = new Output(ending)
  for (const event of events) {
    await output.write(`${jsonLine({ type: 'failed', ...event, id: `${event.id}` })}\n`)
    if (ending.reason !== undefined) break
  }
  return output.exitCode(signalCode(ending.reason) ?? EXIT.done)
}

/** @param {string[]} args */
function idsOf(args) {
  return args.map((arg) => {
    if (!/^\d{1,18}$/.test(arg))
      throw new UsageError(`Expected the id of an event, got ${shown(arg)}`)
    return BigInt(arg)
  })
}

/** @param {ConnectionPool} pool @param {Call} call */
async function retry(pool, { args: [name = '', ...ids], values }) {
  await checkExists(pool, name)
  const due = await pool.durable.retry(name, ids.length === 0 ? undefined : idsOf(ids))
  say(values, { due }, `${due} ${due === 1 ? 'event is' : 'events are'} tried again`)
  return EXIT.done
}

module.exports = {
  adopt,
  drop,
  failed,
  idsOf,
  install,
  installOptions,
  keepOf,
  listed,
  retry,
  status,
  trim,
  uninstall,
}
