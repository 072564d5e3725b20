// Kysely runs the queries, pglisten listens; a transaction of Kysely notifies.

import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import { ConnectionPool } from 'pglisten'

const connectionString = process.env.DATABASE_URL
const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString }) }) })
const pool = new ConnectionPool(connectionString)

await sql`CREATE TABLE IF NOT EXISTS example_orders (id serial PRIMARY KEY, item text NOT NULL)`.execute(
  db,
)

const listener = await pool.listen({
  example_orders: async (connection, id) => {
    const order = await db
      .selectFrom('example_orders')
      .selectAll()
      .where('id', '=', Number(id))
      .executeTakeFirstOrThrow()
    console.log(`heard of ${order.item}`)
  },
})

/** @param {string} item @param {boolean} [fails] */
const addOrder = (item, fails = false) =>
  db.transaction().execute(async (trx) => {
    const { id } = await trx
      .insertInto('example_orders')
      .values({ item })
      .returning('id')
      .executeTakeFirstOrThrow()
    await sql`SELECT pg_notify('example_orders', ${id}::text)`.execute(trx)
    if (fails) throw new Error(`no ${item} today`)
  })

await addOrder('tea')
// What is rolled back is not notified.
await addOrder('coffee', true).catch((error) => console.log(error.message))
await addOrder('cake')

await listener.sync() // what was committed has been handled
await pool.close()
await db.destroy()
