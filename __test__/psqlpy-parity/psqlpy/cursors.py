"""Cursors."""

from attempt import attempt

TEN = "SELECT n FROM generate_series(1, 10) AS n"


async def cursor(connection, say):
    async with connection.transaction() as tx:
        sizes, rows = [], []
        async with tx.cursor(TEN, array_size=3) as cursor:
            async for batch in cursor:
                sizes.append(len(batch.result()))
                rows.extend(batch.result())
        say("rows", rows)
        say("sizes of batches", sizes)
        async with tx.cursor("SELECT $1::text || $2 AS t", ["a", "b"]) as cursor:
            say("with parameters", (await cursor.fetchall()).result())
        async with tx.cursor("SELECT $(t)p::text AS t", {"t": "a"}) as cursor:
            say("with names", (await cursor.fetchall()).result())


async def fetching(connection, say):
    async with connection.transaction() as tx:
        async with tx.cursor(TEN) as cursor:
            say("one", (await cursor.fetchone()).result())
            say("three", (await cursor.fetchmany(3)).result())
            say("the rest", (await cursor.fetchmany(100)).result())
            say("at the end", (await cursor.fetchmany(5)).result())


async def cursor_of_writes(connection, say):
    await connection.execute("CREATE TEMPORARY TABLE numbers (n int4)")
    async with connection.transaction() as tx:
        async with tx.cursor("INSERT INTO numbers VALUES (1), (2) RETURNING n") as cursor:
            say("rows", (await cursor.fetchmany(10)).result())


async def failing_cursor(connection, say):
    async def work():
        async with connection.transaction() as tx:
            async with tx.cursor("SELECT 1 / (n - 2) FROM generate_series(1, 3) AS n") as cursor:
                await cursor.fetchall()

    say("a row that fails", await attempt(work()))
    say("the connection behind it", await attempt(connection.fetch_val("SELECT 1")))


async def cursor_in_transaction(connection, say):
    await connection.execute("CREATE TEMPORARY TABLE numbers (n int4)")

    async def work():
        async with connection.transaction() as tx:
            await tx.execute("INSERT INTO numbers VALUES (1)")
            async with tx.cursor(TEN) as cursor:
                await cursor.fetchone()
            await tx.execute("INSERT INTO numbers VALUES (2)")

    await attempt(work())
    rows = (await connection.fetch("SELECT n FROM numbers ORDER BY n")).result()
    say("rows around a closed cursor", rows)


async def cursor_of_a_connection(connection, say):
    async with connection.cursor(TEN, array_size=4) as cursor:
        say("rows", [row async for batch in cursor for row in batch.result()])
    say("the connection behind it", await connection.fetch_val("SELECT 1"))


PROGRAMS = {
    "cursor": cursor,
    "fetching from a cursor": fetching,
    "cursor of an INSERT": cursor_of_writes,
    "failing cursor": failing_cursor,
    "cursor within a transaction": cursor_in_transaction,
    "cursor of a connection": cursor_of_a_connection,
}
