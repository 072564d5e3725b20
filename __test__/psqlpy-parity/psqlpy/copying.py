"""COPY to a table."""

import datetime
import struct

from attempt import attempt

CREATE = "CREATE TEMPORARY TABLE copied (id int4, name text, ratio float8, data jsonb, at timestamptz)"
COLUMNS = ["id", "name", "ratio", "data", "at"]
ALL = "SELECT * FROM copied ORDER BY id"
AT = datetime.datetime(2026, 11, 29, 10, 11, 12, tzinfo=datetime.timezone.utc)


async def records(connection, say):
    await connection.execute(CREATE)

    async def copy(rows, **options):
        return await connection.copy_records_to_table(
            table_name="copied", records=rows, columns=COLUMNS, **options
        )

    rows = [
        [1, "a\tb\nc\\", 0.5, {"b": [1, None], "a": "x"}, AT],
        [2, None, None, None, None],
        [3, "", -0.1, [], AT],
    ]
    say("how many", await copy(rows))
    say("rows", (await connection.fetch(ALL)).result())
    say("of none", await copy([]))
    say("of a generator", await copy([n, "g", 1.0, None, None] for n in range(10, 15)))
    say("a short one", await attempt(copy([[20, "x", 1.0, None, AT], [21, "x"]])))
    say("one that does not fit", await attempt(copy([["x", "x", 1.0, None, AT]])))
    say("rows behind it", await connection.fetch_val("SELECT count(*) FROM copied"))


async def some_columns(connection, say):
    await connection.execute('CREATE TEMPORARY TABLE "Odd table" ("A b" int4, c text, d int4 DEFAULT 7)')
    copied = await connection.copy_records_to_table(
        table_name="Odd table", schema_name="pg_temp", records=[["x", 1]], columns=["c", "A b"]
    )
    say("how many", copied)
    say("rows", (await connection.fetch('SELECT * FROM "Odd table"')).result())


def binary(rows):
    """Rows of an int4 and a text in the binary format of COPY."""
    data = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
    for number, text in rows:
        encoded = text.encode()
        data += struct.pack("!hiii", 2, 4, number, len(encoded)) + encoded
    return data + struct.pack("!h", -1)


async def binary_copy(connection, say):
    await connection.execute("CREATE TEMPORARY TABLE copied (id int4, name text)")

    async def copy(source):
        return await connection.binary_copy_to_table(
            source=source, table_name="copied", columns=["id", "name"]
        )

    say("how many", await copy(binary([(1, "a"), (2, "é🙂")])))
    say("rows", (await connection.fetch("SELECT * FROM copied ORDER BY id")).result())
    say("of none", await copy(binary([])))
    say("of garbage", await attempt(copy(b"no rows at all")))
    say("rows behind it", await connection.fetch_val("SELECT count(*) FROM copied"))


async def closed(connection, say):
    connection.close()
    say(
        "records",
        await attempt(connection.copy_records_to_table(table_name="t", records=[[1]], columns=["n"])),
    )
    say("binary", await attempt(connection.binary_copy_to_table(source=b"", table_name="t")))


PROGRAMS = {
    "copyRecordsToTable": records,
    "COPY of some columns": some_columns,
    "binaryCopyToTable": binary_copy,
    "COPY on a closed connection": closed,
}
