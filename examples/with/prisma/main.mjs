// Prisma runs the queries, pglisten listens; a transaction of Prisma notifies.

import { PrismaPg } from '@prisma/adapter-pg'
import { ConnectionPool } from 'pglisten'
import { PrismaClient } from './generated/client.ts'

const connectionString = process.env.DATABASE_URL
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString }) })
const pool = new ConnectionPool(connectionString)

await prisma.$executeRaw`CREATE TABLE IF NOT EXISTS example_orders (id serial PRIMARY KEY, item text NOT NULL)`

const listener = await pool.listen({
  example_orders: async (connection, id) => {
    const order = await prisma.order.findUniqueOrThrow({ where: { id: Number(id) } })
    console.log(`heard of ${order.item}`)
  },
})

/** @param {string} item @param {boolean} [fails] */
const addOrder = (item, fails = false) =>
  prisma.$transaction(async (tx) => {
    const { id } = await tx.order.create({ data: { item } })
    await tx.$executeRaw`SELECT pg_notify('example_orders', ${String(id)})`
    if (fails) throw new Error(`no ${item} today`)
  })

await addOrder('tea')
// What is rolled back is not notified.
await addOrder('coffee', true).catch((error) => console.log(error.message))
await addOrder('cake')

await listener.sync() // what was committed has been handled
await pool.close()
await prisma.$disconnect()
