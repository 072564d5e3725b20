// How soon another process goes on with a subscription: `takeover.ts TIMES`. Prints rows of a Markdown table.
//
// A worker in a process of its own has taken an event and is struck. What counts is the time until the one that stands by is handed that
// event. The oracle is the table of what was done: each event once.

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { ConnectionPool, type SubscriptionOptions } from 'pglisten'
import { forked } from '../child.js'
import { FaultProxy } from '../network/fault-proxy.js'
import { startServer } from '../server/test-server.js'
import { uniqueName } from '../unique-name.js'
import { waitFor, within } from '../wait.js'
import { ServerWitness } from '../witness.js'

const MAX_HANDLER_MS = 2000
const DEADLINE_MS = 20_000
const program = fileURLToPath(new URL('subscriber.mjs', import.meta.url))

interface Case {
  what: string
  options: Partial<SubscriptionOptions>
  promisedMs: number
  /** Where it strikes: while the handler waits for something else, or in a statement. */
  asks: 'pause' | 'statement'
  strike: (child: ChildProcess, proxy: FaultProxy) => void
}

const kill = (child: ChildProcess) => void child.kill('SIGKILL')
const freeze = (child: ChildProcess) => void child.kill('SIGSTOP')
const hole = (_: ChildProcess, proxy: FaultProxy) => proxy.beginHole()
const bounded = { maxHandlerMs: MAX_HANDLER_MS }

const CASES: readonly Case[] = [
  { what: 'kill -9, defaults', options: {}, promisedMs: 2000, asks: 'pause', strike: kill },
  {
    what: 'kill -9, `standbyPollMs: 20`',
    options: { standbyPollMs: 20 },
    promisedMs: 100,
    asks: 'pause',
    strike: kill,
  },
  ...(['pause', 'statement'] as const).flatMap((asks): Case[] => {
    const where = asks === 'pause' ? 'between two statements' : 'in a statement'
    const promisedMs = MAX_HANDLER_MS + 1000
    const bound = `\`maxHandlerMs: ${MAX_HANDLER_MS}\``
    const same = { options: bounded, promisedMs, asks }
    return [
      { what: `frozen (SIGSTOP) ${where}, ${bound}`, ...same, strike: freeze },
      { what: `a hole in the network ${where}, ${bound}`, ...same, strike: hole },
    ]
  }),
]

const times = Number(process.argv[2])
const server = await startServer({ settings: { fsync: true, synchronous_commit: true } })
const witness = new ServerWitness(server.dsn)
const pool = new ConnectionPool({ dsn: server.dsn, applicationName: 'heir' })
let isRight = true
try {
  await pool.durable.install()
  const version = await witness.ask<string>('SHOW server_version')
  for (const one of CASES) {
    const took: number[] = []
    for (let n = 0; n < times; n += 1) took.push(await takeover(one))
    took.sort((a, b) => a - b)
    const [median, most] = [took[Math.floor(took.length / 2)]!, took.at(-1)!]
    isRight &&= most <= one.promisedMs
    const cells = [version, one.what, ms(median), ms(most), `≤ ${ms(one.promisedMs)}`]
    console.log(`| ${cells.join(' | ')} |`)
  }
} finally {
  await pool.close()
  await witness.close()
  await server.stop()
}
process.exitCode = isRight ? 0 : 1

function ms(time: number): string {
  return `${Math.round(time)} ms`
}

async function takeover({ options, asks, strike }: Case): Promise<number> {
  const [channel, name, done] = ['channel', 'subscription', 'done'].map((kind) => uniqueName(kind))
  const proxy = await FaultProxy.start(server.port)
  const all = { channels: [channel!], from: 'beginning' as const, ...options }
  await witness.run(
    `CREATE TABLE ${done} (event bigint, payload text, key text, channel text, subscription text, worker int)`,
  )
  const settings = {
    dsn: proxy.dsn(server.dsn),
    name,
    applicationName: 'victim',
    done,
    asks,
    options: all,
  }
  const child = forked(program, settings)
  const ending = new AbortController()
  let run: Promise<void> | undefined
  try {
    const handling = once(child, 'message')
    await pool.publish(channel!, 'first')
    await within(handling, { what: 'the victim to have an event' })
    const taken = new Promise<number>((resolve) => {
      run = pool.subscription(name!, all).run(
        async (tx, { id, payload }) => {
          resolve(performance.now())
          await tx.execute(`INSERT INTO ${done} (event, payload) VALUES ($1, $2)`, [id, payload])
        },
        { signal: ending.signal },
      )
    })
    run!.catch(() => {})
    // It has found out that somebody else is at work.
    await waitFor(() =>
      witness.ask(`SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'heir' AND query LIKE '%pglisten.take%'
        OR application_name = 'heir' AND query = 'ROLLBACK'`),
    )
    if (asks === 'statement') await waitFor(isSleeping)
    const struck = performance.now()
    strike(child, proxy)
    const took = (await within(taken, { timeoutMs: DEADLINE_MS, what: 'the heir' })) - struck
    await pool.publish(channel!, 'second')
    // One that was frozen, or comes out of the hole, may not do anything twice.
    child.kill('SIGCONT')
    proxy.endHole()
    await waitFor(async () => (await payloads(done!)).includes('second'))
    if (JSON.stringify(await payloads(done!)) !== '["first","second"]') {
      console.error(`expected each event once, got ${JSON.stringify(await payloads(done!))}`)
      isRight = false
    }
    return took
  } finally {
    ending.abort()
    child.kill('SIGKILL')
    await run?.catch(() => {})
    proxy.stop()
    await pool.durable.drop(name!)
  }
}

/** Whether the server is at work for the victim. */
async function isSleeping(): Promise<boolean> {
  return witness.ask<boolean>(
    `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'victim' AND state = 'active' AND wait_event = 'PgSleep')`,
  )
}

async function payloads(done: string): Promise<string[]> {
  return (await witness.ask<string[] | null>(`SELECT array_agg(payload) FROM ${done}`)) ?? []
}
