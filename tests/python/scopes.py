"""Says its scope with nats-py in the ways that there are: argv is the address of a node."""

import asyncio
import sys

import nats

PATIENCE_SECONDS = 10


async def main(node: str) -> None:
    here = await nats.connect(f"nats://{node}")
    by_user = await nats.connect(f"nats://{node}", user="scope=staging", password="any")
    by_token = await nats.connect(f"nats://{node}", token="scope=staging")
    by_address = await nats.connect(f"nats://scope=staging@{node}")
    clients = (here, by_user, by_token, by_address)

    subscriptions = [await client.subscribe("news") for client in clients]
    for client in clients:
        await client.flush()
    await here.publish("news", b"here")
    for client in clients[1:]:
        await client.publish("news", b"staging")
    for client in clients:
        await client.flush()

    message = await subscriptions[0].next_msg(timeout=PATIENCE_SECONDS)
    assert message.data == b"here", message
    assert subscriptions[0].pending_msgs == 0, subscriptions[0].pending_msgs
    for subscription in subscriptions[1:]:
        for _ in clients[1:]:
            message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
            assert message.data == b"staging", message
        assert subscription.pending_msgs == 0, subscription.pending_msgs

    for client in clients:
        await client.close()
    try:
        await nats.connect(f"nats://{node}", user="scope=a b", password="", allow_reconnect=False)
    except nats.errors.Error as error:
        assert "Invalid Scope" in str(error), error
    else:
        raise AssertionError("a scope that is none was taken")
    print("nats-py: scopes are apart")


asyncio.run(main(*sys.argv[1:]))
