"""The public members of psqlpy, by class and module, as JSON."""

import inspect
import json

import psqlpy
from psqlpy import _internal, extra_types, exceptions, row_factories

CLASSES = [
    "ConnectionPool",
    "ConnectionPoolBuilder",
    "ConnectionPoolStatus",
    "Connection",
    "Transaction",
    "PreparedStatement",
    "Column",
    "Cursor",
    "QueryResult",
    "SingleQueryResult",
    "Record",
    "Listener",
    "ListenerNotificationMsg",
]


def public(thing):
    names = (name for name in dir(thing) if not name.startswith("_"))
    return sorted(name for name in names if not inspect.ismodule(getattr(thing, name)))


members = {name: public(getattr(_internal, name)) for name in CLASSES}
members["psqlpy"] = public(psqlpy)
members["psqlpy.extra_types"] = public(extra_types)
members["psqlpy.exceptions"] = public(exceptions)
members["psqlpy.row_factories"] = public(row_factories)
print(json.dumps(members))
