// GraphQL subscriptions over server-sent events, by graphql-subscriptions and GraphQL Yoga.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { createSchema, createYoga } from 'graphql-yoga'
import { ConnectionPool } from 'pglisten'
import { PglistenPubSub } from './pubsub.mjs'

const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = await pool.listen({}, { retry: true })
listener.on('error', (error) => console.error(error.code, error.message))
const pubsub = new PglistenPubSub(pool, listener)

const schema = createSchema({
  typeDefs: `
    type Query { ready: Boolean! }
    type Mutation { changeOrder(id: ID!): Boolean! }
    "An order that has changed, or again: all of them have to be read anew."
    type Change { id: ID again: Boolean }
    type Subscription { orderChanged: Change! }`,
  resolvers: {
    Query: { ready: () => listener.health().state === 'connected' },
    Mutation: {
      async changeOrder(_, { id }) {
        await pubsub.publish('orders', { id })
        return true
      },
    },
    Subscription: {
      orderChanged: {
        subscribe: () => pubsub.asyncIterableIterator('orders'),
        resolve: (change) => change,
      },
    },
  },
})

const server = createServer(createYoga({ schema, logging: 'warn' }))
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${server.address().port}/graphql`)

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    server.close()
    server.closeAllConnections()
    await pool.close()
  })
