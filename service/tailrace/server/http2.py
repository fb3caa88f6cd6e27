"""HTTP/2 on one connection: Hypercorn's `H2Protocol` with our streams, our way of sending, and without its traps.

Sending is `sending`'s, windows are `windows`', floods are `guard`'s, bad requests are `heads`'. Mended here: DATA for a
stream that is gone, a path that is not ASCII, and a CONNECT that is no WebSocket kill the connection; a stream whose
application failed or returned early is never reset; the limit of requests freezes live streams; what we remember of our
own heads is as large as the peer likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import h2.events
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, ProtocolError, StreamClosedError, TooManyStreamsError
from h2.settings import SettingCodes
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.protocol.ws_stream import ASGIWebsocketState
from hypercorn.utils import filter_pseudo_headers

from tailrace.server.guard import Flood, Guard, bound_header_table
from tailrace.server.heads import TOO_LARGE, refuse_http2
from tailrace.server.inbox import Inbox
from tailrace.server.parting import Parting
from tailrace.server.sending import EVERYBODY, GOING_AWAY, Sender
from tailrace.server.settings import HTTP2_SLICE_BYTES, MAX_HEAD_BYTES, MAX_UNREAD_MESSAGES
from tailrace.server.streams import HttpStream
from tailrace.server.websocket import WebSocketStream
from tailrace.server.windows import Windows

if TYPE_CHECKING:
    from hypercorn.events import Event

    from tailrace.server.wires import Carrier


class Http2(H2Protocol):
    """The HTTP/2 side of a connection; lives as long as it."""

    slice_bytes = HTTP2_SLICE_BYTES
    streams: dict[int, HttpStream | WebSocketStream]  # type: ignore[assignment]  # narrower: we make them all

    def __init__(self, carrier: Carrier, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._arguments = arguments
        self._carrier = carrier
        self.connection.decoder.max_header_list_size = 2 * MAX_HEAD_BYTES
        self._sender = Sender(self.connection, carrier, self._tell_idle)
        self._parting = Parting(self.connection, self._sender)
        self._guard = Guard(asyncio.get_running_loop().time)
        self._windows = Windows(self.connection, self._sender.write_out)

    # What `connection` asks.

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        """Send our SETTINGS. The arguments belong to the h2c upgrade, which is not taken up."""
        del headers, settings
        self.connection.initiate_connection()
        await self._flush()

    async def handle(self, event: Event) -> None:
        """Take what the peer sent, or learn that it has gone."""
        if isinstance(event, Closed):
            await self._gone()
        elif isinstance(event, RawData):
            if self._carrier.standing.refused_too_often:
                await self._end("refused_requests")
                return
            try:
                await self._receive(event.data)
            except Flood as flood:
                self._carrier.note_limit(flood.limit)
                await self._end(flood.limit)

    def paused(self) -> None:
        """Nothing is taken from the streams' buffers, which then fill: the transport holds more than its mark."""

    def resumed(self) -> None:
        """The transport takes bytes again."""
        self._sender.resume()

    def relieve(self) -> None:
        """Give up the answers that the peer does not take."""
        self._sender.relieve()

    def announce(self) -> None:
        """Tell the peer to open its next stream elsewhere, and go on serving those it has."""
        self._carrier.write(GOING_AWAY)

    def farewell(self) -> None:
        """Say the last word on an idle connection."""
        with suppress(ProtocolError):
            self.connection.close_connection()
        self._sender.write_out()

    # What streams ask.

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream has to say. Raises `ProtocolError` for a head that h2 does not let out."""
        if isinstance(event, Response):
            await self._respond(event)
        elif isinstance(event, (Body, Data)):
            await self._push(event.stream_id, event.data)
        elif isinstance(event, EndBody):
            if buffer := self._sender.complete(event.stream_id):
                await self._sender.patiently(event.stream_id, buffer.sent)
        elif isinstance(event, EndData):
            self._sender.complete(event.stream_id)  # never waits: the reading side says it, too
        elif isinstance(event, StreamClosed):
            await self._ended(event.stream_id)

    async def _respond(self, event: Response) -> None:
        headers = [*event.headers, *self.config.response_headers("h2")]
        try:
            self.connection.send_headers(event.stream_id, [(b":status", b"%d" % event.status_code), *headers])
        except StreamClosedError:
            return  # reset while its application was busy: there is nobody to tell
        except ProtocolError:
            if self._sender.find(event.stream_id) and self.connection.state_machine.state != ConnectionState.CLOSED:
                raise
        if isinstance(self.streams.get(event.stream_id), HttpStream):
            self._sender.answer(event.stream_id)
        await self._flush()

    async def _push(self, stream_id: int, data: bytes) -> None:
        if buffer := self._sender.push(stream_id, data):
            await self._sender.patiently(stream_id, buffer.room)

    def _tell_idle(self) -> None:
        self._carrier.set_idle(not (self.streams or len(self._sender)))

    # Receiving.

    async def _receive(self, data: bytes) -> None:
        await self._sender.turned()
        self._guard.look(data, self.connection.outbound_flow_control_window)
        try:
            events = self.connection.receive_data(data)
        except ProtocolError as error:  # answered by h2 with GOAWAY
            if limit := _LIMITS.get(type(error)):
                self._carrier.note_limit(limit)
            await self._end()
        else:
            await self._handle_events(events)

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if handler := _HANDLERS.get(type(event)):
                await handler(self, event)
        self._windows.open_connection()
        await self._flush()

    async def _request(self, event: h2.events.RequestReceived) -> None:
        assert event.stream_id is not None  # noqa: S101  # h2 types it optional; it always sets it
        headers = list(event.headers or ())
        if status := refuse_http2(headers):
            self._refuse(event.stream_id, status, whole=event.stream_ended is not None)
            return
        if self._sender.has_too_many_untaken:
            self._carrier.note_limit("untaken_answers")
            self._carrier.standing.refuse()
            self._sender.refuse(event.stream_id)
            return
        method, path = (dict(headers)[name] for name in (b":method", b":path"))
        stream = self._open(event.stream_id, websocket=method == b"CONNECT")
        self._carrier.set_idle(False)
        await stream.handle(
            Request(
                stream_id=event.stream_id,
                headers=filter_pseudo_headers(headers),
                http_version="2",
                method=method.decode("ascii").upper(),
                raw_path=path,
                state=self.connection_state,
            )
        )
        if isinstance(stream, HttpStream) and event.stream_ended is None:
            stream.expect_body(self._carrier.patience.request_seconds)

    def _refuse(self, stream_id: int, status: int, *, whole: bool) -> None:
        if status == TOO_LARGE:
            self._carrier.note_limit("head_too_large")
        self._carrier.standing.refuse()
        with suppress(ProtocolError):  # it may have been reset in the same breath
            head = [(b":status", b"%d" % status), (b"content-length", b"0"), *self.config.response_headers("h2")]
            self.connection.send_headers(stream_id, head, end_stream=True)
            if not whole:
                self.connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _open(self, stream_id: int, *, websocket: bool) -> HttpStream | WebSocketStream:
        inbox = Inbox(partial(self._read_empty, stream_id))
        wire = self._sender.open(stream_id, inbox, websocket=websocket)
        app, config, context, task_group, _, ssl, client, server, _ = self._arguments
        arguments = (app, config, context, task_group, ssl, client, server, self.stream_send, stream_id)
        kind = WebSocketStream if websocket else HttpStream
        stream = self.streams[stream_id] = kind(self._carrier, inbox, wire, *arguments)
        return stream

    async def _data(self, event: h2.events.DataReceived) -> None:
        self._windows.used(size := event.flow_controlled_length or 0)
        stream = self.streams.get(event.stream_id or 0)
        if stream is None:  # it has gone: a client's answer to our close, the rest of a refused body
            return
        if len(stream.inbox) >= MAX_UNREAD_MESSAGES:
            self._carrier.note_limit("unread_messages")
            self._sender.reset(stream.stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
            await self._ended(stream.stream_id)
            return
        stream.unacknowledged += size
        if event.data:
            await stream.handle(Body(stream_id=stream.stream_id, data=event.data))
        self._windows.open_stream(stream)

    def _read_empty(self, stream_id: int) -> None:
        """An application has read everything there was."""
        if stream := self.streams.get(stream_id):
            self._windows.open_stream(stream)

    async def _request_ended(self, event: h2.events.StreamEnded) -> None:
        if buffer := self._sender.find(event.stream_id or 0):
            buffer.answers_request = False
        if stream := self.streams.get(event.stream_id or 0):
            await stream.handle(EndBody(stream_id=stream.stream_id))

    async def _stream_reset(self, event: h2.events.StreamReset) -> None:
        """Take note that the peer has reset a stream, or that h2 had to, because of what the peer did on it."""
        stream_id = event.stream_id or 0
        stream = self.streams.get(stream_id)
        self._sender.forget(stream_id)
        await self._close_stream(stream_id)
        self._tell_idle()
        if stream is not None and stream.state in _UNANSWERED:
            self._guard.charge("rapid_reset")

    async def _window_opened(self, event: h2.events.WindowUpdated) -> None:
        stream_id = event.stream_id or EVERYBODY
        if stream_id == EVERYBODY:
            self._guard.opened(event.delta or 0)
        self._sender.window_opened(stream_id)

    async def _settings_changed(self, event: h2.events.RemoteSettingsChanged) -> None:
        if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
            self._sender.window_opened(EVERYBODY)
        if SettingCodes.HEADER_TABLE_SIZE in event.changed_settings:
            bound_header_table(self.connection)

    async def _peer_leaves(self, _: h2.events.ConnectionTerminated) -> None:
        await self.send(Closed())

    # Ends.

    async def _ended(self, stream_id: int) -> None:
        """The application has said its last, or has failed to."""
        buffer = self._sender.find(stream_id)
        if buffer is not None and not buffer.complete:
            self._sender.reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        elif isinstance(self.streams.get(stream_id), WebSocketStream):
            self._parting.begin(stream_id)
        await self._close_stream(stream_id)
        self._tell_idle()

    async def _end(self, limit: str | None = None) -> None:
        """Let out the last frames, and close; ``limit`` is the one that the peer came to, if h2 has not told it yet."""
        if limit is not None:
            self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, limit.encode())
        await self._flush()
        await self.send(Closed())

    async def _gone(self) -> None:
        self.closed = True
        self._sender.gone()
        self._parting.gone()
        getattr(self.connection, "_frame_dispatch_table", {}).clear()  # holds methods of h2's connection: a cycle
        for stream_id in list(self.streams):
            await self._close_stream(stream_id)


_HANDLERS: dict[type[h2.events.Event], Callable[[Http2, Any], Awaitable[None]]] = {
    h2.events.RequestReceived: Http2._request,  # noqa: SLF001
    h2.events.DataReceived: Http2._data,  # noqa: SLF001
    h2.events.StreamEnded: Http2._request_ended,  # noqa: SLF001
    h2.events.StreamReset: Http2._stream_reset,  # noqa: SLF001
    h2.events.WindowUpdated: Http2._window_opened,  # noqa: SLF001
    h2.events.RemoteSettingsChanged: Http2._settings_changed,  # noqa: SLF001
    h2.events.ConnectionTerminated: Http2._peer_leaves,  # noqa: SLF001
}

_LIMITS = {DenialOfServiceError: "head_too_large", TooManyStreamsError: "streams"}
"""The limits that h2 keeps, by the error that it raises."""

_UNANSWERED = {ASGIHTTPState.REQUEST, ASGIWebsocketState.HANDSHAKE}
