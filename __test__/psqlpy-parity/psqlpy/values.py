"""Values as they are read and written."""

import datetime
import decimal
import json
import pathlib
import uuid

from attempt import attempt

EXPRESSIONS = json.loads(pathlib.Path(__file__).parent.with_name("expressions.json").read_text())


async def reading(connection, say):
    for expression in EXPRESSIONS:
        say(expression, await attempt(connection.fetch_val(f"SELECT {expression}")))


async def order_of_keys(connection, say):
    for kind in ["json", "jsonb"]:
        value = await connection.fetch_val(f"""SELECT '{{"zz": 1, "a": 2}}'::{kind}""")
        say(kind, list(value))


MOMENT = datetime.datetime(2026, 11, 29, 10, 11, 12, 500_000, tzinfo=datetime.timezone.utc)
WRITTEN = {
    "bool": True,
    "int2": 7,
    "int4": -7,
    "int8": 2**62,
    "float8": 0.1,
    "numeric": decimal.Decimal("12345678901234567890.5"),
    "text": "é 🙂 '\"\\",
    "varchar": "",
    "bytea": b"\x00\xff",
    "uuid": uuid.UUID("6f1d3f3e-5f4a-4c55-9d8c-0a1b2c3d4e5f"),
    "jsonb": {"a": [1, 2.5, None, {"b": "x"}]},
    "date": datetime.date(2026, 11, 29),
    "timestamptz": MOMENT,
    "int4[]": [1, 2, 3],
    "text[]": ["a", "b c", ""],
    "float8[]": [[0.5, 1.5], [2.5, 3.5]],
}


async def writing(connection, say):
    for kind, value in WRITTEN.items():
        sql = f"SELECT $1::{kind}::text"
        say(f"{kind}", await attempt(connection.fetch_val(sql, [value])))
        say(f"NULL of {kind}", await attempt(connection.fetch_val(sql, [None])))


PROGRAMS = {"reading": reading, "order of keys": order_of_keys, "writing": writing}
