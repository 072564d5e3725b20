// What becomes of a subscription when its server is lost and a standby is promoted. Prints a Markdown table.
//
// Publishers commit, and a worker reaches whichever of both servers is the primary. With an asynchronous standby the network between both
// servers breaks a while before the primary is killed, so that the standby lacks what was committed since. The oracle compares the events and
// the work of the new primary with what was acknowledged and what was done outside of the database.

import { ConnectionPool, type DurableEvent } from 'pglisten'
import { Arena, promote } from '../faults/arena.js'
import { FaultProxy } from '../network/fault-proxy.js'
import { waitFor, within } from '../wait.js'
import { ServerWitness } from '../witness.js'

const BEFORE_MS = 3000
/** So long the standby is cut off before the primary is killed. */
const BEHIND_MS = 1000
const AFTER_MS = 2000
const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

interface Counts {
  acknowledged: number
  /** Of these, not on the new primary. */
  lost: number
  /** Events on the new primary. */
  events: number
  /** Of these, without their work, or with it twice. */
  missing: number
  twice: number
  /** Work without its event. */
  alien: number
  /** Events whose work outside of the database was done more than once, or although they are gone; and pairs with one `id`. */
  outsideAgain: number
  outsideGone: number
  sameId: number
  sameUid: number
  backMs: number
}

const isRight = [await failover(true), await failover(false)].every(Boolean)
process.exitCode = isRight ? 0 : 1

async function failover(isSynchronous: boolean): Promise<boolean> {
  const arena = await Arena.open({
    wal_level: 'replica',
    max_wal_senders: 10,
    fsync: true,
    synchronous_commit: true,
  })
  const wire = await FaultProxy.start(arena.server.port)
  const standby = await arena.makeStandby({ fsync: true, synchronous_commit: true }, wire.port)
  const stops: (() => Promise<unknown>)[] = []
  try {
    await standby.start()
    stops.push(() => standby.stop('immediate'))
    if (isSynchronous) {
      await arena.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
      await arena.run('SELECT pg_reload_conf()')
    }
    await waitFor(() =>
      arena.ask<number>("SELECT count(*)::int FROM pg_stat_replication WHERE state = 'streaming'"),
    )
    const both = arena.directDsn.replace(
      /@[^/]+\//,
      `@127.0.0.1:${arena.server.port},127.0.0.1:${standby.port}/`,
    )
    const options = { dsn: both, targetSessionAttrs: 'read-write' as const, connectTimeoutSec: 2 }
    const pool = new ConnectionPool(options)
    stops.push(() => pool.close())
    await arena.run('GRANT CREATE ON DATABASE victim TO victim')
    await arena.direct.run('GRANT CREATE ON SCHEMA public TO victim')
    await pool.durable.install()
    await pool.execute('CREATE TABLE done (event bigint, payload text)')

    const outside: DurableEvent[] = []
    const ending = new AbortController()
    const subscription = pool.subscription('s', {
      channels: ['a'],
      from: 'beginning',
      batchSize: 10,
      retryDelayMs: 1,
      maxAttempts: 1000,
      safetyNetMs: 500,
      maxHandlerMs: 3000,
    })
    subscription.on('warning', () => {})
    const run = subscription.run(
      async (tx, event) => {
        outside.push(event)
        await tx.execute('INSERT INTO done VALUES ($1, $2)', [event.id, event.payload])
      },
      { signal: ending.signal },
    )
    run.catch(() => {})

    const acknowledged: string[] = []
    const publishing = new AbortController()
    const publishers = [1, 2, 3, 4].map(async (publisher) => {
      for (let n = 0; !publishing.signal.aborted; n += 1) {
        const payload = `${publisher}/${n}`
        try {
          await pool.publish('a', payload, {})
          acknowledged.push(payload)
        } catch {
          await wait(50)
        }
        await wait(10)
      }
    })
    await wait(BEFORE_MS)
    if (!isSynchronous) {
      wire.beginHole()
      await wait(BEHIND_MS)
    }
    await arena.server.kill()
    const [killed, before] = [performance.now(), outside.length]
    promote(standby)
    await waitFor(() => outside.length > before, { timeoutMs: 60_000, what: 'the worker to go on' })
    const backMs = performance.now() - killed
    await wait(AFTER_MS)
    publishing.abort()
    await Promise.all(publishers)
    await waitFor(async () => (await subscription.stats()).lag.events === 0, { timeoutMs: 60_000 })
    ending.abort()
    await within(run)
    const url = new URL(arena.directDsn)
    url.port = String(standby.port)
    const witness = new ServerWitness(url.href)
    stops.push(() => witness.close())
    const counts = await judged(witness, acknowledged, outside, backMs)
    return told(isSynchronous, counts)
  } finally {
    for (const stop of stops.toReversed()) await stop().catch(() => {})
    wire.stop()
    await arena.close()
  }
}

async function judged(
  witness: ServerWitness,
  acknowledged: readonly string[],
  outside: readonly DurableEvent[],
  backMs: number,
): Promise<Counts> {
  const list = async (sql: string) => (await witness.ask<string[] | null>(sql)) ?? []
  const events = await list('SELECT array_agg(payload) FROM pglisten.event')
  const done = await list('SELECT array_agg(payload) FROM done')
  const there = new Set(events)
  const times = new Map<string, number>()
  for (const payload of done) times.set(payload, (times.get(payload) ?? 0) + 1)
  const uids = new Map<string, string>()
  const ids = new Map<bigint, Set<string>>()
  let [outsideAgain, sameUid] = [0, 0]
  const seen = new Set<string>()
  for (const { id, uid, payload } of outside) {
    if (seen.has(payload)) outsideAgain += 1
    seen.add(payload)
    // One name for two events would have the second one taken for done.
    if ((uids.get(uid) ?? payload) !== payload) sameUid += 1
    uids.set(uid, payload)
    if (!ids.has(id)) ids.set(id, new Set())
    ids.get(id)!.add(payload)
  }
  return {
    acknowledged: acknowledged.length,
    lost: acknowledged.filter((payload) => !there.has(payload)).length,
    events: events.length,
    missing: events.filter((payload) => !times.has(payload)).length,
    twice: [...times.values()].filter((count) => count > 1).length,
    alien: [...times.keys()].filter((payload) => !there.has(payload)).length,
    outsideAgain,
    outsideGone: [...seen].filter((payload) => !there.has(payload)).length,
    sameId: [...ids.values()].filter((payloads) => payloads.size > 1).length,
    sameUid,
    backMs,
  }
}

function told(isSynchronous: boolean, counts: Counts): boolean {
  const {
    acknowledged,
    lost,
    events,
    missing,
    twice,
    alien,
    outsideAgain,
    outsideGone,
    sameId,
    sameUid,
    backMs,
  } = counts
  const cells = [
    isSynchronous ? 'synchronous' : 'asynchronous, cut off for 1 s',
    acknowledged,
    lost,
    events,
    `${missing} / ${twice} / ${alien}`,
    outsideAgain,
    outsideGone,
    sameId,
    sameUid,
    `${(backMs / 1000).toFixed(1)} s`,
  ]
  console.log(`| ${cells.join(' | ')} |`)
  // The asynchronous one must have lost something: else nothing was tried.
  return missing + twice + alien + sameUid === 0 && (isSynchronous ? lost === 0 : lost > 0)
}
