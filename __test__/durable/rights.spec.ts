// Roles, names and search paths that mean no good: nobody gets more than the installation gave.

import test from 'ava'
import { DatabaseError, DurableError } from 'pglisten'
import { waitFor, within } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { openDatabase } from './database.js'

test('names with quotes, of roles, subscriptions, channels and keys, are names', async (t) => {
  const { owner, as, superuserDsn } = await openDatabase(t)
  const admin = new ServerWitness(superuserDsn)
  t.teardown(() => admin.close())
  const strange = `o'"Brien"; DROP SCHEMA pglisten; -- ${process.pid}`
  const quoted = `"${strange.replaceAll('"', '""')}"`
  await admin.run(`CREATE ROLE ${quoted} LOGIN PASSWORD 'p'`)
  t.teardown(() => admin.run(`DROP OWNED BY ${quoted}; DROP ROLE ${quoted}`))
  await owner.durable.install({ publishers: [strange], subscribers: [strange] })
  const pool = as(strange)
  const names = [`it's`, `"quoted"`, `a,b{c}`, `$$`, `\\`, `Grüße`, `x'; --`]
  for (const name of names) {
    await pool.publish(name, `to ${name}`, { key: name })
    const got: [string, string | null][] = []
    const ending = new AbortController()
    const run = pool
      .subscription(name, { channels: [name], from: 'beginning', partitions: 2 })
      .run((_, { payload, key }) => void got.push([payload, key]), { signal: ending.signal })
    await waitFor(() => got.length === 1, { what: name })
    ending.abort()
    await within(run)
    t.deepEqual(got, [[`to ${name}`, name]])
  }
  t.deepEqual(
    (await pool.durable.subscriptions()).map(({ name }) => name).toSorted(),
    names.toSorted(),
  )
  for (const name of names) t.true(await pool.durable.drop(name))
  await t.throwsAsync(owner.durable.install({ publishers: ['nobody"; --'] }), {
    instanceOf: DatabaseError,
    message: /role .* does not exist/,
  })
})

test('a subscriber may do what its methods do, also with a search path and operators of its own', async (t) => {
  const { owner, as, role, superuserDsn } = await openDatabase(t)
  const subscriber = await role()
  await owner.durable.install({ subscribers: [subscriber] })
  const admin = new ServerWitness(superuserDsn)
  t.teardown(() => admin.close())
  // Each trap tells who has run it.
  await admin.run(`
    CREATE SCHEMA trap;
    GRANT ALL ON SCHEMA trap TO PUBLIC;
    CREATE TABLE trap.witness (who name);
    GRANT ALL ON trap.witness TO PUBLIC;
    CREATE FUNCTION trap.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO trap.witness VALUES (current_user); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
    CREATE FUNCTION trap.more(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO trap.witness VALUES (current_user); RETURN $1 OPERATOR(pg_catalog.>) $2; END $$;
    CREATE FUNCTION trap.pg_current_snapshot() RETURNS pg_snapshot LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO trap.witness VALUES (current_user); RETURN '1:1:'; END $$;
    CREATE FUNCTION trap.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO trap.witness VALUES (current_user); END $$;
    CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO trap.witness VALUES (current_user); RETURN 'epoch'; END $$;
    CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal);
    CREATE OPERATOR trap.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.more);
    CREATE TABLE trap.event (id bigint, xact xid8, at timestamptz, channel text, payload text, key text);
    CREATE TABLE trap.position (subscription text);
    ALTER ROLE ${subscriber} SET search_path = trap, pg_catalog, public`)
  const pool = as(subscriber)
  let isMended = false
  const got: string[] = []
  const ending = new AbortController()
  const subscription = pool.subscription('s', {
    channels: ['a'],
    from: 'beginning',
    maxAttempts: 1,
    onFailure: 'skip',
    safetyNetMs: 100,
  })
  const run = subscription.run(
    (_, { payload }) => {
      if (payload === 'bad' && !isMended) throw new Error('no')
      got.push(payload)
    },
    { signal: ending.signal },
  )
  for (const payload of ['1', 'bad', '2']) await pool.publish('a', payload)
  await waitFor(async () => (await pool.durable.failed('s')).length === 1 && got.includes('2'))
  isMended = true
  t.is(await pool.durable.retry('s'), 1)
  await waitFor(() => got.includes('bad'))
  await waitFor(async () => (await subscription.stats()).lag.events === 0)
  await pool.durable.adopt()
  ending.abort()
  await within(run)
  t.true(await pool.durable.drop('s'))
  const whose = await admin.ask<string[] | null>(
    'SELECT array_agg(DISTINCT who::text) FROM trap.witness',
  )
  // Never with the rights of the owner of the schema.
  t.true(
    (whose ?? []).every((who) => who === subscriber),
    String(whose),
  )
  t.is(await admin.ask('SELECT count(*)::int FROM trap.event'), 0)
  const denied = { instanceOf: DatabaseError, message: /permission denied/ }
  for (const sql of [
    'SELECT pglisten.move(NULL)',
    "SELECT pglisten.trim('0')",
    'INSERT INTO pglisten.subscription VALUES (1)',
    'UPDATE pglisten.home SET cluster = 0',
    'TRUNCATE pglisten.event',
  ])
    await t.throwsAsync(pool.execute(sql), denied, sql)
  await t.throwsAsync(pool.durable.install(), { instanceOf: DurableError, message: /belongs to/ })
})

test('a publisher publishes from a trigger of a table of its own, and reads nothing', async (t) => {
  const { owner, as, role } = await openDatabase(t)
  const publisher = await role()
  await owner.durable.install({ publishers: [publisher] })
  await owner.execute(`CREATE SCHEMA shop AUTHORIZATION CURRENT_USER`)
  await owner.execute(`GRANT ALL ON SCHEMA shop TO "${publisher}"`)
  const pool = as(publisher)
  await pool.execute('CREATE TABLE shop.orders (id int)')
  await pool.execute(`
    CREATE FUNCTION shop.tell() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM pglisten.publish('orders', NEW.id::text); RETURN NEW; END $$`)
  await pool.execute(
    'CREATE TRIGGER tell AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.tell()',
  )
  await pool.execute('INSERT INTO shop.orders VALUES (1), (2)')
  t.is(await owner.fetchVal('SELECT count(*)::int4 FROM pglisten.event'), 2)
  for (const table of ['event', 'subscription', 'position', 'sleeper', 'attempt', 'failed', 'home'])
    await t.throwsAsync(pool.execute(`SELECT * FROM pglisten.${table}`), {
      instanceOf: DatabaseError,
      message: /permission denied/,
    })
})
