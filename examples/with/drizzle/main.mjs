// Drizzle runs the queries, pglisten listens; a transaction of Drizzle notifies.

import { eq, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { pgTable, serial, text } from 'drizzle-orm/pg-core'
import { ConnectionPool } from 'pglisten'

const orders = pgTable('example_orders', { id: serial().primaryKey(), item: text().notNull() })
const db = drizzle(process.env.DATABASE_URL)
const pool = new ConnectionPool(process.env.DATABASE_URL)

await db.execute(
  sql`CREATE TABLE IF NOT EXISTS example_orders (id serial PRIMARY KEY, item text NOT NULL)`,
)

const listener = await pool.listen({
  example_orders: async (connection, id) => {
    const [order] = await db
      .select()
      .from(orders)
      .where(eq(orders.id, Number(id)))
    console.log(`heard of ${order.item}`)
  },
})

/** @param {string} item @param {boolean} [fails] */
const addOrder = (item, fails = false) =>
  db.transaction(async (tx) => {
    const [order] = await tx.insert(orders).values({ item }).returning()
    await tx.execute(sql`SELECT pg_notify('example_orders', ${order.id}::text)`)
    if (fails) throw new Error(`no ${item} today`)
  })

await addOrder('tea')
// What is rolled back is not notified.
await addOrder('coffee', true).catch((error) => console.log(error.message))
await addOrder('cake')

await listener.sync() // what was committed has been handled
await pool.close()
await db.$client.end()
