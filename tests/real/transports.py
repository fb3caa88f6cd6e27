"""Foreign clients of the service, one per transport, that tell what they see in the same words.

A transport opens one connection and gives its `Answer`: what came at once, then `Item` by `Item`. httpx, websockets
and h2 know nothing of the service. `real.clients` stays subscribed over them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
from httpx_sse import EventSource
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol
from wsproto.events import CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError

import h2client
from builders import Block

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from real.service import ServiceProcess

PATIENCE_SECONDS = 60.0
SUBPROTOCOL = "tailrace.v1"
POSITION = "tailrace.position"


@dataclass(frozen=True)
class Item:
    """An event, or one of the service's own; `POSITION` is an id that came alone. ``id`` is empty where none came."""

    name: str
    data: str
    id: str

    @property
    def fields(self) -> dict[str, Any]:
        """What one of the service's own carries."""
        fields: dict[str, Any] = json.loads(self.data)
        return fields


@dataclass(frozen=True)
class Ask:
    """One request. ``token`` goes into Authorization; ``message`` is sent over a WebSocket as soon as it is open."""

    session: str
    token: str | None = None
    last_id: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    times: int = 1
    """How often the message is sent."""
    answers_pings: bool = True
    """Over a WebSocket of HTTP/2; other clients cannot but."""
    raw_session: str = ""
    """The session as it stands in the address, where it is not the encoded ``session``."""
    route: str = ""
    """The last part of the address, where it is not the transport's own."""

    def path(self, route: str) -> str:
        """Give path and query."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"/v1/sessions/{self.raw_session or quote(self.session, safe='')}/{self.route or route}{query}"

    def all_headers(self) -> dict[str, str]:
        """Give the headers, in lower case, as HTTP/2 wants them."""
        authorization = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        return {**authorization, **self.headers}


@dataclass
class Answer:
    """One connection: what the service answered at once, then what it says until it ends."""

    status: int
    headers: Mapping[str, str]
    items: AsyncIterator[Item]
    body: bytes = b""
    """Of an answer that is no stream."""
    retry_ms: int | None = None
    close_code: int | None = None
    """Of a WebSocket that has ended."""

    async def next(self) -> Item:
        """Wait for the next item."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await anext(self.items)

    async def rest(self) -> list[Item]:
        """Wait for the end; gives all that came until then."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return [item async for item in self.items]


Transport = Callable[["ServiceProcess", Ask], AbstractAsyncContextManager[Answer]]
"""Opens one connection, and closes it at the end of the block."""


async def _nothing() -> AsyncIterator[Item]:
    nothing: tuple[Item, ...] = ()
    for item in nothing:
        yield item


# Server-Sent Events.


@contextlib.asynccontextmanager
async def sse(service: ServiceProcess, ask: Ask) -> AsyncIterator[Answer]:
    """SSE over HTTP/1.1."""
    async with http(service) as client, _sse(client, ask) as answer:
        yield answer


@contextlib.asynccontextmanager
async def sse_h2(service: ServiceProcess, ask: Ask) -> AsyncIterator[Answer]:
    """SSE over HTTP/2: by prior knowledge, or by ALPN where the service speaks TLS."""
    async with http(service, h2=True) as client, _sse(client, ask) as answer:
        yield answer


def http(service: ServiceProcess, *, h2: bool = False) -> httpx.AsyncClient:
    """Give a client for any request, over HTTP/1.1 or HTTP/2 alone."""
    tls = service.certificate.client_context() if service.certificate else False
    timeout = httpx.Timeout(PATIENCE_SECONDS)
    return httpx.AsyncClient(base_url=service.url, http1=not h2, http2=h2, verify=tls, timeout=timeout, trust_env=False)


@contextlib.asynccontextmanager
async def _sse(client: httpx.AsyncClient, ask: Ask) -> AsyncIterator[Answer]:
    last_id = {"last-event-id": ask.last_id} if ask.last_id else {}
    headers = {"accept": "text/event-stream", **last_id, **ask.all_headers()}
    async with client.stream("GET", ask.path("events"), headers=headers) as response:
        answer = Answer(response.status_code, response.headers, _nothing())
        if response.status_code == 200:
            answer.items = _sse_items(response, answer)
        else:
            answer.body = await response.aread()
        yield answer


async def _sse_items(response: httpx.Response, answer: Answer) -> AsyncIterator[Item]:
    id_ = ""
    async for event in EventSource(response).aiter_sse():
        answer.retry_ms = event.retry or answer.retry_ms
        if event.data:
            yield Item(event.event, event.data, event.id)
        elif event.id != id_:
            yield _position(event.id)
        id_ = event.id


@contextlib.asynccontextmanager
async def sse_h2_to_the_end(service: ServiceProcess, ask: Ask) -> AsyncIterator[Answer]:
    """SSE over HTTP/2, read on after a GOAWAY, as browsers do and h2 alone, and so httpx, does not."""
    host, _, port = service.host_port.partition(":")
    tls = service.certificate.client_context("h2") if service.certificate else None
    async with await h2client.connect(host, int(port), tls=tls) as client:
        stream = client.request("GET", ask.path("events"), ask.all_headers().items())
        await stream.head()
        answer = Answer(stream.status, stream.headers, _nothing())
        answer.items = _sse_h2_items(stream, answer)
        yield answer


async def _sse_h2_items(stream: h2client.Stream, answer: Answer) -> AsyncIterator[Item]:
    while text := (await stream.read_until(b"\n\n")).decode():
        if text.startswith("retry: "):
            answer.retry_ms = int(text.split()[1])
        for block in Block.all(text):
            yield (
                Item(block.event or "message", block.data, block.id or "") if block.data else _position(block.id or "")
            )


def _position(id_: str) -> Item:
    return Item(POSITION, "", id_)


# WebSocket.


@contextlib.asynccontextmanager
async def websocket(service: ServiceProcess, ask: Ask) -> AsyncIterator[Answer]:
    """WebSocket over HTTP/1.1."""
    tls = service.certificate.client_context() if service.certificate else None
    url = service.url.replace("http", "ws", 1) + _with_last_id(ask).path("ws")
    offered = [Subprotocol(SUBPROTOCOL)]
    try:
        socket = await connect_websocket(
            url,
            additional_headers=ask.all_headers(),
            subprotocols=offered,
            ssl=tls,
            proxy=None,
            close_timeout=1,
            max_size=None,
        )
    except InvalidStatus as refused:
        response = refused.response
        yield Answer(response.status_code, dict(response.headers), _nothing(), bytes(response.body or b""))
        return
    async with socket:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(ask.times if ask.message is not None else 0):
                await socket.send(ask.message or "")
        answer = Answer(101, dict(socket.response.headers) if socket.response else {}, _nothing())

        async def items() -> AsyncIterator[Item]:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    yield _item(await socket.recv(decode=True))
            answer.close_code = socket.close_code

        answer.items = items()
        yield answer


@contextlib.asynccontextmanager
async def websocket_h2(service: ServiceProcess, ask: Ask) -> AsyncIterator[Answer]:
    """WebSocket over HTTP/2 (RFC 8441)."""
    host, _, port = service.host_port.partition(":")
    tls = service.certificate.client_context("h2") if service.certificate else None
    async with await h2client.connect(host, int(port), tls=tls) as client:
        path = _with_last_id(ask).path("ws")
        socket = await client.websocket(path, ask.all_headers().items(), [SUBPROTOCOL])
        answer = Answer(socket.stream.status, socket.stream.headers, _nothing())
        if answer.status != 200:
            answer.body = await socket.stream.read()
        else:
            answer.items = _websocket_h2_items(socket, answer, answers_pings=ask.answers_pings)
            for _ in range(ask.times if ask.message is not None else 0):
                socket.send(ask.message or "")
        yield answer


async def _websocket_h2_items(
    socket: h2client.WebSocket, answer: Answer, *, answers_pings: bool
) -> AsyncIterator[Item]:
    text = ""
    while (event := await socket.receive()) is not None:
        if isinstance(event, TextMessage):
            text += event.data
            if event.message_finished:
                yield _item(text)
                text = ""
        elif isinstance(event, Ping) and answers_pings:
            with contextlib.suppress(LocalProtocolError):  # the close came with it
                socket.send(event.response())
        elif isinstance(event, CloseConnection):
            answer.close_code = event.code
            return


def _with_last_id(ask: Ask) -> Ask:
    """Put the last id where a page can put it."""
    return replace(ask, query={**ask.query, "last_event_id": ask.last_id}) if ask.last_id else ask


def _item(text: str) -> Item:
    content = json.loads(text)
    if "control" in content:
        name = content.pop("control")
        return Item(name, json.dumps(content), content.get("id", ""))
    return Item(content.get("event", "message"), content["data"], content["id"])


TRANSPORTS: Mapping[str, Transport] = {
    "sse": sse,
    "sse-h2": sse_h2,
    "websocket": websocket,
    "websocket-h2": websocket_h2,
}
