// The programs of `examples/` do what their pages say, also when their sessions are ended in the middle.

import test, { type ExecutionContext } from 'ava'
import { createDatabase } from '../support/database.js'
import { EventStream } from '../support/event-stream.js'
import { type Example, openDatabase, startExample } from '../support/example.js'
import * as server from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

/** Nothing of the example is left on the server. */
async function isGone(ask: (sql: string) => Promise<unknown>): Promise<boolean> {
  const left = await ask(`SELECT count(*)::int FROM pg_stat_activity
    WHERE datname = current_database() AND application_name <> 'the test'`)
  return left === 0
}

test.serial(
  'workers do each job once, though they lose their sessions and one of them is killed',
  async (t) => {
    const { dsn, ask, run, severAll } = await openDatabase(t)
    const env = { SWEEP_MS: '400' }
    const workers = [startExample(t, 'jobs', dsn, env), startExample(t, 'jobs', dsn, env)]
    for (const worker of workers) await worker.says(/is ready/)
    const add = (count: number) =>
      run(`INSERT INTO jobs (task) SELECT 'task ' || n FROM generate_series(1, ${count}) AS n`)
    const waiting = () => ask<number>('SELECT count(*)::int FROM jobs WHERE done_at IS NULL')

    await add(40)
    await waitFor(async () => (await waiting()) < 30)
    await severAll()
    await add(40)
    await waitFor(async () => (await waiting()) < 30)
    // In the middle of a job: its row is locked.
    const [killed] = workers as [Example]
    await killed.end('SIGKILL')
    await add(19)
    await run("INSERT INTO jobs (task) VALUES ('fail at first')")
    await waitFor(async () => (await waiting()) === 0, { what: 'all jobs to be done' })

    t.is(await ask('SELECT count(*)::int FROM jobs'), 100)
    t.is(await ask("SELECT attempts FROM jobs WHERE task = 'fail at first'"), 1)
    // A job may fail twice with the same words: both workers lose their connections, one after the other.
    const done = workers.flatMap((worker) => worker.lines()).filter((it) => /^job \d+: /.test(it))
    const twice = done.filter((it, index) => done.indexOf(it) !== index)
    t.deepEqual(twice, [], 'no job is done twice')
    t.is(await workers[1]!.end(), 0)
    t.true(await isGone(ask))
  },
)

test.serial('a worker is woken by the gap alone', async (t) => {
  const { dsn, ask, run, severAll } = await openDatabase(t)
  const worker = startExample(t, 'jobs', dsn)
  await worker.says(/is ready/)
  // Of this one nobody is told, and the next sweep is half a minute away.
  await run(`ALTER TABLE jobs DISABLE TRIGGER jobs_wake;
             INSERT INTO jobs (task) VALUES ('unannounced')`)
  await severAll()
  await worker.says(/unannounced/)
  t.is(await ask('SELECT count(*)::int FROM jobs WHERE done_at IS NULL'), 0)
  t.is(await worker.end(), 0)
})

test.serial(
  'a cache never keeps what has changed, though its session is lost while it changes',
  async (t) => {
    const { dsn, run, severAll, ask } = await openDatabase(t)
    const [here, there] = await Promise.all(
      [1, 2].map(async () => {
        const example = startExample(t, 'cache', dsn, { PORT: '0' })
        const [, url] = await example.says(/^(http:\S+)$/m)
        const get = async () => {
          const response = await fetch(`${url}/theme`)
          return `${response.headers.get('x-cache')} ${response.status} ${await response.text()}`
        }
        const put = (value: string) => fetch(`${url}/theme`, { method: 'PUT', body: value })
        return { example, get, put }
      }),
    )
    t.is(await there!.get(), 'miss 404 ')
    t.is((await here!.put('dark')).status, 204)
    t.is(await here!.get(), 'miss 200 dark')
    for (const { get } of [here!, there!]) {
      await waitFor(async () => (await get()) === 'hit 200 dark')
    }
    await here!.put('light')
    await waitFor(async () => (await there!.get()) === 'hit 200 light')

    // The change commits between the end of the sessions and their return: nobody is told of it.
    await severAll()
    await run("UPDATE settings SET value = 'blue'")
    for (const { get } of [here!, there!]) {
      await waitFor(async () => (await get()) === 'hit 200 blue')
    }
    for (const { example } of [here!, there!]) t.is(await example.end(), 0)
    t.true(await isGone(ask))
  },
)

async function startEvents(t: ExecutionContext, env: Record<string, string> = {}) {
  const database = await openDatabase(t)
  const example = startExample(t, 'server-sent-events', database.dsn, { PORT: '0', ...env })
  const [, url] = await example.says(/^(http:\S+)$/m)
  const open = async (lastEventId?: string) => {
    const stream = await EventStream.open(`${url}/events`, lastEventId)
    t.teardown(() => stream.close())
    return stream
  }
  const insert = (from: number, to: number, size = 1) =>
    database.run(`INSERT INTO events (body)
      SELECT n || ' ' || repeat('x', ${size}) FROM generate_series(${from}, ${to}) AS n`)
  return { ...database, example, url: url!, open, insert }
}

const upTo = (last: number, first = 1) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index)

test.serial(
  'every browser gets every event in order, though the server loses its sessions',
  async (t) => {
    const { severAll, insert, open, url, example, ask } = await startEvents(t)
    t.regex(await (await fetch(url)).text(), /EventSource/)
    const browsers = await Promise.all(upTo(20).map(() => open()))
    await fetch(`${url}/events`, { method: 'POST', body: '1 posted\nin two lines' })
    await insert(2, 100)
    await severAll()
    await insert(101, 200)
    await browsers[0]!.until(150)
    await severAll()
    await insert(201, 300)
    for (const browser of browsers) {
      await browser.until(300)
      t.deepEqual(browser.ids, upTo(300))
    }
    t.is(browsers[0]!.firstBody, '1 posted\nin two lines')
    t.is(await example.end(), 0)
    t.true(await isGone(ask))
  },
)

test.serial('a browser that comes back gets what it has missed', async (t) => {
  const { insert, open, url } = await startEvents(t)
  const first = await open()
  await insert(1, 50)
  await first.until(50)
  first.close()
  await insert(51, 2000)
  const second = await open(first.lastEventId)
  await second.until(2000)
  t.deepEqual(second.ids, upTo(2000, 51))
  t.is(second.anew, 0)
  const refused = await fetch(`${url}/events`, { headers: { 'last-event-id': 'x' } })
  t.is(refused.status, 400)
})

test.serial(
  'a browser that is new gets the last events, and one that was away too long begins anew',
  async (t) => {
    const { insert, open, ask } = await startEvents(t, { KEEP: '100' })
    const first = await open()
    await insert(1, 10)
    await first.until(10)
    first.close()
    await insert(11, 500)
    await waitFor(async () => (await ask('SELECT count(*)::int FROM events')) === 100)
    const fresh = await open()
    await fresh.until(500)
    t.deepEqual(fresh.ids, upTo(500, 451))
    const late = await open(first.lastEventId)
    await late.until(500)
    t.deepEqual(late.ids, upTo(500, 451))
    t.is(late.anew, 1)
  },
)

test.serial('browsers begin anew when the database is another one', async (t) => {
  const { insert, open, dsn } = await startEvents(t)
  const before = await open()
  await insert(1, 30)
  await before.until(30)
  const name = new URL(dsn).pathname.slice(1)
  const other = await createDatabase(t)
  // What a restore does: nobody gets in, those who are in are put out, and another database has the name.
  await server.run(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
  const left = () =>
    server.ask<number>(
      `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity WHERE datname = $1`,
      [name],
    )
  await waitFor(async () => (await left()) === 0)
  t.teardown(() => server.run(`DROP DATABASE IF EXISTS ${name}_old WITH (FORCE)`))
  await server.run(
    `ALTER DATABASE ${name} RENAME TO ${name}_old; ALTER DATABASE ${other} RENAME TO ${name}`,
  )
  // The program makes its tables there.
  await waitFor(
    async () =>
      insert(31, 31).then(
        () => true,
        () => false,
      ),
    { timeoutMs: 60_000 },
  )
  const after = await open(before.lastEventId)
  await after.until(1)
  t.deepEqual(after.ids, [1])
  t.is(after.anew, 1)
  t.regex(after.firstBody!, /^31 /)
  await insert(32, 40)
  await after.until(10)
  t.deepEqual(after.ids, upTo(10))
})

test.serial(
  'a browser that does not read holds nobody back, and gets everything in the end',
  async (t) => {
    // What a browser leaves unread must not be kept: more than this process may hold.
    const { insert, open } = await startEvents(t, { NODE_OPTIONS: '--max-old-space-size=64' })
    const [reading, resting] = [await open(), await open()]
    resting.pause()
    for (let first = 1; first <= 6000; first += 100) await insert(first, first + 99, 20_000)
    await reading.until(6000)
    t.deepEqual(reading.ids, upTo(6000))
    t.true(resting.ids.length < 3000)
    resting.resume()
    await resting.until(6000)
    t.deepEqual(resting.ids, upTo(6000))
  },
)

const notify = (count: number) =>
  `SELECT pg_notify('work', n::text) FROM generate_series(1, ${count}) AS n`

test.serial('a shutdown hands out what was received', async (t) => {
  const { dsn, run, ask } = await openDatabase(t)
  const consumer = startExample(t, 'graceful-shutdown', dsn, { WORK_MS: '10' })
  await consumer.says(/^ready$/m)
  await run(notify(100))
  await consumer.says(/^handled 5$/m)
  t.is(await consumer.end(), 0)
  t.deepEqual(
    consumer.lines().filter((line) => line !== 'shutting down'),
    ['ready', ...upTo(100).map((n) => `handled ${n}`), 'handled 100 in all, 0 left'],
  )
  t.true(await isGone(ask))
})

test.serial('a shutdown ends at its deadline, and says what is left', async (t) => {
  const { dsn, run, ask } = await openDatabase(t)
  const env = { WORK_MS: '100', DEADLINE_MS: '1000' }
  const consumer = startExample(t, 'graceful-shutdown', dsn, env)
  await consumer.says(/^ready$/m)
  await run(notify(1000))
  await consumer.says(/^handled 1$/m)
  const started = performance.now()
  t.is(await consumer.end(), 1)
  t.true(performance.now() - started < 3000)
  const [, handled, left] = await consumer.says(/handled (\d+) in all, (\d+) left/)
  t.is(Number(handled) + Number(left), 1000)
  t.true(await isGone(ask))
})

test.serial('a second signal ends a shutdown at once', async (t) => {
  const { dsn, run } = await openDatabase(t)
  const consumer = startExample(t, 'graceful-shutdown', dsn, { WORK_MS: '500' })
  await consumer.says(/^ready$/m)
  await run(notify(100))
  await consumer.says(/^handled 1$/m)
  consumer.child.kill('SIGTERM')
  await consumer.says(/^shutting down$/m)
  t.is(await consumer.end(), 1)
  t.notRegex(consumer.output(), /in all/)
})
