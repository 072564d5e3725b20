"""Prepared statements. psqlpy binds the parameters when it prepares."""

from attempt import attempt

SQL = "SELECT n AS id, 'row ' || n AS name FROM generate_series(1, $1::int4) AS n"


async def prepared_statement(connection, say):
    for count in [2, 0, 3]:
        statement = await connection.prepare(SQL, [count])
        say(f"rows of {count}", (await statement.execute()).result())
    say("names of columns", [column.name for column in statement.columns()])
    say("a text that is wrong", await attempt(connection.prepare("SELECT 1 +")))


async def cursor_of_prepared(connection, say):
    async with connection.transaction():
        statement = await connection.prepare(SQL, [5])
        cursor = statement.cursor()
        await cursor.start()
        say("first", (await cursor.fetchmany(2)).result())
        say("rest", (await cursor.fetchmany(10)).result())


PROGRAMS = {
    "prepared statement": prepared_statement,
    "cursor of a prepared statement": cursor_of_prepared,
}
