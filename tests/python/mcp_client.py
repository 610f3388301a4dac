"""Listens at an MCP server: argv is its URL, then URIs. Prints `listens` with the URL, `read` with each URI that it then reads,
since it may have changed meanwhile, and `told` with each that it is told of. Given several URLs, with commas between, it goes
on at the next one when its stream ends."""

import asyncio
import itertools
import sys

from mcp.client import Client


async def listen(url: str, uris: list[str]) -> None:
    async with Client(url) as client:
        async with client.listen(resource_subscriptions=uris) as listening:
            print("listens", url, flush=True)
            for uri in uris:
                await client.read_resource(uri)
                print("read", uri, flush=True)
            async for event in listening:
                print("told", event.uri, flush=True)


async def main(urls: str, *uris: str) -> None:
    if "," not in urls:
        return await listen(urls, list(uris))
    for url in itertools.cycle(urls.split(",")):
        try:
            await listen(url, list(uris))
        except Exception as error:
            print(url, repr(error), file=sys.stderr)
        await asyncio.sleep(0.05)


asyncio.run(main(*sys.argv[1:]))
