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
from collections.abc import Callable, Coroutine
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
RECALLS_PAUSE_SECONDS = 1.0
"""How often the nodes are asked what was missed, if messages are lost all the time."""
TICK_SECONDS = 30.0
"""How often they are asked in any case. A node that is away for two of these may have taken changes with it."""
REPUBLISHED_SECONDS = 10.0
"""What was published so long ago may be lost when the node is killed, and is published again at the next one."""
OVERTAKEN_SECONDS = 0.2
"""How long a change that was overtaken may still be under way."""
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
        # Up to which number all changes are known, by the run of the node that gave it; -1 if that is not waited for.
        self._known: dict[str, int] = {}
        # The nodes on which something was published that nobody can know.
        self._suspects: set[str] = set()
        self._missing_ticks = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._recalling = self._again = False
        self._published: dict[ServerEvent, float] = {}
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
            self._known = (await self._ask())["known"]
        except BaseException:
            await self._client.close()
            raise
        self._start(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._client.close()

    async def publish(self, event: ServerEvent) -> None:
        """Tells all replicas. This one hears of it as the others do."""
        now = self._loop.time()
        for old in [old for old, at in self._published.items() if now - at > REPUBLISHED_SECONDS]:
            del self._published[old]
        self._published[event] = now
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

    async def _ask(self, give_up: bool = False) -> dict[str, Any]:
        """What all nodes say that was published there since what is known."""
        server = self._prefix.split(".")[1]
        asked = {"server": server, "known": self._known, "suspect": [*self._suspects], "give_up": give_up}
        answer = await self._client.request("$TIDINGS.mcp.changed", json.dumps(asked).encode(), timeout=10)
        return json.loads(answer.data)

    def _suspect(self, delay: float = 0.0) -> None:
        """Something may be missing: the nodes are asked what, and asked again as long as one does not answer."""
        if self._recalling:
            self._again = True
        else:
            self._recalling = True
            self._start(self._recall(delay))

    async def _recall(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self._again = True
        while self._again:
            self._again = False
            asked, give_up = set(self._known), self._missing_ticks > 1
            try:
                answer = await self._ask(give_up)
            except Exception as error:  # There is no connection, for the time being.
                logger.warning("the node does not say what has changed: %r", error)
                self._again = True
            else:
                self._take(answer, asked)
            await asyncio.sleep(RECALLS_PAUSE_SECONDS)
        self._recalling = False

    def _take(self, answer: dict[str, Any], asked: set[str]) -> None:
        for change in answer.get("changes", []):
            self._changed(change["topic"], change["params"])
        # A node that cannot say it leaves everything open.
        if answer.get("all", True):
            self._tell(None)
        known = answer.get("known", {})
        for run in asked - known.keys():
            self._known.pop(run, None)
        for run, number in known.items():
            self._known[run] = max(number, self._known.get(run, number)) if number >= 0 else number
        self._again |= bool(answer.get("silent"))
        if not answer.get("missing"):
            self._missing_ticks = 0
        if not answer.get("silent"):
            self._suspects.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._missing_ticks += 1
            self._suspect()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _heard(self, message: Msg) -> None:
        # Which run of which node says so, what number came before this one there, and this one's.
        *run, after, number = (message.headers or {}).get("Tidings-Change", "0 0").split(" ")
        known = self._known.get(" ".join(run), 0)
        if int(after) > max(known, 0):
            self._suspect(OVERTAKEN_SECONDS)
        elif run:
            self._known[" ".join(run)] = max(known, int(number))
        try:
            self._changed(message.subject, json.loads(message.data))
        except ValueError:
            logger.warning("a message on %s is malformed", message.subject)

    def _changed(self, topic: str, params: Any) -> None:
        method = "notifications/" + topic.removeprefix(self._prefix).replace(".", "/")
        try:
            event = event_from_wire(method, params)
        except (ValueError, AttributeError):
            logger.warning("a message on %s is malformed", topic)
            return
        if event is not None:
            self._tell(event)

    async def _lost(self, message: Msg) -> None:
        gap = json.loads(message.data)
        if gap.get("event") == "gap" and gap.get("frames") is None:
            self._suspects.add(gap["from"])
        self._suspect()

    async def _came_back(self) -> None:
        """What was published while there was no connection is asked for; what was lost on its way out is said again."""
        while not self._client.is_closed:
            try:
                await self._everywhere()
                break
            except Exception as error:  # The connection may be gone again, or a node cannot be reached yet.
                logger.warning("after a reconnect: %r", error)
                await asyncio.sleep(RECALLS_PAUSE_SECONDS)
        for event in [*self._published]:
            await self.publish(event)
        self._suspect()

    async def _went_wrong(self, error: Exception) -> None:
        logger.warning("the connection to the node: %r", error)
        if isinstance(error, nats.errors.SlowConsumerError):
            self._suspect()

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
        self._loop.call_later(PAUSE_SECONDS, self._rested, event)
        for listener, uris in concerned:
            for one in [event] if event is not None else [*LISTS, *map(ResourceUpdated, uris)]:
                listener(one)

    def _rested(self, event: ServerEvent | None) -> None:
        if self._resting.pop(event):
            self._tell(event)


def void(_: object) -> None:
    """Nothing."""
