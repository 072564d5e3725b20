# A consumer in Python: messages and gaps of the relay's stream, with a look at its counters.
#
#   pip install nats-py
#   STREAM=PG DURABLE=worker python consumer.py
#
# The durable consumer exists: an administrator has made it, with the subjects of its channels and of gaps as its filter.

import asyncio
import json
import os
from urllib.parse import unquote

import nats
from nats.aio.msg import Msg


class Counters:
    """Tells what is missing between one message and the next."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.last: dict[str, int] = {}
        # Whether the epoch was followed from its beginning, so that a subject that was not seen had no message.
        self.whole = False
        self.highest = 0

    def see(self, message: Msg) -> int | None:
        """How many messages are missing before this one; None for an unknown number."""
        headers, sequence = message.headers or {}, message.metadata.sequence.stream
        # What comes again was counted before.
        if sequence <= self.highest or "Pg-Channel-Seq" not in headers:
            return 0
        self.highest = sequence
        epoch, text = headers["Pg-Channel-Seq"].split(":")
        begins = headers["Pg-Seq"] == f"{epoch}:1"
        isnew, before = epoch != self.epoch, self.epoch
        if isnew:
            self.epoch, self.last, self.whole = epoch, {}, before is not None or begins
        known = self.whole or message.subject in self.last
        missing = int(text) - self.last.get(message.subject, 0) - 1 if known else 0
        self.last[message.subject] = int(text)
        # The beginning of an epoch is a gap of its own; without it nobody knows what the one before had.
        return None if isnew and before is not None and not begins else missing


def tell(reason: str, dropped: int | None) -> None:
    print(f"gap {reason} {'unknown' if dropped is None else dropped}", flush=True)


async def main() -> None:
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
    nc = await nats.connect(url, max_reconnect_attempts=-1)
    durable, stream = os.environ["DURABLE"], os.environ["STREAM"]
    consumer = await nc.jetstream().pull_subscribe_bind(consumer=durable, stream=stream)
    counters = Counters()
    # For tests: how many messages there are.
    left = int(os.environ.get("LIMIT", "-1"))
    while left != 0:
        try:
            messages = await consumer.fetch(batch=100, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            left -= 1
            missing = counters.see(message)
            if missing != 0:
                tell("retention", missing)
            token = message.subject.split(".")[-1]
            if token == "%gap":
                gap = json.loads(message.data)
                # 0 tells of a new epoch of a durable source, in which nothing is missing.
                if gap["dropped"] != 0:
                    tell(gap["reason"], gap["dropped"])
            else:
                print(f"{unquote(token)} {message.data.decode()}", flush=True)
            await message.ack()
    await nc.drain()


asyncio.run(main())
