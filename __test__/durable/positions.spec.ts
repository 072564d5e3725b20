// The position: what is done by it, whatever commits between two statements of the function that reads.

import test from 'ava'
import type { ConnectionPool, DurableEvent, SubscriptionOptions, Transaction } from 'pglisten'
import { waitFor, within } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { openDatabase } from './database.js'
import { openGates } from './gates.js'
import { QUICK, openScene, take } from './scene.js'
import type { ExecutionContext } from 'ava'

/** Runs subscription `s` of channel `a` until the test ends, and gives what it tells. */
function runs(
  t: ExecutionContext,
  pool: ConnectionPool,
  options: Partial<SubscriptionOptions> = {},
) {
  const got: string[] = []
  const warnings: string[] = []
  const ending = new AbortController()
  const subscription = pool.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    ...QUICK,
    ...options,
  })
  subscription.on('warning', ({ message }) => warnings.push(message))
  const ended = subscription.run((_, { payload }) => void got.push(payload), {
    signal: ending.signal,
  })
  ended.catch(() => {})
  const stop = async () => {
    ending.abort()
    await within(ended)
  }
  t.teardown(() => stop().catch(() => {}))
  return { got, warnings, stop, subscription }
}

test('an event that is committed while others are read comes next', async (t) => {
  const { owner, ownerDsn, as, close } = await openGates(t)
  await owner.publish('a', '1')
  const gate = await close('slow', 'event')
  const role = new URL(ownerDsn).username
  const { got } = runs(t, as(role, undefined, { applicationName: 'slow' }))
  await gate.reached()
  await owner.publish('a', '2')
  await gate.open()
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['1', '2'])
})

test('a worker that waited while another one moved the position begins behind it', async (t) => {
  const { owner, ownerDsn, as, close, witness } = await openGates(t)
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
  await owner.publish('a', '1')
  // The statement that looks for the position has its snapshot, and not yet the lock.
  const gate = await close('slow', 'position')
  const role = new URL(ownerDsn).username
  const slow = runs(t, as(role, undefined, { applicationName: 'slow' }))
  await gate.reached()
  await owner.publish('a', '2')
  const connection = await owner.connection()
  await connection.transaction(async (tx) => {
    const taken = await take(tx, 's')
    t.deepEqual(taken.payloads, ['1', '2'])
    await taken.advance()
  })
  await connection.close()
  await owner.publish('a', '3')
  await gate.open()
  await waitFor(() => slow.got.length > 0)
  await waitFor(async () => (await slow.subscription.stats()).lag.events === 0)
  t.deepEqual(slow.got, ['3'])
  t.deepEqual(slow.warnings, [])
  t.is(await witness.ask('SELECT count(*)::int FROM pglisten.attempt'), 0)
})

for (const when of ['before', 'after']) {
  for (const younger of [false, true]) {
    const also = younger ? ', although a younger transaction has ended' : ''
    test(`what a transaction publishes ${when} it takes events comes next${also}`, async (t) => {
      const { pool, channel, name, run } = await openScene(t)
      await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [
        name,
        channel,
      ])
      await pool.publish(channel, 'first')
      const connection = await pool.connection()
      const expected = ['first']
      await connection.transaction(async (tx) => {
        if (when === 'before') await tx.publish(channel, 'own')
        // A transaction that has no id yet gets one before the younger one has its own.
        else await tx.fetchVal('SELECT pg_current_xact_id()')
        if (younger) {
          await pool.publish(channel, 'younger')
          expected.push('younger')
        }
        const taken = await take(tx, name)
        t.deepEqual(taken.payloads, expected)
        if (when === 'after') await tx.publish(channel, 'own')
        await taken.advance()
      })
      await connection.close()
      const got: string[] = []
      run((_: Transaction, { payload }: DurableEvent) => void got.push(payload))
      await waitFor(() => got.length === 1)
      t.deepEqual(got, ['own'])
    })
  }
}

test('what is fetched behind a savepoint that is rolled back is fetched again', async (t) => {
  const { pool, channel, name, publish } = await openScene(t)
  await pool.fetchVal('SELECT pglisten.subscribe($1, ARRAY[$2::text], 1, true)', [name, channel])
  await publish('1', '2')
  const connection = await pool.connection()
  await connection.transaction(async (tx) => {
    await tx.executeBatch('SAVEPOINT s')
    const taken = await take(tx, name)
    await taken.advance()
    await tx.executeBatch('ROLLBACK TO s')
    t.deepEqual((await take(tx, name)).payloads, taken.payloads)
    t.deepEqual(taken.payloads, ['1', '2'])
  })
  await connection.close()
})

test('a batch that is left half done goes on behind what is done, in the middle of many', async (t) => {
  const { pool, channel, run } = await openScene(t, { batchSize: 7 })
  await pool.execute('SELECT pglisten.publish($1, n::text) FROM generate_series(1, 50) AS n', [
    channel,
  ])
  const got: string[] = []
  // Each run ends within a batch, at another place of it.
  for (const most of [1, 5, 12, 20, 33, 50]) {
    const reached = { resolve: () => {} }
    const done = new Promise<void>((resolve) => (reached.resolve = resolve))
    const { stop } = run((_, { payload }) => {
      got.push(payload)
      if (got.length !== most) return
      reached.resolve()
      // The run is asked to end while this event is being handled.
      void stop().catch(() => {})
    })
    await within(done, { what: `${most} events` })
    await stop()
  }
  t.deepEqual(
    got,
    Array.from({ length: 50 }, (_, n) => String(n + 1)),
  )
})

/** A database with subscription `s` of channel `a`, and sessions that the test decides about. */
async function openContest(t: ExecutionContext) {
  const opened = await openDatabase(t)
  const { owner, superuserDsn } = opened
  await owner.durable.install()
  await owner.fetchVal("SELECT pglisten.subscribe('s', '{a}', 1, true)")
  const witness = new ServerWitness(superuserDsn)
  t.teardown(() => witness.close())
  /** A session that keeps what `sql` locks, until it is let go of. */
  const keep = async (sql: string) => {
    const keeper = await witness.session()
    t.teardown(() => keeper[Symbol.asyncDispose]())
    await keeper.run(`BEGIN; ${sql}`)
    return () => keeper.run('COMMIT')
  }
  /** Resolves when so many sessions wait for a lock. */
  const waiting = (count: number) =>
    waitFor(
      async () =>
        (await witness.ask<number>(
          `SELECT count(DISTINCT pid)::int FROM pg_locks WHERE NOT granted
             AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`,
        )) === count,
      { what: `${count} sessions that wait` },
    )
  /** Holds whoever makes a statement of this kind, before or behind it, until it is let go of. */
  const gate = async (when: string) => {
    await witness.run(`
      CREATE FUNCTION public.pass() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
      CREATE TRIGGER gate ${when} FOR EACH STATEMENT EXECUTE FUNCTION public.pass()`)
    return keep('SELECT pg_advisory_xact_lock(7)')
  }
  return { ...opened, witness, keep, waiting, gate }
}

/** As in a restored dump. */
const RESTORED = 'UPDATE pglisten.home SET cluster = cluster + 1'

test('a subscription is dropped while a dump is adopted', async (t) => {
  const { owner, witness, keep, waiting } = await openContest(t)
  await witness.run(RESTORED)
  // Whoever drops it has the locks of its positions then.
  const letGo = await keep("SELECT FROM pglisten.subscription WHERE name = 's' FOR KEY SHARE")
  const dropping = owner.durable.drop('s')
  await waiting(1)
  const adopting = owner.durable.adopt()
  await waiting(2)
  await letGo()
  t.true(await dropping)
  await adopting
  t.true((await owner.durable.status()).isHome)
})

test('a dump is adopted behind a batch that was taken before', async (t) => {
  const { owner, witness, waiting } = await openContest(t)
  await owner.publish('a', '1')
  let adopting: Promise<void> | undefined
  await using connection = await owner.connection()
  await connection.transaction(async (tx) => {
    const { payloads, advance } = await take(tx, 's')
    t.deepEqual(payloads, ['1'])
    await witness.run(RESTORED)
    adopting = owner.durable.adopt()
    adopting.catch(() => {})
    await waiting(1)
    await advance()
  })
  await adopting
  t.true((await owner.durable.status()).isHome)
  t.is((await owner.durable.subscriptions())[0]!.failed, 0)
})

test('a subscription that is dropped while a process begins to run it is made anew', async (t) => {
  const { owner, gate, waiting } = await openContest(t)
  const open = await gate('AFTER INSERT ON pglisten.subscription')
  // It has found that there is one, and not yet looked at it.
  const beginning = owner.fetchVal<boolean>("SELECT pglisten.subscribe('s', '{a}', 1, true)")
  await waiting(1)
  t.true(await owner.durable.drop('s'))
  await open()
  t.true(await beginning)
  t.is((await owner.durable.subscriptions()).length, 1)
})

test('a subscription is dropped while one of its workers falls asleep', async (t) => {
  const { owner, witness, gate, waiting } = await openContest(t)
  const doze = (duration: string) =>
    owner.execute("SELECT pglisten.doze('s', 0, gen_random_uuid(), $1::text::interval)", [duration])
  // That of a worker that is gone.
  await doze('-1 s')
  const open = await gate('BEFORE INSERT ON pglisten.sleeper')
  const dozing = doze('1 min')
  await waiting(1)
  let isDropped = false
  const dropping = owner.durable.drop('s').finally(() => (isDropped = true))
  dropping.catch(() => {})
  await Promise.race([waitFor(() => isDropped), waiting(2)])
  await open()
  t.true(await dropping)
  await dozing
  t.is(await witness.ask('SELECT count(*)::int FROM pglisten.sleeper'), 0)
})
