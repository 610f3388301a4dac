"""Shows who it is with nats-py: argv is the address of a node that knows worker, tok and nobody else."""

import asyncio
import sys

import nats

PATIENCE_SECONDS = 10


async def main(node: str) -> None:
    errors: asyncio.Queue[Exception] = asyncio.Queue()
    closed = asyncio.Event()

    async def on_error(error: Exception) -> None:
        await errors.put(error)

    async def on_closed() -> None:
        closed.set()

    async def error() -> str:
        return str(await asyncio.wait_for(errors.get(), PATIENCE_SECONDS)).lower()

    worker = await nats.connect(
        f"nats://{node}", user="worker", password="s3cret", error_cb=on_error, closed_cb=on_closed
    )
    allowed = await worker.subscribe("work.>")
    await worker.publish("work.a", b"before")
    await worker.subscribe("other")
    await worker.flush()
    assert 'permissions violation for subscription to "other"' in await error()
    await worker.publish("other", b"x")
    await worker.flush()
    assert 'permissions violation for publish to "other"' in await error()
    await worker.publish("work.a", b"after")
    for expected in (b"before", b"after"):
        message = await allowed.next_msg(timeout=PATIENCE_SECONDS)
        assert message.data == expected, message
    assert worker.is_connected and not closed.is_set()

    by_token = await nats.connect(f"nats://{node}", token="t0ken")
    await by_token.publish("anything", b"x")
    await by_token.flush()
    by_address = await nats.connect(f"nats://worker:s3cret@{node}")
    for client in (worker, by_token, by_address):
        await client.close()

    for wrong in ({"user": "worker", "password": "secret"}, {"token": "token"}, {}):
        try:
            await nats.connect(f"nats://{node}", allow_reconnect=False, **wrong)
        except nats.errors.Error as refused:
            assert "authorization violation" in str(refused).lower(), refused
        else:
            raise AssertionError(f"{wrong} was let in")
    print("nats-py: who is known is let in, and hears what is denied")


asyncio.run(main(*sys.argv[1:]))
