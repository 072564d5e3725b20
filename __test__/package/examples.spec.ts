// The programs of `examples/` do what their pages say, also when their sessions are ended in the middle.

import { once } from 'node:events'
import { request } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { createDatabase } from '../support/database.js'
import { EventStream } from '../support/event-stream.js'
import { type Example, openDatabase, startExample } from '../support/example.js'
import * as server from '../support/listener.js'
import { waitFor } from '../../lab/wait.js'

/** Waits until nothing of the example is left on the server, which may still be ending its sessions. */
async function isGone(ask: (sql: string) => Promise<unknown>): Promise<true> {
  const left = `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database()
    AND backend_type = 'client backend' AND application_name <> 'the test'`
  return waitFor(async () => (await ask(left)) === 0 && true, { what: 'the end of its sessions' })
}

const startJobs = (t: ExecutionContext, dsn: string, env: Record<string, string> = {}) =>
  startExample(t, 'jobs', dsn, env, ['--install'])

test.serial(
  'workers do each job once, though they lose their sessions and one of them is killed',
  async (t) => {
    const { dsn, ask, run, severAll } = await openDatabase(t)
    const workers = [startJobs(t, dsn), startJobs(t, dsn)]
    for (const worker of workers) await worker.says(/is ready/)
    const add = (from: number, to: number) =>
      run(`SELECT pglisten.publish('jobs', json_build_object('task', 'task ' || n)::text, 'key ' || n % 20)
           FROM generate_series(${from}, ${to}) AS n`)
    const done = () => ask<number>('SELECT count(*)::int FROM job_log')

    await add(1, 40)
    await waitFor(async () => (await done()) > 10)
    await severAll()
    await add(41, 80)
    await waitFor(async () => (await done()) > 50)
    // In the middle of a job: its transaction is open.
    const [killed] = workers as [Example]
    await killed.end('SIGKILL')
    await add(81, 99)
    await run(`SELECT pglisten.publish('jobs', '{"task": "fail at first"}')`)
    await waitFor(async () => (await done()) >= 100, { what: 'all jobs to be done' })

    t.is(await done(), 100)
    t.is(await ask('SELECT count(DISTINCT task)::int FROM job_log'), 100, 'no job is done twice')
    // The one that lost its session may have had it, too: it counts its attempts in the database.
    t.true((await ask<number>("SELECT attempt FROM job_log WHERE task = 'fail at first'")) >= 2)
    t.is(
      await ask("SELECT count(*)::int FROM pglisten.failed WHERE subscription = 'job worker'"),
      0,
    )
    t.is(await workers[1]!.end(), 0)
    t.true(await isGone(ask))
  },
)

test.serial(
  'a worker that has lost its session finds a job for which no bell was rung',
  async (t) => {
    const { dsn, ask, run, severAll } = await openDatabase(t)
    const worker = startJobs(t, dsn)
    await worker.says(/is ready/)
    await waitFor(() => ask<boolean>('SELECT count(*) = 4 FROM pglisten.sleeper'))
    // Of this one nobody is told, and the safety net is half a minute away.
    await run(`SELECT pglisten.publish('jobs', '{"task": "unannounced"}', NULL, false)`)
    await severAll()
    await waitFor(() =>
      ask<boolean>("SELECT EXISTS (SELECT FROM job_log WHERE task = 'unannounced')"),
    )
    t.is(await worker.end(), 0)
    t.is(await ask('SELECT count(*)::int FROM pglisten.sleeper'), 0)
    t.true(await isGone(ask))
  },
)

test.serial('a worker creates nothing in a database unless it is told to', async (t) => {
  const { dsn, ask } = await openDatabase(t)
  const worker = startExample(t, 'jobs', dsn)
  await worker.says(/no durable subscriptions, or no table `job_log`: --install creates both/)
  await waitFor(() => worker.child.exitCode !== null)
  t.is(worker.child.exitCode, 1)
  t.is(await ask("SELECT to_regnamespace('pglisten')::text"), null)
  t.is(await ask("SELECT to_regclass('job_log')::text"), null)
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

test.serial(
  'a cache is told of keys that change and of a TRUNCATE, and takes any path',
  async (t) => {
    const { dsn, run } = await openDatabase(t)
    const example = startExample(t, 'cache', dsn, { PORT: '0' })
    const [, url] = await example.says(/^(http:\S+)$/m)
    const get = async (key: string) => {
      const response = await fetch(`${url}/${key}`)
      return `${response.headers.get('x-cache')} ${response.status} ${await response.text()}`
    }
    const { hostname, port } = new URL(url!)
    const status = await new Promise((resolve, reject) => {
      request({ hostname, port, path: '/%' }, (response) => resolve(response.resume().statusCode))
        .on('error', reject)
        .end()
    })
    t.is(status, 400)
    await run("INSERT INTO settings VALUES ('a', '1'), ('b', '2')")
    for (const [key, value] of [
      ['a', '1'],
      ['b', '2'],
    ])
      await waitFor(async () => (await get(key!)) === `hit 200 ${value}`)
    await waitFor(async () => (await get('c')) === 'hit 404 ')
    await run("UPDATE settings SET key = 'c' WHERE key = 'a'")
    await waitFor(async () => (await get('a')) === 'hit 404 ')
    await waitFor(async () => (await get('c')) === 'hit 200 1')
    await run('TRUNCATE settings')
    for (const key of ['b', 'c']) await waitFor(async () => (await get(key)) === 'hit 404 ')
    t.is(await example.end(), 0)
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
  // Whoever comes back before it has looked at what is there is sent away once more.
  await before.ended()
  const after = await open(before.lastEventId)
  await after.until(1)
  t.deepEqual(after.ids, [1])
  t.is(after.anew, 1)
  t.regex(after.firstBody!, /^31 /)
  await insert(32, 40)
  await after.until(10)
  t.deepEqual(after.ids, upTo(10))
})

/** What a backup was restored to that had the first ten events: as many as were there have been inserted since. */
const RESTORED = `DELETE FROM events WHERE id > 10; SELECT setval('events_id', 10);
  INSERT INTO events (body) SELECT 'other ' || n FROM generate_series(11, 35) AS n`

test.serial('browsers begin anew when a backup was restored and has grown since', async (t) => {
  const { insert, open, run } = await startEvents(t)
  const before = await open()
  await insert(1, 30)
  await before.until(30)
  await run(RESTORED)
  await before.ended()
  t.deepEqual(before.ids, upTo(30))
  const after = await open(before.lastEventId)
  await after.until(35)
  t.is(after.anew, 1)
  t.deepEqual(after.ids, upTo(35))
})

test.serial(
  'browsers begin anew when a backup was restored while the program was away',
  async (t) => {
    const { insert, open, run, dsn, example } = await startEvents(t)
    const before = await open()
    await insert(1, 30)
    await before.until(30)
    t.is(await example.end(), 0)
    await run(RESTORED)
    const again = startExample(t, 'server-sent-events', dsn, { PORT: '0' })
    const [, url] = await again.says(/^(http:\S+)$/m)
    const after = await EventStream.open(`${url}/events`, before.lastEventId)
    t.teardown(() => after.close())
    await after.until(35)
    t.is(after.anew, 1)
    t.deepEqual(after.ids, upTo(35))
  },
)

test.serial(
  'a browser that reads too slowly for what is kept begins anew, without a hole',
  async (t) => {
    const { insert, open } = await startEvents(t, { KEEP: '100' })
    const resting = await open()
    await insert(1, 1)
    await resting.until(1)
    resting.pause()
    for (let first = 2; first <= 3002; first += 100) await insert(first, first + 99, 20_000)
    const reading = await open()
    await reading.until(3101)
    resting.resume()
    await resting.ended()
    t.true(resting.ids.length < 3000)
    t.deepEqual(resting.ids, upTo(resting.ids.length))
    const again = await open(resting.lastEventId)
    await again.until(3101)
    t.is(again.anew, 1)
    t.deepEqual(again.ids, upTo(3101, 3052))
  },
)

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

test.serial('a shutdown while it is connecting is no failure', async (t) => {
  // A server that takes connections, and answers nothing.
  let connections = 0
  const silent = createServer((socket) => {
    connections += 1
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
  })
  t.teardown(() => silent.close())
  await once(silent.listen(0, '127.0.0.1'), 'listening')
  const { port } = silent.address() as AddressInfo
  const consumer = startExample(t, 'graceful-shutdown', `postgres://a@127.0.0.1:${port}/a`)
  await waitFor(() => connections > 0)
  t.is(await consumer.end(), 0)
  t.deepEqual(consumer.lines(), ['shutting down', 'handled 0 in all, 0 left'])
})

test.serial('a shutdown ends at its deadline, and says what is left', async (t) => {
  const { dsn, run, ask } = await openDatabase(t)
  const env = { WORK_MS: '100', DEADLINE_MS: '1000' }
  const consumer = startExample(t, 'graceful-shutdown', dsn, env)
  await consumer.says(/^ready$/m)
  await run(notify(1000))
  await consumer.says(/^handled 1$/m)
  // All of the work would take 100 s.
  t.is(await consumer.end(), 1)
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
