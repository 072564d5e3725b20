// @ts-check
// `pglisten doctor`: looks for what keeps notifications from arriving, and says what to do.
'use strict'

const { COMMON, COMMON_HELP, flag, parse, seconds, text } = require('../lib/arguments.js')
const { openPool, warnOfPassword } = require('../lib/connection.js')
const { EXIT, UsageError, describeError } = require('../lib/errors.js')
const { teller } = require('../lib/output.js')
const { jsonText, styles, visible } = require('../lib/terminal.js')
const { version } = require('../lib/version.js')
const { checkDelivery } = require('../doctor/delivery.js')
const { checkDurable } = require('../doctor/durable.js')
const { checkQueue, checkWakes } = require('../doctor/queue.js')
const { remedyLater, remedyOfConnecting } = require('../doctor/remedies.js')
const { Report } = require('../doctor/report.js')
const { checkServer } = require('../doctor/server.js')

const HELP = `Usage: pglisten doctor [options]

Looks for what keeps notifications from arriving on this server, or makes them expensive, and says what to do about each.

  npx pglisten doctor
  npx pglisten doctor --idle 120        # does anything end connections that are idle for two minutes?
  npx pglisten doctor --json | jq .findings

It looks at: the versions of the package, Node.js and the server; encryption; a pooler in between, and whether it passes
notifications on; PGlite; a standby; what the role may do; how many sessions each NOTIFY wakes; the queue of notifications, and
which sessions hold it back; time-outs that end sessions which listen; whether something in between ends idle connections; and where
durable subscriptions are installed, their version, a restored dump, and subscriptions that nobody reads.
It changes nothing. It listens to a channel of its own, and notifies it.

Options:
  --idle SEC         how long to listen in silence (5); 0 leaves it out. An idle timeout that is longer is not found
  --json             one object: { ok, versions, facts, findings: [{ check, title, detail, remedy }], notChecked }
${COMMON_HELP}

Exit codes: 0 no findings; 1 findings; 2 no connection, or wrong arguments.
`

const OPTIONS = { ...COMMON, json: flag, idle: text }
const IDLE_MS = 5000
const CONNECT_MS = 20_000

/** @param {string[]} args @returns {Promise<number>} The exit code. */
async function run(args) {
  const { values, positionals, rest = [] } = parse(args, OPTIONS)
  if (values.help) {
    process.stdout.write(HELP)
    return EXIT.done
  }
  if (positionals.length + rest.length > 0) throw new UsageError('Expected options only')
  const idleMs = seconds('--idle', values.idle) ?? IDLE_MS
  const tell = teller(values.quiet)
  warnOfPassword(values.dsn, tell)
  const report = new Report()
  checkNode(report)
  const open = () => openPool(values.dsn, 'doctor', { maxDbPoolSize: 1 })
  let pool
  let connection
  try {
    pool = open()
    connection = await pool.connection({ timeoutMs: CONNECT_MS })
    await examine(pool, connection, report, { idleMs, tell, open })
  } catch (error) {
    if (connection === undefined) return unreachable(error, values.json)
    tellFailure(error, report)
  } finally {
    await pool?.close({ timeoutMs: 1000 })
  }
  process.stdout.write(values.json ? asJson(report) : asText(report))
  return report.findings.length === 0 ? EXIT.done : EXIT.failed
}

/**
 * @param {import('pglisten').ConnectionPool} pool
 * @param {import('pglisten').Connection} connection
 * @param {Report} report
 * @param {Parameters<typeof checkDelivery>[3]} options
 */
async function examine(pool, connection, report, options) {
  let server
  try {
    server = await checkServer(connection, report)
    await checkWakes(connection, server, report)
    await checkQueue(connection, server, report)
  } finally {
    // PGlite's socket takes one connection at a time.
    await connection.close()
  }
  await checkDurable(pool, server, report)
  await checkDelivery(pool, server, report, options)
}

/** What was found before is reported all the same. @param {unknown} error @param {Report} report */
function tellFailure(error, report) {
  // What was not foreseen is told as it is.
  if (typeof (/** @type {{ code?: unknown }} */ (error).code) !== 'string') throw error
  report.add({
    check: 'examination',
    title: 'The server could not be examined to the end',
    detail: describeError(error),
    remedy: remedyLater(error),
  })
}

/** The versions of `engines` in the package's manifest. */
const NODE = '20.19 or newer of 20, 22.13 or newer of 22, or 24 and newer'

/** @param {Report} report */
function checkNode(report) {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 13) || major >= 24
  if (isSupported) return
  report.add({
    check: 'node-version',
    title: `Node.js ${process.versions.node} is not supported`,
    detail: `pglisten supports ${NODE}.`,
    remedy: 'Install a version of Node.js that is supported.',
  })
}

/** @param {unknown} error @param {boolean | undefined} json */
function unreachable(error, json) {
  const { code = '', sqlState = '' } = /** @type {{ code?: string, sqlState?: string }} */ (error)
  const remedy = remedyOfConnecting(error)
  // What was not foreseen is told as it is.
  if (remedy === undefined && code === '') throw error
  const message = describeError(error)
  if (json) {
    const record = {
      ok: false,
      versions: versions(),
      error: { message, code, sqlState: sqlState || null, remedy: remedy ?? null },
    }
    process.stdout.write(`${jsonText(record)}\n`)
  } else
    process.stderr.write(`pglisten: ${message}\n${remedy === undefined ? '' : `  ${remedy}\n`}`)
  return EXIT.usage
}

const versions = () => ({ pglisten: version(), node: process.versions.node })

/** @param {Report} report */
function asJson({ facts, findings, notChecked }) {
  const record = { ok: findings.length === 0, versions: versions(), facts, findings, notChecked }
  return `${jsonText(record)}\n`
}

/** @param {Report} report */
function asText({ facts, findings, notChecked }) {
  const { bold, dim, green, yellow } = styles(process.stdout.isTTY)
  const own = versions()
  const lines = [`pglisten ${own.pglisten}, Node.js ${own.node}`]
  const names = Object.keys(facts).filter((name) => facts[name] !== null)
  const width = Math.max(...names.map((name) => name.length))
  for (const name of names) lines.push(`  ${name.padEnd(width)}  ${visible(`${facts[name]}`)}`)
  for (const { check, reason } of notChecked)
    lines.push(dim(`not checked: ${check}: ${visible(reason)}`))
  for (const { title, detail, remedy } of findings) {
    lines.push('', bold(yellow(`! ${visible(title)}`)), `  ${visible(detail)}`)
    lines.push(`  remedy: ${visible(remedy)}`)
  }
  const count = findings.length
  lines.push(
    '',
    count === 0 ? green('no findings') : `${count} ${count === 1 ? 'finding' : 'findings'}`,
  )
  return `${lines.join('\n')}\n`
}

module.exports = { run }
