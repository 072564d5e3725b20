"""Values as canonical JSON: the same rules as in canonical.ts."""

import datetime
import decimal
import ipaddress
import math
import re
import uuid


def canonical(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return {"number": number(value)}
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        # A string in JavaScript.
        return format(value, "f") if isinstance(value, decimal.Decimal) else str(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, datetime.datetime):
        # Without a time zone it is one of UTC.
        utc = value.astimezone(datetime.timezone.utc) if value.tzinfo else value
        return moment(utc)
    if isinstance(value, datetime.date):
        return moment(datetime.datetime(value.year, value.month, value.day))
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        microseconds = value.seconds * 1_000_000 + value.microseconds
        # A timedelta knows no months.
        return canonical({"months": 0, "days": value.days, "microseconds": microseconds})
    if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(value)
    if isinstance(value, dict):
        return {"object": {key: canonical(value[key]) for key in sorted(value)}}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    raise TypeError(f"no canonical form of {type(value)}")


def number(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == int(value):
        return str(int(value))
    # JavaScript writes an exponent without leading zeros.
    return re.sub(r"e([+-])0+", r"e\1", repr(value))


def moment(value):
    text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return {"moment": text.rstrip("0").removesuffix(".")}
