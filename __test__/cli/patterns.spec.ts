// Patterns of channels: what is found on a server, and what is not taken for a channel.

import test, { type ExecutionContext } from 'ava'
import { createRequire } from 'node:module'
import path from 'node:path'
import { serverDsn } from '../../lab/server/test-server.js'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { root } from '../support/code-blocks.js'
import { pglisten } from './command.js'
import { createDatabase } from '../support/database.js'

const { matcher, namesIn } = createRequire(import.meta.url)(
  path.join(root, 'bin/lib/channels.js'),
) as {
  matcher: (pattern: string) => (name: string) => boolean
  namesIn: (source: string) => string[]
}

async function database(t: ExecutionContext): Promise<[dsn: string, outside: ServerWitness]> {
  const url = new URL(await serverDsn())
  const name = await createDatabase(t)
  url.pathname = `/${name}`
  const outside = new ServerWitness(url.href)
  t.teardown(() => outside.close())
  return [url.href, outside]
}

const notifying = (name: string, body: string) =>
  `CREATE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN ${body}; RETURN NULL; END $f$;`

test('channels are found in functions, SQL bodies, arguments of triggers, rules and statements', async (t) => {
  const [dsn, outside] = await database(t)
  await outside.run(`
    CREATE TABLE things (id int);
    ${notifying('one', `PERFORM pg_notify('a_literal', NEW.id::text); NOTIFY "a_Quoted"; NOTIFY A_Folded`)}
    ${notifying('two', `PERFORM pg_notify(TG_ARGV[0], 'x'); PERFORM pg_notify('b_other', '')`)}
    CREATE FUNCTION body() RETURNS void BEGIN ATOMIC SELECT pg_notify('a_body', 'x'); END;
    CREATE TRIGGER two AFTER INSERT ON things FOR EACH ROW EXECUTE FUNCTION two('a_argument', 'another');
    CREATE RULE three AS ON DELETE TO things DO ALSO NOTIFY a_rule;`)
  const session = await outside.session()
  t.teardown(() => session[Symbol.asyncDispose]())
  await session.run('LISTEN "a_heard"')
  const command = await pglisten(t, ['listen', 'a_*', 'named', '--raw', '--discover', '0.2'], {
    dsn,
  })
  await command.says(/listening to/)
  const [, heard = ''] = /listening to (.*)/.exec(command.err)!
  t.deepEqual(heard.split(', ').sort(), [
    ...['a_Quoted', 'a_argument', 'a_body', 'a_folded', 'a_heard', 'a_literal', 'a_rule', 'named'],
  ])
  await outside.run('DELETE FROM things')
  await outside.run('INSERT INTO things VALUES (7)')
  await outside.notify('a_argument', 'by hand')
  await command.printed(3)
  t.deepEqual(command.lines, ['', 'x', 'by hand'])
  // One that comes later.
  await outside.run(notifying('later', `PERFORM pg_notify('a_later', '')`))
  await command.says(/found a_later, and listening to it from now on/)
  await outside.notify('a_later', 'later')
  await command.printed(4)
  t.is(command.lines[3], 'later')
})

test('a pattern for which nothing is found waits, and --exact takes a * as it is', async (t) => {
  const [dsn, outside] = await database(t)
  const waiting = await pglisten(t, ['listen', 'none*'], { dsn })
  await waiting.says(/listening to no channel yet: none was found/)
  const exact = await pglisten(t, ['listen', 'a*', '--exact', '--count', '1', '--raw'], { dsn })
  await exact.says(/listening to a\*\n/)
  await outside.notify('a*', 'star')
  t.is(await exact.ended(), 0)
  t.is(exact.out, 'star\n')
})

test('a look that is under way when --count is reached is not told of', async (t) => {
  const [dsn, outside] = await database(t)
  const args = ['listen', 'none*', 'c', '--count', '1', '--raw', '--discover', '0.1']
  const command = await pglisten(t, args, { dsn })
  await command.says(/listening to c\n/)
  const holder = await outside.session()
  t.teardown(() => holder[Symbol.asyncDispose]())
  await holder.run('BEGIN; LOCK TABLE pg_catalog.pg_trigger')
  const looking = `SELECT count(*) = 1 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%tgargs%'`
  await waitFor(() => outside.ask<boolean>(looking))
  await outside.notify('c', 'last')
  t.is(await command.ended(), 0)
  t.is(command.out, 'last\n')
  t.is(command.err, 'pglisten: listening to c\n')
})

test('names in SQL are read as PostgreSQL reads them', (t) => {
  t.deepEqual(namesIn(`PERFORM pg_catalog.pg_notify( 'it''s', x)`), [`it's`])
  t.deepEqual(namesIn(`notify "Say ""hi""" , 'x'`), ['Say "hi"'])
  t.deepEqual(namesIn('LISTEN Orders; listen "Orders"'), ['orders', 'Orders'])
  t.deepEqual(namesIn(`pg_notify('orders_' || id, '')`), [])
  t.deepEqual(namesIn('SELECT unlisten, notify_me(1)'), [])
})

test('a pattern matches the whole of a name', (t) => {
  const matches = (pattern: string, name: string) => matcher(pattern)(name)
  t.true(matches('*', ''))
  t.true(matches('a*b*c', 'abc'))
  t.true(matches('a*b*c', 'a.b.b.c'))
  t.false(matches('a*a', 'a'))
  t.false(matches('a*b*b', 'ab'))
  t.true(matches('a.*', 'a.x'))
  t.false(matches('a.*', 'abx'))
})
