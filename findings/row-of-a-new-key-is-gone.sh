#!/bin/sh
# An incremental live query of PGlite, and a row whose key changes.
#
# `live.incrementalQuery()` is told by which column rows are known, and asks only for what has changed. When a row gets another key, the
# callback gets a list without the row under either key, though the table and a plain `live.query()` have it. It stays away when another row is
# changed, and when it is changed itself. On PGlite 0.5.14, three rows:
#
#   UPDATE … SET id = 4 WHERE id = 3    incremental: 1 2      live.query: 1 2 4
#   UPDATE … SET v = 0 WHERE id = 1     incremental: 1 2      live.query: 1 2 4
#   UPDATE … SET v = 0 WHERE id = 4     incremental: 1 2      live.query: 1 2 4
#
# Guessed before: the row is there with its new key.
# Needs node, npm. Seen 2026-12-01 with Node.js 20.20.2.
set -eu

folder=$(mktemp -d)
clean_up() { rm -rf "$folder"; }
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{ "private": true }' > package.json
npm install --silent --no-audit --no-fund @electric-sql/pglite@0.5.14 >&2

cat > program.mjs <<'JS'
import { setTimeout as sleep } from 'node:timers/promises'
import { PGlite } from '@electric-sql/pglite'
import { live } from '@electric-sql/pglite/live'

const pg = await PGlite.create({ extensions: { live } })
await pg.exec('CREATE TABLE orders (id int PRIMARY KEY, v int)')
await pg.exec('INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3)')
const query = 'SELECT id, v FROM orders ORDER BY id'
let incremental, plain
await pg.live.incrementalQuery({ query, key: 'id', callback: ({ rows }) => (incremental = rows) })
await pg.live.query(query, [], ({ rows }) => (plain = rows))
for (const text of [
  'UPDATE orders SET id = 4 WHERE id = 3',
  'UPDATE orders SET v = 0 WHERE id = 1',
  'UPDATE orders SET v = 0 WHERE id = 4',
]) {
  await pg.query(text)
  await sleep(1000)
  const told = (rows) => rows.map(({ id }) => id).join(' ')
  console.log(`${text}: incremental ${told(incremental)}, plain ${told(plain)}`)
}
process.exit(0)
JS
node program.mjs > seen
cat > expected <<'TEXT'
UPDATE orders SET id = 4 WHERE id = 3: incremental 1 2, plain 1 2 4
UPDATE orders SET v = 0 WHERE id = 1: incremental 1 2, plain 1 2 4
UPDATE orders SET v = 0 WHERE id = 4: incremental 1 2, plain 1 2 4
TEXT
cat seen
diff expected seen
