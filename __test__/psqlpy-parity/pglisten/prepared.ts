// Prepared statements. One takes other parameters each time that it is executed.

import { attempt, type Program } from '../port.js'

const SQL = "SELECT n AS id, 'row ' || n AS name FROM generate_series(1, $1::int4) AS n"

const preparedStatement: Program = async (connection, say) => {
  const statement = await connection.prepare(SQL)
  for (const count of [2, 0, 3]) say(`rows of ${count}`, await statement.execute([count]))
  const names = statement.columns.map(({ name }) => name)
  say('names of columns', names)
  await statement.close()
  say('a text that is wrong', await attempt(() => connection.prepare('SELECT 1 +')))
}

const cursorOfPrepared: Program = (connection, say) =>
  connection.transaction(async (tx) => {
    const statement = await tx.prepare(SQL)
    const cursor = statement.cursor([5])
    say('first', await cursor.fetch(2))
    say('rest', await cursor.fetch(10))
    await cursor.close()
    await statement.close()
  })

export const PREPARED: Record<string, Program> = {
  'prepared statement': preparedStatement,
  'cursor of a prepared statement': cursorOfPrepared,
}
