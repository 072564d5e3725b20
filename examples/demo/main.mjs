// The demo: orders are written by another process, two consumers listen, and the tables are the referee.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ConnectionPool } from 'pglisten'
import { number, showProgress } from './progress.mjs'
import { Recorder, disagreements, percentile } from './recorder.mjs'
import * as schema from './schema.mjs'

const WRITER = fileURLToPath(new URL('writer.mjs', import.meta.url))

/** Nothing new for so long after the last commit: then what is missing stays missing. */
const PATIENCE_MS = 5000

/**
 * @param {{ dsn: string, rows: number, clients: number }} options
 * @param {(work: () => unknown) => void} defer Registers what has to be undone in the end.
 * @param {AbortSignal} signal Aborted when the user has seen enough.
 * @returns {Promise<number>} The exit code.
 */
export async function runDemo({ dsn, rows, clients }, defer, signal) {
  const pool = new ConnectionPool({ dsn, maxDbPoolSize: 2, applicationName: 'pglisten demo' })
  defer(() => pool.close())
  const names = schema.randomNames()
  const connection = await pool.connection()
  defer(() => connection.close())
  defer(() => connection.executeBatch(schema.drop(names)))
  await connection.executeBatch(schema.create(names))
  const version = await connection.fetchVal('SHOW server_version')
  console.log(
    `PostgreSQL ${String(version)}, ${number(rows)} row changes by ${clients} concurrent clients`,
  )

  const offset = await clockOffsetMs(connection)
  const callback = new Recorder('callback', names.inserted, offset)
  const iterator = new Recorder('iterator', names.inserted, offset)

  const listener = pool.listener()
  defer(() => listener.shutdown())
  let gaps = 0
  listener.addGapCallback(() => {
    gaps += 1
  })
  for (const channel of [names.inserted, names.updated]) {
    await listener.addCallback(channel, (_connection, payload, from) => {
      callback.record(from, payload)
    })
  }
  await listener.startup()
  listener.listen()
  const iteration = (async () => {
    for await (const message of listener) iterator.record(message.channel, message.payload)
  })()
  // It ends with the listener; a failure shows as what is missing.
  iteration.catch((/** @type {Error} */ error) =>
    console.error(`The iterator ended: ${error.message}`),
  )

  let sent = 0
  const endProgress = showProgress(() => ({
    sent,
    callback: callback.numbers.length,
    iterator: iterator.numbers.length,
    buffered: listener.stats().buffered,
  }))
  defer(endProgress)

  const writerSucceeded = await runWriter(
    { dsn, schema: names.schema, rows, clients },
    defer,
    (n) => {
      sent = n
    },
  )
  signal.throwIfAborted()
  const log = await connection.execute(
    `SELECT n::float8, client, transaction::float8 FROM ${names.schema}.sent`,
  )
  sent = log.length
  await settled(() => Math.min(callback.numbers.length, iterator.numbers.length), sent)
  endProgress()

  const [orders] = await connection.execute(
    `SELECT count(*)::float8 AS inserts, coalesce(sum(revision), 0)::float8 AS updates
       FROM ${names.schema}.orders`,
  )
  const recorders = [callback, iterator]
  const sentByNumber = new Map(log.map((/** @type {any} */ line) => [line.n, line]))
  return summarise({ recorders, sentByNumber, orders, gaps, writerSucceeded })
}

/**
 * @param {import('./writer.mjs').Task} task
 * @param {(work: () => unknown) => void} defer
 * @param {(committed: number) => void} onCommitted
 */
async function runWriter(task, defer, onCommitted) {
  const writer = fork(WRITER, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const exited = once(writer, 'exit')
  defer(async () => {
    if (writer.exitCode === null && writer.signalCode === null) writer.kill('SIGTERM')
    await exited
  })
  writer.on('message', (/** @type {{ committed: number }} */ { committed }) =>
    onCommitted(committed),
  )
  writer.send(task)
  const [code] = await exited
  return code === 0
}

/** @param {() => number} received @param {number} expected */
async function settled(received, expected) {
  let last = received()
  let deadline = Date.now() + PATIENCE_MS
  while (received() < expected && Date.now() < deadline) {
    await sleep(5)
    if (received() > last) deadline = Date.now() + PATIENCE_MS
    last = received()
  }
}

/**
 * Latencies are measured between two clocks, which may be those of two machines.
 * @param {import('pglisten').Connection} connection
 */
async function clockOffsetMs(connection) {
  let best = { roundTrip: Infinity, offset: 0 }
  for (let round = 0; round < 10; round += 1) {
    const before = performance.timeOrigin + performance.now()
    const server = Number(
      await connection.fetchVal('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8'),
    )
    const after = performance.timeOrigin + performance.now()
    const roundTrip = after - before
    if (roundTrip < best.roundTrip) best = { roundTrip, offset: server - (before + after) / 2 }
  }
  return best.offset
}

/**
 * @param {object} result
 * @param {Recorder[]} result.recorders
 * @param {Map<number, import('./recorder.mjs').Sent>} result.sentByNumber
 * @param {any} result.orders
 * @param {number} result.gaps
 * @param {boolean} result.writerSucceeded
 */
function summarise({ recorders, sentByNumber, orders, gaps, writerSucceeded }) {
  let clean = writerSucceeded && gaps === 0
  console.log(
    `\nsent      ${number(sentByNumber.size)} (${number(orders.inserts)} orders inserted, ` +
      `${number(orders.updates)} updates)`,
  )
  for (const recorder of recorders) {
    const { received, missing, unexpected, outOfOrder } = recorder.judge(sentByNumber)
    const sorted = recorder.latencies.toSorted((a, b) => a - b)
    console.log(
      `${recorder.name}  received ${number(received)}   missing ${missing}   unexpected ${unexpected}` +
        `   out of order ${outOfOrder}   latency p50 ${percentile(sorted, 0.5).toFixed(1)} ms,` +
        ` p99 ${percentile(sorted, 0.99).toFixed(1)} ms`,
    )
    const matchesTable =
      recorder.inserts === orders.inserts && received - recorder.inserts === orders.updates
    if (!matchesTable) console.log(`${recorder.name}  does not match the table of orders`)
    clean &&= matchesTable && missing + unexpected + outOfOrder === 0
  }
  const [one, other] = recorders
  const differing = one && other ? disagreements(one, other) : 0
  if (differing > 0)
    console.log(`the consumers disagree about the order at ${number(differing)} places`)
  if (gaps > 0) console.log(`gaps reported: ${gaps}`)
  clean &&= differing === 0
  console.log(clean ? 'Everything arrived, in order.' : 'NOT everything arrived in order.')
  return clean ? 0 : 1
}
