"""Runs one program and prints what it said, as one line of JSON.

    python run.py DSN PROGRAM
"""

import asyncio
import json
import sys

import connections
import copying
import cursors
import prepared
import transactions
import values
from canonical import canonical
from psqlpy import ConnectionPool

PROGRAMS = {
    **connections.PROGRAMS,
    **transactions.PROGRAMS,
    **cursors.PROGRAMS,
    **prepared.PROGRAMS,
    **copying.PROGRAMS,
    **values.PROGRAMS,
}


async def main(dsn, program):
    said = {}

    def say(label, value):
        said[label] = canonical(value)

    connection = await ConnectionPool(dsn=dsn, max_db_pool_size=2).connection()
    await PROGRAMS[program](connection, say)
    print(json.dumps(said), flush=True)


asyncio.run(main(*sys.argv[1:]))
