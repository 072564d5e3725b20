// The check of a relay whose role has a `search_path` that leads to other objects than those of PostgreSQL.

import test from 'ava'
import { checkRelay } from 'pglisten-relay-nats'
import { Arena } from '../../lab/faults/arena.js'

const EVIL = `
  CREATE SCHEMA evil;
  CREATE FUNCTION evil.raise() RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'the evil schema was used'; END $$;
  CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.raise() IS NULL);
  CREATE FUNCTION evil.same(pg_catalog.text, pg_catalog.text) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = evil.same);
  CREATE FUNCTION evil.same(name, name) RETURNS bool LANGUAGE sql AS $$ SELECT evil.raise() IS NULL $$;
  CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.same);
  GRANT USAGE ON SCHEMA evil TO PUBLIC;
`

test('it asks the server what it means to ask', async (t) => {
  const arena = await Arena.open()
  t.teardown(() => arena.close())
  await arena.direct.run(EVIL)
  await arena.run(`ALTER ROLE ${new URL(arena.dsn).username} SET search_path = evil, pg_catalog`)
  const nats = { servers: '127.0.0.1:1' }
  const found = await checkRelay({ postgres: arena.dsn, nats, stream: 's', channels: ['a'] })
  t.deepEqual(
    found.slice(0, 3).map(({ level }) => level),
    ['ok', 'ok', 'ok'],
    JSON.stringify(found),
  )
  t.is(found[2]!.what, 'no relay leads now')
})
