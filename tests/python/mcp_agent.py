"""An agent that answers sums, at the MCP server of its node: argv is its URL. Prints `listens`, and what it is told."""

import asyncio
import sys

from mcp.client import Client


async def main(url: str) -> None:
    async with Client(url) as client:

        async def call(tool: str, **arguments: object) -> dict:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result
            return result.structured_content

        subscribed = await call("subscribe", topics=["sums"], agent="answerer")
        assert subscribed["everywhere"]
        inbox = subscribed["inbox"]
        async with client.listen(resource_subscriptions=["tidings://topics/sums/members"]) as listening:
            print("listens", flush=True)
            received = {"messages": []}
            while not received["messages"]:
                received = await call("receive", inbox=inbox)
            question = received["messages"][0]
            answer = str(eval(question["payload"], {}))
            await call("publish", topic=question["reply_to"], payload=answer, inbox=inbox)
            async for event in listening:
                print("told", event.uri, flush=True)
                break
        members = await call("members", topic="sums")
        print("members", *sorted(member["agent"] for member in members["members"]), flush=True)


asyncio.run(main(*sys.argv[1:]))
