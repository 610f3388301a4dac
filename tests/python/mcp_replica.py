"""A replica of an MCP server: argv is a port of loopback, and where a node is. Says `serves` when it does."""

import asyncio
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "adapters/python"))

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from tidings_bus import TidingsBus


async def main(port: str, node: str) -> None:
    async with TidingsBus("weather", f"nats://{node}", reconnect_time_wait=0.1) as bus:
        server = MCPServer("weather", subscriptions=bus, middleware=[bus.watch])

        @server.resource("weather://{city}")
        def weather(city: str) -> str:
            return f"sunny in {city}"

        @server.tool()
        async def change(city: str, ctx: Context) -> str:
            """Changes the weather."""
            await ctx.notify_resource_updated(f"weather://{city}")
            return "changed"

        app = server.streamable_http_app()
        http = uvicorn.Server(uvicorn.Config(app, port=int(port), log_level="warning"))
        serving = asyncio.create_task(http.serve())
        while not http.started and not serving.done():
            await asyncio.sleep(0.01)
        print("serves", flush=True)
        with contextlib.suppress(asyncio.CancelledError):
            await serving


asyncio.run(main(*sys.argv[1:]))
