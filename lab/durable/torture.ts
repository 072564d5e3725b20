// Durable subscriptions under torture: writers of every kind, processes that compete and are killed, and an oracle.

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Pool } from 'pg'
import { ConnectionPool, type SubscriptionOptions } from 'pglisten'
import { forked, tell } from '../child.js'
import { FaultProxy } from '../network/fault-proxy.js'
import type { DevServer } from '../server/test-server.js'
import { uniqueName } from '../unique-name.js'
import { waitFor } from '../wait.js'
import { Writers, type Committed } from './writers.js'

/** What became of the events of a subscription. */
export interface Verdict {
  subscription: string
  committed: number
  done: number
  lost: string[]
  doubled: string[]
  /** Events that were done although they do not exist, or were rolled back. */
  alien: string[]
  /** Pairs of which the second was answered before the first was begun. */
  inversions: number
  /** Steps back of the counter of one row. */
  counterInversions: number
}

export interface Torture {
  verdicts: Verdict[]
  /** What was done to the processes. */
  chaos: Record<string, number>
  writerErrors: unknown[]
  /** How long after the last commit everything was done, in milliseconds. */
  lagMs: number
}

const program = fileURLToPath(new URL('subscriber.mjs', import.meta.url))
const upTo = (most: number) => Math.floor(Math.random() * most)
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** The subscriptions, which all read the same events. */
const SUBSCRIPTIONS: {
  name: string
  options: Partial<SubscriptionOptions>
  processes: number
  chaos: boolean
}[] = [
  { name: 'small', options: { batchSize: 5 }, processes: 2, chaos: true },
  { name: 'large', options: { batchSize: 1000 }, processes: 1, chaos: false },
  { name: 'parted', options: { batchSize: 20, partitions: 3 }, processes: 2, chaos: true },
]

/** So many events are behind that writers wait. */
const MAX_BACKLOG = 2500
/** How often the server ends, in milliseconds: in turn it is killed, stopped at once, and stopped in order. */
const RESTART_EVERY_MS = 4000
const RESTARTS = [
  (server: DevServer) => server.restart('immediate'),
  (server: DevServer) => server.restart('fast'),
  async (server: DevServer) => {
    await server.kill()
    await server.start()
  },
]

/** Publishes for `ms` milliseconds, kills meanwhile, waits until everything is done, and judges. */
export async function torture(server: DevServer, ms: number): Promise<Torture> {
  const { dsn } = server
  const admin = new Pool({ connectionString: dsn, max: 5 })
  admin.on('error', () => {})
  const pool = new ConnectionPool(dsn)
  const proxy = await FaultProxy.start(Number(new URL(dsn).port))
  const [done, published] = [uniqueName('done'), uniqueName('published')] as [string, string]
  const processes = new Set<ChildProcess>()
  const chaos: Record<string, number> = {}
  let isOver = false
  let isCalm = false
  try {
    await pool.durable.install()
    await admin.query(`
      CREATE TABLE ${done} (seq bigint GENERATED ALWAYS AS IDENTITY, event bigint, payload text, key text, channel text, subscription text, worker int);
      CREATE TABLE ${published} (payload text)`)
    const { rows } = await admin.query<{ max: number }>(
      "SELECT current_setting('max_prepared_transactions')::int AS max",
    )
    const writers = new Writers(dsn, rows[0]!.max > 0)
    await writers.prepare()
    const start = (index: number) => {
      const { name, options, chaos: isChaotic } = SUBSCRIPTIONS[index]!
      const settings = {
        dsn: isChaotic ? proxy.dsn(dsn) : dsn,
        name,
        applicationName: `torture ${name}`,
        done,
        published,
        chaos: isChaotic && !isCalm,
        options: {
          channels: [writers.channel, writers.counterChannel],
          from: 'beginning',
          maxHandlerMs: 2000,
          standbyPollMs: 20,
          safetyNetMs: 500,
          retryDelayMs: 5,
          maxAttempts: 1_000_000,
          ...options,
        },
      }
      const child = forked(program, settings)
      processes.add(child)
      child.once('exit', () => {
        processes.delete(child)
        if (!isOver) start(index)
      })
      return child
    }
    for (const [index, { processes: count }] of SUBSCRIPTIONS.entries())
      for (let n = 0; n < count; n += 1) start(index)

    const running = writers.run(ms)
    running.catch(() => {})
    const count = (what: string) => {
      chaos[what] = (chaos[what] ?? 0) + 1
    }
    /** What ends later: the ends of holes and of being frozen. */
    const later = (work: () => void) => {
      // Longer than the server waits for a worker, now and then.
      setTimeout(work, upTo(2) === 0 ? 300 : 2500)
    }
    const strikes: Record<string, (victim: ChildProcess | undefined) => Promise<void> | void> = {
      'kill -9': (victim) => void victim?.kill('SIGKILL'),
      'terminated backend': async () => {
        await admin.query(
          `SELECT pg_terminate_backend(pid) FROM (
             SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'torture %' AND application_name <> 'torture large'
             ORDER BY random() LIMIT 1) AS one`,
        )
      },
      'reset connections': () => proxy.reset(),
      SIGSTOP: (victim) => {
        victim?.kill('SIGSTOP')
        later(() => victim?.kill('SIGCONT'))
      },
      // Nothing passes for a while, and then all of it.
      'hole in the network': () => {
        proxy.beginHole()
        later(() => proxy.endHole())
      },
      // What there is of connections is dead, in silence.
      'half-open connections': () => {
        proxy.swallow('both')
        proxy.clear()
      },
    }
    /** How far the slowest subscription is behind. */
    const backlog = async () => {
      const { rows: counts } = await admin.query<{ n: string }>(
        `SELECT (SELECT count(*) FROM pglisten.event) - min(n) AS n FROM (
           SELECT (SELECT count(*) FROM ${done} AS d WHERE d.subscription = s.name) AS n FROM pglisten.subscription AS s) AS done`,
      )
      return Number(counts[0]!.n)
    }
    let nextRestart = performance.now() + Math.min(RESTART_EVERY_MS, ms) / 2
    let restarts = 0
    while (!writers.isOver) {
      await wait(100 + upTo(200))
      writers.isHeld = (await backlog().catch(() => 0)) > MAX_BACKLOG
      if (performance.now() >= nextRestart && !writers.isOver) {
        nextRestart += RESTART_EVERY_MS
        await RESTARTS[restarts % RESTARTS.length]!(server)
        restarts += 1
        count('restart of the server')
        continue
      }
      const victims = [...processes].filter((child) => !child.spawnargs.at(-1)!.includes('"large"'))
      const victim = victims[upTo(victims.length)]
      const names = Object.keys(strikes)
      const what = names[upTo(names.length)]!
      await strikes[what]!(victim)
      count(what)
    }
    await running
    const ended = performance.now()
    // Those that are started from here on have nothing to fail with either.
    isCalm = true
    proxy.endHole()
    for (const child of processes) tell(child, 'calm')
    const total = async () =>
      writers.committed.length +
      Number(
        (await admin.query<{ n: string }>(`SELECT count(*) AS n FROM ${published}`)).rows[0]!.n,
      )
    await waitFor(
      async () => {
        const { rows: counts } = await admin.query<{ n: string }>(
          `SELECT count(DISTINCT payload) AS n FROM ${done} GROUP BY subscription`,
        )
        const wanted = await total()
        return (
          counts.length === SUBSCRIPTIONS.length && counts.every(({ n }) => Number(n) >= wanted)
        )
      },
      { timeoutMs: 90_000, what: 'everything to be done' },
    ).catch(() => {})
    const lagMs = performance.now() - ended
    // What comes twice would come now.
    await wait(1000)
    isOver = true
    const exits = [...processes].map((child) => once(child, 'exit'))
    for (const child of processes) child.kill('SIGCONT')
    for (const child of processes) child.kill('SIGTERM')
    await Promise.race([Promise.all(exits), wait(10_000)])
    const own = (await admin.query<{ payload: string }>(`SELECT payload FROM ${published}`)).rows
    const verdicts = await Promise.all(
      SUBSCRIPTIONS.map(async ({ name, options }) => {
        const { rows: handled } = await admin.query<Done>(
          `SELECT payload, key, channel FROM ${done} WHERE subscription = $1 ORDER BY seq`,
          [name],
        )
        return judged(
          name,
          writers,
          handled,
          own.map(({ payload }) => payload),
          (options.partitions ?? 1) > 1,
        )
      }),
    )
    await writers.close()
    return { verdicts, chaos, writerErrors: writers.errors, lagMs }
  } finally {
    isOver = true
    for (const child of processes) child.kill('SIGKILL')
    await pool.close()
    await admin.end()
    proxy.stop()
  }
}

interface Done {
  payload: string
  key: string | null
  channel: string
}

function judged(
  subscription: string,
  writers: Writers,
  handled: readonly Done[],
  own: readonly string[],
  isParted: boolean,
): Verdict {
  // The events of the trigger are numbers.
  const isCounted = /^\d+$/
  const nameOf = (payload: string) => (isCounted.test(payload) ? `#${payload}` : payload)
  const name = ({ payload }: Done) => nameOf(payload)
  const byName = new Map<string, Committed>()
  for (const event of writers.committed) byName.set(nameOf(event.payload), event)
  const wanted = new Set([...byName.keys(), ...own])
  const seen = new Set<string>()
  const doubled: string[] = []
  for (const row of handled) {
    if (seen.has(name(row))) doubled.push(name(row))
    seen.add(name(row))
  }
  // In a subscription with partitions the events of each key have an order of their own.
  const groups = new Map<string, Committed[]>()
  for (const row of handled) {
    const event = byName.get(name(row))
    if (!event) continue
    const group = isParted ? String(row.key) : ''
    if (!groups.has(group)) groups.set(group, [])
    groups.get(group)!.push(event)
  }
  let inversions = 0
  for (const group of groups.values()) {
    let firstAnswer = Infinity
    for (const event of group.toReversed()) {
      if (firstAnswer < event.began) inversions += 1
      firstAnswer = Math.min(firstAnswer, event.answered)
    }
  }
  const counter = handled
    .filter(({ payload }) => isCounted.test(payload))
    .map(({ payload }) => Number(payload))
  return {
    subscription,
    committed: wanted.size,
    done: handled.length,
    lost: [...wanted].filter((payload) => !seen.has(payload)),
    doubled,
    alien: [...seen].filter((payload) => !wanted.has(payload)),
    inversions,
    counterInversions: counter.filter((n, index) => index > 0 && n < counter[index - 1]!).length,
  }
}
