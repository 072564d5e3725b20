// Measures the console's page while thousands of messages a second arrive: its memory after garbage collection, its elements, and how
// long it keeps a frame waiting.
//
//   npm run console:measure                              3 minutes with 5,000 messages a second
//   npm run console:measure -- --minutes 10 --rate 20000
//
// It needs Chromium: where Debian puts it, or the program that PGLISTEN_CHROMIUM names.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { chromium } from 'playwright-core'
import { startServer } from '../server/dev-server.mjs'

const BIN = new URL('../../packages/console/bin/pglisten-console.js', import.meta.url).pathname
const SAMPLE_MS = 10_000
const ROUND_MS = 50
/** The first minute fills what is bounded: the messages that are kept, and five minutes of rates are as good as nothing. */
const WARM_UP_MS = 60_000
/** What the heap may grow in the rest, in bytes. */
const ALLOWED_GROWTH = 3_000_000

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '3' },
    rate: { type: 'string', default: '5000' },
    screenshot: { type: 'string' },
  },
})
const minutes = Number(values.minutes)
const rate = Number(values.rate)

const server = await startServer()
const channels = ['orders', 'jobs', 'audit']
const command = spawn(process.execPath, [BIN, ...channels, '--port', '0'], {
  env: { ...process.env, DATABASE_URL: server.dsn },
  stdio: ['ignore', 'pipe', 'inherit'],
})
const client = new Client(server.dsn)
const browser = await chromium.launch({
  executablePath: process.env['PGLISTEN_CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
})
try {
  process.exitCode = await measure()
} finally {
  await browser.close()
  await client.end()
  command.kill()
  await server.stop()
}

async function measure() {
  const [first] = await once(command.stdout.setEncoding('utf8'), 'data')
  const address = String(first).split('\n')[0] ?? ''
  await client.connect()
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  await page.goto(address)
  await page.locator('#state[data-state="connected"]').waitFor()
  await page.evaluate(watchFrames)
  const devtools = await page.context().newCDPSession(page)
  const end = Date.now() + minutes * 60_000
  const flooding = flood(end)

  console.log(`${rate} messages a second, ${minutes} minutes`)
  console.log('| after | heap of the page | elements | longest frame | command | counted |')
  console.log('| ----- | ---------------- | -------- | ------------- | ------- | ------- |')
  const started = Date.now()
  /** @type {Array<{ at: number, heap: number }>} */
  const samples = []
  while (Date.now() < end) {
    await sleep(SAMPLE_MS)
    await devtools.send('HeapProfiler.collectGarbage')
    const { usedSize: heap } = await devtools.send('Runtime.getHeapUsage')
    const { nodes } = await devtools.send('Memory.getDOMCounters')
    const frame = await page.evaluate(takeLongestFrame)
    const at = Date.now() - started
    samples.push({ at, heap })
    const total = await page.evaluate(countTotal)
    console.log(
      `| ${Math.round(at / 1000)} s | ${megabytes(heap)} | ${nodes} | ${Math.round(frame)} ms | ${megabytes(residentBytes())} | ${total} |`,
    )
  }
  const sent = await flooding
  await sleep(2000)
  const counted = await page.evaluate(countTotal)
  if (values.screenshot) await page.screenshot({ path: values.screenshot, fullPage: true })
  const warm = samples.filter(({ at }) => at > WARM_UP_MS).map(({ heap }) => heap)
  const growth = (warm.at(-1) ?? 0) - (warm[0] ?? 0)
  console.log(
    `sent ${sent}, counted ${counted}; after the first minute the heap grew by ${growth} bytes`,
  )
  return counted === sent && growth < ALLOWED_GROWTH ? 0 : 1
}

/** Notifies at the rate until the end. @param {number} end @returns {Promise<number>} How many were sent. */
async function flood(end) {
  let sent = 0
  const started = Date.now()
  while (Date.now() < end) {
    const due = Math.floor(((Date.now() - started) * rate) / 1000) - sent
    await client.query(
      `SELECT pg_notify(($1::text[])[1 + i % 3], format('{"id":%s,"body":"%s"}', i, repeat('x', i % 400)))
       FROM generate_series($2::int, $3::int) AS i`,
      [channels, sent + 1, sent + due],
    )
    sent += due
    await sleep(ROUND_MS)
  }
  return sent
}

/** The memory of the command, as Linux counts it; 0 elsewhere. */
function residentBytes() {
  try {
    const status = readFileSync(`/proc/${command.pid}/status`, 'utf8')
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

// These run in the page.

function watchFrames() {
  const page = /** @type {any} */ (globalThis)
  page.longestFrame = 0
  let last = performance.now()
  const look = (/** @type {number} */ now) => {
    page.longestFrame = Math.max(page.longestFrame, now - last)
    last = now
    page.requestAnimationFrame(look)
  }
  page.requestAnimationFrame(look)
}

function takeLongestFrame() {
  const page = /** @type {any} */ (globalThis)
  const longest = Number(page.longestFrame)
  page.longestFrame = 0
  return longest
}

function countTotal() {
  const { document } = /** @type {any} */ (globalThis)
  /** @type {any[]} */
  const cells = [...document.querySelectorAll('#channel-rows tr td:nth-child(4)')]
  return cells.reduce((sum, cell) => sum + Number(cell.textContent.replaceAll(',', '')), 0)
}
