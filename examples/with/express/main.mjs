// Server-sent events with Express: one listening session for all browsers.

import { once } from 'node:events'
import express from 'express'
import { ConnectionPool, Gap } from 'pglisten'

/** Comments keep proxies from closing a stream on which nothing happens. */
const KEEP_ALIVE_MS = 15_000

const pool = new ConnectionPool(process.env.DATABASE_URL)
const listener = pool.listener()
const app = express()

/** An event. A line of a payload is a line of the event, so that no payload ends it and begins another. */
function eventOf(change) {
  if (change instanceof Gap) return 'event: again\ndata:\n\n'
  return `data: ${change.payload.split(/\r\n|\r|\n/).join('\ndata: ')}\n\n`
}

app.get('/orders/events', async (request, response) => {
  const left = new AbortController()
  response.once('close', () => left.abort())
  const { signal } = left
  const changes = await listener.subscribe('orders', { gaps: 'include', signal })
  response.set({ 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  // The page reads its list once the stream has begun, so nothing falls in between.
  response.write('event: again\ndata:\n\n')
  const keepAlive = setInterval(() => response.write(':\n\n'), KEEP_ALIVE_MS)
  try {
    for await (const change of changes) {
      // A slow browser fills its own buffer in the listener, which is bounded.
      if (!response.write(eventOf(change))) await once(response, 'drain', { signal })
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    clearInterval(keepAlive)
    response.end()
  }
})

app.post('/orders/:id', async (request, response) => {
  await pool.notify('orders', request.params.id)
  response.sendStatus(204)
})

app.get('/ready', (request, response) => {
  response.sendStatus(listener.health().state === 'connected' ? 200 : 503)
})

// Waits for a database that is not there yet.
await listener.startup({ retry: true })
const server = app.listen(Number(process.env.PORT ?? 8080), '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${server.address().port}`)

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    server.close()
    await pool.close() // ends the listener, and with it the streams
    server.closeAllConnections() // browsers keep theirs for the next request
  })
