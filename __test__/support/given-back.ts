// Reads a value and gives it back: whether that is the same one, in the server's words.

import type { ExecutionContext } from 'ava'
import type { Connection, QueryOptions, QueryParameter } from 'pglisten'

/** The forms without loss: JSON is an object that is the same text when it is given back. */
export const EXACT: QueryOptions = {
  types: {
    dates: 'string',
    arrayBounds: 'keep',
    json: { parse: (text) => ({ toPostgres: () => text }) },
  },
}

/** Reads an expression of a type, gives it back as a parameter, has the server compare the texts, and resolves to what was read. */
export async function givenBack(
  t: ExecutionContext,
  connection: Connection,
  type: string,
  expression: string,
  options: QueryOptions = EXACT,
): Promise<QueryParameter> {
  const read = await connection.fetchVal<QueryParameter>(`SELECT ${expression}`, [], options)
  const { same, got, expected } = await connection.fetchRow(
    `SELECT got IS NOT DISTINCT FROM expected AS same, got, expected
     FROM (SELECT ($1::${type})::text, (${expression})::text) AS texts (got, expected)`,
    [read],
  )
  t.true(same === true, `${type}: ${String(expected)} came back as ${String(got)}`)
  return read
}
