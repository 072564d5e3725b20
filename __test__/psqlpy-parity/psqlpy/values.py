"""Values as they are read and written."""

import datetime
import decimal
import ipaddress
import json
import pathlib
import uuid

from attempt import attempt
from psqlpy.extra_types import (
    JSON,
    JSONB,
    BigInt,
    BoolArray,
    Box,
    Circle,
    CustomType,
    DateArray,
    Float32,
    Float64,
    Int16Array,
    Integer,
    IntervalArray,
    IpAddressArray,
    JSONBArray,
    Line,
    LineSegment,
    MacAddr6,
    MacAddr8,
    Money,
    NumericArray,
    Path,
    Point,
    PointArray,
    SmallInt,
    Text,
    UUIDArray,
    VarChar,
)

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


EXTRA = {
    "int2": SmallInt(7),
    "int4": Integer(-7),
    "int8": BigInt(2**62),
    "float4": Float32(0.5),
    "float8": Float64(0.1),
    "varchar": VarChar("x"),
    "text": Text("y"),
    "money": Money(1234),
    "json": JSON({"a": 1}),
    "jsonb": JSONB([1, None]),
    "macaddr": MacAddr6("08:00:2b:01:02:0a"),
    "macaddr8": MacAddr8("08:00:2b:01:02:03:04:0a"),
    "point": Point([1, 2.5]),
    "line": Line([1, -1, 0]),
    "lseg": LineSegment([(1, 2), (3, 4)]),
    "box": Box([(3, 4), (1, 2)]),
    "path": Path([(1, 2), (3, 4)]),
    "circle": Circle([1, 2, 3]),
    "bytea": CustomType(b"\x00\xff"),
    "inet": ipaddress.IPv4Address("10.0.0.1"),
    "time": datetime.time(12, 34, 56, 7),
    "interval": datetime.timedelta(days=1, microseconds=5),
    "int2[]": Int16Array([1, 2]),
    "bool[]": BoolArray([True, False]),
    "uuid[]": UUIDArray([uuid.UUID(int=1)]),
    "numeric[]": NumericArray([decimal.Decimal("1.10")]),
    "date[]": DateArray([datetime.date(2026, 11, 29)]),
    "jsonb[]": JSONBArray([{"a": 1}, {"b": 2}]),
    "point[]": PointArray([Point([1, 2])]),
    "interval[]": IntervalArray([datetime.timedelta(days=1)]),
    "inet[]": IpAddressArray([ipaddress.IPv4Address("10.0.0.1")]),
}


async def extra_types(connection, say):
    for kind, value in EXTRA.items():
        say(kind, await attempt(connection.fetch_val(f"SELECT $1::{kind}::text", [value])))


PROGRAMS = {
    "reading": reading,
    "order of keys": order_of_keys,
    "writing": writing,
    "extra types": extra_types,
}
