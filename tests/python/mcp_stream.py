"""Reads a stream at the MCP server of a node as it grows: argv is the URL of that, and the URI of the stream."""

import asyncio
import json
import sys

from mcp.client import Client


async def main(url: str, uri: str) -> None:
    rest = uri
    async with Client(url) as client, client.listen(resource_subscriptions=[uri]) as listening:
        async for event in listening:
            assert event.uri == uri, event
            state = "more"
            while state == "more":
                content, about = (await client.read_resource(rest)).contents
                rest, state = about.uri, json.loads(about.text)["state"]
                print("read", content.text, state, flush=True)
            if state != "open":
                break


asyncio.run(main(*sys.argv[1:]))
