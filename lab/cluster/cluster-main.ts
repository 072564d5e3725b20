// `npm run clusters`: what listeners miss when a cluster changes its leader, and what their gaps tell of it. A Markdown table.

import { setTimeout as sleep } from 'node:timers/promises'
import { ConnectionPool, Gap, type Listener } from 'pglisten'
import { PatroniCluster, type Programs, findPrograms } from './patroni.js'
import { type Row, Writer } from './cluster-writer.js'
import { judge } from './cluster-judge.js'
import { waitFor } from '../wait.js'

const BEFORE_MS = 5000
/** After the event the writer goes on until this long after everybody is back. */
const AFTER_MS = 5000
const RECOVERY_DEADLINE_MS = 150_000
const CHANNEL = 'rows'

const EVENTS = {
  switchover: (cluster: PatroniCluster) => cluster.switchOver(),
  'leader and its agent killed': (cluster: PatroniCluster) => cluster.killLeader(),
  'only the agent killed': (cluster: PatroniCluster) => cluster.killAgent(),
}

/** A listener, and what it heard. */
interface Witness {
  name: string
  pool: ConnectionPool
  listener: Listener
  seen: (number | Gap)[]
  /** When each row was heard. */
  heardAt: Map<number, number>
  /** The last failed attempt to connect. */
  lastFailure: string
}

async function startWitness(name: string, pool: ConnectionPool): Promise<Witness> {
  const listener = pool.listener({ channels: [CHANNEL] })
  const witness: Witness = { name, pool, listener, seen: [], heardAt: new Map(), lastFailure: '' }
  const note = (error: unknown) => void (witness.lastFailure = String(error))
  listener.on('warning', ({ message, error }) => note(error ?? message)).on('error', note)
  await listener.startup()
  const messages = listener.messages({ gaps: 'include' })
  void (async () => {
    for await (const item of messages) {
      if (item instanceof Gap) witness.seen.push(item)
      else {
        witness.seen.push(Number(item.payload))
        witness.heardAt.set(Number(item.payload), Date.now())
      }
    }
  })()
  return witness
}

async function observe(programs: Programs, event: keyof typeof EVENTS): Promise<boolean> {
  const cluster = await PatroniCluster.start(programs)
  const witnesses: Witness[] = []
  let writer: Writer | undefined
  try {
    const leader = await waitFor(() => cluster.leader(), { what: 'a leader' })
    // The proxy needs two checks to know it.
    const through = cluster.dsn(`127.0.0.1:${cluster.haproxyPort}`)
    writer = await Writer.prepare(through, CHANNEL)
    // The leader comes first: whoever does not look stays there.
    const ports = [leader, ...cluster.nodes.filter((node) => node !== leader)].map(
      ({ port }) => port,
    )
    const hosts = cluster.dsn(ports.map((port) => `127.0.0.1:${port}`).join(','))
    for (const role of ['primary', 'read-write'] as const) {
      const pool = new ConnectionPool({ dsn: hosts, targetSessionAttrs: role })
      witnesses.push(await startWitness(`several hosts, \`${role}\``, pool))
    }
    const proxied = new ConnectionPool({ dsn: through, targetSessionAttrs: 'read-write' })
    witnesses.push(await startWitness('through HAProxy', proxied))

    writer.begin()
    await sleep(BEFORE_MS)
    const struckAt = Date.now()
    await EVENTS[event](cluster)
    const newLeader = await waitFor(
      async () => {
        const now = await cluster.leader()
        return now && now !== leader ? now : undefined
      },
      { timeoutMs: RECOVERY_DEADLINE_MS, what: 'another leader' },
    )
    const direct = new ConnectionPool({ dsn: cluster.dsn(`127.0.0.1:${newLeader.port}`) })
    // Everybody hears what is written on the new leader.
    const heardNew = () => {
      const rows = writer!.committedOn(newLeader.port)
      return witnesses.every(({ heardAt }) => rows.some((n) => heardAt.has(n)))
    }
    try {
      await waitFor(heardNew, { timeoutMs: RECOVERY_DEADLINE_MS, what: 'rows of the new leader' })
    } catch (error) {
      const leads = await cluster.leader()
      for (const node of cluster.nodes) {
        const role = `${node === newLeader ? 'led after the event' : ''} ${node === leads ? 'leads now' : ''}`
        console.error(`${node.port}: ${writer.committedOn(node.port).length} rows ${role}`)
      }
      for (const { name, listener, heardAt, lastFailure } of witnesses) {
        const last = Math.max(...heardAt.keys())
        console.error(`${name}: ${listener.state}, last heard ${last}, ${lastFailure}`)
      }
      throw error
    }
    await sleep(AFTER_MS)
    const attempts = await writer.stop()
    await sleep(500)
    const rows = await rowsOf(direct)
    await direct.close()
    let isKept = true
    for (const { name, seen, heardAt } of witnesses) {
      const it = judge(seen, rows, attempts)
      for (const attempt of attempts.filter(({ n }) => it.outside.includes(n))) {
        const [sent, over] = [attempt.sentAt, attempt.overAt].map((at) =>
          new Date(at).toISOString(),
        )
        console.error(`outside: ${attempt.n}, ${sent} to ${over}, port ${attempt.port}`)
      }
      if (it.outside.length > 0) console.error(it.places.join('\n'))
      const onNew = attempts.filter(({ port, n }) => port === newLeader.port && heardAt.has(n))
      const back = Math.min(...onNew.map(({ n }) => heardAt.get(n)!)) - struckAt
      isKept &&= it.outside.length === 0 && it.twice === 0 && it.disordered === 0
      console.log(
        `| ${event} (${rows.length} rows) | ${name} | ${(back / 1000).toFixed(1)} s | ${it.missing} | ` +
          `${it.outside.length} | ${it.gaps} | ${it.twice} | ${it.disordered} |`,
      )
    }
    return isKept
  } finally {
    await writer?.stop()
    for (const { listener, pool } of witnesses) {
      await listener.shutdown()
      await pool.close({ timeoutMs: 1000 })
    }
    await cluster.stop()
  }
}

async function rowsOf(pool: ConnectionPool): Promise<number[]> {
  await using connection = await pool.connection()
  const rows = await connection.execute<Row>('SELECT n FROM rows ORDER BY n')
  return rows.map(({ n }) => n)
}

const [, , patroni = 'patroni', only] = process.argv
const { programs, missing } = findPrograms(patroni)
if (missing.length > 0) {
  console.error(`Not installed: ${missing.join(', ')}`)
  process.exit(1)
}
console.log(
  '| event | listener | first row of the new leader heard after | missing | outside gaps | gaps | twice | out of order |',
)
console.log('| --- | --- | --- | --- | --- | --- | --- | --- |')
let isKept = true
for (const event of Object.keys(EVENTS) as (keyof typeof EVENTS)[]) {
  if (only !== undefined && !event.includes(only)) continue
  isKept = (await observe(programs, event)) && isKept
}
process.exitCode = isKept ? 0 : 1
