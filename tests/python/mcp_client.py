"""Listens at an MCP server: argv is its URL, then URIs. Prints `listens`, and a line for whatever it is told."""

import asyncio
import sys

from mcp.client import Client


async def main(url: str, *uris: str) -> None:
    async with Client(url) as client:
        async with client.listen(resource_subscriptions=list(uris)) as listening:
            print("listens", flush=True)
            async for event in listening:
                print("told", event.uri, flush=True)


asyncio.run(main(*sys.argv[1:]))
