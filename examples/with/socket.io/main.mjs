// Socket.IO fed by the database: each process of a cluster listens for itself, so what begins in the database needs no adapter.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { ConnectionPool } from 'pglisten'
import { Server } from 'socket.io'

const PAGE = `<!doctype html><title>Orders</title><ul id="orders"></ul><script src="/socket.io/socket.io.js"></script><script>
  const list = document.querySelector('#orders')
  const socket = io({ query: { customer: '7' } })
  socket.on('order', (id) => list.append(Object.assign(document.createElement('li'), { textContent: id })))
  socket.on('read again', () => list.replaceChildren()) // a real page reads its list from the database here
</script>`

const pool = new ConnectionPool(process.env.DATABASE_URL)
const server = createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(PAGE)
})
const io = new Server(server)

io.on('connection', async (socket) => {
  // A real program takes the customer from a session that it has checked.
  await socket.join(`customer ${socket.handshake.query.customer}`)
  // Who comes, or comes back, has missed what happened before.
  socket.emit('read again')
})

const listener = await pool.listen(
  {
    orders: (connection, { id, customer }) => {
      io.to(`customer ${customer}`).emit('order', id)
    },
  },
  { parse: JSON.parse, retry: true },
)
listener.on('error', (error) => console.error(error.code, error.message))
listener.addGapCallback(() => {
  io.emit('read again')
})

server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${server.address().port}`)

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    await io.close() // closes the HTTP server, too
    await pool.close()
  })
