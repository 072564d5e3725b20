"""Transactions, savepoints and pipelines."""

from psqlpy import IsolationLevel, ReadVariant

from attempt import attempt

CREATE = "CREATE TEMPORARY TABLE numbers (n int4 PRIMARY KEY)"
INSERT = "INSERT INTO numbers VALUES ($1)"


async def numbers(queryable):
    rows = (await queryable.fetch("SELECT n FROM numbers ORDER BY n")).result()
    return [row["n"] for row in rows]


async def transaction(connection, say):
    await connection.execute(CREATE)
    async with connection.transaction() as tx:
        await tx.execute(INSERT, [1])
        say("within", await numbers(tx))
    say("committed", await numbers(connection))
    try:
        async with connection.transaction() as tx:
            await tx.execute(INSERT, [2])
            raise KeyError("mine")
    except KeyError as error:
        say("the error of the body", error.args[0])
    say("rolled back", await numbers(connection))


async def failed_transaction(connection, say):
    await connection.execute(CREATE)

    async def work():
        async with connection.transaction() as tx:
            await tx.execute(INSERT, [1])
            await attempt(tx.execute("SELECT 1 / 0"))
        return "committed"

    say("leaving after a failed statement", await attempt(work()))
    say("rows", await numbers(connection))


async def by_hand(connection, say):
    await connection.execute(CREATE)
    tx = connection.transaction()
    await tx.begin()
    await tx.execute(INSERT, [1])
    await tx.commit()
    say("committed", await numbers(connection))
    say("a statement behind it", await attempt(tx.execute(INSERT, [2])))
    tx = connection.transaction()
    await tx.begin()
    await tx.execute(INSERT, [3])
    await tx.rollback()
    say("rolled back", await numbers(connection))


async def characteristics(connection, say):
    async def settings(**how):
        async with connection.transaction(**how) as tx:
            names = ["isolation", "read_only", "deferrable"]
            return [await tx.fetch_val(f"SHOW transaction_{name}") for name in names]

    say("the usual", await settings())
    say("serializable", await settings(isolation_level=IsolationLevel.Serializable))
    say("repeatable read", await settings(isolation_level=IsolationLevel.RepeatableRead))
    say("read committed", await settings(isolation_level=IsolationLevel.ReadCommitted))
    say("read only", await settings(read_variant=ReadVariant.ReadOnly))
    everything = await settings(
        isolation_level=IsolationLevel.Serializable,
        read_variant=ReadVariant.ReadOnly,
        deferrable=True,
    )
    say("all of them", everything)


async def savepoints(connection, say):
    await connection.execute(CREATE)
    async with connection.transaction() as tx:
        await tx.execute(INSERT, [1])
        await tx.create_savepoint("point")
        await tx.execute(INSERT, [2])
        await tx.rollback_savepoint("point")
        await tx.execute(INSERT, [3])
        await tx.release_savepoint("point")
        say("a released one", await attempt(tx.rollback_savepoint("point")))
    async with connection.transaction() as tx:
        await tx.create_savepoint("point")
        await attempt(tx.execute("SELECT 1 / 0"))
        await tx.rollback_savepoint("point")
        await tx.execute(INSERT, [4])
    say("rows", await numbers(connection))


async def names_of_savepoints(connection, say):
    async def named(name, written):
        async with connection.transaction() as tx:
            await tx.create_savepoint(name)
            await tx.execute_batch(f"ROLLBACK TO SAVEPOINT {written}")
        return "found"

    say("a simple one", await attempt(named("point", "point")))
    say("with capitals, folded", await attempt(named("MyPoint", "mypoint")))
    say("with capitals, quoted", await attempt(named("MyPoint", '"MyPoint"')))
    say("with a blank", await attempt(named("my point", '"my point"')))


async def nested(connection, say):
    await connection.execute(CREATE)

    async def work():
        async with connection.transaction() as outer:
            await outer.execute(INSERT, [1])
            async with connection.transaction() as inner:
                await inner.execute(INSERT, [2])
            raise KeyError("the outer one is undone")

    await attempt(work())
    say("rows", await numbers(connection))


async def pipeline(connection, say):
    await connection.execute(CREATE)
    async with connection.transaction() as tx:
        results = await tx.pipeline(
            [
                (INSERT, [1]),
                (INSERT, [2]),
                ("SELECT n FROM numbers ORDER BY n", []),
                ("SELECT $1::text AS t, $2::bool AS b", ["x", True]),
            ]
        )
        say("results", [result.result() for result in results])
    say("rows", await numbers(connection))


async def failing_pipeline(connection, say):
    await connection.execute(CREATE)

    async def work():
        async with connection.transaction() as tx:
            statements = [(INSERT, [1]), ("SELECT 1 / 0", []), (INSERT, [3])]
            say("the pipeline", await attempt(tx.pipeline(statements)))
        return "committed"

    say("leaving the transaction", await attempt(work()))
    say("rows", await numbers(connection))


async def in_transaction(connection, say):
    say("outside", await connection.in_transaction())
    async with connection.transaction():
        say("within", await connection.in_transaction())
    say("behind it", await connection.in_transaction())
    await connection.execute_batch("BEGIN")
    say("after a BEGIN", await connection.in_transaction())
    await connection.execute_batch("ROLLBACK")


PROGRAMS = {
    "transaction": transaction,
    "failed transaction": failed_transaction,
    "begin, commit, rollback": by_hand,
    "characteristics of transactions": characteristics,
    "savepoints": savepoints,
    "names of savepoints": names_of_savepoints,
    "nested transactions": nested,
    "pipeline": pipeline,
    "failing pipeline": failing_pipeline,
    "inTransaction": in_transaction,
}
