// `pglisten durable`: what each action does on a server, and what is refused before anything is done.

import test, { type ExecutionContext } from 'ava'
import { ConnectionPool, SubscriptionStoppedError } from 'pglisten'
import admin from '../../bin/durable/admin.js'
import { startProxy } from '../../lab/network/proxy.js'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { createDatabase } from '../support/database.js'
import { pglisten, type CommandOptions } from './command.js'

/** A database of the test's own, and the command on it. */
async function openDatabase(t: ExecutionContext, { installed = true } = {}) {
  const url = new URL(await serverDsn())
  url.pathname = `/${await createDatabase(t)}`
  const dsn = url.href
  const pool = new ConnectionPool({ dsn })
  t.teardown(() => pool.close())
  if (installed) await pool.durable.install()
  const start = (args: string[], options: CommandOptions = {}) =>
    pglisten(t, ['durable', ...args], { dsn, ...options })
  /** Runs the command to its end. */
  const run = async (args: string[], options: CommandOptions = {}) => {
    const command = await start(args, options)
    return { code: await command.ended(), out: command.out, err: command.err }
  }
  const payloads = async () =>
    [
      ...(await pool.fetch<{ payload: string }>('SELECT payload FROM pglisten.event ORDER BY id')),
    ].map(({ payload }) => payload)
  return { dsn, pool, start, run, payloads }
}

const subscriptions = async (pool: ConnectionPool) =>
  (await pool.durable.subscriptions()).map(({ name }) => name)

test('install, status, and uninstall, which asks for --yes', async (t) => {
  const { pool, run } = await openDatabase(t, { installed: false })
  const nothing = await run(['status'])
  t.deepEqual(
    [nothing.code, nothing.out],
    [1, 'not installed: `pglisten durable install` does that\n'],
  )
  t.is((await run(['publish', 'c', 'x'])).code, 1)
  t.deepEqual(await run(['install', '--retention', '60']), {
    code: 0,
    out: 'installed: version 1\n',
    err: '',
  })
  t.is((await pool.durable.status()).retentionMs, 60_000)
  t.is((await run(['install', '--retention', 'never', '--json'])).code, 0)
  t.is((await pool.durable.status()).retentionMs, false)
  const { code, out } = await run(['status', '--json'])
  t.is(code, 0)
  t.like(JSON.parse(out), { version: 1, latestVersion: 1, isHome: true, subscriptions: [] })
  const refused = await run(['uninstall'])
  t.is(refused.code, 2)
  t.regex(refused.err, /removes all events and positions: expected `--yes`/)
  t.is((await pool.durable.status()).version, 1)
  t.deepEqual(await run(['uninstall', '--yes']), {
    code: 0,
    out: 'uninstalled: version 1\n',
    err: '',
  })
  t.is((await pool.durable.status()).version, 0)
  t.is((await run(['uninstall', '--yes'])).out, 'nothing is installed\n')
  await run(['install'])
  const removed = await run(['uninstall', '--yes', '--json'])
  t.deepEqual(JSON.parse(removed.out), { uninstalled: true, version: 1 })
  const again = await run(['uninstall', '--yes', '--json'])
  t.deepEqual(JSON.parse(again.out), { uninstalled: false, version: 0 })
})

test('where nothing is installed, each action says that alone, and names the command that installs', async (t) => {
  const { run } = await openDatabase(t, { installed: false })
  const err =
    'pglisten: durable subscriptions are not installed in this database: `pglisten durable install` does that (ERR_PGLISTEN_DURABLE)\n'
  for (const args of [
    ['tail', 'c'],
    ['tail', 'c', '--name', 'audit'],
    ['publish', 'c', 'x'],
    ['trim'],
    ['trim', '--keep', '0'],
    ['adopt'],
    ['drop', 'billing'],
    ['failed', 'billing'],
    ['retry', 'billing'],
  ])
    t.deepEqual(await run(args), { code: 1, out: '', err }, args.join(' '))
})

test('tail that reaches no server says that alone', async (t) => {
  const command = await pglisten(t, ['durable', 'tail', 'c'], {
    dsn: 'postgres://127.0.0.1:1/none',
  })
  t.is(await command.ended(), 1)
  t.is(command.err.split('\n').length, 2, command.err)
  t.false(command.err.includes('left behind'))
})

test('trim keeps what the retention keeps, unless it is told otherwise', async (t) => {
  const { pool, run, payloads } = await openDatabase(t)
  for (const payload of ['old', 'new']) await pool.publish('c', payload)
  await pool.execute("UPDATE pglisten.event SET at = at - interval '2 days' WHERE payload = 'old'")
  t.is((await run(['install', '--retention', 'never'])).code, 0)
  const refused = await run(['trim'])
  t.is(refused.code, 2)
  t.regex(refused.err, /retention is `never`.*expected `--keep SEC`/)
  t.deepEqual(await payloads(), ['old', 'new'])
  t.is((await run(['install', '--retention', '86400'])).code, 0)
  t.is((await run(['trim'])).out, 'removed 1, of those older than 86400 s\n')
  t.deepEqual(await payloads(), ['new'])
  t.is((await run(['trim', '--json'])).out, '{"removed":0,"keepMs":86400000}\n')
  t.is((await run(['trim', '--keep', '8200.3', '--json'])).out, '{"removed":0,"keepMs":8200300}\n')
  t.is((await run(['trim', '--keep', '0'])).out, 'removed 1\n')
  // Beyond the longest timer, which is 25 days: a month, and the most that there is.
  for (const seconds of [2_592_000, 3_155_760_000]) {
    const installed = await run(['install', '--json', '--retention', `${seconds}`])
    t.like(JSON.parse(installed.out), { installed: true, retentionMs: seconds * 1000 })
    const kept = await run(['trim', '--keep', `${seconds}`, '--json'])
    t.like(JSON.parse(kept.out), { keepMs: seconds * 1000 })
  }
  const tooLong = await run(['trim', '--keep', '3155760001'])
  t.is(tooLong.code, 2)
  t.regex(tooLong.err, /`--keep` to be a number from 0 to 3155760000, got `3155760001`/)
  t.deepEqual(await payloads(), [])
})

test('publish takes an argument, lines, or all of standard input', async (t) => {
  const { pool, run, payloads } = await openDatabase(t)
  t.is((await run(['publish', 'c'])).code, 0)
  const one = await run(['publish', 'c', `it's "$HOME"\n`, '--key', 'k', '--json'])
  t.is(one.out, '{"id":"2"}\n')
  t.is(await pool.fetchVal('SELECT key FROM pglisten.event WHERE id = 2'), 'k')
  t.is((await run(['publish', 'c', '--', '-'])).code, 0)
  const lines = Array.from({ length: 250 }, (_, n) => `${n} ${'€'.repeat(n * 20)}`)
  const many = await run(['publish', 'c', '-'], { input: `${lines.join('\n')}\n` })
  t.deepEqual([many.code, many.out, many.err], [0, '', 'pglisten: published 250\n'])
  const document = `{\n${'x'.repeat(100_000)}\n}\n`
  t.is((await run(['publish', 'c', '-', '--whole'], { input: document })).code, 0)
  t.deepEqual(await payloads(), ['', `it's "$HOME"\n`, '-', ...lines, document])
  const counted = await run(['publish', 'c', '-', '--json'], { input: 'a\nb\n' })
  t.deepEqual([counted.code, counted.out], [0, '{"published":2}\n'])
})

test('a line that cannot be published ends it, with how many were before it', async (t) => {
  const { run, payloads } = await openDatabase(t)
  const { code, err } = await run(['publish', 'c', '-'], { input: 'a\nb\nc\0\n' })
  t.is(code, 1)
  t.regex(err, /line 3 has a zero byte \(published 2 before it\)/)
  t.deepEqual(await payloads(), ['a', 'b'])
})

test('a signal does not hide that lines under way may have been published', async (t) => {
  const { pool, start, payloads } = await openDatabase(t)
  const other = await pool.connection()
  await other.execute('BEGIN')
  await other.execute('LOCK TABLE pglisten.event')
  const command = await start(['publish', 'c', '-'], { input: 'a\nb\n' })
  const waiting = `SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`
  await waitFor(async () => (await pool.fetch(waiting)).length > 0)
  command.child.kill('SIGTERM')
  await pool.execute(`SELECT pg_terminate_backend(pid) FROM (${waiting}) AS one`)
  t.is(await command.ended(), 1)
  t.regex(command.err, /\(published 0 before it; lines 1 to 2 may have been\) \(57P01,/)
  await other.execute('ROLLBACK')
  await other.close()
  t.deepEqual(await payloads(), [])
})

test('tail prints events from now on, and its subscription goes with it', async (t) => {
  const { pool, start } = await openDatabase(t)
  await pool.publish('c', 'before')
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const command = await start(['tail', 'c', 'd'])
    await command.says(/listening/)
    await pool.publish('c', 'one\u001b[31m', { key: 'k' })
    await pool.publish('other', 'x')
    await pool.publish('d', 'two')
    await command.printed(2)
    t.like(command.records[0], {
      type: 'event',
      channel: 'c',
      payload: 'one\u001b[31m',
      key: 'k',
      attempt: 1,
    })
    t.like(command.records[1], { channel: 'd', payload: 'two', key: null })
    t.false(command.out.includes('\u001b'))
    command.child.kill(signal)
    t.is(await command.ended(), 0)
    t.is(command.err, 'pglisten: listening to c, d\n')
    t.deepEqual(await subscriptions(pool), [])
  }
  t.is(
    await pool.fetchVal(
      "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pglisten durable%'",
    ),
    0,
  )
})

test('tail --name keeps its place, and --count takes no more than that', async (t) => {
  const { pool, run, start } = await openDatabase(t)
  for (const n of [1, 2, 3, 4, 5]) await pool.publish('c', `${n}`)
  const args = ['tail', 'c', '--name', 'audit', '--from', 'beginning', '--count', '2']
  const got: unknown[] = []
  for (let times = 0; times < 2; times += 1) {
    const { code, out } = await run(args)
    t.is(code, 0)
    got.push(
      ...out
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { payload: string }).payload),
    )
  }
  t.deepEqual(got, ['1', '2', '3', '4'])
  t.deepEqual(await subscriptions(pool), ['audit'])
  // The time runs from before it connects.
  const late = await start([...args.slice(0, -2), '--count', '5', '--timeout', '10'])
  await late.printed(1)
  t.is(await late.ended(), 124)
  t.is(late.lines.length, 1)
  const ended = await start([...args.slice(0, -2), '--count', '5'])
  await waitFor(async () => pool.fetchVal<boolean>('SELECT EXISTS (SELECT FROM pglisten.sleeper)'))
  ended.child.kill('SIGTERM')
  t.is(await ended.ended(), 143)
})

test('a reader that goes away ends tail quietly, and what it did not take comes again', async (t) => {
  const { pool, start, run } = await openDatabase(t)
  const args = ['tail', 'c', '--name', 'audit', '--from', 'beginning']
  const command = await start(args, { unread: true })
  command.stdout.destroy()
  await pool.publish('c', '1')
  t.is(await command.ended(), 0)
  t.is(command.err, 'pglisten: listening to c\n')
  t.regex((await run([...args, '--count', '1'])).out, /"payload":"1"/)
})

test('a reader that stands still gets lines again, and ends neither tail nor its subscription', async (t) => {
  const { pool, start } = await openDatabase(t)
  const args = ['tail', 'c', '--name', 'audit', '--from', 'beginning']
  // More than a pipe holds.
  const payload = 'x'.repeat(1_000_000)
  const id = await pool.publish('c', payload)
  await pool.fetchVal("SELECT pglisten.subscribe('audit', '{c}', 1, true)")
  // As after some minutes in which nobody has read: each transaction has ended by itself.
  await pool.execute(
    `INSERT INTO pglisten.attempt (subscription, event, attempts, error) VALUES ('audit', $1, 4, 'late')`,
    [id],
  )
  const command = await start(args, { unread: true })
  const ends = `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction'`
  await waitFor(async () => (await pool.fetchVal<number>(ends)) > 0)
  command.read()
  await command.printed(2)
  await command.says(/not acknowledged/)
  await pool.publish('c', 'next')
  await waitFor(() => command.records.some((record) => record['payload'] === 'next'))
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 0)
  t.deepEqual(
    command.records.map((record) => record['attempt']),
    [5, 6, 1],
  )
})

test('tail waits for a server that is away, and loses nothing', async (t) => {
  const { dsn, pool, start } = await openDatabase(t)
  const proxy = await startProxy(t)
  const url = new URL(proxy.dsn)
  url.pathname = new URL(dsn).pathname
  const command = await start(['tail', 'c'], { dsn: url.href })
  await waitFor(async () => (await subscriptions(pool)).length === 1)
  await pool.publish('c', '1')
  await command.printed(1)
  proxy.cut()
  await pool.publish('c', '2')
  await command.says(/connection lost.*; reconnecting/)
  await command.says(/still trying|not acknowledged/)
  proxy.open()
  await command.says(/connected again after \d+\.\d s, as server process \d+/)
  // The first one comes again, if its acknowledgement was cut off.
  await waitFor(() => command.records.some(({ payload }) => payload === '2'))
  command.child.kill('SIGINT')
  t.is(await command.ended(), 0)
  const got = new Set(command.records.map(({ payload }) => payload))
  t.deepEqual([...got], ['1', '2'])
  t.deepEqual(await subscriptions(pool), [])
})

test('tail tells of a reading session that was ended, and of its return; --quiet tells nothing', async (t) => {
  const { pool, start } = await openDatabase(t)
  const quiet = await start(['tail', 'c', '--quiet'])
  await waitFor(async () => (await subscriptions(pool)).length === 1)
  quiet.child.kill('SIGTERM')
  t.is(await quiet.ended(), 0)
  t.is(quiet.err, '')
  const command = await start(['tail', 'c'])
  await command.says(/^pglisten: listening to c\n/)
  // Another session holds what the reading one has to write, so that it can be ended in the middle of that.
  const other = await pool.connection()
  await other.execute('BEGIN')
  await other.execute('LOCK TABLE pglisten.position')
  await pool.publish('c', '1')
  const ends = `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`
  await waitFor(async () => (await pool.fetchVal<number>(ends)) > 0)
  await command.says(/still trying: .*57P01/)
  await other.execute('ROLLBACK')
  await other.close()
  await command.says(/\npglisten: connected again\n/)
  await command.printed(1)
  t.false(command.err.includes('connection lost'))
  const listens = `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity
    WHERE datname = current_database() AND query ~ '^(LISTEN |/\\* pglisten: )'`
  await waitFor(async () => (await pool.fetchVal<number>(listens)) > 0)
  await command.says(/connection lost \(57P01, ERR_\w+\); reconnecting/)
  await command.says(/connected again after \d+\.\d s, as server process \d+/)
  command.child.kill('SIGINT')
  t.is(await command.ended(), 0)
})

test('tail tells that it has adopted the positions of a restored dump, and not that it tries still', async (t) => {
  const { pool, start } = await openDatabase(t)
  await pool.publish('c', 'before')
  await pool.execute('UPDATE pglisten.home SET cluster = cluster + 1')
  const command = await start(['tail', 'c', '--from', 'beginning', '--count', '1'])
  t.is(await command.ended(), 0)
  t.is(
    command.err,
    'pglisten: adopted the positions of a restored dump\npglisten: listening to c\n',
  )
})

test('tail --quiet tells what it has left behind', async (t) => {
  const { pool, start } = await openDatabase(t)
  const command = await start(['tail', 'c', '--quiet'])
  await waitFor(async () => (await subscriptions(pool)).length === 1)
  const other = await pool.connection()
  await other.execute('BEGIN')
  await other.execute('LOCK TABLE pglisten.subscription')
  command.child.kill('SIGTERM')
  t.is(await command.ended(), 0)
  await other.execute('ROLLBACK')
  await other.close()
  t.regex(command.err, /^pglisten: the subscription `pglisten tail \S+` is left behind: .*\n$/)
})

test('status, failed, retry, trim and drop', async (t) => {
  const { pool, run } = await openDatabase(t)
  for (const payload of ['bad', 'good']) await pool.publish('c', payload)
  const subscription = pool.subscription('billing', {
    channels: ['c'],
    from: 'beginning',
    maxAttempts: 1,
    onFailure: 'skip',
  })
  const ending = new AbortController()
  await subscription.run(
    (_, { payload }) => {
      if (payload === 'bad') throw new Error('no')
      ending.abort()
    },
    { signal: ending.signal },
  )
  await pool.publish('c', 'later')
  const { out } = await run(['status'])
  t.regex(out, /^version 1\n/)
  t.regex(out, /^billing: 1 event to do, the oldest of \S+; 1 given up; moved \S+\n {2}c\n/m)
  t.like(
    (JSON.parse((await run(['status', '--json'])).out) as { subscriptions: object[] })
      .subscriptions[0],
    {
      name: 'billing',
      failed: 1,
    },
  )
  const failed = await run(['failed', 'billing'])
  t.like(JSON.parse(failed.out), { type: 'failed', id: '1', payload: 'bad', error: 'Error: no' })
  t.is((await run(['retry', 'billing', '1'])).out, '1 event is tried again\n')
  t.is((await run(['retry', 'billing', '--json'])).out, '{"due":1}\n')
  t.is((await run(['trim', '--keep', '60'])).out, 'removed 0, of those older than 60 s\n')
  t.is((await run(['adopt'])).out, "the positions are this cluster's\n")
  await pool.execute('UPDATE pglisten.home SET cluster = cluster + 1')
  t.is((await run(['adopt', '--json'])).out, '{"adopted":true}\n')
  for (const args of [
    ['drop', 'none'],
    ['failed', 'none'],
    ['retry', 'none'],
  ]) {
    const refused = await run(args)
    t.deepEqual([refused.code, refused.err], [1, 'pglisten: there is no subscription `none`\n'])
  }
  t.is((await run(['drop', 'billing'])).out, 'dropped billing\n')
  t.is((await run(['trim', '--keep', '0', '--json'])).out, '{"removed":3,"keepMs":0}\n')
})

test('a reader that goes away ends an action quietly, and the connection is closed', async (t) => {
  const { pool, start } = await openDatabase(t)
  for (const payload of ['bad', 'worse', 'last']) await pool.publish('c', payload)
  const ending = new AbortController()
  await pool
    .subscription('billing', {
      channels: ['c'],
      from: 'beginning',
      maxAttempts: 1,
      onFailure: 'skip',
    })
    .run(
      (_, { payload }) => {
        if (payload !== 'last') throw new Error('no')
        ending.abort()
      },
      { signal: ending.signal },
    )
  for (const args of [['failed', 'billing'], ['status'], ['status', '--json'], ['--help']]) {
    const command = await start(args, { unread: true })
    command.stdout.destroy()
    t.is(await command.ended(), 0, args.join(' '))
    t.is(command.err, '', args.join(' '))
  }
  const sessions = `SELECT count(*)::int FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'pglisten durable%'`
  t.is(await pool.fetchVal(sessions), 0)
})

test('what a server sends drives no terminal, in JSON too', async (t) => {
  const { pool, run } = await openDatabase(t)
  const name = 'a\u009b2J\u202eb'
  await pool.execute('SELECT pglisten.subscribe($1, $2)', [name, [name]])
  for (const args of [['status'], ['status', '--json']]) {
    const { out } = await run(args)
    t.notRegex(out, /[\u009b\u202e]/, args.join(' '))
    t.regex(out, /a\\u009b2J\\u202eb/)
  }
  const { subscriptions } = JSON.parse((await run(['status', '--json'])).out) as {
    subscriptions: { name: string }[]
  }
  t.is(subscriptions[0]!.name, name)
})

test('status waits for no connection, however many subscriptions there are and however long each takes to count', async (t) => {
  const { dsn, pool } = await openDatabase(t)
  await pool.execute("SELECT pglisten.subscribe('s' || n, '{c}') FROM generate_series(1, 60) AS n")
  await pool.execute(`
    CREATE OR REPLACE FUNCTION pglisten.lag(sub text, most bigint DEFAULT NULL, OUT events bigint, OUT oldest timestamptz)
    LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); events := substr(sub, 2); END $$`)
  const asking = new ConnectionPool({ dsn, maxDbPoolSize: 3, acquireTimeoutSec: 1 })
  t.teardown(() => asking.close())
  const listed = await admin.listed(asking)
  t.is(listed.length, 60)
  for (const { name, lag } of listed) t.is(name, `s${lag.events}`)
})

test('status tells at which event a subscription has stopped', async (t) => {
  const { pool, run } = await openDatabase(t)
  for (const payload of ['good', 'bad', 'good']) await pool.publish('c', payload)
  const subscription = pool.subscription('billing', {
    channels: ['c'],
    from: 'beginning',
    maxAttempts: 2,
    retryDelayMs: 1,
  })
  const handle = (_: unknown, { payload }: { payload: string }) => {
    if (payload === 'bad') throw new RangeError('no \u001b[2J')
  }
  await t.throwsAsync(subscription.run(handle), { instanceOf: SubscriptionStoppedError })
  const failing = { id: 2n, attempts: 2, error: 'RangeError: no \u001b[2J' }
  t.deepEqual((await pool.durable.subscriptions())[0]!.failing, failing)
  t.regex(
    (await run(['status'])).out,
    /^billing: 2 events to do.*\n {2}c\n {2}event 2 has failed 2 times: RangeError: no \\u001b\[2J\n$/m,
  )
  const { subscriptions } = JSON.parse((await run(['status', '--json'])).out) as {
    subscriptions: object[]
  }
  t.like(subscriptions[0], { failing: { ...failing, id: '2' } })
  // The same of one that was given up, and is tried again.
  const skipping = pool.subscription('billing', {
    channels: ['c'],
    onFailure: 'skip',
    maxAttempts: 3,
  })
  const ending = new AbortController()
  skipping.on('givenUp', () => ending.abort())
  await skipping.run(handle, { signal: ending.signal })
  t.is((await pool.durable.subscriptions())[0]!.failing, null)
  t.is(await pool.durable.retry('billing'), 1)
  t.like((await pool.durable.subscriptions())[0]!.failing, { id: 2n, attempts: 3 })
  await pool.fetchVal("SELECT pglisten.drop_subscription('billing')")
  await pool.fetchVal("SELECT pglisten.subscribe('billing', '{c}')")
  t.is((await pool.durable.subscriptions())[0]!.failing, null)
})

test('trim and doctor tell of a subscription that nobody reads', async (t) => {
  const { pool, run, dsn } = await openDatabase(t)
  await pool.execute("SELECT pglisten.subscribe('forgotten', '{c}')")
  await pool.publish('c', '1')
  for (const [table, column] of [
    ['subscription', 'begun'],
    ['position', 'moved'],
  ])
    await pool.execute(`UPDATE pglisten.${table} SET ${column} = now() - interval '3 days'`)
  const doctor = await pglisten(t, ['doctor', '--idle', '0', '--json'], { dsn })
  t.is(await doctor.ended(), 1)
  const report = JSON.parse(doctor.out) as {
    findings: { check: string; detail: string }[]
    facts: object
  }
  t.like(report.facts, { durableVersion: 1, durableSubscriptions: 1, durableBiggestLag: 1 })
  const finding = report.findings.find(({ check }) => check === 'durable-unread')
  t.regex(finding!.detail, /^forgotten \(72 h, 1 events\)\. /)
  t.regex((await run(['status'])).out, /read by nobody/)
  const { err, code } = await run(['trim'])
  t.is(code, 0)
  t.regex(err, /^pglisten: nobody has read subscription `forgotten` for 3 d/)
  await pool.execute('UPDATE pglisten.home SET version = 7, cluster = cluster + 1')
  const other = await pglisten(t, ['doctor', '--idle', '0', '--json'], { dsn })
  await other.ended()
  const { findings } = JSON.parse(other.out) as typeof report
  const checks = new Set(findings.map(({ check }) => check))
  t.true(checks.has('durable-version') && checks.has('durable-adopt'))
  t.is((await run(['status'])).code, 1)
})

for (const [args, message] of [
  [[], /No action: expected one of `install`, .*`retry`/],
  [['constructor'], /Unknown action `constructor`/],
  [['publish'], /`durable publish` takes `CHANNEL \[TEXT\]`, got 0 arguments/],
  [['publish', 'é'.repeat(32), 'x'], /name of 1 to 63 bytes, got 64/],
  [['publish', 'c', 'x', '--whole'], /expected `-` as the payload/],
  [['tail'], /takes `CHANNEL…`, got 0/],
  [['tail', 'c', '--from', 'then'], /`--from` to be now or beginning, got `then`/],
  [['tail', 'c', '--count', '0'], /`--count` to be an integer from 1/],
  [['trim', '--keep', 'long'], /`--keep` to be a number/],
  [['trim', 'x'], /takes no argument, got 1/],
  [['drop', 'a', '--key', 'k'], /`--key` is no option of `durable drop`/],
  [['retry', 'a', 'x'], /Expected the id of an event, got `x`/],
  [['install', '--retention', 'soon'], /`--retention` to be a number/],
  [['install', '--publishers', 'a,,b'], /names of roles, with commas/],
] as const) {
  test(`refused: durable ${args.join(' ').slice(0, 40)}`, async (t) => {
    const command = await pglisten(t, ['durable', ...args], { dsn: 'postgres://127.0.0.1:1/none' })
    t.is(await command.ended(), 2)
    t.is(command.out, '')
    t.regex(command.err, message)
  })
}
