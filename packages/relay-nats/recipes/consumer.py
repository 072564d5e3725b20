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
from nats.js.api import ConsumerConfig


class Counters:
    """Tells what is missing between one message and the next."""

    def __init__(self, wanted: set[str] | None) -> None:
        # The channels that the consumer gets; None for all.
        self.wanted = wanted
        self.epoch: str | None = None
        # The last number of each channel; that of gaps is at None.
        self.last: dict[str | None, int] = {}
        # Whether the epoch was followed from its beginning, so that a channel that was not seen had no message.
        self.whole = False
        self.highest = 0

    def see(self, message: Msg, channel: str | None, gap: dict | None) -> int | None:
        """How many messages are missing before this one; None for an unknown number."""
        headers, sequence = message.headers or {}, message.metadata.sequence.stream
        # What comes again was counted before.
        if sequence <= self.highest or "Pg-Channel-Seq" not in headers:
            return 0
        self.highest = sequence
        epoch, text = headers["Pg-Channel-Seq"].split(":")
        begins = headers["Pg-Seq"] == f"{epoch}:1"
        ended: int | None = 0
        if epoch != self.epoch:
            if self.epoch is not None:
                # Without the beginning of the new epoch nobody knows what the one before had.
                ended = self.missing_at_end(gap) if begins and gap is not None else None
            self.epoch, self.last, self.whole = epoch, {}, self.epoch is not None or begins
        known = self.whole or channel in self.last
        missing = int(text) - self.last.get(channel, 0) - 1 if known else 0
        self.last[channel] = int(text)
        return None if ended is None else ended + missing

    def missing_at_end(self, gap: dict) -> int | None:
        """How many messages of the epoch are missing, by the beginning of the next one; None for an unknown number."""
        # A beginning with a loss of its own is told as a gap anyway.
        if gap["dropped"] != 0:
            return 0
        numbers = gap.get("previousOf")
        # Another epoch was between the two, or the numbers were too many for a message.
        if (gap["previous"] or "").split(":")[0] != self.epoch or numbers is None:
            return None
        missing = 0
        for channel, number in numbers.items():
            epoch, text = number.split(":")
            known = self.whole or channel in self.last
            if epoch == self.epoch and known and (self.wanted is None or channel in self.wanted):
                missing += max(0, int(text) - self.last.get(channel, 0))
        return missing


def channels_of(config: ConsumerConfig) -> set[str] | None:
    """The channels that a consumer gets; None for all."""
    subjects = config.filter_subjects or [config.filter_subject or ">"]
    tokens = {subject.split(".")[-1] for subject in subjects}
    return None if tokens & {"*", ">"} else {unquote(token) for token in tokens - {"%gap"}}


def tell(reason: str, dropped: int | None) -> None:
    print(f"gap {reason} {'unknown' if dropped is None else dropped}", flush=True)


async def main() -> None:
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
    nc = await nats.connect(url, max_reconnect_attempts=-1)
    durable, stream = os.environ["DURABLE"], os.environ["STREAM"]
    consumer = await nc.jetstream().pull_subscribe_bind(consumer=durable, stream=stream)
    counters = Counters(channels_of((await consumer.consumer_info()).config))
    # For tests: how many messages there are.
    left = int(os.environ.get("LIMIT", "-1"))
    while left != 0:
        try:
            messages = await consumer.fetch(batch=100, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            left -= 1
            token = message.subject.split(".")[-1]
            channel = None if token == "%gap" else unquote(token)
            gap = json.loads(message.data) if channel is None else None
            missing = counters.see(message, channel, gap)
            if missing != 0:
                tell("retention", missing)
            if gap is None:
                print(f"{channel} {message.data.decode()}", flush=True)
            # 0 tells of a new epoch of a durable source, in which nothing is missing.
            elif gap["dropped"] != 0:
                tell(gap["reason"], gap["dropped"])
            await message.ack()
    await nc.drain()


asyncio.run(main())
