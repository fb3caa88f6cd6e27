"""Hypercorn's stream for a WebSocket, over HTTP/1.1 (RFC 6455) or one stream of HTTP/2 (RFC 8441).

`http1` and `http2` make it and tell it what arrives; it answers the handshake, reads the client's frames and runs the
application as `streams` does. Mended here: early data and bad handshakes leave no application behind; a close is
answered at once, whichever side began it, and nothing follows it; permessage-deflate is declined (it costs 120 kB a
socket). What a client may send is `frames`', how it may ask `handshake`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from hypercorn.protocol.events import Body, Data, EndBody, EndData, Event, Request, Response, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.events import Event as FrameEvent
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from tailrace.errors import Farewell, MessageTooBig, TooManyFrames
from tailrace.server import handshake
from tailrace.server.answer import Answer
from tailrace.server.frames import ClientFrames
from tailrace.server.settings import FRAMES_AT_ONCE
from tailrace.server.streams import Running
from tailrace.wire import EXTENSION, UNHEARD

if TYPE_CHECKING:
    from hypercorn.typing import TaskGroup

    from tailrace.server.inbox import Inbox
    from tailrace.server.wires import Carrier, ServerWire


_NO_EVENTS: deque[FrameEvent] = deque(maxlen=0)
_REFUSING_CODES = range(4400, 4429)
"""Close codes that say to a client that it may not: `tailrace.errors`. From 4429 on it is to come back."""
_LIMITS: Mapping[type[Farewell], str] = {MessageTooBig: "message_too_big", TooManyFrames: "too_many_frames"}
"""What a client has come to, by its name in the metrics."""


def _refuses(message: Any) -> bool:
    """Whether an application says no to its client: before the handshake's end, or after it by its close code."""
    denied = message["type"] == "websocket.http.response.start"
    return denied or (message["type"] == "websocket.close" and message.get("code", 1000) in _REFUSING_CODES)


class WebSocketStream(WSStream):
    """One WebSocket. Lives until it is closed."""

    # With more than 30 attributes in it, an object's dictionary is one of its own, and costs 1.5 kB.
    __slots__ = ("_accepted", "_carrier", "_limits", "_peer_code", "_peer_reason", "inbox", "unacknowledged", "wire")

    def __init__(self, carrier: Carrier, inbox: Inbox, wire: ServerWire, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.inbox = inbox
        self.wire = wire
        self.unacknowledged = 0
        """As in `streams.HttpStream`."""
        self.task_group = cast("TaskGroup", Running(carrier, inbox, wire, self._offer))
        self._carrier = carrier
        self._accepted = False
        self._peer_code = int(CloseReason.ABNORMAL_CLOSURE)
        self._peer_reason = ""

    async def handle(self, event: Event) -> None:
        if self.closed:
            return
        if isinstance(event, Request):
            await self._begin(event)
            del self.task_group  # needed once, and knows us
        elif isinstance(event, (Body, Data)):
            await self._receive(event.data)
        elif isinstance(event, EndBody):
            await self._receive_end()
        elif isinstance(event, StreamClosed):
            self._close()

    async def app_send(self, message: Any) -> None:
        if message is not None and _refuses(message):
            self._carrier.standing.refuse()
        connected = self.state is ASGIWebsocketState.CONNECTED
        if connected and (message is None or message["type"] == "websocket.close"):
            self.wire.end()
        if connected and message is None:
            await super().app_send({"type": "websocket.close", "code": int(CloseReason.INTERNAL_ERROR), "reason": None})
        await super().app_send(message)

    # The handshake.

    async def _begin(self, request: Request) -> None:
        if (refusal := handshake.refusal(request.headers, request.http_version)) is not None:
            await self._refuse(refusal)
            return
        self.start_time = 0.0  # Hypercorn's log of requests wants one; there is none
        self.scope = cast("Any", self._scope_of(request))
        self.app_put = await self.task_group.spawn_app(self.app, self.config, self.scope, self.app_send)
        await self.app_put({"type": "websocket.connect"})

    def _scope_of(self, request: Request) -> dict[str, Any]:
        path, _, query_string = request.raw_path.partition(b"?")
        return {
            "type": "websocket",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "scheme": self.scheme,  # RFC 8441 says http or https, ASGI ws or wss
            "http_version": request.http_version,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query_string,
            "root_path": "",
            "headers": request.headers,
            "client": self.client,
            "server": self.server,
            "state": {},
            "subprotocols": handshake.subprotocols(request.headers),
            "extensions": {"websocket.http.response": {}},
        }

    def _offer(self, scope: Any) -> None:
        scope["extensions"] |= {EXTENSION: self._started_wire, UNHEARD: self._carrier.is_unheard}

    def _started_wire(self) -> ServerWire:
        """Return the wire, now that the handshake is over; a dead one if the client left meanwhile.

        Raises `RuntimeError` before the handshake, and after the application's own close.
        """
        if self.state is not ASGIWebsocketState.CONNECTED and not self.closed:
            raise RuntimeError("there is a wire only between websocket.accept and the close")
        return self.wire

    async def _accept(self, message: Any) -> None:
        status, headers = handshake.answer(
            self.scope["headers"], self.scope["http_version"], message.get("subprotocol")
        )
        self.state = ASGIWebsocketState.CONNECTED
        self._accepted = True
        self._limits = ClientFrames(asyncio.get_running_loop().time)
        self.connection = Connection(ConnectionType.SERVER, [self._limits])
        self.connection._events = _NO_EVENTS  # noqa: SLF001  only `receive_data(None)` fills it: 760 bytes a socket
        await self.send(Response(self.stream_id, [*headers, *message.get("headers", [])], status))

    async def _refuse(self, answer: Answer) -> None:
        """Answer a handshake that cannot be; never waits for the peer to read, since the reading side says it."""
        self.state = ASGIWebsocketState.HTTPCLOSED
        await self.send(Response(self.stream_id, answer.headers, answer.status))
        await self.send(Body(self.stream_id, answer.body))
        await self._end()

    # Receiving.

    async def _receive(self, data: bytes) -> None:
        if self._accepted:
            self.wire.heard = True
            self.connection.receive_data(data)
            await self._handle_events()
        elif self.state is ASGIWebsocketState.HANDSHAKE:
            await self._refuse(Answer(400, "no frame may come before the handshake is answered"))

    async def _receive_end(self) -> None:
        """END_STREAM: without a close frame before it, what a TCP connection that breaks is to HTTP/1.1."""
        if self.state is ASGIWebsocketState.HANDSHAKE:
            await self._refuse(Answer(400, "the stream was ended before the handshake was answered"))
        elif self._accepted:
            await self._end()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                await self._take(event)
            elif isinstance(event, Ping):
                # A pong that finds the wire full is left out: only the last ping needs one (RFC 6455 section 5.5.3).
                if self.wire.writable:
                    self._reply(event.response())
            elif isinstance(event, CloseConnection):
                await self._receive_close(event)
            if self.closed:
                return

    async def _take(self, event: TextMessage | BytesMessage) -> None:
        """Hand a whole message to the application."""
        self.buffer.extend(event)
        if event.message_finished:
            message = self.buffer.to_message()
            self.buffer.clear()
            if len(self.inbox) >= FRAMES_AT_ONCE:  # over HTTP/2; over HTTP/1.1 `put` waits long before
                await self._fail(TooManyFrames)
            else:
                await self.inbox.put(message)

    async def _receive_close(self, event: CloseConnection) -> None:
        """Take the client's close, or what wsproto makes of a client that it cannot go on with."""
        if self._limits.exceeded is not None:
            await self._fail(self._limits.exceeded)
            return
        self._peer_code, self._peer_reason = int(event.code), event.reason or ""
        self._reply(event.response())
        await self._end()

    async def _fail(self, why: type[Farewell]) -> None:
        self._carrier.note_limit(_LIMITS[why])
        self._peer_code, self._peer_reason = why.close_code, why.reason
        self._reply(CloseConnection(why.close_code, why.reason))
        await self._end()

    def _reply(self, event: FrameEvent) -> None:
        """Answer from the reading side, which must never wait for the peer to read."""
        try:
            self.wire.write(self.connection.send(event))
        except LocalProtocolError:
            return  # closed meanwhile

    # The end.

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
        if self._accepted:
            # wsproto's parser is a generator that refers to itself; another one, at its end, takes its place.
            self.connection._proto._parse_more = (_ for _ in ())  # noqa: SLF001
        self.inbox.close({"type": "websocket.disconnect", "code": code, "reason": self._peer_reason})
