// Statements that are executed, and refused when the server commits them: they are not executed again.

import test from 'ava'
import { DatabaseError } from 'pglisten'
import { connect } from '../../support/connect.js'
import { run } from '../../support/listener.js'
import { uniqueName } from '../../../lab/unique-name.js'

for (const sqlState of ['22023', '26000', '42883']) {
  test(`a statement whose commit is refused with ${sqlState} is executed once`, async (t) => {
    const connection = await connect(t)
    const table = uniqueName('refused')
    t.teardown(() => run(`DROP TABLE ${table}; DROP FUNCTION ${table}_check()`))
    await run(`
      CREATE TABLE ${table} (id serial, n int4);
      CREATE FUNCTION ${table}_check() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF NEW.n < 0 THEN RAISE EXCEPTION 'refused' USING ERRCODE = '${sqlState}'; END IF;
          RETURN NULL;
        END $$;
      CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON ${table} DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION ${table}_check()`)
    const insert = `INSERT INTO ${table} (n) VALUES ($1)`
    const taken = () => connection.fetchVal<bigint>(`SELECT last_value FROM ${table}_id_seq`)
    for (const options of [{}, { prepared: false }, { types: { encoders: { int4: Number } } }]) {
      const ways: Record<string, (n: number) => Promise<unknown>> = {
        execute: (n) => connection.execute(insert, [n], options),
        fetchRow: (n) => connection.fetchRow(`${insert} RETURNING id`, [n], options),
        pipeline: (n) =>
          connection.pipeline(
            [
              [insert, [n]],
              ['SELECT $1::int4', [1]],
            ],
            options,
          ),
        executeMany: (n) => connection.executeMany(insert, [[n]], options),
      }
      for (const [name, insertOne] of Object.entries(ways)) {
        // From here on the statement is kept.
        await insertOne(1)
        const before = await taken()
        const error = await t.throwsAsync(insertOne(-1), { instanceOf: DatabaseError }, name)
        t.is(error.sqlState, sqlState)
        t.is(error.message, 'refused')
        t.is((await taken()) - before, 1n, name)
      }
    }
  })
}

test('a statement of a pipeline that is refused behind others is prepared anew as before', async (t) => {
  const connection = await connect(t)
  const table = uniqueName('renewed')
  await run(`CREATE TABLE ${table} (n int4)`)
  t.teardown(() => run(`DROP TABLE ${table}`))
  const both = () => connection.pipeline(['SELECT 1 AS one', `SELECT * FROM ${table}`])
  await both()
  await run(`ALTER TABLE ${table} ADD m int4`)
  const [, rows] = await both()
  t.deepEqual(
    rows.columns.map(({ name }) => name),
    ['n', 'm'],
  )
})
