// Statements on a connection.

import type { QueryParameters } from 'pglisten'
import { attempt, type PortedConnection, type Program } from '../port.js'

const PEOPLE = 'CREATE TEMPORARY TABLE people (id int4 PRIMARY KEY, name text, age int4)'
const INSERT = 'INSERT INTO people VALUES ($1, $2, $3)'
const ALL = 'SELECT * FROM people ORDER BY id'

const statements: Program = async (connection, say) => {
  await connection.execute(PEOPLE)
  say('rows of an INSERT', await connection.execute(INSERT, [1, 'Ada', 36]))
  const returned = await connection.execute(`${INSERT} RETURNING id, name`, [2, 'Bo', null])
  say('rows of an INSERT that returns them', returned)
  say('execute', await connection.execute(ALL))
  say('fetch', await connection.fetch('SELECT name FROM people WHERE age > $1', [30]))
  say('fetch without rows', await connection.fetch('SELECT 1 WHERE false'))
  say('of two columns of one name', await connection.fetch('SELECT 1 AS a, 2 AS a'))
}

const oneRow: Program = async (connection, say) => {
  const row = (sql: string) => connection.fetchRow(sql)
  say('fetch_row', await row("SELECT 1 AS n, 'x' AS t"))
  say('fetch_row of none', await attempt(() => row('SELECT 1 WHERE false')))
  say('fetch_row of two', await attempt(() => row('SELECT generate_series(1, 2)')))
  say('fetch_val', await connection.fetchVal('SELECT $1::text', ['x']))
  say('fetch_val of NULL', await connection.fetchVal('SELECT NULL'))
  say('fetch_val of two columns', await connection.fetchVal('SELECT 1, 2'))
  say('fetch_val of none', await attempt(() => connection.fetchVal('SELECT 1 WHERE false')))
}

const valueOf = (connection: PortedConnection, sql: string, params: QueryParameters) =>
  attempt(() => connection.fetchVal(sql, params))

const parameters: Program = async (connection, say) => {
  const sql = 'SELECT $1::int4 AS a, $2::text AS b'
  say('a list', await connection.fetch(sql, [1, 'x']))
  say('too few', await valueOf(connection, sql, [1]))
  say('too many', await valueOf(connection, sql, [1, 'x', 3]))
  say('text of a number', await valueOf(connection, 'SELECT $1::int4', ['5']))
  say('text of no number', await valueOf(connection, 'SELECT $1::int4', ['five']))
  say('a fraction for an integer', await valueOf(connection, 'SELECT $1::int4', [1.5]))
}

const namedParameters: Program = async (connection, say) => {
  const sql = 'SELECT $(a)p::int4 AS a, $(b_2)p::text AS b'
  say('a mapping', await connection.fetch(sql, { b_2: 'x', a: 1 }))
  const twice = 'SELECT $(n)p::int4 AS a, $(n)p::int4 + 1 AS b'
  say('a name that is used twice', await connection.fetch(twice, { n: 1 }))
  say('a name without a value', await valueOf(connection, sql, { a: 1 }))
  say('a value without a name', await valueOf(connection, sql, { a: 1, b_2: 'x', c: 3 }))
  say('a list for names', await valueOf(connection, 'SELECT $(n)p::int4', [7]))
  say('in a string, without parameters', await connection.fetchVal("SELECT '$(n)p' AS t", []))
  const beside = "SELECT '$(m)p' AS t, $(n)p::int4 AS n"
  say('in a string, beside a name', await valueOf(connection, beside, { n: 1 }))
  const comment = 'SELECT $(n)p::int4 -- not $(m)p'
  say('in a comment', await valueOf(connection, comment, { n: 1 }))
  const mixed = 'SELECT $1::int4, $(n)p::int4'
  say('beside a number', await valueOf(connection, mixed, { n: 1 }))
}

const unprepared: Program = async (connection, say) => {
  const options = { prepared: false }
  say('fetch_val', await connection.fetchVal('SELECT $1::int4', [7], options))
  const kept =
    "SELECT count(*)::int4 FROM pg_prepared_statements WHERE statement = 'SELECT $1::int4'"
  say('statements that are kept', await connection.fetchVal(kept, [], options))
}

const many: Program = async (connection, say) => {
  await connection.execute(PEOPLE)
  const rows = [1, 2, 3].map((n) => [n, `name ${n}`, null])
  say('execute_many', await connection.executeMany(INSERT, rows))
  say('execute_many of none', await connection.executeMany(INSERT, []))
  const named = 'INSERT INTO people (id, name) VALUES ($(id)p, $(name)p)'
  await connection.executeMany(named, [
    { id: 4, name: 'D' },
    { name: 'E', id: 5 },
  ])
  say('rows', await connection.fetch(ALL))
  const twice = [
    [6, 'F', null],
    [1, 'again', null],
    [7, 'G', null],
  ]
  say('with a duplicate', await attempt(() => connection.executeMany(INSERT, twice)))
  say('rows behind it', await connection.fetchVal('SELECT count(*) FROM people'))
}

const batch: Program = async (connection, say) => {
  await connection.executeBatch(`${PEOPLE}; INSERT INTO people VALUES (1, 'Ada', 36)`)
  const failing = 'INSERT INTO people VALUES (2); SELECT 1 / 0; INSERT INTO people VALUES (3)'
  say('a failing batch', await attempt(() => connection.executeBatch(failing)))
  say('rows behind it', await connection.fetch(ALL))
}

const closing: Program = async (connection, say) => {
  say('is_closed of an open one', connection.isClosed)
  await connection.close()
  say('is_closed of a closed one', connection.isClosed)
  say('a statement behind it', await attempt(() => connection.fetchVal('SELECT 1')))
  await connection.close()
}

const information: Program = async (connection, say) => {
  const { database, user, host, port } = connection.info
  say('database', database)
  say('user', user)
  say('server', [host, port === (await connection.fetchVal('SELECT inet_server_port()'))])
}

export const CONNECTIONS: Record<string, Program> = {
  statements,
  'one row': oneRow,
  parameters,
  'named parameters': namedParameters,
  unprepared,
  executeMany: many,
  executeBatch: batch,
  closing,
  information,
}
