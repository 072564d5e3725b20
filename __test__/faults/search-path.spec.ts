// A role whose `search_path` leads to other objects than those of PostgreSQL: our own statements name the schema.

import test from 'ava'
import { ConnectionPool } from 'pglisten'
import { Arena } from '../../lab/faults/arena.js'
import { collect, within } from '../../lab/wait.js'

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
