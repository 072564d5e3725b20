// What is measured of durable subscriptions. Each case returns ratios within one of its turns.

import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { pgbench } from './server.mjs'

const CONSUMER = fileURLToPath(new URL('consumer.mjs', import.meta.url))
const SENDER = fileURLToPath(new URL('sender.mjs', import.meta.url))

/** @typedef {Awaited<ReturnType<typeof import('./server.mjs').startDurableServer>>} Server */
/** @typedef {{ perSecond: number, cpuUs: number, latencies: number[], rss: number }} Consumed */

/** @param {Server} server @param {(client: Client) => Promise<unknown>} work */
export async function asAdministrator(server, work) {
  const client = new Client({ connectionString: server.dsn })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** Starts a process that consumes. @param {Partial<import('./consumer.mjs').Asked>} asked */
export async function consumer(asked) {
  const child = fork(CONSUMER, [JSON.stringify(asked)])
  const ended = once(child, 'exit')
  const failed = ended.then(() =>
    Promise.reject(new Error(`the consumer ${asked.kind} has ended early`)),
  )
  failed.catch(() => {})
  await Promise.race([once(child, 'message'), failed])
  const said = Promise.race([once(child, 'message'), failed]).then(
    ([it]) => /** @type {Consumed} */ (it),
  )
  said.catch(() => {})
  return {
    child,
    /** What it came to, once it has had all. */
    async result() {
      const it = await said
      await ended
      return it
    },
    async stop() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

const PLAIN = "INSERT INTO plain (channel, payload) VALUES ('orders', repeat('x', 100))"
const PUBLISH = "SELECT pglisten.publish('orders', repeat('x', 100))"

/** Each way to publish: its statements, and who works beside the writers. */
const PUBLISHING = {
  plain: { statements: [PLAIN] },
  // What any consumer costs the writers that keeps its place in a row.
  beside: { statements: [PLAIN], worker: besides },
  publish: { statements: [PUBLISH], worker: subscription('on') },
  publishOff: { statements: [PUBLISH], worker: subscription('off') },
  always: {
    statements: ['BEGIN', PLAIN, "SELECT pg_notify('orders', repeat('x', 100))", 'COMMIT'],
  },
}

/** How often the session commits that does nothing else beside the writers. */
export const COMMITS_PER_SECOND = 100

/** Starts a session that updates one row again and again. @param {Server} server */
async function besides(server) {
  const client = new Client({ connectionString: server.dsn })
  await client.connect()
  await client.query("INSERT INTO by_hand VALUES ('beside', 0) ON CONFLICT DO NOTHING")
  let committed = Promise.resolve()
  const timer = setInterval(() => {
    committed = committed.then(async () => {
      await client.query("UPDATE by_hand SET last = last + 1 WHERE name = 'beside'")
    })
  }, 1000 / COMMITS_PER_SECOND)
  return {
    async stop() {
      clearInterval(timer)
      await committed
      await client.end()
    },
  }
}

/** @param {'on' | 'off'} synchronousCommit */
function subscription(synchronousCommit) {
  return (/** @type {Server} */ server) =>
    consumer({
      kind: 'pglisten',
      dsn: server.dsn,
      name: 'publishing',
      channel: 'orders',
      batchSize: 100,
      synchronousCommit,
      count: Infinity,
      warmUp: 0,
    })
}

/**
 * How many transactions a second so many writers commit, with a consumer that works.
 * @param {Server} server @param {keyof typeof PUBLISHING} way @param {number} writers @param {number} seconds
 */
export async function publishing(server, way, writers, seconds) {
  await asAdministrator(server, async (client) => {
    // The flag of a worker that was ended asleep would have the next one's publishers ring.
    await client.query(
      'TRUNCATE plain; TRUNCATE pglisten.event; DELETE FROM pglisten.sleeper; CHECKPOINT',
    )
  })
  const { statements, worker: start } = { worker: undefined, ...PUBLISHING[way] }
  const worker = await start?.(server)
  const file = path.join(server.folder, `${way}.sql`)
  fs.writeFileSync(file, statements.map((statement) => `${statement};\n`).join(''))
  try {
    const args = [
      '-n',
      '-M',
      'prepared',
      '-c',
      `${writers}`,
      '-j',
      '1',
      '-T',
      `${seconds}`,
      '-f',
      file,
      server.dsn,
    ]
    const bench = spawn(pgbench(), args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    bench.stdout.on('data', (chunk) => (output += chunk))
    const [code] = await once(bench, 'exit')
    const perSecond = Number(/tps = ([\d.]+)/.exec(output)?.[1])
    if (code !== 0 || !(perSecond > 0)) throw new Error(`pgbench failed:\n${output}`)
    return perSecond
  } finally {
    await worker?.stop()
  }
}

/** Publishes so many events at once, in transactions of 50. @param {Server} server @param {number} count @param {number} [bytes] */
export async function prefill(server, count, bytes = 100) {
  await asAdministrator(server, async (client) => {
    await client.query('TRUNCATE pglisten.event')
    await client.query(`DO $$ BEGIN
      FOR i IN 1..${count / 50} LOOP
        INSERT INTO pglisten.event (channel, payload) SELECT 'orders', repeat('x', ${bytes}) FROM generate_series(1, 50);
        COMMIT;
      END LOOP; END $$`)
    await client.query('VACUUM ANALYZE pglisten.event')
  })
}

let names = 0

/**
 * How fast a consumer takes what is there.
 * @param {Server} server @param {'pglisten' | 'last'} kind
 * @param {Pick<import('./consumer.mjs').Asked, 'batchSize' | 'synchronousCommit' | 'count' | 'warmUp'>} asked
 */
export async function consuming(server, kind, asked) {
  names += 1
  const name = `consuming ${names}`
  await asAdministrator(server, (client) =>
    client.query('INSERT INTO by_hand SELECT $1, coalesce(min(id) - 1, 0) FROM pglisten.event', [
      name,
    ]),
  )
  const worker = await consumer({ kind, dsn: server.dsn, name, channel: 'orders', ...asked })
  const result = await worker.result()
  await asAdministrator(server, (client) =>
    client.query('DELETE FROM pglisten.subscription WHERE name = $1', [name]),
  )
  return result
}

/**
 * From before the statement that publishes is sent to the handler, in milliseconds.
 * @param {Server} server @param {'pglisten' | 'listen'} kind @param {number} perSecond @param {number} count
 */
export async function latency(server, kind, perSecond, count) {
  names += 1
  const name = `latency ${names}`
  await asAdministrator(server, (client) => client.query('TRUNCATE pglisten.event'))
  const warmUp = Math.ceil(count / 5)
  const asked = {
    kind,
    dsn: server.dsn,
    name,
    channel: 'timed',
    batchSize: 100,
    count,
    warmUp,
    timed: true,
  }
  const worker = await consumer(asked)
  const statement =
    kind === 'pglisten'
      ? "SELECT pglisten.publish('timed', $1)"
      : // The same event, kept too: what a commit costs is in both.
        "WITH kept AS (INSERT INTO plain (channel, payload) VALUES ('timed', $1)) SELECT pg_notify('timed', $1)"
  const sender = fork(SENDER, [JSON.stringify({ dsn: server.dsn, statement, perSecond, count })])
  const [result] = await Promise.all([worker.result(), once(sender, 'exit')])
  await asAdministrator(server, (client) =>
    client.query('DELETE FROM pglisten.subscription WHERE name = $1', [name]),
  )
  return result
}
