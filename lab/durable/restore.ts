// A dump is restored into clusters whose transaction ids are lower and higher, and the cluster is upgraded: `restore.ts BIN`. Prints a
// Markdown table.
//
// Subscriptions in every state are dumped by `pg_dump`, in its own format and as SQL, and taken along by `pg_upgrade`. Then something is
// published before anybody has noticed, and each subscription is worked to its end. The oracle: each gets what it had not done, once and
// in order.

import { spawnSync, type SpawnSyncOptions } from 'node:child_process'
import path from 'node:path'
import { ConnectionPool } from 'pglisten'
import { DevServer } from '../server/dev-server.mjs'
import { unprivilegedAccount } from '../server/server-account.mjs'
import { startServer } from '../server/test-server.js'
import { waitFor, within } from '../wait.js'

const BACKLOG = 20_000
const bin = process.argv[2] ?? ''
const numbers = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, n) => String(first + n))

/** Works a subscription until it has nothing left, or has done so many events. */
async function work(
  pool: ConnectionPool,
  name: string,
  partitions: number,
  { most = Infinity, bad }: { most?: number; bad?: string } = {},
): Promise<string[]> {
  const got: string[] = []
  const ending = new AbortController()
  const subscription = pool.subscription(name, {
    channels: ['a'],
    from: 'beginning',
    partitions,
    batchSize: 1000,
    retryDelayMs: 1,
    maxAttempts: 1,
    onFailure: 'skip',
  })
  subscription.on('warning', () => {})
  const run = subscription.run(
    (_, { payload }) => {
      if (payload === bad) throw new Error('no')
      got.push(payload)
      if (got.length === most) ending.abort()
    },
    { signal: ending.signal },
  )
  run.catch(() => {})
  if (most === Infinity) {
    // One that is not made yet has no lag either.
    const isDone = async () =>
      (await pool.durable.subscriptions()).some((one) => one.name === name) &&
      (await subscription.stats()).lag.events === 0
    await waitFor(isDone, { timeoutMs: 60_000, what: name })
    ending.abort()
  }
  await within(run, { timeoutMs: 60_000, what: name })
  return got
}

/** Uses transaction ids up. */
async function burn(pool: ConnectionPool, ids: number): Promise<void> {
  await pool.execute(
    `DO $$ BEGIN FOR n IN 1..${ids} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`,
  )
}

async function fill(pool: ConnectionPool): Promise<void> {
  await pool.durable.install()
  const connection = await pool.connection()
  const open = await connection.begin()
  await open.publish('a', 'late')
  await pool.execute("SELECT pglisten.publish('a', n::text) FROM generate_series(1, 100) AS n")
  // Each of these has the open transaction in its list.
  await work(pool, 'all', 1, { bad: '1' })
  await work(pool, 'parts', 3)
  await pool.fetchVal("SELECT pglisten.subscribe('none', '{a}', 1, true)")
  await work(pool, 'middle', 1, { most: 35 })
  await open.commit()
  await connection.close()
  await pool.execute(
    'SELECT pglisten.publish($1, n::text, n::text) FROM generate_series(101, $2::int) AS n',
    ['a', BACKLOG],
  )
  // Many events, of which a part is done.
  await work(pool, 'far', 1, { most: 12_345 })
  // One that has not moved yet, and begins behind all of them.
  await pool.fetchVal("SELECT pglisten.subscribe('fresh', '{a}')")
}

function run(
  program: string,
  args: string[],
  input?: Buffer,
  options: SpawnSyncOptions = {},
): Buffer {
  const { status, stdout, stderr } = spawnSync(path.join(bin, program), args, {
    ...options,
    encoding: 'buffer',
    input,
    maxBuffer: 2 ** 30,
  })
  if (status === 0) return stdout
  throw new Error(`${program} ended with ${status}: ${stderr.toString() || stdout.toString()}`)
}

/** What is wrong with what a subscription got. */
function wrong(
  name: string,
  got: readonly string[],
  expected: readonly string[],
  isOrdered: boolean,
): string[] {
  const texts = isOrdered ? [got, expected] : [got.toSorted(), expected.toSorted()]
  if (JSON.stringify(texts[0]) === JSON.stringify(texts[1])) return []
  const set = new Set(got)
  const missing = expected.filter((payload) => !set.has(payload)).length
  return [
    `${name}: expected ${expected.length} events in order, got ${got.length}, of which ${missing} are missing`,
  ]
}

const SUBSCRIPTIONS = [
  ['all', 1],
  ['parts', 3],
  ['none', 1],
  ['middle', 1],
  ['far', 1],
  ['fresh', 1],
] as const

/** Works every subscription of a server to its end, and prints the row of what came of it. Returns whether that was right. */
async function judged(to: DevServer, by: string, ids: string): Promise<boolean> {
  const pool = new ConnectionPool(to.dsn)
  try {
    await pool.publish('a', 'new')
    const rest = [...numbers(101, BACKLOG), 'new']
    const first = ['late', ...numbers(1, 100)]
    const got: string[][] = []
    for (const [name, partitions] of SUBSCRIPTIONS) got.push(await work(pool, name, partitions))
    const problems = [
      ...wrong('all', got[0]!, ['late', ...rest], true),
      ...wrong('parts', got[1]!, ['late', ...rest], false),
      ...wrong('none', got[2]!, [...first, ...rest], true),
      ...wrong('middle', got[3]!, ['late', ...numbers(36, 100), ...rest], true),
      ...wrong('far', got[4]!, [...first, ...rest].slice(12_345), true),
      ...wrong('fresh', got[5]!, ['new'], true),
    ]
    await pool.durable.retry('all')
    problems.push(...wrong('all, given up', await work(pool, 'all', 1, { most: 1 }), ['1'], true))
    // The second one finds that everything is at home.
    const positions = () =>
      pool.fetchVal<string>(
        'SELECT string_agg(p::text, $1 ORDER BY p::text) FROM pglisten.position AS p',
        [','],
      )
    const before = await positions()
    await pool.durable.adopt()
    if (before !== (await positions())) problems.push('a second adopt() has moved positions')
    await pool.publish('a', 'newer')
    for (const [name, partitions] of SUBSCRIPTIONS)
      problems.push(
        ...wrong(`${name} afterwards`, await work(pool, name, partitions), ['newer'], true),
      )
    for (const problem of problems) console.error(problem)
    const state = problems.length === 0 ? 'each event once, in order' : '**wrong**'
    console.log(`| ${by} | ${ids} | ${got.map(({ length }) => length).join(' / ')} | ${state} |`)
    return problems.length === 0
  } finally {
    await pool.close()
  }
}

async function restore(from: DevServer, format: 'custom' | 'plain', ids: number): Promise<boolean> {
  const to = await startServer({ bin })
  try {
    const pool = new ConnectionPool(to.dsn)
    await burn(pool, ids)
    await pool.close()
    const dump = run('pg_dump', [`--format=${format}`, '--schema=pglisten', from.dsn])
    if (format === 'custom') run('pg_restore', ['--exit-on-error', '--dbname', to.dsn], dump)
    else run('psql', ['--quiet', '--set=ON_ERROR_STOP=1', to.dsn], dump)
    const by = format === 'custom' ? 'pg_dump -Fc, pg_restore' : 'pg_dump, psql'
    return await judged(to, by, ids === 0 ? 'lower' : 'higher')
  } finally {
    await to.stop()
  }
}

/** Upgrades a cluster, which is stopped by that, into a new one: its transaction ids are kept, and its identifier is not. */
async function upgrade(from: DevServer): Promise<boolean> {
  const to = new DevServer({ bin })
  try {
    // The new one has the roles of the old one, and one password serves for both.
    to.password = from.password
    await to.initialise()
    await from.halt()
    const port = String(from.port)
    const folders = ['-b', bin, '-B', bin, '-d', from.dataDir, '-D', to.dataDir, '-s', to.folder]
    run('pg_upgrade', [...folders, '-U', from.user, '-p', port, '-P', port], undefined, {
      ...unprivilegedAccount(),
      cwd: to.folder,
      env: { ...process.env, HOME: to.folder, PGPASSWORD: from.password },
    })
    await to.start()
    return await judged(to, 'pg_upgrade', 'the same')
  } finally {
    await to.stop()
  }
}

const from = await startServer({ bin })
const pool = new ConnectionPool(from.dsn)
try {
  await burn(pool, 5000)
  await fill(pool)
  console.log(
    '| dumped and restored by | transaction ids there | handled by `all` / `parts` / `none` / `middle` / `far` / `fresh` | result |\n| --- | --- | --- | --- |',
  )
  const results: boolean[] = []
  for (const ids of [0, 100_000])
    for (const format of ['custom', 'plain'] as const)
      results.push(await restore(from, format, ids))
  await pool.close()
  results.push(await upgrade(from))
  process.exitCode = results.every(Boolean) ? 0 : 1
} finally {
  await pool.close()
  await from.stop()
}
