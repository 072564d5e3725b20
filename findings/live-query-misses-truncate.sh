#!/bin/sh
# A live query of PGlite, and TRUNCATE.
#
# `live.query()` runs its query again when a table that it reads is changed, for which it has triggers on INSERT, UPDATE and DELETE. A TRUNCATE
# fires none of them: the callback goes on showing rows that are gone, until something else changes the table. DELETE without a condition, which
# leaves the same empty table, is seen at once. On PGlite 0.5.14:
#
#   INSERT      callback: 2 rows
#   TRUNCATE    nothing, with 0 rows in the table
#   INSERT      callback: 1 row
#   DELETE      callback: 0 rows
#
# Guessed before: TRUNCATE is seen like DELETE.
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
await pg.exec('CREATE TABLE orders (id int)')
const shown = []
await pg.live.query('SELECT id FROM orders', [], ({ rows }) => shown.push(rows.length))
for (const text of [
  'INSERT INTO orders VALUES (1), (2)',
  'TRUNCATE orders',
  'INSERT INTO orders VALUES (3)',
  'DELETE FROM orders',
]) {
  shown.length = 0
  await pg.query(text)
  await sleep(1000)
  const { rows } = await pg.query('SELECT count(*)::int AS n FROM orders')
  console.log(`${text}: callback ${shown.join(' ') || 'nothing'}, in the table ${rows[0].n}`)
}
process.exit(0)
JS
node program.mjs > seen
cat > expected <<'TEXT'
INSERT INTO orders VALUES (1), (2): callback 2, in the table 2
TRUNCATE orders: callback nothing, in the table 0
INSERT INTO orders VALUES (3): callback 1, in the table 1
DELETE FROM orders: callback 0, in the table 0
TEXT
cat seen
diff expected seen
