// What running subscriptions do for all of a database: events that everybody has done are removed, and subscriptions that nobody
// reads are told of, or dropped. One test after the other: a transaction that is open in any database of a server keeps the events of
// all that may still come before it.

import test, { type ExecutionContext } from 'ava'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import {
  ConnectionPool,
  type StatementContext,
  type SubscriptionMessage,
  type SubscriptionOptions,
  type SubscriptionWarning,
} from 'pglisten'
import { uniqueName } from '../../lab/unique-name.js'
import { FaultProxy } from '../../lab/network/fault-proxy.js'
import { waitFor, within } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { told } from '../support/told.js'
import { server, take } from './scene.js'

const DAY_MS = 86_400_000

/** A database of the test's own: upkeep is that of a whole database. */
async function openDatabase(t: ExecutionContext) {
  const name = uniqueName('upkeep')
  const own = new ServerWitness((await server()).dsn)
  t.teardown(() => own.close())
  await own.run(`CREATE DATABASE ${name}`)
  const url = new URL((await server()).dsn)
  url.pathname = `/${name}`
  // `rounds` knows by their text which statements look after the database.
  const pool = new ConnectionPool({ dsn: url.href, diagnostics: { statements: true } })
  t.teardown(() => pool.close())
  const witness = new ServerWitness(url.href)
  t.teardown(() => witness.close())
  await pool.durable.install({ retentionMs: 0 })
  /** Runs a subscription that looks after the database often. */
  const run = (
    subscription: string,
    options: Partial<SubscriptionOptions> = {},
    handler: (tx: unknown, event: { payload: string }) => unknown = () => {},
  ) => {
    const made = pool.subscription(subscription, {
      channels: ['c'],
      from: 'beginning',
      safetyNetMs: 100,
      ...options,
    })
    const ending = new AbortController()
    const warnings: SubscriptionWarning[] = []
    made.on('warning', (warning) => warnings.push(warning))
    const ended = made.run(handler, { signal: ending.signal })
    const stop = async () => {
      ending.abort()
      await ended
    }
    t.teardown(stop)
    return { made, warnings, stop }
  }
  /** Makes a subscription that nobody runs, and was last run so many days ago. */
  const leave = async (
    subscription: string,
    days: number,
    options: Partial<SubscriptionOptions> = {},
  ) => {
    const { made, stop } = run(subscription, options)
    await waitFor(async () => (await made.stats()).working === 1)
    await stop()
    await age(subscription, days)
  }
  const age = async (subscription: string, days: number) => {
    const then = `clock_timestamp() - interval '${days} days'`
    await witness.run(
      `UPDATE pglisten.subscription SET begun = ${then} WHERE name = '${subscription}'`,
    )
    await witness.run(
      `UPDATE pglisten.position SET moved = ${then} WHERE subscription = '${subscription}'`,
    )
  }
  /** Has what is waited for before a subscription is dropped be over after a second, and not after 2 minutes. */
  const hurry = (subscription: string) =>
    witness.run(
      `UPDATE pglisten.subscription SET max_unread = '1 s' WHERE name = '${subscription}'`,
    )
  const publish = (count: number) =>
    pool.execute("SELECT pglisten.publish('c', n::text) FROM generate_series(1, $1::int) AS n", [
      count,
    ])
  const events = () => witness.ask<number>('SELECT count(*)::int FROM pglisten.event')
  return { dsn: url.href, pool, witness, run, leave, age, hurry, publish, events }
}

/** How many sessions of the database wait for an advisory lock. */
const waiting = (witness: ServerWitness) =>
  witness.ask<number>(
    `SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )

/**
 * Resolves when the database has been looked after so many times, each begun after the call and answered, or with how often it was when
 * `sooner` is so.
 */
async function rounds(count: number, sooner = () => false): Promise<number> {
  const begun = new Set<unknown>()
  let answered = 0
  const onStart = (context: unknown) => {
    if ((context as StatementContext).text?.includes('pglisten.tend')) begun.add(context)
  }
  const onEnd = (context: unknown) => {
    if (begun.has(context) && (context as StatementContext).error === undefined) answered += 1
  }
  subscribe('tracing:pglisten:statement:start', onStart)
  subscribe('tracing:pglisten:statement:asyncEnd', onEnd)
  try {
    await waitFor(() => answered >= count || sooner(), { what: `${count} rounds` })
    return answered
  } finally {
    unsubscribe('tracing:pglisten:statement:start', onStart)
    unsubscribe('tracing:pglisten:statement:asyncEnd', onEnd)
  }
}

test.serial(
  'running subscriptions remove what every one of them has done, and nothing else',
  async (t) => {
    const { run, publish, events, pool } = await openDatabase(t)
    const slow = run('slow')
    const quick = run('quick')
    await publish(2500)
    await waitFor(async () => (await events()) === 0)
    await slow.stop()
    await publish(10)
    await waitFor(async () => (await quick.made.stats()).done === 2510)
    await rounds(3)
    t.is(await events(), 10)
    const got: string[] = []
    run('slow', {}, (_, { payload }) => got.push(payload))
    await waitFor(() => got.length === 10)
    await waitFor(async () => (await events()) === 0)
    t.is((await pool.durable.status()).retentionMs, 0)
  },
)

test.serial('an open transaction keeps what it may still publish before', async (t) => {
  const { run, publish, events, pool } = await openDatabase(t)
  const got: string[] = []
  const { made } = run('s', {}, (_, { payload }) => got.push(payload))
  const connection = await pool.connection()
  const open = await connection.begin()
  await open.publish('c', 'late')
  await publish(5)
  await waitFor(async () => (await made.stats()).done === 5)
  await rounds(3)
  t.is(await events(), 5)
  await open.commit()
  await connection.close()
  await waitFor(async () => (await events()) === 0)
  t.true(got.includes('late'))
})

test.serial(
  'events are kept for as long as was installed, which a later installation changes',
  async (t) => {
    const { run, publish, events, pool } = await openDatabase(t)
    t.is((await pool.durable.status()).retentionMs, 0)
    await pool.durable.install()
    t.is((await pool.durable.status()).retentionMs, 0)
    await pool.durable.install({ retentionMs: 3_600_000 })
    t.is((await pool.durable.status()).retentionMs, 3_600_000)
    const { made } = run('s')
    await publish(3)
    await waitFor(async () => (await made.stats()).done === 3)
    await pool.durable.install({ retentionMs: false })
    t.is((await pool.durable.status()).retentionMs, false)
    await rounds(3)
    t.is(await events(), 3)
    t.is(await pool.durable.trim(60_000), 0)
    await pool.durable.install({ retentionMs: 1 })
    await waitFor(async () => (await events()) === 0)
    for (const retentionMs of [-1, 0.5, '1', true, Infinity])
      await t.throwsAsync(pool.durable.install({ retentionMs: retentionMs as number }), {
        message: /^Expected `retentionMs` to be .*, got /,
      })
  },
)

test.serial('one process at a time looks after the events, and nobody waits for it', async (t) => {
  const { run, publish, events, pool, witness } = await openDatabase(t)
  const connection = await pool.connection()
  const other = await connection.begin()
  await other.execute('SELECT pg_advisory_xact_lock(pglisten.trim_lock())')
  // A transaction with an id would be one that may still publish.
  const { made } = run('s')
  t.teardown(() => connection.close())
  await waitFor(() => waiting(witness))
  // A new subscription waits for whoever trims: it has to be seen by it.
  t.deepEqual(await pool.durable.subscriptions(), [])
  await other.commit()
  await waitFor(async () => (await made.stats()).working === 1)
  const next = await connection.begin()
  await next.execute('SELECT pg_advisory_xact_lock(pglisten.trim_lock())')
  await publish(10)
  await waitFor(async () => (await made.stats()).done === 10)
  await rounds(3)
  t.is(await events(), 10)
  await next.commit()
  await waitFor(async () => (await events()) === 0)
})

test.serial('a run that waits for whoever trims ends at once when it is aborted', async (t) => {
  const { run, pool, witness } = await openDatabase(t)
  const connection = await pool.connection()
  const other = await connection.begin()
  await other.execute('SELECT pg_advisory_xact_lock(pglisten.trim_lock())')
  const { stop } = run('s')
  await waitFor(() => waiting(witness))
  await within(stop())
  await other.commit()
  await connection.close()
  t.deepEqual(await pool.durable.subscriptions(), [])
})

test.serial(
  'a connection that is cut off in silence while events are removed stops no later round',
  async (t) => {
    const { witness, publish, events, dsn } = await openDatabase(t)
    const keeper = await witness.session()
    t.teardown(() => keeper[Symbol.asyncDispose]())
    await witness.run(`
    CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN OLD; END $$;
    CREATE TRIGGER gate BEFORE DELETE ON pglisten.event FOR EACH STATEMENT EXECUTE FUNCTION gate()`)
    await keeper.ask('SELECT pg_advisory_lock(7)')
    const proxy = await FaultProxy.start(Number(new URL(dsn).port))
    t.teardown(() => proxy.stop())
    const pool = new ConnectionPool({ dsn: proxy.dsn(dsn) })
    t.teardown(() => pool.close())
    const options = {
      channels: ['c'],
      from: 'beginning' as const,
      safetyNetMs: 100,
      maxHandlerMs: 500,
    }
    const ending = new AbortController()
    const ended = pool.subscription('s', options).run(() => {}, { signal: ending.signal })
    t.teardown(async () => {
      ending.abort()
      await ended
    })
    await publish(1)
    await waitFor(() =>
      witness.ask(
        "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 7",
      ),
    )
    proxy.swallow('both')
    await keeper.ask('SELECT pg_advisory_unlock(7)')
    // Connections that are made from now on are good.
    proxy.clear()
    await waitFor(async () => (await events()) === 0)
    await publish(1)
    await waitFor(async () => (await events()) === 0)
    t.pass()
  },
)

test.serial('who trims sees a subscription that is just being made', async (t) => {
  const { publish, events, pool, witness, run } = await openDatabase(t)
  await publish(10)
  const connection = await pool.connection()
  const making = await connection.begin()
  await making.execute("SELECT pglisten.subscribe('new', '{c}', 1, true)")
  const trimming = pool.durable.trim()
  await waitFor(() => waiting(witness))
  await making.commit()
  await connection.close()
  t.is(await trimming, 0)
  t.is(await events(), 10)
  const { made } = run('new')
  await waitFor(async () => (await made.stats()).done === 10)
})

test.serial('without any subscription events stay until somebody trims', async (t) => {
  const { publish, events, pool } = await openDatabase(t)
  await publish(10)
  t.is(await pool.durable.trim(60_000), 0)
  t.is(await pool.durable.trim(), 10)
  t.is(await events(), 0)
})

test.serial('nothing is trimmed while positions come from another cluster', async (t) => {
  const { publish, pool, witness } = await openDatabase(t)
  await publish(3)
  await witness.run('UPDATE pglisten.home SET cluster = cluster + 1')
  await t.throwsAsync(pool.durable.trim(), { message: /another cluster.*adopt/ })
  t.is(await witness.ask('SELECT removed FROM pglisten.tend(1000, 10)'), 0)
  await pool.durable.adopt()
  t.is(await pool.durable.trim(), 3)
})

test.serial('a young event behind which old ones lie does not keep them', async (t) => {
  const { publish, events, pool, witness } = await openDatabase(t)
  await publish(5)
  await witness.run("UPDATE pglisten.event SET at = at - interval '1 day' WHERE id > 1")
  t.is(await pool.durable.trim(60_000), 4)
  t.is(await events(), 1)
})

test.serial('whoever runs any subscription is told of one that nobody reads', async (t) => {
  const { run, leave, age, publish, pool } = await openDatabase(t)
  await leave('forgotten', 2)
  await leave('resting', 2, { maxUnreadAgeMs: false })
  await leave('recent', 0.5)
  await publish(3)
  t.deepEqual((await pool.durable.status()).unread, ['forgotten'])
  const { warnings, stop } = run('other')
  await waitFor(() => warnings.length > 0)
  const [{ message, error, unread }] = warnings as [SubscriptionWarning]
  t.like(unread, { name: 'forgotten', events: 3, isDropped: false })
  t.true(Math.abs(unread!.ageMs - 2 * DAY_MS) < 60_000)
  t.true(Math.abs(Date.now() - Number(unread!.oldest)) < 60_000)
  t.is(error, undefined)
  t.is(
    message,
    'nobody has read subscription `forgotten` for 2 d, and it keeps every event since: 3 events are not done. Run it, or drop it with `pool.durable.drop()`',
  )
  // Once in its age, and not again by who comes later.
  await rounds(3)
  t.is(warnings.length, 1)
  await stop()
  const infos = await pool.durable.subscriptions()
  t.like(
    infos.find(({ name }) => name === 'forgotten'),
    { maxUnreadAgeMs: DAY_MS, onUnread: 'warn' },
  )
  t.like(
    infos.find(({ name }) => name === 'resting'),
    { maxUnreadAgeMs: false },
  )
  t.true(infos.find(({ name }) => name === 'forgotten')!.unreadMs > DAY_MS)
  t.true(infos.find(({ name }) => name === 'other')!.unreadMs < 60_000)
  // Who runs it reads it.
  await leave('forgotten', 0)
  t.deepEqual((await pool.durable.status()).unread, [])
  await age('forgotten', 3)
  const again = run('other')
  await waitFor(() => again.warnings.length === 1)
})

test.serial(
  'one that nobody reads is dropped where its own options say so, unless somebody works it',
  async (t) => {
    const { run, leave, hurry, publish, events, pool, witness } = await openDatabase(t)
    await leave('dropped', 2, { onUnread: 'drop' })
    await hurry('dropped')
    await leave('worked', 2, { onUnread: 'drop' })
    let finish!: () => void
    const busy = new Promise<void>((resolve) => (finish = resolve))
    await publish(3)
    const working = run('worked', { onUnread: 'drop', safetyNetMs: 60_000 }, () => busy)
    await waitFor(async () => (await working.made.stats()).working === 1)
    // It has begun to work, and nothing but its lock tells of that.
    await witness.run(`UPDATE pglisten.subscription SET begun = begun - interval '2 days'
    WHERE name = 'worked'`)
    await hurry('worked')
    const { warnings } = run('other')
    await waitFor(() => warnings.length > 0)
    t.like(warnings[0]!.unread, { name: 'dropped', events: 3, isDropped: true })
    t.regex(
      warnings[0]!.message,
      /^subscription `dropped` was dropped, as its `onUnread` says: .* 3 events were not done$/,
    )
    await rounds(3)
    t.deepEqual(
      (await pool.durable.subscriptions()).map(({ name }) => name),
      ['other', 'worked'],
    )
    finish()
    await waitFor(async () => (await events()) === 0)
    t.is(warnings.length, 1)
  },
)

test.serial(
  'one that nobody reads is dropped when those that could not reach the server have had time to come back',
  async (t) => {
    const { run, leave, hurry, pool, witness } = await openDatabase(t)
    await leave('cut off', 2, { onUnread: 'drop' })
    await hurry('cut off')
    await leave('forgotten', 2)
    t.is(
      await witness.ask(
        "SELECT jsonb_path_query_array(unread, '$[*] ? (@.waits == false).name')::text FROM pglisten.tend(1, 1, '{}')",
      ),
      '["forgotten"]',
    )
    const begunAt = performance.now()
    const { warnings } = run('other')
    const isDropped = () => warnings.some(({ unread }) => unread?.isDropped)
    await rounds(100, isDropped)
    t.true(performance.now() - begunAt >= 1000)
    t.deepEqual(
      (await pool.durable.subscriptions()).map(({ name }) => name),
      ['forgotten', 'other'],
    )
  },
)

for (const onUnread of ['drop', 'warn'] as const) {
  test.serial(
    `a loop that is busy with a batch it has acknowledged reads (onUnread: '${onUnread}')`,
    async (t) => {
      const { age, hurry, publish, pool } = await openDatabase(t)
      const made = pool.subscription('busy', {
        channels: ['c'],
        from: 'beginning',
        safetyNetMs: 100,
        onUnread,
      })
      const warnings: SubscriptionWarning[] = []
      made.on('warning', (warning) => warnings.push(warning))
      const batches = made.batches()
      t.teardown(() => batches.return())
      await publish(1)
      await (await within(batches.next())).value!.ack()
      // It works for longer than `maxUnreadAgeMs`, and holds nothing on the server meanwhile.
      await hurry('busy')
      await age('busy', 2)
      // More than a second's.
      await rounds(15)
      t.deepEqual(warnings, [])
      t.is((await pool.durable.subscriptions()).length, 1)
      await publish(1)
      await (await within(batches.next())).value!.ack()
    },
  )
}

test.serial('a handler that works for longer than `maxUnreadAgeMs` reads', async (t) => {
  const { leave, publish, run, witness } = await openDatabase(t)
  await leave('handling', 2)
  let finish!: () => void
  const busy = new Promise<void>((resolve) => (finish = resolve))
  await publish(1)
  const handling = run('handling', { safetyNetMs: 60_000 }, () => busy)
  t.teardown(() => finish())
  await waitFor(async () => (await handling.made.stats()).working === 1)
  // Nothing but its lock tells of it.
  await witness.run("UPDATE pglisten.subscription SET begun = begun - interval '2 days'")
  const { warnings } = run('other')
  await rounds(5)
  t.deepEqual(warnings, [])
})

test.serial(
  'nothing is dropped at first sight: whoever reads it may have had no time to say so',
  async (t) => {
    const { run, pool, age } = await openDatabase(t)
    const options = { onUnread: 'drop', maxUnreadAgeMs: 120_000 } as const
    const idle = run('idle', { ...options, safetyNetMs: 30_000 })
    await waitFor(async () => (await idle.made.stats()).working === 1)
    const { warnings } = run('looking', options)
    await rounds(2)
    // As when the server's clock is set: nothing else has changed, and the next one that looks after the database is the other one.
    await age('idle', 2)
    await rounds(3)
    t.is(warnings.length, 0)
    t.is(await pool.durable.trim(), 0)
    const names = (await pool.durable.subscriptions()).map(({ name }) => name)
    t.deepEqual(names, ['idle', 'looking'])
  },
)

test.serial(
  'one whose safety net is minutes away says that it is read before it can be dropped',
  async (t) => {
    t.timeout(90_000)
    const { run, age, pool } = await openDatabase(t)
    const messages = told<SubscriptionMessage>(t, 'pglisten:subscription')
    const idle = run('idle', {
      onUnread: 'drop',
      safetyNetMs: 600_000,
      maxUnreadAgeMs: 2_400_000,
    })
    // Before it sleeps it moves its position.
    await waitFor(() => messages.some(({ event }) => event === 'asleep'))
    await age('idle', 2)
    const unread = async () => (await pool.durable.subscriptions())[0]!.unreadMs
    // Whoever looks after the database drops one that it has found unread for two minutes.
    await waitFor(async () => (await unread()) < 60_000, { timeoutMs: 60_000 })
    t.is(idle.warnings.length, 0)
    await idle.stop()
  },
)

test.serial('who works events again that were given up reads', async (t) => {
  const { leave, publish, pool, age, witness } = await openDatabase(t)
  await leave('s', 0)
  await publish(2)
  const connection = await pool.connection()
  /** Works what there is, in a transaction of its own, and gives up what is to be. */
  const work = (isGivenUp: boolean) =>
    connection.transaction(async (tx) => {
      const { payloads, advance } = await take(tx, 's', 1)
      if (isGivenUp) await tx.execute("SELECT pglisten.give_up('s', 0, 1, 'no')")
      if (payloads.length > 0) await advance()
    })
  const isUnread = async () => (await pool.durable.subscriptions())[0]!.unreadMs > DAY_MS
  const rest = async () => {
    await age('s', 2)
    await witness.run("UPDATE pglisten.failed SET failed = failed - interval '2 days'")
    t.true(await isUnread())
  }
  await work(true)
  t.is(await pool.durable.retry('s'), 1)
  await rest()
  t.is(await witness.ask("SELECT pglisten.count_attempt('s', 0, 1, 'no', 60000)"), 2)
  t.false(await isUnread())
  await rest()
  await work(true)
  t.false(await isUnread())
  t.is(await pool.durable.retry('s'), 1)
  await rest()
  await work(false)
  t.deepEqual(await pool.durable.failed('s'), [])
  t.false(await isUnread())
  await connection.close()
})

test.serial(
  'trim() tells of what nobody reads too, and drops it when it is called again',
  async (t) => {
    const { leave, publish, pool, events, witness } = await openDatabase(t)
    await leave('forgotten', 2)
    await leave('dropped', 2, { onUnread: 'drop' })
    await publish(2)
    const told: string[] = []
    const names = async () => (await pool.durable.subscriptions()).map(({ name }) => name)
    const hear = (warning: Error & { code?: string }) => {
      if (warning.code === 'PGLISTEN_DURABLE') told.push(warning.message)
    }
    process.on('warning', hear)
    t.teardown(() => process.off('warning', hear))
    t.is(await pool.durable.trim(), 0)
    t.is(await pool.durable.trim(), 0)
    await waitFor(() => told.length === 2)
    t.regex(
      told[0]!,
      /^nobody has read subscription `dropped` for 2 d, .* dropped by the next `trim\(\)` in two minutes/,
    )
    t.regex(told[1]!, /^nobody has read subscription `forgotten` for 2 d/)
    t.deepEqual(await names(), ['dropped', 'forgotten'])
    await witness.run("UPDATE pglisten.subscription SET told = told - interval '2 min'")
    t.is(await pool.durable.trim(), 0)
    await waitFor(() => told.length === 3)
    t.regex(told[2]!, /^subscription `dropped` was dropped/)
    t.deepEqual(await names(), ['forgotten'])
    t.true(await pool.durable.drop('forgotten'))
    t.is(await pool.durable.trim(), 2)
    t.is(await events(), 0)
  },
)

for (const [options, message] of [
  [{ maxUnreadAgeMs: 1000 }, /`maxUnreadAgeMs` to be an integer between 120000 /],
  [{ maxUnreadAgeMs: 1000, safetyNetMs: 100 }, /`maxUnreadAgeMs` to be an integer between 60000 /],
  [{ maxUnreadAgeMs: true }, /`maxUnreadAgeMs`/],
  [{ onUnread: 'delete' }, /`onUnread` to be .*warn.*drop/],
] as const) {
  test.serial(`refused: ${JSON.stringify(options)}`, async (t) => {
    const { pool } = await openDatabase(t)
    t.throws(() => pool.subscription('s', { channels: ['c'], ...(options as object) }), { message })
  })
}
