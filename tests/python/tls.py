"""Publishes and subscribes with nats-py over TLS: argv is the address of a node, the name in its certificate, and
the files of its authority, of a certificate and of its key."""

import asyncio
import ssl
import sys

import nats

PATIENCE_SECONDS = 10


async def main(node: str, name: str, ca: str, certificate: str, key: str) -> None:
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    client = await nats.connect(
        f"tls://{node}", tls=context, tls_hostname=name, allow_reconnect=False
    )
    subscription = await client.subscribe("news.*")
    payload = b"x" * 500_000
    await client.publish("news.large", payload)
    message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
    assert message.data == payload, len(message.data)
    await client.close()

    without = ssl.create_default_context(cafile=ca)
    try:
        await nats.connect(f"tls://{node}", tls=without, tls_hostname=name, allow_reconnect=False)
    except Exception:  # nats-py has no one class for what happens to a connection
        print("nats-py: TLS with a certificate, and none without")
    else:
        raise AssertionError("a client without a certificate was let in")


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 3 * PATIENCE_SECONDS))
