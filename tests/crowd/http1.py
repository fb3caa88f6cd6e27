"""A connection for each request: HTTP/1.1 by h11, and the WebSocket that it turns into."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from typing import cast

import h11
from wsproto.utilities import generate_accept_token

from crowd.asking import SUBPROTOCOL, Answer, Ask, CutOff, Hearer, Link, Malformed, Transport, Where, connect, cut

SWITCHING = 101


class Http1Link(asyncio.Protocol):
    """One connection, which carries one answer and ends with it."""

    _transport: asyncio.Transport

    def __init__(self, ask: Ask, hearer: Hearer, authority: str) -> None:
        self._ask = ask
        self._authority = authority
        self._answer = Answer(ask, hearer)
        self._http = h11.Connection(h11.CLIENT)
        self._key = base64.b64encode(os.urandom(16))
        self._switched = False

    # What may be done to it.

    def leave(self) -> None:
        if last_word := self._answer.drop():
            self._transport.write(last_word)
        self._transport.close()

    def vanish(self) -> None:
        self._answer.drop()
        cut(self._transport)

    def stall(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def say(self, text: str) -> None:
        """Send a WebSocket message, which an honest client never does."""
        self._transport.write(self._answer.say(text))

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of it
        request = h11.Request(method="GET", target=self._ask.path, headers=self._headers())
        self._transport.write(self._http.send(request) or b"")
        self._http.send(h11.EndOfMessage())

    def data_received(self, data: bytes) -> None:
        try:
            if self._switched:
                self._take(data)
            else:
                self._http.receive_data(data)
                self._read()
        except (h11.RemoteProtocolError, Malformed) as broken:
            self._answer.end(f"could not be read: {broken}", malformed=True)
            self._transport.abort()
        except CutOff:
            self._answer.end("cut off in the middle")
            cut(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer.end("cut" if exc is None else f"cut ({exc})")

    def _headers(self) -> list[tuple[str, str]]:
        headers = [("host", self._authority), *self._ask.headers()]
        if self._ask.transport is Transport.WEBSOCKET:
            headers += [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")]
            headers += [("sec-websocket-key", self._key.decode()), ("sec-websocket-protocol", SUBPROTOCOL)]
        return headers

    def _read(self) -> None:
        while not self._switched:
            event = self._http.next_event()
            if isinstance(event, h11.InformationalResponse) and event.status_code == SWITCHING:
                self._switch(dict(event.headers))
            elif isinstance(event, h11.Response):
                self._answer.begin(event.status_code)
            elif isinstance(event, h11.Data):
                self._answer.take(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._answer.end("ended")
                self._transport.close()
            elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return

    def _switch(self, headers: dict[bytes, bytes]) -> None:
        if headers.get(b"sec-websocket-accept") != generate_accept_token(self._key):
            raise h11.RemoteProtocolError("the handshake was accepted with a wrong token")
        self._switched = True
        self._answer.begin(SWITCHING)
        self._take(self._http.trailing_data[0])

    def _take(self, data: bytes) -> None:
        if reply := self._answer.take(data):
            self._transport.write(reply)


class Http1:
    """Dials: a connection for every request, each to wherever ``where`` says. A `crowd.asking.Dial`."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._tls: ssl.SSLContext | None = None

    async def __call__(self, ask: Ask, hearer: Hearer) -> Link:
        endpoint = self._where()
        if self._tls is None and endpoint.certificate is not None:
            self._tls = endpoint.certificate.client_context("http/1.1")
        tls = self._tls if endpoint.certificate is not None else None
        return await connect(endpoint, Http1Link(ask, hearer, endpoint.authority), tls)
