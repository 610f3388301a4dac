"""Lets a client that listens at one replica of an MCP server hear of changes at all of them.

    async with TidingsBus("weather") as bus:
        server = MCPServer("weather", subscriptions=bus, middleware=[bus.watch])
        ...
        await server.run_streamable_http_async()

For the MCP SDK (`mcp` 2.3) and a Tidings node beside the server, with `nats-py` 2.16. One file, to be
read and copied. The convention, and what is promised, are in docs/mcp.md.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any

import nats
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
    event_from_wire,
)
from nats.aio.msg import Msg

PAUSE_SECONDS = 0.02
"""How long what was told is not told again: a burst is told at once, and once more when it is over."""
LOSSES_PAUSE_SECONDS = 1.0
"""How often all is told, if messages are lost all the time."""
BARRIER_SECONDS = 10
"""How long to wait until all nodes know this replica."""

LISTS = [ToolsListChanged(), PromptsListChanged(), ResourcesListChanged()]
METHODS = {
    ToolsListChanged: "tools.list_changed",
    PromptsListChanged: "prompts.list_changed",
    ResourcesListChanged: "resources.list_changed",
    ResourceUpdated: "resources.updated",
}
logger = logging.getLogger(__name__)


class TidingsBus:
    """A `SubscriptionBus`. Once it is entered, all live nodes know this replica, so nothing is missed."""

    def __init__(self, server: str, servers: str | list[str] = "nats://127.0.0.1:4222", **options: Any) -> None:
        """The name that all replicas of the server have, where its node is, and options of `nats.connect`."""
        self._prefix = f"mcp.{server}."
        self._options = {"servers": servers, "name": f"mcp/{server}", "max_reconnect_attempts": -1, **options}
        # Who listens, and for which resources.
        self._listeners: dict[object, tuple[Callable[[ServerEvent], None], frozenset[str]]] = {}
        # The resources that the request which is being served asks to listen for.
        self._asked: ContextVar[frozenset[str]] = ContextVar("asked")
        # What was told not long ago, and whether it is to be told again when its pause is over.
        self._resting: dict[ServerEvent | None, bool] = {}

    async def __aenter__(self) -> "TidingsBus":
        self._loop = asyncio.get_running_loop()
        self._client = await nats.connect(
            **self._options, reconnected_cb=self._came_back, error_cb=self._went_wrong
        )
        try:
            await self._client.subscribe(self._prefix + ">", cb=self._heard)
            await self._client.subscribe("$TIDINGS.gaps", cb=self._lost)
            await self._everywhere()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def publish(self, event: ServerEvent) -> None:
        """Tells all replicas. This one hears of it as the others do."""
        params = asdict(event) if isinstance(event, ResourceUpdated) else {}
        await self._client.publish(self._prefix + METHODS[type(event)], json.dumps(params).encode())

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        asked = self._asked.get(None)
        if asked is None:
            raise RuntimeError("make the server with middleware=[bus.watch], which knows what clients listen for")
        token = object()
        self._listeners[token] = (listener, asked)
        return lambda: void(self._listeners.pop(token, None))

    async def watch(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Knows which resources clients listen for, so that those can be told of after a loss."""
        if ctx.method == "subscriptions/listen":
            asked = (ctx.params or {}).get("notifications")
            uris = asked.get("resourceSubscriptions") if isinstance(asked, dict) else None
            uris = uris if isinstance(uris, list) else []
            self._asked.set(frozenset(uri for uri in uris if isinstance(uri, str)))
        return await call_next(ctx)

    async def _everywhere(self) -> None:
        limit = f"{BARRIER_SECONDS}s".encode()
        answer = await self._client.request("$TIDINGS.barrier", limit, timeout=BARRIER_SECONDS + 5)
        if not json.loads(answer.data).get("everywhere"):
            raise RuntimeError(f"not all nodes know this replica of the MCP server: {answer.data.decode()}")

    async def _heard(self, message: Msg) -> None:
        method = "notifications/" + message.subject.removeprefix(self._prefix).replace(".", "/")
        try:
            event = event_from_wire(method, json.loads(message.data))
        except (ValueError, AttributeError):
            logger.warning("a message on %s is malformed", message.subject)
            return
        if event is not None:
            self._tell(event)

    async def _lost(self, _: Msg | None = None) -> None:
        self._tell(None)

    async def _came_back(self) -> None:
        """What was published while there was no connection is not known, nor what is until all nodes know of it."""
        while not self._client.is_closed:
            try:
                return await self._everywhere()
            except Exception as error:  # The connection may be gone again, or a node cannot be reached yet.
                logger.warning("after a reconnect: %r", error)
                await asyncio.sleep(LOSSES_PAUSE_SECONDS)
            finally:
                await self._lost()

    async def _went_wrong(self, error: Exception) -> None:
        logger.warning("the connection to the node: %r", error)
        if isinstance(error, nats.errors.SlowConsumerError):
            await self._lost()

    def _tell(self, event: ServerEvent | None) -> None:
        """Tells of an event, or everybody of all that is listened for. What nobody listens for is not kept."""
        concerned = [
            (listener, uris)
            for listener, uris in self._listeners.values()
            if not isinstance(event, ResourceUpdated) or event.uri in uris
        ]
        if not concerned:
            return
        if event in self._resting:
            self._resting[event] = True
            return
        self._resting[event] = False
        pause = LOSSES_PAUSE_SECONDS if event is None else PAUSE_SECONDS
        self._loop.call_later(pause, self._rested, event)
        for listener, uris in concerned:
            for one in [event] if event is not None else [*LISTS, *map(ResourceUpdated, uris)]:
                listener(one)

    def _rested(self, event: ServerEvent | None) -> None:
        if self._resting.pop(event):
            self._tell(event)


def void(_: object) -> None:
    """Nothing."""
