"""Statements on a connection."""

from attempt import attempt

PEOPLE = "CREATE TEMPORARY TABLE people (id int4 PRIMARY KEY, name text, age int4)"
INSERT = "INSERT INTO people VALUES ($1, $2, $3)"
ALL = "SELECT * FROM people ORDER BY id"


async def statements(connection, say):
    await connection.execute(PEOPLE)
    inserted = await connection.execute(INSERT, [1, "Ada", 36])
    say("rows of an INSERT", inserted.result())
    returned = await connection.execute(f"{INSERT} RETURNING id, name", [2, "Bo", None])
    say("rows of an INSERT that returns them", returned.result())
    say("execute", (await connection.execute(ALL)).result())
    say("fetch", (await connection.fetch("SELECT name FROM people WHERE age > $1", [30])).result())
    say("fetch without rows", (await connection.fetch("SELECT 1 WHERE false")).result())
    say("of two columns of one name", (await connection.fetch("SELECT 1 AS a, 2 AS a")).result())


async def one_row(connection, say):
    async def row(sql):
        return (await connection.fetch_row(sql)).result()

    say("fetch_row", await row("SELECT 1 AS n, 'x' AS t"))
    say("fetch_row of none", await attempt(row("SELECT 1 WHERE false")))
    say("fetch_row of two", await attempt(row("SELECT generate_series(1, 2)")))
    say("fetch_val", await connection.fetch_val("SELECT $1::text", ["x"]))
    say("fetch_val of NULL", await connection.fetch_val("SELECT NULL"))
    say("fetch_val of two columns", await connection.fetch_val("SELECT 1, 2"))
    say("fetch_val of none", await attempt(connection.fetch_val("SELECT 1 WHERE false")))


async def parameters(connection, say):
    sql = "SELECT $1::int4 AS a, $2::text AS b"
    say("a list", (await connection.fetch(sql, [1, "x"])).result())
    say("too few", await attempt(connection.fetch_val(sql, [1])))
    say("too many", await attempt(connection.fetch_val(sql, [1, "x", 3])))
    say("text of a number", await attempt(connection.fetch_val("SELECT $1::int4", ["5"])))
    say("text of no number", await attempt(connection.fetch_val("SELECT $1::int4", ["five"])))
    say("a fraction for an integer", await attempt(connection.fetch_val("SELECT $1::int4", [1.5])))


async def named_parameters(connection, say):
    sql = "SELECT $(a)p::int4 AS a, $(b_2)p::text AS b"
    say("a mapping", (await connection.fetch(sql, {"b_2": "x", "a": 1})).result())
    twice = "SELECT $(n)p::int4 AS a, $(n)p::int4 + 1 AS b"
    say("a name that is used twice", (await connection.fetch(twice, {"n": 1})).result())
    say("a name without a value", await attempt(connection.fetch_val(sql, {"a": 1})))
    more = {"a": 1, "b_2": "x", "c": 3}
    say("a value without a name", await attempt(connection.fetch_val(sql, more)))
    say("a list for names", await attempt(connection.fetch_val("SELECT $(n)p::int4", [7])))
    literal = "SELECT '$(n)p' AS t"
    say("in a string, without parameters", await connection.fetch_val(literal, []))
    beside = "SELECT '$(m)p' AS t, $(n)p::int4 AS n"
    say("in a string, beside a name", await attempt(connection.fetch_val(beside, {"n": 1})))
    comment = "SELECT $(n)p::int4 -- not $(m)p"
    say("in a comment", await attempt(connection.fetch_val(comment, {"n": 1})))
    mixed = "SELECT $1::int4, $(n)p::int4"
    say("beside a number", await attempt(connection.fetch_val(mixed, {"n": 1})))


async def unprepared(connection, say):
    say("fetch_val", await connection.fetch_val("SELECT $1::int4", [7], prepared=False))
    kept = "SELECT count(*)::int4 FROM pg_prepared_statements WHERE statement = 'SELECT $1::int4'"
    say("statements that are kept", await connection.fetch_val(kept, prepared=False))


async def many(connection, say):
    await connection.execute(PEOPLE)
    rows = [[n, f"name {n}", None] for n in range(1, 4)]
    say("execute_many", await connection.execute_many(INSERT, rows))
    say("execute_many of none", await connection.execute_many(INSERT, []))
    named = "INSERT INTO people (id, name) VALUES ($(id)p, $(name)p)"
    await connection.execute_many(named, [{"id": 4, "name": "D"}, {"name": "E", "id": 5}])
    say("rows", (await connection.fetch(ALL)).result())
    twice = [[6, "F", None], [1, "again", None], [7, "G", None]]
    say("with a duplicate", await attempt(connection.execute_many(INSERT, twice)))
    say("rows behind it", await connection.fetch_val("SELECT count(*) FROM people"))


async def batch(connection, say):
    await connection.execute_batch(f"{PEOPLE}; INSERT INTO people VALUES (1, 'Ada', 36)")
    failing = "INSERT INTO people VALUES (2); SELECT 1 / 0; INSERT INTO people VALUES (3)"
    say("a failing batch", await attempt(connection.execute_batch(failing)))
    say("rows behind it", (await connection.fetch(ALL)).result())


async def closing(connection, say):
    say("is_closed of an open one", connection.is_closed())
    connection.close()
    say("is_closed of a closed one", connection.is_closed())
    say("a statement behind it", await attempt(connection.fetch_val("SELECT 1")))
    connection.close()


async def information(connection, say):
    say("database", connection.conn_dbname)
    say("user", connection.user)
    host, port = connection.hosts[0], connection.ports[0]
    say("server", [host, port == await connection.fetch_val("SELECT inet_server_port()")])


PROGRAMS = {
    "statements": statements,
    "one row": one_row,
    "parameters": parameters,
    "named parameters": named_parameters,
    "unprepared": unprepared,
    "executeMany": many,
    "executeBatch": batch,
    "closing": closing,
    "information": information,
}
