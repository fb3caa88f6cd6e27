"""HTTP/1.1 on one connection: Hypercorn's `H11Protocol` with our streams and without its traps.

Mended here: a request sent while another is being answered parks the reading task for ever, so that nobody notices the
client leave (the answer is ended and the connection closed; RFC 9112 section 9.3.2 lets the client ask again); an
``Upgrade: h2c`` is taken up (RFC 9113 dropped it, and it would bypass what is mended here); heads that `heads` refuses
reach an application; responses during the drain keep the connection. HTTP/2 by prior knowledge is noticed here and
handed back to `connection`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Body, Data, EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H2ProtocolAssumedError, H11Protocol, H11WSConnection

from tailrace.encoding import Framing
from tailrace.server import handshake
from tailrace.server.heads import TOO_LARGE, refuse_http1
from tailrace.server.inbox import Inbox
from tailrace.server.settings import HTTP1_SLICE_BYTES
from tailrace.server.streams import HttpStream
from tailrace.server.websocket import WebSocketStream
from tailrace.server.wires import DirectWire

if TYPE_CHECKING:
    from hypercorn.events import Event

    from tailrace.server.wires import Carrier


class Http1(H11Protocol):
    """The HTTP/1.1 side of a connection; lives as long as it, or until the peer turns out to speak HTTP/2."""

    slice_bytes = HTTP1_SLICE_BYTES
    stream: HttpStream | WebSocketStream | None

    def __init__(self, carrier: Carrier, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._arguments = arguments
        self._carrier = carrier
        self._refusing = False

    async def handle(self, event: Event) -> None:
        """Take what the peer sent, or learn that it has gone. Raises `H2ProtocolAssumedError` if it speaks HTTP/2."""
        if isinstance(event, RawData):
            if self._refusing:
                return
            if status := self._refused(event.data):
                await self._send_error_response(status)
                await self.send(Closed())
                return
        await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream has to say."""
        if isinstance(event, Response) and event.status_code >= 200 and (self._refusing or self._carrier.draining):
            event = Response(event.stream_id, [*event.headers, (b"connection", b"close")], event.status_code)
        await super().stream_send(event)
        if isinstance(self.connection, H11WSConnection) and isinstance(event, Response) and event.status_code == 101:
            del self.connection.h11_connection  # the handshake was all that it was for: two kilobytes of every socket

    def paused(self) -> None:
        """The transport holds more than its mark."""
        if self.stream is not None:
            self.stream.wire.pause()

    def resumed(self) -> None:
        """The transport takes bytes again."""
        if self.stream is not None:
            self.stream.wire.notify()

    def relieve(self) -> None:
        """Give up answers that the peer does not take: over HTTP/1.1 there is one, and it has bounds of its own."""

    def announce(self) -> None:
        """The service is leaving; HTTP/1.1 says so in its next response."""

    def farewell(self) -> None:
        """Last word on an idle connection: HTTP/1.1 has none."""

    def _refused(self, data: bytes) -> int | None:
        """Look at a head as it arrives, before h11 has taken it apart; give the status that it is refused with."""
        if self.connection.their_state is not h11.IDLE:
            return None
        return refuse_http1(self.connection.trailing_data[0] + data)

    async def _handle_events(self) -> None:
        while True:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                if error.error_status_hint == TOO_LARGE:
                    self._carrier.note_limit("head_too_large")
                if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    await self._send_error_response(error.error_status_hint)
                await self.send(Closed())
                return
            if event is h11.PAUSED:
                self._refuse_more()
                return
            if isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA:
                self._expect_body()
                return
            await self._take(event)

    async def _take(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._check_http2(event)
            self._carrier.set_idle(False)
            await self._create_stream(event)
        elif self.stream is None:
            return
        elif isinstance(event, h11.Data):
            await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
        elif isinstance(event, h11.EndOfMessage):
            await self.stream.handle(EndBody(stream_id=STREAM_ID))
        elif isinstance(event, Data):
            await self.stream.handle(event)

    def _expect_body(self) -> None:
        if isinstance(self.stream, HttpStream) and self.connection.their_state is h11.SEND_BODY:
            self.stream.expect_body(self._carrier.patience.request_seconds)

    def _refuse_more(self) -> None:
        """End the answer under way, politely: its application hears that the client has gone, and may say its last."""
        self._refusing = True
        if self.stream is not None:
            self.stream.wire.finish()

    def _check_http2(self, request: h11.Request) -> None:
        # The connection preface (RFC 9113 section 3.4), which h11 takes for a request.
        if request.method == b"PRI" and request.target == b"*" and request.http_version == b"2.0":
            raise H2ProtocolAssumedError(b"PRI * HTTP/2.0\r\n\r\n" + self.connection.trailing_data[0])

    async def _create_stream(self, request: h11.Request) -> None:
        method = request.method.decode("ascii").upper()
        headers, version = list(request.headers), request.http_version.decode()
        websocket = handshake.is_meant(method, version, headers)
        inbox = Inbox()
        framing = Framing.FRAMES if websocket else Framing.CHUNKS if version == "1.1" else Framing.BODY
        wire = DirectWire(inbox, framing, self._carrier)
        app, config, context, task_group, _, ssl, client, server, _ = self._arguments
        arguments = (app, config, context, task_group, ssl, client, server, self.stream_send, STREAM_ID)
        if websocket and isinstance(self.connection, h11.Connection):
            self.stream = WebSocketStream(self._carrier, inbox, wire, *arguments)
            self.connection = H11WSConnection(self.connection)
        else:
            self.stream = HttpStream(self._carrier, inbox, wire, *arguments)
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=version,
                method=method,
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    async def _maybe_recycle(self) -> None:
        if self._refusing:
            await self._close_stream()
            await self.send(Closed())
        else:
            await super()._maybe_recycle()
