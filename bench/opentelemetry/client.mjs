// One listener that takes bursts, with or without the instrumentation. Prints what the JavaScript thread has spent on them.

import fs from 'node:fs'
import { ROOT_CONTEXT, context } from '@opentelemetry/api'
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import { ConnectionPool } from 'pglisten'
import { PglistenInstrumentation } from 'pglisten-opentelemetry'

const { dsn, kind, mode, count, bursts } = JSON.parse(process.argv[2] ?? '{}')
const WARM_UP = 50_000

const cpuNs = () =>
  Number(
    fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/schedstat`, 'latin1').split(' ')[0],
  )

/** Takes what is exported, and drops it. */
const exporter = {
  export: (/** @type {unknown} */ _, /** @type {(result: { code: number }) => void} */ done) =>
    done({ code: 0 }),
  forceFlush: async () => {},
  shutdown: async () => {},
}
const meterProvider = new MeterProvider({
  readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1000 })],
})
const tracerProvider = new NodeTracerProvider()
tracerProvider.register()
// On Node before 24 the first context that is entered makes every later promise dearer, by a hook: a program that uses
// OpenTelemetry pays that anyway.
context.with(ROOT_CONTEXT, () => {})
const instrumentation =
  mode !== 'off' &&
  new PglistenInstrumentation({
    meterProvider,
    tracerProvider,
    durations: mode === 'all' ? 'all' : 'sampled',
    spans: mode === 'spans',
  })

const pool = new ConnectionPool({ dsn })
const listener = pool.listener({ buffer: { maxMessages: 2 * count, maxBytes: 1 << 30 } })
let left = 0
let from = 0
let length = 0
/** @type {(spent: number) => void} */
let finish = () => {}
const take = (/** @type {string} */ payload) => {
  if (from === 0) from = cpuNs()
  length += payload.length
  left -= 1
  if (left === 0) finish(cpuNs() - from)
}
const callbacks = {
  sync: (/** @type {unknown} */ _, /** @type {string} */ payload) => take(payload),
  async: async (/** @type {unknown} */ _, /** @type {string} */ payload) => take(payload),
  // As short as a callback that waits for anything can be.
  waiting: async (/** @type {unknown} */ _, /** @type {string} */ payload) => {
    await new Promise((resolve) => setImmediate(resolve))
    take(payload)
  },
}
const callback = callbacks[/** @type {keyof typeof callbacks} */ (kind)]
await listener.addCallback('burst', callback)
await listener.startup()

/** @param {number} size @returns {Promise<number>} */
async function burst(size) {
  listener.abortListen()
  left = size
  from = 0
  const finished = new Promise((resolve) => (finish = resolve))
  await pool.execute(
    "SELECT pg_notify('burst', lpad(i::text, 40, '0')) FROM generate_series(1, $1) AS i",
    [size],
  )
  while (listener.stats().buffered < size) await new Promise((resolve) => setTimeout(resolve, 10))
  listener.listen()
  return /** @type {Promise<number>} */ (finished)
}

await burst(Math.min(WARM_UP, count))
let spentNs = 0
for (let turn = 0; turn < bursts; turn += 1) spentNs += await burst(count)
if (length === 0) throw new Error('Nothing was delivered')
console.log(JSON.stringify({ ns: spentNs / (bursts * count) }))
await pool.close()
if (instrumentation) instrumentation.disable()
await meterProvider.shutdown()
