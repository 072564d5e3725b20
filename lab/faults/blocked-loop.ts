// A listener whose event loop is blocked while it is flooded: what that costs in memory, and what the server has of it.
//
//   node --import=tsx lab/faults/blocked-loop.ts --seconds 60 --gigabytes 2 [--overflow pause]

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ConnectionPool, type OverflowPolicy } from 'pglisten'
import { startServer } from '../server/dev-server.mjs'
import { block, waitFor } from '../wait.js'
import { LONG, ServerWitness } from '../witness.js'

const SELF = fileURLToPath(import.meta.url)
const CHANNEL = 'flood'
/** Notifications of one transaction. */
const CHUNK = 2000
/** For the server to be rid of what the blocked process does not take, after the flood. */
const DEADLINE_MS = 60_000

export interface Blocked {
  sent: number
  delivered: number
  /** What the gaps of overflows count. */
  dropped: number
  /** By reason. */
  gaps: Record<string, number>
  /** Numbers that are missing where no gap is, that came twice, or out of order. */
  violations: string[]
  /** The most memory that the process had above what it had before, in bytes. */
  grownBytes: number
  /** Of its buffers. */
  boundBytes: number
  /** What the buffers held when the event loop went on. */
  bufferedBytes: number
  /** What the server has of it after the flood, while the event loop is still blocked. */
  server: ServerState
  /** How long after the flood the server had that state. */
  settledMs: number
  floodMs: number
  blockedMs: number
}

/** What a session costs the server. */
interface ServerState {
  /** The share of the queue of notifications that is in use. */
  queueUsage: number
  /** Whether the session keeps the server from cleaning up. */
  holdsXmin: boolean
  /** Whether the server waits for the session to be read. */
  waitsForIt: boolean
}

export interface BlockOptions {
  /** The block lasts as long as the flood and what follows it, and no shorter than this. */
  blockMs?: number
  bytes: number
  overflow: OverflowPolicy
  maxPauseMs: number
}

/** What the blocked process says at its end. */
type Report = Pick<
  Blocked,
  'delivered' | 'dropped' | 'gaps' | 'violations' | 'blockedMs' | 'bufferedBytes'
>

const STATE = `SELECT pg_notification_queue_usage() AS "queueUsage",
  count(backend_xmin) > 0 AS "holdsXmin",
  count(*) FILTER (WHERE wait_event = 'ClientWrite') > 0 AS "waitsForIt"
  FROM pg_stat_activity WHERE application_name = 'blocked'`

/**
 * Blocks a listener, floods it meanwhile, and lets it go on when the server has nothing of it any more. Rejects where the
 * server is not rid of it as long as the event loop is blocked.
 */
export async function blockedLoop(options: BlockOptions): Promise<Blocked> {
  const server = await startServer()
  const witness = new ServerWitness(server.dsn)
  const sent = Math.ceil(options.bytes / LONG)
  const task = JSON.stringify({ ...options, dsn: server.dsn, sent })
  const child = fork(SELF, ['--child', task], {
    execArgv: ['--import=tsx', '--expose-gc'],
    stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
  })
  try {
    const [{ boundBytes }] = (await next(child)) as [{ boundBytes: number }]
    const before = memoryOf(child, 'VmRSS')
    child.send('block')
    const blockedAt = performance.now()
    for (let from = 1; from <= sent; from += CHUNK)
      await witness.flood(CHANNEL, from, Math.min(from + CHUNK - 1, sent), { width: LONG })
    const floodMs = performance.now() - blockedAt
    const state = await waitFor(
      async () => {
        const seen = await witness.row<ServerState>(STATE)
        return seen.queueUsage === 0 && !seen.holdsXmin && !seen.waitsForIt && seen
      },
      {
        timeoutMs: DEADLINE_MS,
        what: 'the server to be rid of a session whose process is blocked',
      },
    )
    const settledMs = performance.now() - blockedAt - floodMs
    await sleep(Math.max((options.blockMs ?? 0) - floodMs - settledMs, 0))
    child.stdin!.end()
    child.send('report')
    const [report] = (await next(child)) as [Report]
    const grownBytes = memoryOf(child, 'VmHWM') - before
    return { sent, ...report, grownBytes, boundBytes, server: state, settledMs, floodMs }
  } finally {
    child.kill('SIGKILL')
    await witness.close()
    await server.stop('immediate')
  }
}

/** The next message of a process, which must not end before. */
async function next(child: ChildProcess): Promise<unknown[]> {
  const abort = new AbortController()
  const ended = once(child, 'exit', { signal: abort.signal }).then(([code, signal]) => {
    throw new Error(`The blocked process ended with ${signal ?? code}`)
  })
  ended.catch(() => {})
  try {
    return await Promise.race([once(child, 'message'), ended])
  } finally {
    abort.abort()
  }
}

/** How much memory a process has (`VmRSS`), or had at most (`VmHWM`); 0 where the system does not tell. */
function memoryOf({ pid }: ChildProcess, field: 'VmRSS' | 'VmHWM'): number {
  const file = `/proc/${pid}/status`
  if (!fs.existsSync(file)) return 0
  const [, kilobytes] = new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(fs.readFileSync(file, 'utf8'))!
  return Number(kilobytes) * 1024
}

/** Blocks the event loop until the other end of the standard input is closed. */
function blockUntilReleased(): void {
  const byte = Buffer.alloc(1)
  while (fs.readSync(0, byte) > 0);
}

async function runChild(options: BlockOptions & { dsn: string; sent: number }): Promise<void> {
  const pool = new ConnectionPool({ dsn: options.dsn, applicationName: 'blocked' })
  const boundBytes = 64 * 1024 * 1024
  const listener = pool.listener({
    buffer: {
      maxBytes: boundBytes,
      overflow: options.overflow,
      maxPauseMs: options.maxPauseMs,
    },
  })
  const report: Report = {
    delivered: 0,
    dropped: 0,
    gaps: {},
    violations: [],
    blockedMs: 0,
    bufferedBytes: 0,
  }
  let last = 0
  let sent: number | undefined
  // Since the last notification: how many are missing for certain, and whether more may be.
  let dropped = 0
  let mayMiss = false
  const finish = () => {
    if (sent === undefined) return
    const end = last + (mayMiss ? sent - last : dropped)
    if (end >= sent) process.send!(report)
  }
  await listener.addCallback(CHANNEL, (_, payload) => {
    const number = Number(payload)
    const missing = number - last - 1
    if (missing < dropped || (missing > dropped && !mayMiss))
      report.violations.push(`${number} after ${last} and a gap of ${dropped}`)
    last = number
    dropped = 0
    mayMiss = false
    report.delivered += 1
    finish()
  })
  listener.addGapCallback((_, gap) => {
    report.gaps[gap.reason] = (report.gaps[gap.reason] ?? 0) + 1
    report.dropped += gap.dropped ?? 0
    dropped += gap.dropped ?? 0
    mayMiss ||= gap.dropped === null
    finish()
  })
  await listener.startup()
  listener.listen()
  process.on('message', (message: 'block' | 'report') => {
    if (message === 'block') {
      const from = performance.now()
      blockUntilReleased()
      // The server has sent everything; some of it may still be in the sockets. A pause leaves it there.
      const deadline = performance.now() + DEADLINE_MS
      const isReading = () => listener.stats().received < options.sent
      while (options.overflow !== 'pause' && isReading() && performance.now() < deadline) block(5)
      report.blockedMs = performance.now() - from
      report.bufferedBytes = listener.stats().bufferedBytes
    } else {
      sent = options.sent
      // A session may be lost with notifications under way: the fence tells that none of them is still to come.
      void listener.sync().then(finish)
    }
  })
  globalThis.gc?.()
  process.send!({ boundBytes })
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      child: { type: 'string' },
      seconds: { type: 'string', default: '60' },
      gigabytes: { type: 'string', default: '2' },
      overflow: { type: 'string', default: 'dropOldest' },
      pause: { type: 'string', default: '10' },
    },
  })
  if (values.child !== undefined) return runChild(JSON.parse(values.child))
  const result = await blockedLoop({
    blockMs: Number(values.seconds) * 1000,
    bytes: Number(values.gigabytes) * 1e9,
    overflow: values.overflow as OverflowPolicy,
    maxPauseMs: Number(values.pause) * 1000,
  })
  console.log(result)
  const isExact = values.overflow === 'pause' || result.delivered + result.dropped === result.sent
  process.exitCode = isExact && result.violations.length === 0 ? 0 : 1
}

if (process.argv[1] === SELF) await main()
