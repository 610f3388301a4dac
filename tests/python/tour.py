"""What NATS promises its clients, with nats-py over three nodes: argv is their addresses."""

import asyncio
import json
import sys

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

COUNT = 200
PATIENCE_SECONDS = 10


async def everywhere(client: Client) -> None:
    """Waits until all nodes know of the client's subscriptions."""
    answer = await client.request("$TIDINGS.barrier", b"5s", timeout=PATIENCE_SECONDS)
    assert json.loads(answer.data)["everywhere"], answer.data


async def publish_and_subscribe(here: Client, there: Client) -> None:
    subscriptions = [
        await here.subscribe("news.sport"),
        await there.subscribe("news.sport"),
        await there.subscribe("news.*"),
        await there.subscribe("news.>"),
    ]
    everything = subscriptions[-1]
    limited = await there.subscribe("limited")
    await limited.unsubscribe(limit=2)
    await everywhere(here)
    await everywhere(there)

    for number in range(COUNT):
        headers = {"Number": str(number), "Language": "Python"}
        await here.publish("news.sport", b"goal", headers=headers)
    await here.publish("news.sport.results", b"")
    for number in range(3):
        await here.publish("limited", b"%d" % number)
    await here.flush()

    for subscription in subscriptions:
        for number in range(COUNT):
            message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
            assert (message.subject, message.data) == ("news.sport", b"goal"), message
            assert message.headers == {"Number": str(number), "Language": "Python"}, message
    message = await everything.next_msg(timeout=PATIENCE_SECONDS)
    assert (message.subject, message.data) == ("news.sport.results", b""), message
    assert message.headers is None, message
    for number in range(2):
        message = await limited.next_msg(timeout=PATIENCE_SECONDS)
        assert message.data == b"%d" % number, message
    for subscription in subscriptions:
        assert subscription.pending_msgs == 0, subscription.subject
        await subscription.unsubscribe()


async def queue_group(here: Client, workers: list[Client]) -> None:
    done: list[tuple[Client, bytes]] = []
    finished = []
    for worker in workers:

        async def work(job: Msg, worker: Client = worker) -> None:
            done.append((worker, job.data))

        await worker.subscribe("jobs", queue="workers", cb=work)
        finished.append(await worker.subscribe("jobs.end"))
        await everywhere(worker)

    for number in range(COUNT):
        await here.publish("jobs", b"%d" % number)
    await here.publish("jobs.end")
    # What comes after the end of a publisher comes after all that it published before.
    for subscription in finished:
        await subscription.next_msg(timeout=PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(done) < COUNT:
            await asyncio.sleep(0.01)
    assert sorted(int(job) for _, job in done) == list(range(COUNT)), f"{len(done)} jobs"
    assert {worker for worker, _ in done} == set(workers), "one of them has got all jobs"


async def request_and_reply(here: Client, there: Client) -> None:
    async def answer(question: Msg) -> None:
        await question.respond(question.data.upper())

    await there.subscribe("shout", cb=answer)
    await everywhere(there)
    response = await here.request("shout", b"hello", timeout=PATIENCE_SECONDS)
    assert response.data == b"HELLO", response

    try:
        await here.request("nobody.listens", b"hello", timeout=PATIENCE_SECONDS)
    except nats.errors.NoRespondersError:
        pass
    else:
        raise AssertionError("somebody has answered")


async def drain(here: Client, there: Client) -> None:
    read = []

    async def slowly(message: Msg) -> None:
        await asyncio.sleep(0.005)
        read.append(message.data)

    await there.subscribe("last.words", cb=slowly)
    arrived = await there.subscribe("last.words.end")
    await everywhere(there)
    for number in range(20):
        await here.publish("last.words", b"%d" % number)
    await here.publish("last.words.end")
    await arrived.next_msg(timeout=PATIENCE_SECONDS)
    await there.drain()
    assert read == [b"%d" % number for number in range(20)], read
    assert there.is_closed


async def main(*nodes: str) -> None:
    clients = [await nats.connect(f"nats://{node}", name="python") for node in nodes]
    here, there, elsewhere = clients
    await publish_and_subscribe(here, there)
    await queue_group(here, [there, elsewhere])
    await request_and_reply(here, there)
    await drain(here, there)
    await elsewhere.drain()
    await here.drain()
    print("all of it holds")


asyncio.run(main(*sys.argv[1:]))
