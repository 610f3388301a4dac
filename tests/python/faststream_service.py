"""A service of FastStream that handles messages and answers requests: argv is the address of a node."""

import asyncio
import sys

from faststream import FastStream, Path
from faststream.nats import NatsBroker
from pydantic import BaseModel

broker = NatsBroker(f"nats://{sys.argv[1]}")
app = FastStream(broker)


class Order(BaseModel):
    item: str
    count: int


@broker.subscriber("orders", queue="packers")
@broker.publisher("parcels")
async def pack(order: Order) -> str:
    return f"{order.count} of {order.item}"


@broker.subscriber("prices.{item}")
async def price(item: str = Path()) -> int:
    return {"apple": 3, "pear": 4}[item]


asyncio.run(app.run())
