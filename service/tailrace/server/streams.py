"""Hypercorn's two kinds of stream, each offering its wire to the application and running it as one task.

`http1` and `http2` make a stream per request and tell it what arrives; it builds the ASGI scope and turns the
application's messages into events for them. Mended here: early data and bad handshakes leave no application behind; a
WebSocket close is answered at once, whichever side began it, and nothing follows it; permessage-deflate is declined (it
costs 120 kB a socket); an application that fails is logged without the query, and disturbs nobody else. Not offered:
server push and trailers, which no client of ours wants. Knows no connection but through `Carrier`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from hypercorn.protocol.events import Body, Data, EndBody, EndData, Event, Request, StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.utils import suppress_body
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.events import Event as FrameEvent
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from tailrace.wire import EXTENSION

if TYPE_CHECKING:
    from hypercorn.typing import TaskGroup
    from starlette.types import ASGIApp

    from tailrace.server.inbox import Inbox
    from tailrace.server.wires import Carrier, ServerWire

logger = logging.getLogger(__name__)


class Running:
    """Runs the application of one stream. Takes the place of Hypercorn's task group, which would let it go by itself.

    One queue of ours, one task, and no failure that reaches the connection.
    """

    __slots__ = ("_carrier", "_inbox", "_offer", "_wire")

    def __init__(self, carrier: Carrier, inbox: Inbox, wire: ServerWire, offer: Callable[[Any], None]) -> None:
        self._carrier = carrier
        self._inbox = inbox
        self._wire = wire
        self._offer = offer

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start ``app``; gives the way to its ``receive``."""
        del config
        self._offer(scope)
        self._carrier.spawn(self._run(app, scope, send))
        return self._inbox.put

    async def _run(self, app: ASGIApp, scope: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await app(scope, self._inbox.receive, send)
        except Exception:
            logger.exception("an application failed (%s over HTTP/%s)", scope["type"], scope["http_version"])
        finally:
            self._wire.end()
            await self._finish(send)
            scope["extensions"].clear()  # the stream keeps the scope, and the wire's offer is the stream's

    async def _finish(self, send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await send(None)
        except Exception:
            logger.exception("a response could not be ended; its connection or stream is cut")
            self._wire.abort()


class HttpStream(HTTPStream):
    """One HTTP request and its response. Lives until both are over."""

    def __init__(self, carrier: Carrier, inbox: Inbox, wire: ServerWire, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.inbox = inbox
        self.wire = wire
        self.unacknowledged = 0
        """Bytes received over HTTP/2 whose window the peer has not been given back."""
        self.task_group = cast("TaskGroup", Running(carrier, inbox, wire, self._offer))

    async def handle(self, event: Event) -> None:
        if isinstance(event, StreamClosed) and not self.closed:
            self.closed = True
            self.wire.end()
            self.inbox.close({"type": "http.disconnect"})
        else:
            await super().handle(event)
            if isinstance(event, Request):
                del self.task_group  # needed once, and knows us

    async def app_send(self, message: Any) -> None:
        if message is not None and message["type"] == "http.response.body" and not message.get("more_body", False):
            self.wire.end()
        await super().app_send(message)

    def _offer(self, scope: Any) -> None:
        offered = scope["method"] == "GET" and scope["http_version"] in {"1.1", "2"}
        scope["extensions"] = {EXTENSION: self._started_wire} if offered else {}

    def _started_wire(self) -> ServerWire:
        """Give the wire, the head being on its way. Raises `RuntimeError` where no body of open length follows."""
        if self.state is not ASGIHTTPState.RESPONSE:
            raise RuntimeError("there is a wire only between http.response.start and the end of the response")
        if suppress_body("GET", int(self.response["status"])) or any(
            name.lower() == b"content-length" for name, _ in self.response["headers"]
        ):
            raise RuntimeError("there is no wire for a response without a body, or with a content-length")
        return self.wire


class WebSocketStream(WSStream):
    """One WebSocket, over HTTP/1.1 (RFC 6455) or one stream of HTTP/2 (RFC 8441). Lives until it is closed."""

    def __init__(self, carrier: Carrier, inbox: Inbox, wire: ServerWire, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.inbox = inbox
        self.wire = wire
        self.unacknowledged = 0
        """As in `HttpStream`."""
        self.task_group = cast("TaskGroup", Running(carrier, inbox, wire, self._offer))
        self._peer_code = int(CloseReason.ABNORMAL_CLOSURE)
        self._peer_reason = ""

    async def handle(self, event: Event) -> None:
        if self.closed:
            return
        if isinstance(event, Request):
            await super().handle(event)
            del self.task_group  # needed once, and knows us
            if self._refused():  # the handshake was bad, and has been answered
                await self.send(StreamClosed(stream_id=self.stream_id))
        elif isinstance(event, (Body, Data)):
            await self._receive(event.data)
        elif isinstance(event, EndBody):
            await self._end()
        elif isinstance(event, StreamClosed):
            self._close()

    async def app_send(self, message: Any) -> None:
        connected = self.state is ASGIWebsocketState.CONNECTED
        if connected and (message is None or message["type"] == "websocket.close"):
            self.wire.end()
        if connected and message is None:
            await super().app_send({"type": "websocket.close", "code": int(CloseReason.INTERNAL_ERROR), "reason": None})
        try:
            await super().app_send(message)
        except Exception:
            if not self.handshake.accepted:  # Hypercorn takes an accept that failed for one that was sent
                self.state = ASGIWebsocketState.HANDSHAKE
            raise

    def _offer(self, scope: Any) -> None:
        self.handshake.extensions = None
        scope["extensions"][EXTENSION] = self._started_wire

    def _started_wire(self) -> ServerWire:
        """Give the wire, now that the handshake is over; a dead one if the client left meanwhile.

        Raises `RuntimeError` before the handshake, and after the application's own close.
        """
        if self.state is not ASGIWebsocketState.CONNECTED and not self.closed:
            raise RuntimeError("there is a wire only between websocket.accept and the close")
        return self.wire

    def _refused(self) -> bool:
        return self.closed

    async def _receive(self, data: bytes) -> None:
        if self.handshake.accepted:
            self.connection.receive_data(data)
            await self._handle_events()
        elif self.state is ASGIWebsocketState.HANDSHAKE:
            # Frames before the handshake was answered: no client may do that (RFC 6455 section 4.1).
            self.state = ASGIWebsocketState.HTTPCLOSED
            await self._send_error_response(400)
            await self._end()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                if not await self._take(event):
                    break
            elif isinstance(event, Ping):
                # A pong that finds the wire full is left out: only the last ping needs one (RFC 6455 section 5.5.3).
                if self.wire.writable:
                    self._reply(event.response())
            elif isinstance(event, CloseConnection):
                self._peer_code, self._peer_reason = int(event.code), event.reason or ""
                if self.connection.state is not ConnectionState.CLOSED:
                    self._reply(event.response())
                await self._end()
                break

    async def _take(self, event: TextMessage | BytesMessage) -> bool:
        """Hand a whole message to the application; whether the next may follow."""
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            self._peer_code = int(CloseReason.MESSAGE_TOO_BIG)
            self._reply(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
            await self._end()
            return False
        if event.message_finished:
            message = self.buffer.to_message()
            self.buffer.clear()
            await self.inbox.put(message)
        return True

    def _reply(self, event: FrameEvent) -> None:
        """Answer from the reading side, which must never wait for the peer to read."""
        try:
            self.wire.write(self.connection.send(event))
        except LocalProtocolError:
            return  # closed meanwhile

    async def _end(self) -> None:
        """The peer has closed, or must not go on: say the end of the stream, tell the application."""
        self._close()
        await self.send(EndData(stream_id=self.stream_id))
        await self.send(StreamClosed(stream_id=self.stream_id))

    def _close(self) -> None:
        code = self._peer_code
        if self.state in {ASGIWebsocketState.CLOSED, ASGIWebsocketState.HTTPCLOSED}:
            code = int(CloseReason.NORMAL_CLOSURE)
        self.closed = True
        self.wire.end()
        if self.handshake.accepted:
            # wsproto's parser is a generator that refers to itself; another one, at its end, takes its place.
            self.connection._proto._parse_more = (_ for _ in ())  # noqa: SLF001
        self.inbox.close({"type": "websocket.disconnect", "code": code, "reason": self._peer_reason})
