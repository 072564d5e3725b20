"""The part of contestant.mjs for psqlpy: one case, measured in the same way, and one line of JSON."""

import asyncio
import datetime
import json
import resource
import statistics
import sys
import time

from psqlpy import ConnectionPool

task = json.loads(sys.argv[1])
texts = task["texts"]
count = task["count"]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def check(got, wanted):
    if got != wanted:
        raise AssertionError(f"Expected {wanted}, got {got}")


def rows_to_copy():
    for n in range(count):
        yield [n, f"row {n}", n / 7, START + datetime.timedelta(seconds=n), n % 2 == 0]


async def nothing():
    pass


def cases(connection):
    prepared = not task["contestant"].endswith(" unprepared")

    def fetch_all(text):
        async def run(_):
            check(len((await connection.fetch(text)).result()), count)

        return nothing, run

    def emptied(table, create):
        async def before():
            await connection.execute_batch(f"DROP TABLE IF EXISTS {table}; {create}")

        return before

    async def insert_many(_):
        rows = [[n, f"row {n}", n / 7] for n in range(count)]
        async with connection.transaction() as transaction:
            await transaction.execute_many(texts["insert"], rows)

    async def fetch_val(turn):
        await connection.fetch_val(texts["oneValue"], [turn], prepared=prepared)

    async def pipeline(_):
        async with connection.transaction() as transaction:
            statements = [(texts["oneValue"], [n]) for n in range(count)]
            check(len(await transaction.pipeline(statements)), count)

    async def transaction(turn):
        async with connection.transaction() as transaction:
            await transaction.fetch_val(texts["oneValue"], [turn])

    async def copy_in(_):
        copied = await connection.copy_records_to_table(
            table_name=texts["copyTable"], records=rows_to_copy(), columns=texts["copyColumns"]
        )
        check(copied, count)

    return {
        "fetch5": fetch_all(texts["fetch5"]),
        "fetch20": fetch_all(texts["fetch20"]),
        "insertMany": (emptied("bench_many", texts["createMany"]), insert_many),
        "fetchVal": (nothing, fetch_val),
        "pipeline": (nothing, pipeline),
        "transaction": (nothing, transaction),
        "copyIn": (emptied(texts["copyTable"], texts["createCopied"]), copy_in),
    }


async def whole(before, run):
    await before()
    begun = (time.thread_time(), time.process_time(), time.perf_counter())
    await run(0)
    thread, process, at = begun
    return (
        (time.perf_counter() - at) * 1000,
        (time.thread_time() - thread) * 1000,
        (time.process_time() - process) * 1000,
    )


async def each(before, run):
    await before()
    times = []
    thread, process = time.thread_time(), time.process_time()
    for turn in range(count):
        at = time.perf_counter()
        await run(turn)
        times.append((time.perf_counter() - at) * 1000)
    return (
        statistics.median(times),
        (time.thread_time() - thread) * 1000 / count,
        (time.process_time() - process) * 1000 / count,
    )


async def main():
    connection = await ConnectionPool(dsn=task["dsn"], max_db_pool_size=2).connection()
    before, run = cases(connection)[task["id"]]
    measure = {"whole": whole, "each": each}[task["kind"]]
    for _ in range(task["warmUps"]):
        await measure(before, run)
    measured = [await measure(before, run) for _ in range(task["repeats"])]
    spent, thread, process = (statistics.median(values) for values in zip(*measured))
    # Kilobytes on Linux, bytes on macOS.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    said = {"time": spent, "threadMs": thread, "processMs": process, "peakMb": peak}
    print(json.dumps(said), flush=True)


asyncio.run(main())
