// Server-sent events with Fastify: one listening session for all browsers, which closes with the server.

import { Readable } from 'node:stream'
import fastify from 'fastify'
import { ConnectionPool, Gap } from 'pglisten'

// A stream would hold up `close()` for as long as its browser is there.
const app = fastify({ forceCloseConnections: true })

const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = pool.listener()
const ending = new AbortController()
// For routes in other files: `request.server.pool`, `request.server.listener`.
app.decorate('pool', pool).decorate('listener', listener)
app.addHook('preClose', async () => {
  ending.abort()
  await pool.close() // ends the listener, and with it the streams
})

// Not awaited: the server starts before its database, and `/ready` says so.
listener.startup({ retry: true, signal: ending.signal }).catch((error) => {
  if (!ending.signal.aborted) throw error
})

/** An event. A line of a payload is a line of the event, so that no payload ends it and begins another. */
function eventOf(change) {
  if (change instanceof Gap) return 'event: again\ndata:\n\n'
  return `data: ${change.payload.split(/\r\n|\r|\n/).join('\ndata: ')}\n\n`
}

/** The text of each event; ends when the browser leaves. */
async function* events(signal) {
  const changes = await listener.subscribe('orders', { gaps: 'include', signal })
  // The page reads its list once the stream has begun, so nothing falls in between.
  yield 'event: again\ndata:\n\n'
  try {
    for await (const change of changes) yield eventOf(change)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

app.get('/orders/events', (request, reply) => {
  if (listener.state !== 'connected') return reply.code(503).send()
  // A generator that waits cannot be ended from outside: the signal ends what it waits for.
  const left = new AbortController()
  reply.raw.once('close', () => left.abort())
  return reply
    .header('content-type', 'text/event-stream')
    .header('cache-control', 'no-store')
    .send(Readable.from(events(left.signal)))
})

app.post('/orders/:id', async (request, reply) => {
  await pool.notify('orders', request.params.id)
  return reply.code(204).send()
})

app.get('/ready', (request, reply) =>
  reply.code(listener.health().state === 'connected' ? 200 : 503).send(),
)

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
console.log(await app.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' }))
