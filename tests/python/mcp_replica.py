"""A replica of an MCP server: argv is a port of loopback, and where a node is. Says `serves` when it does.

Without a node it has the bus of the SDK, and nobody else hears of its changes. It tells the weather of any city, and has
what the conformance tool of MCP calls of the tools, resources and prompts that concern changes.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "adapters/python"))

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY
from tidings_bus import TidingsBus


def weather_server(bus: TidingsBus | None) -> MCPServer:
    server = MCPServer("weather", version="1", subscriptions=bus, middleware=[bus.watch] if bus else [])

    @server.resource("weather://{city}")
    def weather(city: str) -> str:
        return f"sunny in {city}"

    @server.resource("test://static-text", mime_type="text/plain")
    def text() -> str:
        return "always the same"

    @server.prompt(description="Asks whether to take one")
    def umbrella() -> str:
        return "Will I need an umbrella?"

    def tool(description: str):
        return server.tool(description=description)

    @tool("Returns a text")
    def test_simple_text() -> str:
        return "done"

    @tool("Fails")
    def test_error_handling() -> str:
        raise ToolError("it fails, as it is to")

    @tool("Tells its progress")
    async def test_tool_with_progress(ctx: Context) -> str:
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100)
        return "done"

    @tool("Logs nothing")
    def test_logging_tool() -> str:
        return "done"

    @tool("Asks nothing")
    def test_streaming_elicitation() -> str:
        return "done"

    @tool("Needs a client that can sample")
    def test_missing_capability(ctx: Context) -> str:
        client = ctx.session.client_capabilities
        if client is None or client.sampling is None:
            needed = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "the client cannot sample", needed)
        return "done"

    @tool("Says that there are other tools")
    async def test_trigger_tool_change(ctx: Context) -> str:
        await ctx.notify_tools_changed()
        return "done"

    @tool("Says that there are other prompts")
    async def test_trigger_prompt_change(ctx: Context) -> str:
        await ctx.notify_prompts_changed()
        return "done"

    return server


async def serve(server: MCPServer, port: int) -> None:
    http = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), port=port, log_level="warning"))
    serving = asyncio.create_task(http.serve())
    while not http.started and not serving.done():
        await asyncio.sleep(0.01)
    print("serves", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def main(port: str, node: str | None = None) -> None:
    if node is None:
        return await serve(weather_server(None), int(port))
    async with TidingsBus("weather", f"nats://{node}", reconnect_time_wait=0.1) as bus:
        await serve(weather_server(bus), int(port))


asyncio.run(main(*sys.argv[1:]))
