// Gates within the server's functions: a session waits there until the test lets it go on, so that the test decides what happens
// between two statements of one function.
//
// Row-level security holds a session in the middle of a read, with the snapshot of its statement taken; triggers hold it in a write.
// The owner of the tables must not be a superuser, for whom row-level security does not count.

import type { ExecutionContext } from 'ava'
import { waitFor } from '../../lab/wait.js'
import { ServerWitness } from '../../lab/witness.js'
import { openDatabase } from './database.js'

/**
 * Where a session waits: while it looks for its position, before it has the lock; while it reads events; while it moves its position;
 * while it commits, behind an INSERT into `done`.
 */
export type Gate = 'position' | 'event' | 'advance' | 'commit'

const GATES = `
  CREATE SCHEMA gate;
  GRANT USAGE ON SCHEMA gate TO public;
  CREATE FUNCTION gate.pass(gate text) RETURNS boolean LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext(current_setting('application_name')), hashtext(gate));
    RETURN true;
  END $$;
  CREATE FUNCTION gate.pass() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM gate.pass(TG_ARGV[0]);
    RETURN NEW;
  END $$;
  ALTER TABLE pglisten.position ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
  CREATE POLICY everything ON pglisten.position USING (true) WITH CHECK (true);
  CREATE POLICY gate ON pglisten.position AS RESTRICTIVE FOR SELECT USING (gate.pass('position'));
  ALTER TABLE pglisten.event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
  CREATE POLICY everything ON pglisten.event USING (true) WITH CHECK (true);
  CREATE POLICY gate ON pglisten.event AS RESTRICTIVE FOR SELECT USING (gate.pass('event'));
  CREATE TRIGGER gate BEFORE UPDATE ON pglisten.position FOR EACH ROW EXECUTE FUNCTION gate.pass('advance');
  CREATE TABLE done (
    seq bigint GENERATED ALWAYS AS IDENTITY, event bigint, payload text, key text, channel text, subscription text, worker int
  );
  CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON done DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION gate.pass('commit');`

/** A database of the test's own with an installation that has gates, all of them open, and a table `done`. */
export async function openGates(t: ExecutionContext) {
  const opened = await openDatabase(t)
  await opened.owner.durable.install()
  const builder = new ServerWitness(opened.ownerDsn)
  await builder.run(GATES)
  await builder.close()
  const witness = new ServerWitness(opened.superuserDsn)
  t.teardown(() => witness.close())
  /** Closes a gate for the sessions of an application name. */
  const close = async (applicationName: string, gate: Gate) => {
    const keeper = await witness.session()
    const keys = 'hashtext($1), hashtext($2)'
    const params = [applicationName, gate]
    await keeper.ask(`SELECT pg_advisory_lock(${keys})`, params)
    /** The process id of a session that waits at the gate, once there is one. */
    const reached = () =>
      waitFor(
        () =>
          witness.ask<number | undefined>(
            `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
             AND (classid, objid) = ((hashtext($1)::bigint & 4294967295)::oid, (hashtext($2)::bigint & 4294967295)::oid)
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
            params,
          ),
        { what: `a session at the gate ${gate}` },
      )
    const open = async () => {
      await keeper.ask(`SELECT pg_advisory_unlock(${keys})`, params)
      await keeper[Symbol.asyncDispose]()
    }
    return { reached, open }
  }
  return { ...opened, witness, close }
}
