// A listener whose event loop is blocked while it is flooded: what that costs in memory, and what the server has of it.
//
//   node --import=tsx lab/faults/blocked-loop.ts --seconds 60 --gigabytes 2 [--overflow pause]

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Writable } from 'node:stream'
import { parseArgs } from 'node:util'
import { ConnectionPool, type OverflowPolicy } from 'pglisten'
import { startServer } from '../server/dev-server.mjs'

const SELF = fileURLToPath(import.meta.url)
const CHANNEL = 'flood'
const PAYLOAD_BYTES = 7900
/** Notifications of one transaction. */
const CHUNK = 2000
/** The pipe whose end frees the child's event loop. */
const BLOCK_FD = 4
/** How long a server may be kept busy by what it was given before: a loaded machine needs its time. */
const FREED_WITHIN_MS = 60_000

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
  /** While the event loop was still blocked, after the flood: the share of the server's queue in use. */
  queueUsage: number
  /** … and whether the session kept the server from cleaning up. */
  holdsXmin: boolean
  /** How long the session kept the server from cleaning up, at most. */
  pinnedMs: number
  floodMs: number
  blockedMs: number
}

export interface BlockOptions {
  blockMs: number
  bytes: number
  overflow: OverflowPolicy
  maxPauseMs: number
}

/** What the blocked process says at its end. */
type Report = Pick<Blocked, 'delivered' | 'dropped' | 'gaps' | 'violations' | 'blockedMs'>

/** Blocks a listener and floods it meanwhile. */
export async function blockedLoop(options: BlockOptions): Promise<Blocked> {
  const server = await startServer()
  const pool = new ConnectionPool({ dsn: server.dsn, maxDbPoolSize: 2 })
  const child = fork(SELF, ['--child', JSON.stringify({ ...options, dsn: server.dsn })], {
    execArgv: ['--import=tsx', '--expose-gc'],
    // The child's event loop is blocked by reading the last one.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', 'pipe'],
  })
  try {
    const [{ boundBytes }] = (await next(child)) as [{ boundBytes: number }]
    const before = residentBytes(child)
    let most = before
    const sampling = setInterval(() => (most = Math.max(most, residentBytes(child))), 20)
    const pinned = watchPin(pool)
    child.send({ block: true })
    const blockedAt = performance.now()
    const sent = Math.ceil(options.bytes / PAYLOAD_BYTES)
    for (let from = 1; from <= sent; from += CHUNK)
      await flood(pool, from, Math.min(from + CHUNK - 1, sent))
    const floodMs = performance.now() - blockedAt
    // The loop stays blocked until the server has been looked at, however long the flood took.
    await sleep(Math.max(options.blockMs - floodMs, 0))
    const state = await freed(pool)
    const go = child.stdio[BLOCK_FD] as Writable
    go.end('.')
    child.send({ report: sent })
    const [report] = (await next(child)) as [Report]
    clearInterval(sampling)
    return {
      sent,
      ...report,
      grownBytes: most - before,
      boundBytes,
      ...state,
      pinnedMs: await pinned.stop(),
      floodMs,
    }
  } finally {
    child.kill('SIGKILL')
    await pool.close()
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

function residentBytes({ pid }: ChildProcess): number {
  try {
    const [, kilobytes] = /^VmRSS:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))!
    return Number(kilobytes) * 1024
  } catch {
    return 0
  }
}

async function flood(pool: ConnectionPool, from: number, to: number): Promise<void> {
  await using connection = await pool.connection()
  await connection.execute(
    `SELECT count(pg_notify('${CHANNEL}', rpad(n || ' ', $3, 'x')))
     FROM generate_series($1::int4, $2::int4) AS n`,
    [from, to, PAYLOAD_BYTES],
  )
}

/**
 * Waits until the blocked listener costs its server nothing any more, and gives the state of the server in the end: what it was
 * read last is told, if that does not come.
 */
async function freed(pool: ConnectionPool): Promise<Pick<Blocked, 'queueUsage' | 'holdsXmin'>> {
  await using connection = await pool.connection()
  const deadline = performance.now() + FREED_WITHIN_MS
  for (;;) {
    const state = await connection.fetchRow<{ queueUsage: number; holdsXmin: boolean }>(
      `SELECT pg_notification_queue_usage() AS "queueUsage", EXISTS (
         SELECT FROM pg_stat_activity
         WHERE application_name = 'blocked' AND backend_xmin IS NOT NULL) AS "holdsXmin"`,
    )
    const isFree = state.queueUsage === 0 && !state.holdsXmin
    if (isFree || performance.now() > deadline) return state
    await sleep(50)
  }
}

/** Watches for how long, at a stretch, the session keeps the server from cleaning up. */
function watchPin(pool: ConnectionPool): { stop(): Promise<number> } {
  const abort = new AbortController()
  let longest = 0
  const done = (async () => {
    let since: number | undefined
    while (!abort.signal.aborted) {
      const connection = await pool.connection()
      const pinned = await connection.fetchVal<boolean>(
        `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'blocked'
           AND (backend_xmin IS NOT NULL OR wait_event = 'ClientWrite'))`,
      )
      await connection.close()
      const now = performance.now()
      if (!pinned) since = undefined
      else longest = Math.max(longest, now - (since ??= now))
      await sleep(50)
    }
  })()
  return {
    async stop() {
      abort.abort()
      await done
      return longest
    },
  }
}

async function runChild(options: BlockOptions & { dsn: string }): Promise<void> {
  const pool = new ConnectionPool({ dsn: options.dsn, applicationName: 'blocked' })
  const boundBytes = 64 * 1024 * 1024
  const listener = pool.listener({
    buffer: {
      maxBytes: boundBytes,
      overflow: options.overflow,
      maxPauseMs: options.maxPauseMs,
    },
  })
  const report: Report = { delivered: 0, dropped: 0, gaps: {}, violations: [], blockedMs: 0 }
  let last = 0
  let sent: number | undefined
  // Since the last notification: how many are missing for certain, and whether more may be.
  let dropped = 0
  let mayMiss = false
  const finish = () => {
    if (sent === undefined) return
    const end = last + (mayMiss ? sent - last : dropped)
    if (end >= sent) process.send!(report, () => process.exit(0))
  }
  await listener.addCallback(CHANNEL, (_, payload) => {
    const number = Number(payload.slice(0, payload.indexOf(' ')))
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
  process.on('message', (message: { block?: true; report?: number }) => {
    if (message.block !== undefined) {
      const from = performance.now()
      fs.readSync(BLOCK_FD, Buffer.alloc(1))
      report.blockedMs = performance.now() - from
    } else {
      sent = message.report
      // What is under way when it was lost is not waited for.
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
