"""Publishes to the service of faststream_service.py and asks it: argv is the address of a node."""

import asyncio
import json
import sys

from faststream.nats import NatsBroker

COUNT = 100
PATIENCE_SECONDS = 10

broker = NatsBroker(f"nats://{sys.argv[1]}")
parcels: asyncio.Queue[str] = asyncio.Queue()


@broker.subscriber("parcels")
async def receive(parcel: str) -> None:
    await parcels.put(parcel)


async def main() -> None:
    async with broker:
        await broker.start()
        # All nodes know of the subscription before something is published.
        barrier = await broker.request("5s", "$TIDINGS.barrier", timeout=PATIENCE_SECONDS)
        assert json.loads(barrier.body)["everywhere"], barrier

        for count in range(COUNT):
            await broker.publish({"item": "apple", "count": count}, "orders")
        for count in range(COUNT):
            parcel = await asyncio.wait_for(parcels.get(), PATIENCE_SECONDS)
            assert parcel == f"{count} of apple", parcel

        for item, price in {"apple": 3, "pear": 4}.items():
            answer = await broker.request("", f"prices.{item}", timeout=PATIENCE_SECONDS)
            assert await answer.decode() == price, answer
    print("all of it holds")


asyncio.run(main())
