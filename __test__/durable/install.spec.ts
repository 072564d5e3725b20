// What is installed in the database, by whom, and who may do what with it.

import test from 'ava'
import {
  ArgumentTypeError,
  ConnectionPool,
  ConnectionTimeoutError,
  DatabaseError,
  DurableError,
  type CallOptions,
} from 'pglisten'
import { startServer } from '../../lab/server/test-server.js'
import { waitFor, within } from '../../lab/wait.js'
import { openDatabase } from './database.js'

test('a role that owns its database installs, again and beside itself, and removes', async (t) => {
  const { owner } = await openDatabase(t)
  const none = { version: 0, latestVersion: 1, isHome: false, retentionMs: false, unread: [] }
  t.deepEqual(await owner.durable.status(), none)
  await Promise.all([1, 2, 3, 4].map(() => owner.durable.install()))
  const installed = { ...none, version: 1, isHome: true, retentionMs: 86_400_000 }
  t.deepEqual(await owner.durable.status(), installed)
  const id = await owner.publish('a', 'kept')
  await owner.durable.install()
  t.is(await owner.fetchVal('SELECT payload FROM pglisten.event WHERE id = $1', [id]), 'kept')
  await owner.durable.uninstall()
  await owner.durable.uninstall()
  t.is(await owner.fetchVal("SELECT to_regnamespace('pglisten')::text"), null)
})

test('it is removed also while others publish and work, without a deadlock', async (t) => {
  const { as, ownerDsn, owner } = await openDatabase(t)
  const user = decodeURIComponent(new URL(ownerDsn).username)
  const working = as(user, 'p', { maxDbPoolSize: 6 })
  for (let round = 0; round < 6; round += 1) {
    await owner.durable.install()
    const runs = ['one', 'two', 'three'].map((name) =>
      working
        .subscription(name, { channels: ['c'], batchSize: 3 })
        .run(async (tx) => void (await tx.execute('SELECT 1'))),
    )
    const publishing = Array.from({ length: 4 }, async () => {
      for (;;) await owner.publish('c', 'x')
    })
    const ended = [...runs, ...publishing].map((one) => t.throwsAsync(one))
    await waitFor(
      async () =>
        (await owner.fetchVal('SELECT count(*) FROM pglisten.position WHERE high > 20')) === 3n,
    )
    await owner.durable.uninstall()
    for (const error of await within(Promise.all(ended)))
      t.regex(error.message, /not installed/, `round ${round}`)
  }
})

test('every call has bounds, and what was given up has done nothing', async (t) => {
  const { owner } = await openDatabase(t)
  const { durable } = owner
  await durable.install()
  await owner.execute("SELECT pglisten.subscribe('s', ARRAY['a'])")
  const calls: Record<string, (options: CallOptions) => Promise<unknown>> = {
    install: (options) => durable.install(options),
    uninstall: (options) => durable.uninstall(options),
    status: (options) => durable.status(options),
    trim: (options) => durable.trim(0, options),
    adopt: (options) => durable.adopt(options),
    subscriptions: (options) => durable.subscriptions(options),
    drop: (options) => durable.drop('s', options),
    failed: (options) => durable.failed('s', options),
    retry: (options) => durable.retry('s', undefined, options),
    stats: (options) => owner.subscription('s', { channels: ['a'] }).stats(options),
    publish: (options) => owner.publish('a', 'given up', options),
  }
  const holder = await owner.connection()
  const lock = await holder.begin()
  await lock.executeBatch(
    `LOCK TABLE pglisten.home, pglisten.event, pglisten.subscription, pglisten.position, pglisten.failed`,
  )
  for (const [name, call] of Object.entries(calls)) {
    await t.throwsAsync(call({ timeoutMs: 50 }), { instanceOf: ConnectionTimeoutError }, name)
    const [ending, reason] = [new AbortController(), new Error('enough')]
    const pending = call({ signal: ending.signal })
    pending.catch(() => {})
    await waitFor(
      () => lock.fetchVal<boolean>('SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)'),
      { what: `${name} waits` },
    )
    ending.abort(reason)
    t.is(await t.throwsAsync(within(pending)), reason, name)
    const wrong = { timeout: 5 } as CallOptions
    await t.throwsAsync(call(wrong), { instanceOf: ArgumentTypeError, message: /timeoutMs/ }, name)
    const misplaced = AbortSignal.abort(reason) as CallOptions
    await t.throwsAsync(
      call(misplaced),
      { instanceOf: ArgumentTypeError, message: /object of options, got .*AbortSignal/ },
      name,
    )
    const early = { signal: AbortSignal.abort(reason) }
    t.is(await t.throwsAsync(call(early)), reason, name)
  }
  await lock.rollback()
  await holder.close()
  for (const keepMs of [-1, 1e-7, 0.5, 1e300, Number.NaN])
    await t.throwsAsync(durable.trim(keepMs), {
      message: /`keepMs` to be an integer between 0 and/,
    })
  t.is((await durable.status()).version, 1)
  t.deepEqual(
    (await durable.subscriptions()).map(({ name }) => name),
    ['s'],
  )
  t.is(await owner.fetchVal('SELECT count(*)::int4 FROM pglisten.event'), 0)
})

test('without an installation each method says so', async (t) => {
  const { owner } = await openDatabase(t)
  const missing = {
    instanceOf: DurableError,
    message: /not installed in this database: `pool.durable.install\(\)`/,
  }
  await t.throwsAsync(
    owner.subscription('s', { channels: ['a'] }).run(() => {}),
    missing,
  )
  await t.throwsAsync(owner.durable.subscriptions(), missing)
  await t.throwsAsync(owner.durable.trim(), missing)
  await t.throwsAsync(owner.durable.adopt(), missing)
  await t.throwsAsync(owner.durable.failed('s'), missing)
  await t.throwsAsync(owner.durable.retry('s'), missing)
})

test('a schema that is none of its own is left alone', async (t) => {
  const { owner, superuser, as, role } = await openDatabase(t)
  await superuser.execute('CREATE SCHEMA pglisten')
  const foreign = { instanceOf: DurableError, message: /belongs to role `postgres`/ }
  await t.throwsAsync(owner.durable.install(), foreign)
  await superuser.execute('DROP SCHEMA pglisten')
  await owner.execute('CREATE SCHEMA pglisten')
  await owner.execute('CREATE TABLE pglisten.mine (n int)')
  const other = {
    instanceOf: DurableError,
    message: /exists and is not one of durable subscriptions/,
  }
  await t.throwsAsync(owner.durable.install(), other)
  await t.throwsAsync(owner.durable.uninstall(), other)
  await owner.execute('DROP TABLE pglisten.mine')
  await owner.durable.install()
  await owner.execute('UPDATE pglisten.home SET version = 99')
  await t.throwsAsync(owner.durable.install(), {
    message: /has version 99, which a newer pglisten has installed/,
  })
  const nobody = as(await role())
  await t.throwsAsync(nobody.durable.install(), {
    instanceOf: DurableError,
    message: /belongs to role/,
  })
})

test('an empty schema of another role is left alone, also by a superuser and by a member of that role', async (t) => {
  const { owner, superuser, as, role } = await openDatabase(t)
  const [member, schemaOwner] = [await role(), await role()]
  await superuser.execute(`GRANT "${schemaOwner}" TO "${member}"`)
  await superuser.execute(`CREATE SCHEMA pglisten AUTHORIZATION "${schemaOwner}"`)
  // Whoever owns the schema could put tables of its own in the place of those that are installed.
  const foreign = {
    instanceOf: DurableError,
    message: new RegExp(`belongs to role \`${schemaOwner}\``),
  }
  for (const pool of [superuser, as(member), owner])
    await t.throwsAsync(pool.durable.install(), foreign)
  t.is((await superuser.durable.status()).version, 0)
  const acting = as(member, undefined, { options: `-c role=${schemaOwner}` })
  await acting.durable.install()
  t.is(
    await superuser.fetchVal(
      "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'pglisten.event'::regclass",
    ),
    schemaOwner,
  )
  await t.throwsAsync(superuser.durable.install({ publishers: [member] }), foreign)
})

test('nobody may do what the options did not name, and each role no more than that', async (t) => {
  const { owner, as, role } = await openDatabase(t)
  const [publisher, subscriber, nobody] = [await role(), await role(), await role()]
  await owner.durable.install({ publishers: [publisher], subscribers: [subscriber] })
  const denied = { instanceOf: DatabaseError, message: /permission denied/ }
  const refused = { instanceOf: DurableError, message: /no right to use durable subscriptions/ }
  await t.throwsAsync(as(nobody).publish('a', 'x'), refused)
  await t.throwsAsync(
    as(nobody)
      .subscription('s', { channels: ['a'] })
      .run(() => {}),
    refused,
  )

  t.is(await as(publisher).publish('a', 'x'), 1n)
  await t.throwsAsync(
    as(publisher)
      .subscription('s', { channels: ['a'] })
      .run(() => {}),
    refused,
  )
  for (const sql of [
    'SELECT * FROM pglisten.event',
    "INSERT INTO pglisten.event (channel, payload) VALUES ('a', 'b')",
    'DELETE FROM pglisten.event',
    "SELECT pglisten.trim('0')",
    'SELECT pglisten.adopt()',
    'CREATE TABLE pglisten.mine (n int)',
  ])
    await t.throwsAsync(as(publisher).execute(sql), denied, sql)

  const got: string[] = []
  const ending = new AbortController()
  const pool = as(subscriber)
  const subscription = pool.subscription('s', { channels: ['a'], from: 'beginning' })
  const run = subscription.run((_, { payload }) => void got.push(payload), {
    signal: ending.signal,
  })
  await waitFor(() => got.length === 1)
  await pool.publish('a', 'y')
  await waitFor(() => got.length === 2)
  t.is((await pool.durable.subscriptions()).length, 1)
  ending.abort()
  await within(run)
  t.true(await pool.durable.drop('s'))
  for (const sql of [
    'DELETE FROM pglisten.event',
    'UPDATE pglisten.position SET after = 0',
    "SELECT pglisten.trim('0')",
  ])
    await t.throwsAsync(pool.execute(sql), denied, sql)
})

test('what a role puts into its own search path does not run with the rights of the owner', async (t) => {
  const { owner, as, role } = await openDatabase(t)
  const publisher = await role()
  await owner.durable.install({ publishers: [publisher] })
  const pool = as(publisher)
  const connection = await pool.connection()
  await connection.executeBatch(`
    CREATE TEMP TABLE event (id bigint, channel text, payload text, key text);
    CREATE TEMP TABLE witness (who text);
    CREATE FUNCTION pg_temp.octet_length(text) RETURNS int LANGUAGE sql AS
      $$ INSERT INTO pg_temp.witness VALUES (current_user); SELECT 1 $$;
    CREATE FUNCTION pg_temp.less(int, int) RETURNS boolean LANGUAGE sql AS
      $$ INSERT INTO pg_temp.witness VALUES (current_user); SELECT true $$;
    CREATE OPERATOR pg_temp.> (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_temp.less);
    SET search_path = pg_temp, pg_catalog`)
  await connection.publish('a', 'x')
  t.is(await connection.fetchVal('SELECT count(*)::int4 FROM pg_temp.witness'), 0)
  t.is(await connection.fetchVal('SELECT count(*)::int4 FROM pg_temp.event'), 0)
  await connection.close()
  t.is(await owner.fetchVal('SELECT count(*)::int4 FROM pglisten.event'), 1)
})

test('every function has a search path of its own, and nobody else may call it', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  const functions = await owner.fetch<{ name: string; config: string[] | null; open: boolean }>(
    `SELECT proname AS name, proconfig AS config, has_function_privilege('public', oid, 'EXECUTE') AS open
     FROM pg_proc WHERE pronamespace = 'pglisten'::regnamespace`,
  )
  t.true(functions.length > 15)
  for (const { name, config, open } of functions) {
    t.true(config?.includes('search_path=pg_catalog, pg_temp'), name)
    t.false(open, name)
  }
})

// Serial, because what another test has open keeps events as well.
test.serial(
  'what waits for another process goes on with what that has committed, whatever the default isolation level is',
  async (t) => {
    const { owner, superuser, database, as, ownerDsn } = await openDatabase(t)
    await superuser.execute(
      `ALTER DATABASE ${database} SET default_transaction_isolation = 'serializable'`,
    )
    const pool = as(new URL(ownerDsn).username)
    t.is(await pool.fetchVal('SHOW transaction_isolation'), 'serializable')
    /** Makes calls that wait for what another transaction has locked, and maybe changed, by `sql`; then that one commits. */
    const behind = async <Result>(sql: string, ...calls: (() => Promise<Result>)[]) => {
      const holder = await superuser.connection()
      const lock = await holder.begin({ isolationLevel: 'readCommitted' })
      await lock.executeBatch(sql)
      const pending = calls.map((call) => call())
      for (const it of pending) it.catch(() => {})
      const waiting = `SELECT count(*)::int4 FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'`
      await waitFor(
        async () => (await superuser.fetchVal<number>(waiting, [database])) === calls.length,
        { what: `those that wait for ${sql}` },
      )
      await lock.commit()
      await holder.close()
      return pending
    }
    const all = <Result>(pending: Promise<Result>[]) => within(Promise.all(pending))
    const trimming = 'SELECT pg_advisory_xact_lock(5782470117)'

    const install = () => pool.durable.install()
    await all(await behind('SELECT pg_advisory_xact_lock(5782470116)', install, install))

    // Neither a first start nor a later one fails beside another one.
    for (const lock of [trimming, 'UPDATE pglisten.subscription SET begun = clock_timestamp()']) {
      const ending = new AbortController()
      t.teardown(() => ending.abort())
      const got: string[] = []
      const run = () =>
        pool
          .subscription('s', { channels: ['a'], from: 'beginning', standbyPollMs: 20 })
          .run((_, { payload }) => void got.push(payload), { signal: ending.signal })
      const runs = lock === trimming ? [run, run] : [run]
      const running = await behind(lock, ...runs)
      await pool.publish('a', lock)
      await Promise.race([waitFor(() => got.length === 1), all(running)])
      ending.abort()
      await all(running)
      t.deepEqual(got, [lock])
    }

    await owner.execute(
      `INSERT INTO pglisten.failed (subscription, partition, event, xact, channel, payload, published, attempts, error)
       VALUES ('s', 0, 1, '1', 'a', 'x', now(), 1, 'no')`,
    )
    const retry = () => pool.durable.retry('s')
    t.deepEqual(await all(await behind('UPDATE pglisten.failed SET attempts = 2', retry)), [1])

    await owner.execute('UPDATE pglisten.home SET cluster = cluster + 1')
    const adopt = () => pool.durable.adopt()
    await all(await behind(trimming, adopt, adopt))
    t.true((await pool.durable.status()).isHome)

    const drop = () => pool.durable.drop('s')
    const moving = 'UPDATE pglisten.position SET moved = clock_timestamp()'
    t.deepEqual(await all(await behind(moving, drop)), [true])

    const trim = () => pool.durable.trim()
    const removed = await all(await behind(trimming, trim, trim))
    t.deepEqual(
      removed.toSorted((a, b) => a - b),
      [0, 2],
    )
  },
)

// Serial, because what another test has open keeps events as well.
test.serial('events are trimmed by age, once every subscription has done them', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  const count = () => owner.fetchVal<number>('SELECT count(*)::int4 FROM pglisten.event')
  await owner.publish('a', '1')
  t.is(await owner.durable.trim(60_000), 0)
  // Somebody has yet to do them.
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 2, true)")
  t.is(await owner.durable.trim(), 0)
  const ending = new AbortController()
  let done = 0
  const subscription = owner.subscription('s', { channels: ['a'], partitions: 2, safetyNetMs: 100 })
  const run = subscription.run(() => void (done += 1), { signal: ending.signal })
  await waitFor(() => done === 1)
  // An open transaction may have published before what is done.
  const connection = await owner.connection()
  const open = await connection.begin()
  await open.publish('a', 'open')
  await owner.publish('a', '2')
  await waitFor(() => done === 2)
  await open.commit()
  await connection.close()
  await waitFor(() => done === 3)
  t.true((await count()) >= 2)
  ending.abort()
  await run
  await owner.durable.drop('s')
  t.true((await owner.durable.trim()) >= 2)
  t.is(await count(), 0)
})

test('a restored dump goes on where it stood, in a cluster whose transaction ids are lower', async (t) => {
  t.timeout(120_000)
  const [old, young] = await Promise.all([startServer(), startServer()])
  t.teardown(() => Promise.all([old.stop(), young.stop()]))
  const [from, to] = [new ConnectionPool(old.dsn), new ConnectionPool(young.dsn)]
  t.teardown(() => Promise.all([from.close(), to.close()]))
  await from.execute(
    'DO $$ BEGIN FOR n IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$',
  )
  await from.durable.install()
  await from.execute("SELECT pglisten.publish('a', n::text) FROM generate_series(1, 100) AS n")
  /** Handles so many events of a subscription, and stops. */
  const work = async (pool: ConnectionPool, name: string, batchSize: number, most: number) => {
    const got: string[] = []
    const ending = new AbortController()
    const subscription = pool.subscription(name, {
      channels: ['a'],
      from: 'beginning',
      batchSize,
      retryDelayMs: 1,
    })
    const warnings: string[] = []
    subscription.on('warning', ({ message }) => warnings.push(message))
    const run = subscription.run(
      (_, { payload }) => {
        got.push(payload)
        if (got.length === most) ending.abort()
      },
      { signal: ending.signal },
    )
    await within(run, { what: name })
    return { got, warnings }
  }
  // One in the middle of a large delta, one that has done all, one that has done nothing.
  await work(from, 'middle', 10, 35)
  await work(from, 'all', 1000, 100)
  await from.fetchVal("SELECT pglisten.subscribe('none', '{a}', 1, true)")
  await from.publish('a', '101')

  await to.durable.install()
  const tables = ['event', 'subscription', 'position', 'home']
  await to.execute('DELETE FROM pglisten.home')
  for (const table of tables) {
    const rows = await from.fetchVal<string>(
      `SELECT jsonb_agg(x)::text FROM pglisten.${table} AS x`,
    )
    await to.execute(
      `INSERT INTO pglisten.${table} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::pglisten.${table}, $1::text::jsonb)`,
      [rows],
    )
  }
  await to.execute(
    "SELECT setval(pg_get_serial_sequence('pglisten.event', 'id'), (SELECT max(id) FROM pglisten.event))",
  )
  t.false((await to.durable.status()).isHome)
  // Published before anybody has noticed.
  await to.publish('a', 'new')

  const numbers = (first: number) =>
    Array.from({ length: 102 - first }, (_, n) => String(first + n))
  const middle = await work(to, 'middle', 10, 67)
  t.deepEqual(middle.got, [...numbers(36), 'new'])
  t.regex(middle.warnings.join(), /was in a restored dump/)
  t.deepEqual((await work(to, 'all', 10, 2)).got, ['101', 'new'])
  t.deepEqual((await work(to, 'none', 10, 102)).got, [...numbers(1), 'new'])
  t.true((await to.durable.status()).isHome)
  await to.durable.adopt()
  await to.publish('a', 'newer')
  for (const name of ['middle', 'all', 'none'])
    t.deepEqual((await work(to, name, 10, 1)).got, ['newer'])
})

/** Runs statements. */
async function runAll(pool: ConnectionPool, sql: string): Promise<void> {
  const connection = await pool.connection()
  await connection.executeBatch(sql)
  await connection.close()
}

/** Makes a database as if it were restored in another cluster, whose transaction ids are lower than those of the dump. */
const RESTORE = `
  UPDATE pglisten.event SET xact = (xact::text::bigint + 1000000)::text::xid8;
  UPDATE pglisten.position SET target = NULL, after = NULL, base = format('%1$s:%1$s:',
    pg_snapshot_xmax(base)::text::bigint + CASE WHEN base::text = '1:1:' THEN 0 ELSE 1000000 END)::pg_snapshot;
  UPDATE pglisten.home SET cluster = cluster + 1`

for (const ids of ['lower', 'the same'] as const) {
  test(`a subscription that has not moved yet gets nothing that was published before it, where a dump is adopted (ids: ${ids})`, async (t) => {
    const { owner } = await openDatabase(t)
    await owner.durable.install()
    await owner.execute("SELECT pglisten.publish('a', n::text) FROM generate_series(1, 3) AS n")
    await owner.fetchVal("SELECT pglisten.subscribe('present', '{a}')")
    await owner.fetchVal("SELECT pglisten.subscribe('parts', '{a}', 2)")
    await owner.fetchVal("SELECT pglisten.subscribe('past', '{a}', 1, true)")
    await runAll(
      owner,
      ids === 'lower' ? RESTORE : 'UPDATE pglisten.home SET cluster = cluster + 1',
    )
    await owner.publish('a', 'new')
    t.deepEqual(
      [...(await owner.fetch('SELECT subscription, events FROM pglisten.adopt()'))],
      [
        { subscription: 'parts', events: 1n },
        { subscription: 'past', events: 4n },
        { subscription: 'present', events: 1n },
      ],
    )
  })
}

for (const from of ['now', 'beginning'] as const) {
  test(`a subscription that is made before a dump is adopted begins ${from === 'now' ? 'now' : 'at the beginning'}, and adopts it`, async (t) => {
    const { owner } = await openDatabase(t)
    await owner.durable.install()
    await owner.fetchVal("SELECT pglisten.subscribe('old', '{a}')")
    await owner.execute("SELECT pglisten.publish('a', n::text) FROM generate_series(1, 3) AS n")
    await runAll(owner, RESTORE)
    await t.throwsAsync(owner.fetchVal("SELECT pglisten.subscribe('new', '{a}')"), {
      instanceOf: DatabaseError,
      message: /from another cluster: call pglisten.adopt/,
    })
    t.is((await owner.durable.subscriptions()).length, 1)
    const got: string[] = []
    const warnings: string[] = []
    const ending = new AbortController()
    const subscription = owner.subscription('new', { channels: ['a'], from })
    subscription.on('warning', ({ message }) => warnings.push(message))
    const run = subscription.run((_, { payload }) => void got.push(payload), {
      signal: ending.signal,
    })
    t.teardown(() => ending.abort())
    await waitFor(async () => (await subscription.stats()).working === 1)
    await owner.publish('a', 'new')
    await waitFor(() => got.includes('new'))
    t.deepEqual(got, from === 'now' ? ['new'] : ['1', '2', '3', 'new'])
    t.regex(warnings.join(), /^the subscriptions were in a restored dump: .*another cluster/)
    t.is(await owner.fetchVal("SELECT events FROM pglisten.lag('old')"), 4n)
    ending.abort()
    await within(run)
  })
}

test.serial(
  'events of a dump without subscriptions are there for the first one, and can be removed',
  async (t) => {
    const { owner } = await openDatabase(t)
    await owner.durable.install()
    await owner.execute("SELECT pglisten.publish('a', n::text) FROM generate_series(1, 3) AS n")
    await runAll(owner, RESTORE)
    await owner.durable.adopt()
    const got: string[] = []
    const ending = new AbortController()
    const subscription = owner.subscription('s', {
      channels: ['a'],
      from: 'beginning',
      safetyNetMs: 100,
    })
    const run = subscription.run((_, { payload }) => void got.push(payload), {
      signal: ending.signal,
    })
    t.teardown(() => ending.abort())
    await waitFor(() => got.length === 3)
    await waitFor(async () => (await subscription.stats()).lag.events === 0)
    t.deepEqual(got, ['1', '2', '3'])
    ending.abort()
    await within(run)
    await owner.durable.drop('s')
    t.is(await owner.durable.trim(), 3)
  },
)

test('an event keeps its name when positions are adopted, also one that was given up', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  const work = async (name: string, most: number) => {
    const got: string[] = []
    const ending = new AbortController()
    const options = { channels: ['a'], from: 'beginning', retryDelayMs: 1 } as const
    const subscription = owner.subscription(name, {
      ...options,
      maxAttempts: 1,
      onFailure: 'skip',
      batchSize: 2,
    })
    subscription.on('warning', () => {})
    const run = subscription.run(
      (_, { payload, uid }) => {
        if (payload === 'bad' && name === 'one') throw new Error('no')
        got.push(`${payload} ${uid}`)
      },
      { signal: ending.signal },
    )
    await waitFor(async () => {
      const { done, givenUp } = await subscription.stats()
      return done + givenUp === most
    })
    ending.abort()
    await within(run)
    return got
  }
  await owner.execute("SELECT pglisten.publish('a', p) FROM unnest('{1,bad,2,3,4,5}'::text[]) AS p")
  await work('one', 6)
  const before = await work('two', 6)
  const given = async () => (await owner.durable.failed('one')).map(({ uid }) => uid)
  const [uid] = await given()
  await owner.fetchVal("SELECT pglisten.subscribe('three', '{a}', 1, true)")
  await owner.fetchVal("SELECT pglisten.subscribe('four', '{a}', 1, true)")
  // The names are to be those of the first cluster, however often it is restored.
  for (const name of ['three', 'four']) {
    await owner.execute('UPDATE pglisten.home SET cluster = cluster + 1')
    t.deepEqual(await work(name, 6), before)
    t.deepEqual(await given(), [uid])
  }
  t.true(before.includes(`bad ${uid}`))
  // One that is given up only then.
  await owner.durable.drop('one')
  await work('one', 6)
  t.deepEqual(await given(), [uid])
})

test('who adopts where everything is at home waits for no publisher, and no publisher for it', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  const connection = await owner.connection()
  const open = await connection.begin()
  await open.publish('a', 'open')
  await owner.durable.adopt({ timeoutMs: 5000 })
  await owner.publish('a', 'beside', { timeoutMs: 5000 })
  await open.commit()
  await connection.close()
  t.is(await owner.fetchVal('SELECT count(*)::int4 FROM pglisten.event'), 2)
})

test('a dump is adopted without the right to temporary tables', async (t) => {
  const { owner, superuser, database } = await openDatabase(t)
  await owner.durable.install()
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}')")
  await owner.publish('a', '1')
  await runAll(
    superuser,
    `ALTER DATABASE ${database} OWNER TO postgres; REVOKE TEMP ON DATABASE ${database} FROM PUBLIC`,
  )
  await owner.execute('UPDATE pglisten.home SET cluster = cluster + 1')
  t.deepEqual([...(await owner.fetch('SELECT events FROM pglisten.adopt()'))], [{ events: 1n }])
})

test('a new cluster adopts more sets of undone events than it has used transaction ids', async (t) => {
  const own = await startServer()
  t.teardown(() => own.stop())
  const pool = new ConnectionPool(own.dsn)
  t.teardown(() => pool.close())
  await pool.durable.install()
  // As a dump has them: each event is done by one subscription fewer than the one before it.
  const used = 'SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int'
  const count = (await pool.fetchVal<number>(used)) + 50
  await pool.execute(
    "SELECT pglisten.subscribe('s' || n, '{a}', 1, true) FROM generate_series(1, $1::int) AS n",
    [count],
  )
  await pool.execute(
    `INSERT INTO pglisten.event (channel, payload, xact)
     SELECT 'a', n, (10000 + n)::text::xid8 FROM generate_series(1, $1::int) AS n`,
    [count],
  )
  await pool.execute(`
    UPDATE pglisten.position SET high = 1000000, base = format('%1$s:%1$s:', 10000 + substr(subscription, 2)::int)::pg_snapshot`)
  t.true((await pool.fetchVal<number>(used)) < count)
  // One that is open, and publishes later: its id is that of no set.
  const connection = await pool.connection()
  const open = await connection.begin()
  await open.execute('SELECT pg_current_xact_id()')
  await pool.durable.adopt()
  await open.publish('a', 'late')
  await open.commit()
  await connection.close()
  t.like(await pool.durable.status(), { isHome: true })
  const lags = await pool.fetch<{ n: number; events: bigint }>(
    'SELECT substr(name, 2)::int AS n, (pglisten.lag(name)).events FROM pglisten.subscription ORDER BY n',
  )
  t.deepEqual(
    [...lags].map(({ events }) => Number(events)),
    Array.from({ length: count }, (_, index) => count - index + 1),
  )
})

test('a worker tells why positions cannot be adopted', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}')")
  await runAll(
    owner,
    `UPDATE pglisten.home SET cluster = cluster + 1;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no home'; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON pglisten.home FOR EACH ROW EXECUTE FUNCTION refuse()`,
  )
  const subscription = owner.subscription('s', { channels: ['a'] })
  const warnings: string[] = []
  subscription.on('warning', ({ message }) => warnings.push(message))
  const ending = new AbortController()
  const run = subscription.run(() => {}, { signal: ending.signal })
  t.teardown(() => ending.abort())
  await waitFor(() => warnings.length >= 2)
  t.regex(warnings[0]!, /^subscription `s` could not be adopted: .*no home/)
  t.regex(warnings[1]!, /^subscription `s` could not be worked: .*call pglisten.adopt/)
  ending.abort()
  await within(run)
})

test('positions that are ahead of the cluster are not at home, though its name is right', async (t) => {
  const { owner } = await openDatabase(t)
  await owner.durable.install()
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}')")
  t.true((await owner.durable.status()).isHome)
  await runAll(owner, "UPDATE pglisten.position SET base = '1000000000:1000000000:'")
  t.false((await owner.durable.status()).isHome)
})

test('a session notices that what it knows of the cluster is no longer what the subscriptions know', async (t) => {
  const { owner, superuser, as, ownerDsn } = await openDatabase(t)
  await owner.durable.install()
  const pool = as(new URL(ownerDsn).username, undefined, { maxDbPoolSize: 1 })
  const got: string[] = []
  const ending = new AbortController()
  const subscription = pool.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    safetyNetMs: 100,
  })
  const run = subscription.run((_, { payload }) => void got.push(payload), {
    signal: ending.signal,
  })
  run.catch(() => {})
  t.teardown(() => ending.abort())
  await owner.publish('a', '1')
  await waitFor(() => got.length === 1)
  // From now on the owner cannot know the identifier of the cluster.
  await superuser.execute('REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC')
  const other = as(new URL(ownerDsn).username)
  await other.execute('SELECT FROM pglisten.adopt()')
  t.is(await owner.fetchVal('SELECT cluster FROM pglisten.home'), 0n)
  await owner.publish('a', '2')
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['1', '2'])
  ending.abort()
  await within(run)
})
