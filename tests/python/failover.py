"""Goes on at another node with nats-py: argv is the address of one node, then that of another."""

import asyncio
import sys

import nats

PATIENCE_SECONDS = 30


async def main(*nodes: str) -> None:
    client = await nats.connect(
        [f"nats://{node}" for node in nodes], dont_randomize=True, reconnect_time_wait=0.1
    )
    subscription = await client.subscribe("news")
    await client.flush()
    print("subscribed at", client.connected_url.netloc, flush=True)

    message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
    print("got", message.data.decode(), "at", client.connected_url.netloc)
    await client.drain()


asyncio.run(main(*sys.argv[1:]))
