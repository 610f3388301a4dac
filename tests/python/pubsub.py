"""Publishes and subscribes with nats-py: argv is the address of one node, then that of another."""

import asyncio
import sys

import nats

COUNT = 200
PATIENCE_SECONDS = 10


async def main(here: str, there: str) -> None:
    publisher = await nats.connect(f"nats://{here}", name="python-publisher")
    subscriber = await nats.connect(f"nats://{there}", name="python-subscriber")

    exact = await subscriber.subscribe("python.news")
    wildcard = await subscriber.subscribe("python.>")
    local = await publisher.subscribe("python.news")
    limited = await subscriber.subscribe("python.limited")
    await limited.unsubscribe(limit=2)
    await subscriber.flush()
    await publisher.flush()

    # The subscriptions of the other node are known here a moment later: ask until one arrives.
    probe = await subscriber.subscribe("probe")
    await subscriber.flush()
    for _ in range(PATIENCE_SECONDS * 20):
        await publisher.publish("probe", b"?")
        try:
            await probe.next_msg(timeout=0.05)
            break
        except nats.errors.TimeoutError:
            continue
    else:
        raise AssertionError("nothing arrives at the other node")

    for number in range(COUNT):
        await publisher.publish("python.news", b"%d" % number, headers={"Number": str(number)})
    for number in range(3):
        await publisher.publish("python.limited", b"%d" % number)
    await publisher.flush()

    for subscription in (exact, wildcard, local):
        for number in range(COUNT):
            message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
            assert message.subject == "python.news", message
            assert message.data == b"%d" % number, message
            assert message.headers == {"Number": str(number)}, message

    for number in range(2):
        message = await limited.next_msg(timeout=PATIENCE_SECONDS)
        assert message.data == b"%d" % number, message
    for number in range(3):
        message = await wildcard.next_msg(timeout=PATIENCE_SECONDS)
        assert (message.subject, message.data) == ("python.limited", b"%d" % number), message

    await subscriber.drain()
    await publisher.drain()
    print(f"nats-py: {COUNT} messages from {here} to {there}, in order and once")


asyncio.run(main(*sys.argv[1:]))
