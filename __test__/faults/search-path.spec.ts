// A role whose `search_path` leads to other objects than those of PostgreSQL: our own statements name the schema.

import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { collect, waitFor, within } from '../../lab/wait.js'
import { pglisten } from '../cli/command.js'
import { openConsole } from '../console/console.js'

let arena: Arena

/** Functions, views, operators and types of the names that our statements use: each raises or lies. */
const EVIL = `
  CREATE SCHEMA evil;
  CREATE FUNCTION evil.raise() RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'the evil schema was used'; END $$;
  CREATE FUNCTION evil.pg_listening_channels() RETURNS SETOF text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.pg_postmaster_start_time() RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.pg_backend_pid() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
  CREATE FUNCTION evil.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
  CREATE FUNCTION evil.pg_notify(text, text) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.pg_advisory_unlock_all() RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.set_config(text, text, bool) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.current_setting(text, bool) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE VIEW evil.pg_settings AS SELECT evil.raise() AS name;
  CREATE VIEW evil.pg_stat_activity AS SELECT 1 AS pid, evil.raise() AS state;
  CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.raise() IS NULL);
  CREATE FUNCTION evil.same(text, text) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE FUNCTION evil.same(int, int) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = evil.same);
  CREATE OPERATOR evil.<> (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = evil.same);
  CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same);
  CREATE OPERATOR evil.<> (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same);
  CREATE OPERATOR evil.> (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.same);
  CREATE OPERATOR evil.~* (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = evil.same);
  CREATE FUNCTION evil.same(name, name) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.same);
  CREATE FUNCTION evil.same(oid, oid) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.same);
  CREATE OPERATOR evil.<> (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.same);
  CREATE FUNCTION evil.same(timestamptz, timestamptz) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.same);
  CREATE FUNCTION evil.less(timestamptz, timestamptz) RETURNS interval LANGUAGE sql AS
    $$ SELECT CASE WHEN evil.raise() IS NULL THEN NULL::interval END $$;
  CREATE OPERATOR evil.- (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.less);
  CREATE FUNCTION evil.left(pg_catalog.text, int) RETURNS pg_catalog.text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE DOMAIN evil.int4 AS pg_catalog.int4 CHECK (evil.raise() IS NULL);
  CREATE DOMAIN evil.float8 AS pg_catalog.float8 CHECK (evil.raise() IS NULL);
  CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (evil.raise() IS NULL);
  CREATE DOMAIN evil.uuid AS pg_catalog.uuid CHECK (evil.raise() IS NULL);
  CREATE DOMAIN evil.xid8 AS pg_catalog.xid8 CHECK (evil.raise() IS NULL);
  CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (evil.raise() IS NULL);
  CREATE FUNCTION evil.pg_advisory_xact_lock(bigint) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.pg_get_userbyid(oid) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.pg_has_role(oid, text) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE FUNCTION evil.to_regclass(text) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.to_regnamespace(text) RETURNS oid LANGUAGE sql AS $$ SELECT evil.raise()::oid $$;
  CREATE FUNCTION evil.clock_timestamp() RETURNS pg_catalog.timestamptz LANGUAGE sql AS $$ SELECT evil.raise()::pg_catalog.timestamptz $$;
  CREATE FUNCTION evil.date_part(pg_catalog.text, pg_catalog.timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.min(pg_catalog.timestamptz) RETURNS pg_catalog.timestamptz LANGUAGE sql AS $$ SELECT evil.raise()::pg_catalog.timestamptz $$;
  CREATE FUNCTION evil.pg_current_snapshot() RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.pg_current_xact_id() RETURNS pg_catalog.xid8 LANGUAGE sql AS $$ SELECT evil.raise()::pg_catalog.xid8 $$;
  CREATE FUNCTION evil.pg_xact_status(pg_catalog.xid8) RETURNS text LANGUAGE sql AS $$ SELECT evil.raise() $$;
  CREATE FUNCTION evil.times(numeric, int) RETURNS numeric LANGUAGE sql AS $$ SELECT evil.raise()::numeric $$;
  CREATE OPERATOR evil.* (LEFTARG = numeric, RIGHTARG = int, FUNCTION = evil.times);
  CREATE FUNCTION evil.times(pg_catalog.float8, int) RETURNS pg_catalog.float8 LANGUAGE sql AS $$ SELECT evil.raise()::pg_catalog.float8 $$;
  CREATE OPERATOR evil.* (LEFTARG = pg_catalog.float8, RIGHTARG = int, FUNCTION = evil.times);
  CREATE FUNCTION evil.same(pg_catalog.xid8, pg_catalog.xid8) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.< (LEFTARG = pg_catalog.xid8, RIGHTARG = pg_catalog.xid8, FUNCTION = evil.same);
  GRANT USAGE ON SCHEMA evil TO PUBLIC;
  GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
`

test.before(async () => {
  arena = await Arena.open()
  await arena.direct.run(EVIL)
  await arena.run(`ALTER ROLE ${new URL(arena.dsn).username} SET search_path = evil, pg_catalog`)
})

test.after.always(() => arena?.close())

test.serial('the search path of the role leads to the evil schema', async (t) => {
  const pool = new ConnectionPool({ dsn: arena.dsn })
  t.teardown(() => pool.close())
  await using connection = await pool.connection()
  for (const sql of [
    'SELECT pg_listening_channels()',
    `SELECT set_config('a.b', '1', true)`,
    `SELECT name = 'x' FROM pg_catalog.pg_settings`,
    'SELECT pid = 1 FROM pg_catalog.pg_stat_activity',
  ]) {
    await t.throwsAsync(connection.execute(sql), { message: 'the evil schema was used' }, sql)
  }
})

test.serial('a listener starts, listens, reconnects and fences', async (t) => {
  const pool = new ConnectionPool({ dsn: arena.dsn })
  t.teardown(() => pool.close())
  const listener = pool.listener({ channels: ['a'] })
  const warnings: string[] = []
  listener.on('warning', ({ message }) => warnings.push(message))
  await listener.startup()
  const messages = listener.messages()
  await pool.notify('a', '1')
  const lost = await listener.connection.fetchVal<number>('SELECT pg_catalog.pg_backend_pid()')
  await collect(messages, 1)
  const back = new Promise<{ gap: { serverRestarted: boolean | null } }>((resolve) =>
    listener.once('reconnected', resolve),
  )
  await arena.terminate(lost)
  t.false((await within(back)).gap.serverRestarted)
  await pool.notify('a', '2')
  t.is((await collect(messages, 1))[0]!.payload, '2')
  await messages.return()
  await listener.sync()
  const settings = `SELECT pg_catalog.current_setting('idle_session_timeout', true)`
  t.is(await listener.connection.fetchVal(settings), '0')
  t.deepEqual(warnings, [])
})

test.serial('the commands and the console ask the server what they mean to ask', async (t) => {
  const { dsn } = arena
  const doctor = await pglisten(t, ['doctor', '--json', '--idle', '0'], { dsn })
  await doctor.ended()
  t.like(JSON.parse(doctor.out), { findings: [], facts: { listen: true, listeningSessions: 0 } })

  const listen = await pglisten(t, ['listen', 'x*', '--discover', '0.1'], { dsn })
  const watch = await pglisten(t, ['watch', 'x*', '--plain', '--interval', '0.1'], { dsn })
  await listen.says(/listening to no channel yet/)
  await arena.direct.run(
    "CREATE FUNCTION named() RETURNS void LANGUAGE sql AS $$ SELECT pg_catalog.pg_notify('x_found', '') $$",
  )
  t.teardown(() => arena.direct.run('DROP FUNCTION named()'))
  await listen.says(/found x_found/)
  await waitFor(() => /queue 0 % +sessions [1-9]/.test(watch.out))
  for (const { err, out } of [listen, watch]) t.notRegex(err + out, /cannot|evil/)

  const console = await openConsole(t, { dsn, channels: ['a'] })
  const page = await console.page(t)
  await waitFor(async () => (await console.state(t)).activity !== null)
  const { activity } = await console.state(t)
  t.is(activity?.error, null)
  t.true(activity!.sessions.length > 0)
  page.close()
})

test.serial('a durable subscription is installed, works, gives up and is removed', async (t) => {
  await arena.direct.run(
    `GRANT CREATE ON DATABASE ${new URL(arena.dsn).pathname.slice(1)} TO ${new URL(arena.dsn).username}`,
  )
  const pool = new ConnectionPool({ dsn: arena.dsn })
  t.teardown(() => pool.close())
  await pool.durable.install({ retentionMs: 60_000 })
  t.teardown(() => pool.durable.uninstall())
  t.like(await pool.durable.status(), { isHome: true, retentionMs: 60_000, unread: [] })
  // Types and defaults of the tables are PostgreSQL's own.
  t.is(
    await arena.direct.ask(
      `SELECT count(*)::int FROM pg_depend
       WHERE refobjid IN (SELECT oid FROM pg_type WHERE typnamespace = 'evil'::regnamespace
                          UNION SELECT oid FROM pg_proc WHERE pronamespace = 'evil'::regnamespace
                          UNION SELECT oid FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace)
         AND (classid, objid) IN (SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = 'pglisten'::regnamespace
                                  UNION SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'pglisten'::regnamespace)`,
    ),
    0,
  )
  const subscription = pool.subscription('s', {
    ...{ channels: ['a'], from: 'beginning', maxAttempts: 2, onFailure: 'skip' },
    ...{ retryDelayMs: 1, standbyPollMs: 20, safetyNetMs: 100 },
  })
  const warnings: string[] = []
  const onWarning = ({ message }: Error) => warnings.push(message)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const ending = new AbortController()
  const got: string[] = []
  const ended = subscription.run(
    (_, { payload }) => {
      if (payload === 'bad') throw new Error('no')
      got.push(payload)
    },
    { signal: ending.signal },
  )
  ended.catch(() => {})
  t.teardown(() => ending.abort())
  await pool.publish('a', '1')
  await pool.publish('a', 'bad')
  await pool.publish('a', '2')
  await waitFor(() => got.length === 2)
  await waitFor(async () => (await pool.durable.failed('s')).length === 1)
  const before = Date.now()
  const [failed] = await pool.durable.failed('s')
  t.true(Math.abs(failed!.failedAt.getTime() - before) < 60_000)
  t.is(await pool.durable.retry('s'), 1)
  await waitFor(async () => !(await pool.durable.failed('s'))[0]!.isDue)
  const [info] = await pool.durable.subscriptions()
  t.like(info, { name: 's', failed: 1 })
  t.like((await subscription.stats()).lag, { events: 0 })
  // It sleeps, and is woken.
  await pool.publish('a', '3')
  await waitFor(() => got.length === 3)
  ending.abort()
  await ended
  await pool.durable.adopt()
  await pool.durable.trim()
  t.true(await pool.durable.drop('s'))
  t.deepEqual(
    warnings.filter((message) => message.includes('evil')),
    [],
  )
})

test.serial('records and composites are written', async (t) => {
  const pool = new ConnectionPool({ dsn: arena.dsn })
  t.teardown(() => pool.close())
  await using connection = await pool.connection()
  await connection.execute('CREATE TEMPORARY TABLE pairs (a pg_catalog.int4, b pg_catalog.int4)')
  for (const options of [{}, { columns: ['a', 'b'] }]) {
    t.is(await connection.copyRecordsToTable('pairs', [[1, 2]], options), 1)
  }
  const pair = { a: 1, b: 2 }
  t.deepEqual(await connection.fetchVal('SELECT $1::pairs', [pair]), pair)
})

test.serial('a busy session is not taken for a dead one', async (t) => {
  const pool = new ConnectionPool({ dsn: arena.dsn })
  t.teardown(() => pool.close())
  const listener = pool.listener({ heartbeat: { intervalMs: 50, timeoutMs: 5000 } })
  await listener.startup()
  const losses: unknown[] = []
  listener.on('disconnected', (loss) => losses.push(loss))
  // Longer than a heartbeat may take: the server is asked on a second connection whether this one works.
  await listener.connection.execute('SELECT pg_catalog.pg_sleep(7)')
  t.deepEqual(losses, [])
})

for (const connRecyclingMethod of ['fast', 'verified', 'clean'] as const) {
  for (const targetSessionAttrs of ['primary', 'read-write'] as const) {
    test.serial(
      `a pool works: recycled ${connRecyclingMethod}, on a ${targetSessionAttrs} server`,
      async (t) => {
        const pool = new ConnectionPool({
          ...{ dsn: arena.dsn, connRecyclingMethod, targetSessionAttrs, maxDbPoolSize: 1 },
        })
        t.teardown(() => pool.close())
        const pids = new Set<number>()
        for (let n = 0; n < 2; n += 1) {
          await using connection = await pool.connection()
          pids.add(await connection.fetchVal<number>('SELECT pg_catalog.pg_backend_pid()'))
          await connection.execute('BEGIN')
          await connection.execute('SELECT 1')
        }
        // Recycling that failed would have opened another connection.
        t.is(pids.size, 1)
        await using connection = await pool.connection()
        t.is(await connection.transaction((tx) => tx.fetchVal('SELECT 1')), 1)
        t.is(await connection.executeMany('SELECT $1::pg_catalog.int4', [[1], [2]]), 2)
      },
    )
  }
}
