// Three clients of PostgreSQL behind one face: each reads a value, and gives it back as a parameter in every way that it documents.

import { Client as PgClient } from 'pg'
import {
  BoundedArray,
  connect,
  type QueryOptions,
  type QueryParameter,
  type TypeOptions,
} from 'pglisten'
import postgres from 'postgres'

/** A session of a client. */
export interface Reader {
  /** The value of a statement with one row of one column. */
  read(sql: string): Promise<unknown>
  /** The ways to give a value back, the plain one first; the others are those that the client's manual has for values of some kinds. */
  write: readonly Way[]
  close(): Promise<void>
}

/** A way to give a value as a parameter. */
export interface Way {
  /** What the table calls it; nothing for a plain parameter. */
  name?: string
  /** The types that it is for, if not for all. */
  types?: RegExp
  /** Runs a statement with one parameter, and resolves to the text that it selects. */
  run: (sql: string, value: unknown, type: string) => Promise<string | null>
}

/** A client, and how it reads values. */
export interface Client {
  name: string
  open(dsn: string): Promise<Reader>
}

const JSON_TYPES = /^jsonb?(\[\])?$/

/** The JSON text of a value, or of each element of an array of a type of JSON. */
function asJson(value: unknown, type: string): unknown {
  if (!type.endsWith('[]')) return JSON.stringify(value)
  const elements = (array: unknown[], depth: number): unknown[] =>
    array.map((element) => {
      if (depth > 1) return elements(element as unknown[], depth - 1)
      return element === null ? null : JSON.stringify(element)
    })
  if (value instanceof BoundedArray) {
    const { values, lowerBounds } = value
    return new BoundedArray(elements([...values], lowerBounds.length), lowerBounds)
  }
  return elements(value as unknown[], Array.isArray((value as unknown[])[0]) ? 2 : 1)
}

/** JSON as an object that is the same text when it is given back. */
const json = { parse: (text: string) => ({ toPostgres: () => text }) }

/** Forms of pglisten in which something is kept that the usual form loses, by the words that the table has for them. */
export const FORMS: Record<string, TypeOptions> = {
  "`{ dates: 'string' }`": { dates: 'string' },
  '`{ json: { parse } }`': { json },
  "`{ arrayBounds: 'keep' }`": { arrayBounds: 'keep' },
}

/** pglisten, with other forms of values than the usual ones if `types` says so. */
export function pglisten(name: string, types: TypeOptions = {}): Client {
  return {
    name,
    async open(dsn) {
      const connection = await connect({ dsn })
      await connection.execute("SET TIME ZONE 'UTC'")
      const options: QueryOptions = { types }
      return {
        read: (sql) => connection.fetchVal(sql, [], options),
        write: [
          { run: (sql, value) => connection.fetchVal(sql, [value as QueryParameter]) },
          {
            name: '`JSON.stringify()`',
            types: JSON_TYPES,
            run: (sql, value, type) =>
              connection.fetchVal(sql, [asJson(value, type) as QueryParameter]),
          },
        ],
        close: () => connection.close(),
      }
    },
  }
}

/** node-postgres. Its manual has arrays for json and jsonb given as text. */
export const NODE_POSTGRES: Client = {
  name: '`pg`',
  async open(dsn) {
    const client = new PgClient({ connectionString: dsn })
    await client.connect()
    await client.query("SET TIME ZONE 'UTC'")
    const one = async (text: string, values: unknown[]) => {
      const { rows } = await client.query<[unknown]>({ text, values, rowMode: 'array' })
      return rows[0]![0]
    }
    return {
      read: (sql) => one(sql, []),
      write: [
        { run: async (sql, value) => (await one(sql, [value])) as string },
        {
          name: '`JSON.stringify()`',
          types: JSON_TYPES,
          run: async (sql, value, type) => (await one(sql, [asJson(value, type)])) as string,
        },
      ],
      close: () => client.end(),
    }
  },
}

/** postgres.js. Its manual has `sql.json()` for JSON, `sql.array()` for arrays and `sql.typed()` for values with a type. */
export const POSTGRES_JS: Client = {
  name: '`postgres`',
  async open(dsn) {
    const sql = postgres(dsn, { max: 1, onnotice: () => {} })
    await sql`SET TIME ZONE 'UTC'`
    const one = async (text: string, values: unknown[]) =>
      (await sql.unsafe(text, values as never[]).values())[0]![0] as unknown
    const oid = async (type: string) =>
      Number(await one(`SELECT '${type.replaceAll("'", "''")}'::regtype::oid::text`, []))
    return {
      read: (text) => one(text, []),
      write: [
        { run: async (text, value) => (await one(text, [value])) as string },
        {
          name: '`sql.json()`',
          types: /^jsonb?$/,
          run: async (text, value) => (await one(text, [sql.json(value as never)])) as string,
        },
        {
          name: '`sql.array()`',
          types: /\[\]$/,
          run: async (text, value) => (await one(text, [sql.array(value as never[])])) as string,
        },
        {
          name: '`sql.typed()`',
          run: async (text, value, type) =>
            (await one(text, [sql.typed(value as never, await oid(type))])) as string,
        },
      ],
      close: () => sql.end({ timeout: 5 }),
    }
  },
}
