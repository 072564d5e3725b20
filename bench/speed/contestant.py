"""The part of contestant.mjs for clients that are Python's: one task, a line of JSON for each thing that happens."""

import asyncio
import json
import resource
import sys
import threading
import time

task = json.loads(sys.argv[1])
client = task["client"].removeprefix("python ")
received = 0
target = task["warmUp"]
began = None
first = None


def tell(what):
    print(json.dumps(what), flush=True)


def take(payload):
    global received, target, began, first
    received += 1
    if began and first is None:
        first = time.perf_counter_ns()
    if received < target:
        return
    if began is None:
        target = received + task["count"]
        began = (time.thread_time_ns(), time.process_time_ns())
        tell({"warm": True})
        return
    thread, process = began
    tell(
        {
            "burst": {
                "count": task["count"],
                "spanNs": time.perf_counter_ns() - first,
                "threadCpuNs": time.thread_time_ns() - thread,
                "processCpuNs": time.process_time_ns() - process,
                # Kilobytes on Linux, bytes on macOS.
                "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                * (1 if sys.platform == "darwin" else 1024),
            }
        }
    )


async def listen_with_psqlpy():
    from psqlpy import ConnectionPool

    async def callback(connection, payload, channel, process_id):
        take(payload)

    pool = ConnectionPool(dsn=task["dsn"])
    listener = pool.listener()
    await listener.add_callback("bench_0", callback)
    await listener.startup()
    listener.listen()
    # Its LISTEN is sent some time after that, and nothing says when.
    await asyncio.sleep(1)
    return pool, listener


async def listen_with_asyncpg():
    import asyncpg

    connection = await asyncpg.connect(task["dsn"])
    await connection.add_listener("bench_0", lambda _, pid, channel, payload: take(payload))
    return connection


async def main():
    kept = await {"psqlpy": listen_with_psqlpy, "asyncpg": listen_with_asyncpg}[client]()
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def wait_for_parent():
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    tell({"up": True})
    await over.wait()
    del kept


asyncio.run(main())
