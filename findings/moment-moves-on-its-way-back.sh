#!/bin/sh
# A `Date` in a `timestamp`, as PGlite writes and reads it.
#
# A `timestamp` has no zone, so a client has to choose one. PGlite writes a `Date` in UTC and reads it in the zone of the process: what was
# stored comes back as another moment, and each time it is read and stored it moves on. In UTC, where most tests run, both are the same.
# node-postgres takes the zone of the process both ways. On PGlite 0.5.14:
#
#   TZ=UTC                 2020-06-01T12:00:00.000Z    stored: 2020-06-01 12:00:00    read: 2020-06-01T12:00:00.000Z
#   TZ=America/New_York    2020-06-01T12:00:00.000Z    stored: 2020-06-01 12:00:00    read: 2020-06-01T16:00:00.000Z
#
# A `timestamptz` is read as it was written. Guessed before: UTC both ways.
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
import { PGlite } from '@electric-sql/pglite'

const pg = await PGlite.create()
await pg.exec('CREATE TABLE events (at timestamp, zoned timestamptz)')
const moment = new Date('2020-06-01T12:00:00Z')
await pg.query('INSERT INTO events VALUES ($1, $2)', [moment, moment])
const { rows } = await pg.query('SELECT at, at::text AS stored, zoned FROM events')
const [{ at, stored, zoned }] = rows
console.log(`${process.env.TZ}: stored ${stored}, read ${at.toISOString()}, timestamptz ${zoned.toISOString()}`)
process.exit(0)
JS
for zone in UTC America/New_York; do TZ=$zone node program.mjs; done > seen
cat > expected <<'TEXT'
UTC: stored 2020-06-01 12:00:00, read 2020-06-01T12:00:00.000Z, timestamptz 2020-06-01T12:00:00.000Z
America/New_York: stored 2020-06-01 12:00:00, read 2020-06-01T16:00:00.000Z, timestamptz 2020-06-01T12:00:00.000Z
TEXT
cat seen
diff expected seen
