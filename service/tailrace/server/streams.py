"""Hypercorn's stream for a request, which offers its wire to the application and runs it as one task.

`http1` and `http2` make a stream per request and tell it what arrives; it builds the ASGI scope and turns the
application's messages into events for them. Mended here: an application that fails is logged without the query, and
disturbs nobody else. Not offered: server push and trailers, which no client of ours wants. The other kind of stream is
`websocket`'s. Knows no connection but through `Carrier`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from hypercorn.protocol.events import Body, EndBody, Event, Request, Response, StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.utils import suppress_body

from tailrace.server.answer import Answer
from tailrace.server.settings import RETRY_AFTER_REFUSALS_SECONDS
from tailrace.wire import EXTENSION

if TYPE_CHECKING:
    from hypercorn.typing import TaskGroup
    from starlette.types import ASGIApp

    from tailrace.server.inbox import Inbox
    from tailrace.server.timed import Timed
    from tailrace.server.wires import Carrier, ServerWire

logger = logging.getLogger(__name__)

_CALM_DOWN = Answer(
    429,
    "this connection asks for what it may not have",
    [(b"retry-after", b"%d" % RETRY_AFTER_REFUSALS_SECONDS)],
    "too_many_refusals",
)
"""In place of one refusal too many (RFC 6585 section 4)."""


class Running:
    """Runs the application of one stream. Takes the place of Hypercorn's task group, which would let it go by itself.

    One queue of ours, one task, and no failure that reaches the connection. Waits until the request may be heard; what
    the application does then is charged to those who are not admitted, until it takes the wire.
    """

    __slots__ = ("_admitted", "_carrier", "_inbox", "_offer", "_timed", "_wire")

    _timed: Timed

    def __init__(self, carrier: Carrier, inbox: Inbox, wire: ServerWire, offer: Callable[[Any], None]) -> None:
        self._carrier = carrier
        self._inbox = inbox
        self._wire = wire
        self._offer = offer
        self._admitted = False

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start ``app``; gives the way to its ``receive``."""
        del config
        self._offer(scope)
        if (opened := scope["extensions"].get(EXTENSION)) is not None:
            scope["extensions"][EXTENSION] = partial(self._admit, opened)
        self._carrier.standing.expect()
        self._timed = self._carrier.spawn(self._run(app, scope, send))
        return self._inbox.put

    def _admit(self, opened: Callable[[], ServerWire]) -> ServerWire:
        """Return the wire. An application that asks for it has admitted the client."""
        wire = opened()
        if not self._admitted:
            self._admitted = True
            self._timed.charge = None
            self._carrier.standing.admit()
            wire.admitted()
        return wire

    async def _run(self, app: ASGIApp, scope: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await self._carrier.standing.hear()
            if not self._wire.ended:  # else the client has gone while it waited
                await app(scope, self._inbox.receive, send)
        except Exception:
            logger.exception("an application failed (%s over HTTP/%s)", scope["type"], scope["http_version"])
        finally:
            self._wire.end()
            await self._finish(send)
            scope["extensions"].clear()  # the stream keeps the scope, and the wire's offer is the stream's
            if self._admitted:
                self._carrier.standing.dismiss()
            del self._timed  # it knows us

    async def _finish(self, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await send(None)
        except Exception:
            logger.exception("a response could not be ended; its connection or stream is cut")
            self._wire.abort()


def _refuses(status: int) -> bool:
    """Whether an answer refuses what was asked for. A refusal that passes by itself (429, 503) does not count."""
    return 400 <= status < 500 and status != 429


class HttpStream(HTTPStream):
    """One HTTP request and its response. Lives until both are over."""

    def __init__(self, carrier: Carrier, inbox: Inbox, wire: ServerWire, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._carrier = carrier
        self._expecting: asyncio.TimerHandle | None = None
        self._told_to_calm_down = False
        self.inbox = inbox
        self.wire = wire
        self.unacknowledged = 0
        """Bytes received over HTTP/2 whose window the peer has not been given back."""
        self.task_group = cast("TaskGroup", Running(carrier, inbox, wire, self._offer))

    def expect_body(self, seconds: float) -> None:
        """Cut the request if it is neither whole nor answered in time; called where its body did not come at once."""
        if self._expecting is None:
            self._expecting = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.state is ASGIHTTPState.REQUEST:
            self._carrier.note_limit("request_timeout")
            self.wire.abort()

    async def handle(self, event: Event) -> None:
        if isinstance(event, (EndBody, StreamClosed)) and self._expecting is not None:
            self._expecting.cancel()
        if isinstance(event, StreamClosed) and not self.closed:
            self.closed = True
            self.wire.end()
            self.inbox.close({"type": "http.disconnect"})
        else:
            await super().handle(event)
            if isinstance(event, Request):
                del self.task_group  # needed once, and knows us

    async def app_send(self, message: Any) -> None:
        kind = "" if message is None else message["type"]
        if self._told_to_calm_down and message is not None:
            return
        if kind == "http.response.start" and _refuses(message["status"]) and self._carrier.standing.refuse():
            await self._tell_to_calm_down()
            return
        if kind == "http.response.body" and not message.get("more_body", False):
            self.wire.end()
        await super().app_send(message)

    async def _tell_to_calm_down(self) -> None:
        """Answer in place of the application; the connection ends after it."""
        self._told_to_calm_down = True
        self.wire.end()
        self.response = {"type": "http.response.start", "status": _CALM_DOWN.status, "headers": _CALM_DOWN.headers}
        await self.send(Response(self.stream_id, _CALM_DOWN.headers, _CALM_DOWN.status))
        if not suppress_body(self.scope["method"], _CALM_DOWN.status):
            await self.send(Body(self.stream_id, _CALM_DOWN.body))
        await self._send_closed()

    def _offer(self, scope: Any) -> None:
        scope["extensions"] = {EXTENSION: self._started_wire} if scope["method"] == "GET" else {}

    def _started_wire(self) -> ServerWire:
        """Return the wire, the head being on its way. Raises `RuntimeError` where no body of open length follows."""
        if self.state is not ASGIHTTPState.RESPONSE:
            raise RuntimeError("there is a wire only between http.response.start and the end of the response")
        if suppress_body("GET", int(self.response["status"])) or any(
            name.lower() == b"content-length" for name, _ in self.response["headers"]
        ):
            raise RuntimeError("there is no wire for a response without a body, or with a content-length")
        return self.wire
