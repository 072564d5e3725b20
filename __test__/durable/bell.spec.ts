// The bell: it is rung for workers that sleep and for nobody else, and no event is left lying because it was not.

import { once } from 'node:events'
import path from 'node:path'
import test from 'ava'
import { forked } from '../../lab/child.js'
import { uniqueName } from '../../lab/unique-name.js'
import { waitFor, within } from '../../lab/wait.js'
import { root } from '../../scripts/lib/run.mjs'
import { asleep, looked, openScene, server } from './scene.js'

test('a publisher rings when somebody sleeps, and only then', async (t) => {
  const scene = await openScene(t)
  const { pool, channel, run, publish } = scene
  const bells: string[] = []
  // The bell is that of the whole database.
  await pool.listen({
    pglisten_bell: (_, payload) => void (payload === channel && bells.push(payload)),
  })
  await publish('nobody')
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await asleep(scene)
  t.deepEqual(got, ['nobody'])
  t.deepEqual(bells, [])
  await publish('asleep')
  await waitFor(() => got.length === 2)
  t.deepEqual(bells, [channel])
})

test('an event that no bell tells of is found by the safety net', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 300 })
  const { pool, channel, run, witness } = scene
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await asleep(scene)
  await pool.publish(channel, 'silent', { bell: false })
  await waitFor(() => got.length === 1)
  await asleep(scene)
  await witness.run(
    "BEGIN; INSERT INTO pglisten.event (channel, payload) VALUES ('" +
      channel +
      "', 'plain'); COMMIT",
  )
  await waitFor(() => got.length === 2)
  t.deepEqual(got, ['silent', 'plain'])
})

test('a publisher that began before the worker fell asleep is waited for', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { pool, channel, run } = scene
  const got: string[] = []
  const connection = await pool.connection()
  const open = await connection.begin()
  // It finds nobody asleep.
  await open.publish(channel, 'early')
  const isAsleep = looked(t, scene)
  run((_, { payload }) => void got.push(payload))
  await isAsleep
  await open.commit()
  await connection.close()
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['early'])
})

// Serial, because its trigger waits for every transaction that has read the flags, and they would wait for it.
test.serial(
  'a publisher that took its id just before the flag was committed is waited for',
  async (t) => {
    const scene = await openScene(t, { safetyNetMs: 60_000 })
    const { pool, channel, name, run, witness } = scene
    const got: string[] = []
    // The flag of a worker is held up by a trigger, between the id of its transaction and its commit.
    await witness.run(`
    CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF NEW.subscription = '${name}' THEN PERFORM pg_advisory_xact_lock(hashtext('${name}')); END IF;
        RETURN NULL;
      END $$;
    CREATE TRIGGER ${name} AFTER INSERT ON pglisten.sleeper FOR EACH ROW EXECUTE FUNCTION ${name}()`)
    t.teardown(() => witness.run(`DROP FUNCTION ${name} CASCADE`))
    const [gate, publisher] = [await pool.connection(), await pool.connection()]
    const held = await gate.begin()
    await held.execute('SELECT pg_advisory_xact_lock(hashtext($1))', [name])
    const isAsleep = looked(t, scene)
    run((_, { payload }) => void got.push(payload))
    await waitFor(() =>
      witness.ask<boolean>(
        `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)`,
      ),
    )
    const open = await publisher.begin()
    // It finds nobody asleep, and its id is the last one that was taken.
    await open.publish(channel, 'between')
    await held.commit()
    await isAsleep
    await open.commit()
    await waitFor(() => got.length === 1)
    t.deepEqual(got, ['between'])
    await gate.close()
    await publisher.close()
  },
)

// Serial, because its trigger holds every publisher up.
test.serial('a publisher is waited for from before it looks who sleeps', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { pool, channel, name, run, witness } = scene
  const got: string[] = []
  // A publisher is held up by a trigger, between the snapshot of its statement and its row.
  await witness.run(`
    CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtext('${name}'));
        RETURN NULL;
      END $$;
    CREATE TRIGGER ${name} BEFORE INSERT ON pglisten.event FOR EACH STATEMENT EXECUTE FUNCTION ${name}()`)
  t.teardown(() => witness.run(`DROP FUNCTION ${name} CASCADE`))
  const gate = await pool.connection()
  const held = await gate.begin()
  await held.execute('SELECT pg_advisory_xact_lock(hashtext($1))', [name])
  const published = pool.publish(channel, 'held up')
  await waitFor(() =>
    witness.ask<boolean>(
      `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)`,
    ),
  )
  const isAsleep = looked(t, scene)
  run((_, { payload }) => void got.push(payload))
  await isAsleep
  t.deepEqual(got, [])
  await held.commit()
  await published
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['held up'])
  await gate.close()
})

test('a publisher with an old snapshot rings whatever it sees', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { pool, channel, run } = scene
  const got: string[] = []
  const connection = await pool.connection()
  const open = await connection.begin({ isolationLevel: 'repeatableRead' })
  // The snapshot is that of the first statement, and the transaction has no id yet.
  await open.fetchVal('SELECT count(*) FROM pglisten.sleeper')
  const isAsleep = looked(t, scene)
  run((_, { payload }) => void got.push(payload))
  await isAsleep
  await open.publish(channel, 'old snapshot')
  await open.commit()
  await connection.close()
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['old snapshot'])
})

test('no event is left lying, whenever the worker falls asleep', async (t) => {
  t.timeout(120_000)
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { pool, channel, run } = scene
  const got = new Set<string>()
  run((_, { payload }) => void got.add(payload))
  for (let round = 0; round < 40; round += 1) {
    // About when it falls asleep: 20 ms after the last event.
    await new Promise((resolve) => setTimeout(resolve, 12 + (round % 20)))
    const connection = await pool.connection()
    await connection.transaction(async (tx) => {
      await tx.publish(channel, `${round}`)
      await tx.execute('SELECT pg_sleep($1)', [(round % 4) / 100])
    })
    await connection.close()
    await waitFor(() => got.has(`${round}`), { what: `round ${round}` })
  }
  t.is(got.size, 40)
})

test('a flag stays up while little comes, is taken back where much comes, and is set again', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { publish, run, witness, name } = scene
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  const flag = () =>
    witness.ask<string | null>(
      'SELECT max(xmin::text || ctid::text) FROM pglisten.sleeper WHERE subscription = $1',
      [name],
    )
  await asleep(scene)
  const first = await flag()
  for (let n = 0; n < 5; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    await publish(String(n))
    await waitFor(() => got.length === n + 1)
    t.is(await flag(), first)
  }
  const flood = { isOver: false }
  const flooding = (async () => {
    while (!flood.isOver) await publish('flood')
  })()
  await waitFor(async () => (await flag()) === null)
  flood.isOver = true
  await flooding
  await asleep(scene)
  t.not(await flag(), first)
})

// Serial, because it ends the sessions of all.
test.serial(
  'a flag that the server has lost with the session of the bell is set again',
  async (t) => {
    const scene = await openScene(t, { safetyNetMs: 60_000 })
    const { publish, run, witness, name } = scene
    const got: string[] = []
    run((_, { payload }) => void got.push(payload))
    await asleep(scene)
    // As after a crash that has undone what nobody waited for.
    await witness.run(`DELETE FROM pglisten.sleeper WHERE subscription = '${name}'`)
    const ended = await witness.ask<number>(
      `SELECT count(pg_terminate_backend(pid))::int FROM pg_stat_activity
       WHERE pid <> pg_backend_pid() AND query ~* '^ *listen |pglisten: [0-9]+ listeners|pglisten_fence'`,
    )
    t.is(ended, 1)
    await asleep(scene)
    await publish('after')
    await waitFor(() => got.length === 1)
    t.deepEqual(got, ['after'])
  },
)

test('a subscription that looks often leaves the flags of others alone', async (t) => {
  const patient = await openScene(t, { safetyNetMs: 60_000 })
  const hasty = await openScene(t, { safetyNetMs: 100 })
  const got: string[] = []
  patient.run((_, { payload }) => void got.push(payload))
  hasty.run(() => {})
  await asleep(patient)
  const flagOf = ({ name, witness }: typeof hasty) =>
    witness.ask<string | null>(
      'SELECT max(xmin::text) FROM pglisten.sleeper WHERE subscription = $1',
      [name],
    )
  const flags = new Set<string | null>()
  // Each time it also forgets workers that are gone.
  await waitFor(async () => flags.add(await flagOf(hasty)).size > 5)
  await patient.publish('heard')
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['heard'])
})

test('a run that sleeps ends when its subscription is dropped', async (t) => {
  const scene = await openScene(t, { safetyNetMs: 60_000 })
  const { ended } = scene.run(() => {})
  await asleep(scene)
  t.true(await scene.pool.durable.drop(scene.name))
  await within(t.throwsAsync(ended, { message: /there is no subscription/ }))
})

// Serial, because it looks at all sessions.
test.serial('an idle subscription asks nothing', async (t) => {
  const scene = await openScene(t)
  const { run, witness } = scene
  run(() => {})
  await asleep(scene)
  const lastAsked = () =>
    witness.ask<string>(
      `SELECT max(query_start)::text FROM pg_stat_activity
       WHERE query LIKE '%pglisten.%' AND pid <> pg_backend_pid() AND query NOT LIKE '%pglisten.sleeper%'`,
    )
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  // While a transaction is open that may have missed its flag, the worker looks again, each second at the latest.
  let before: string | undefined
  await waitFor(async () => {
    before = await lastAsked()
    await pause(1500)
    return before !== null && before === (await lastAsked())
  })
  await pause(3000)
  t.is(await lastAsked(), before!)
})

test('a process that is killed is followed by the one that stands by', async (t) => {
  t.timeout(60_000)
  const scene = await openScene(t)
  const { pool, channel, name, run, witness } = scene
  const [done, published] = [uniqueName('done'), uniqueName('published')] as [string, string]
  await witness.run(
    `CREATE TABLE ${done} (event bigint, payload text, key text, channel text, subscription text, worker int)`,
  )
  const options = { channels: [channel], from: 'beginning', standbyPollMs: 20 }
  const settings = {
    dsn: (await server()).dsn,
    name,
    applicationName: name,
    done,
    published,
    options,
  }
  const child = forked(path.join(root, 'lab', 'durable', 'subscriber.mjs'), settings)
  t.teardown(() => child.kill('SIGKILL'))
  await pool.publish(channel, 'first')
  await waitFor(async () => (await witness.ask(`SELECT count(*)::int FROM ${done}`)) === 1)
  await asleep(scene)
  const got: string[] = []
  run((_, { payload }) => void got.push(payload))
  await asleep(scene, 2)
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
  await pool.publish(channel, 'second')
  await waitFor(() => got.length === 1)
  t.deepEqual(got, ['second'])
})
