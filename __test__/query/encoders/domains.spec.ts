// Encoders of domains, by their own names, for parameters and for records alike.

import test from 'ava'
import { uniqueName } from '../../../lab/unique-name.js'
import { connect } from '../../support/connect.js'

test('a record is encoded by the domain of its column, as a parameter is', async (t) => {
  const connection = await connect(t)
  const [score, scores, table] = ['score', 'scores', 'scored'].map((name) => uniqueName(name)) as [
    string,
    string,
    string,
  ]
  await connection.executeBatch(`
    CREATE DOMAIN ${score} AS int4; CREATE DOMAIN ${scores} AS int4[];
    CREATE TABLE ${table} (
      gone int4, plain int4, one ${score}, twice int4 GENERATED ALWAYS AS (plain * 2) STORED, list ${score}[], "All of them" ${scores});
    ALTER TABLE ${table} DROP gone`)
  t.teardown(() =>
    connection.executeBatch(`DROP TABLE ${table}; DROP DOMAIN ${score}; DROP DOMAIN ${scores}`),
  )
  const times =
    (factor: number) =>
    (value: number): number =>
      value * factor
  const types = {
    encoders: {
      int4: times(10),
      [score]: times(100),
      [scores]: (list: number[]) => list.map(times(1000)),
    },
  }
  const record = [1, 2, [3], [4]]
  const stored = async () => [
    ...(await connection.fetch(
      `DELETE FROM ${table} RETURNING plain, one, list, "All of them" AS whole`,
    )),
  ]
  const expected = [{ plain: 10, one: 200, list: [300], whole: [4000] }]
  const insert = `INSERT INTO ${table} (plain, one, list, "All of them") VALUES ($1, $2, $3, $4)`
  await connection.execute(insert, record, { types })
  t.deepEqual(await stored(), expected)
  await connection.copyRecordsToTable(table, [record], { types })
  t.deepEqual(await stored(), expected)
  const columns = ['All of them', 'list', 'one', 'plain']
  await connection.copyRecordsToTable(table, [record.toReversed()], { types, columns })
  t.deepEqual(await stored(), expected)
  await connection.copyRecordsToTable(table, [[5]], { types, columns: ['one'] })
  t.deepEqual(await stored(), [{ plain: null, one: 500, list: null, whole: null }])
  for (const wrong of [['none'], ['one', 'one'], ['none', 'one']]) {
    const copy = connection.copyRecordsToTable(table, [[1, 1]], { types, columns: wrong })
    await t.throwsAsync(copy, { code: 'ERR_PGLISTEN_DATABASE' })
  }
})
