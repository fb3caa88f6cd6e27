"""A subscription over WebSocket: the endpoint of ``GET /v1/sessions/{session}/ws``, and what a client may send.

One JSON text frame per event under the subprotocol ``tailrace.v1``. A browser learns nothing of a socket that was
refused before it was accepted, so every refusal that an honest page should understand is accept, `tailrace.disconnect`,
close; a page of a foreign origin is not honest. Knows no Kafka.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.types import Message, Receive, Scope, Send

from tailrace import control
from tailrace.errors import (
    BadMessage,
    BadRequest,
    ComeBack,
    Farewell,
    MessageTooBig,
    Refused,
    SessionEnded,
    Unauthenticated,
)
from tailrace.first_message import TOKEN_SECONDS, FirstMessages
from tailrace.subscription import Subscription
from tailrace.wire import is_disconnect, open_wire, say_last

SUBPROTOCOL = "tailrace.v1"

Admit = Callable[[Scope, str | None], Awaitable[Subscription]]
"""Admits whoever asks, by the scope and the token of the first message; raises `Refused`."""


class Gone(Exception):
    """The client left before it was admitted."""


class WebSocketEndpoint:
    """Serves subscriptions over WebSocket; an ASGI app.

    ``check`` raises `Refused` for what is not even accepted; ``note`` is told of every refusal.
    """

    def __init__(
        self,
        admit: Admit,
        check: Callable[[Scope], None],
        note: Callable[[Refused], None],
        token_seconds: float = TOKEN_SECONDS,
    ) -> None:
        self._admit = admit
        self._check = check
        self._note = note
        self._first_messages = FirstMessages(token_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket to its end."""
        await receive()  # websocket.connect
        try:
            self._check(scope)
        except Refused as refused:
            self._note(refused)
            await _deny(send, refused)
            return
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        try:
            subscription = await self._admitted(scope, receive)
        except Gone:
            return
        except Refused as refused:
            self._note(refused)
            await _refuse(send, refused)
            return
        await _serve(subscription, scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive) -> Subscription:
        try:
            return await self._admit(scope, None)
        except Unauthenticated as refused:
            if type(refused) is not Unauthenticated:
                raise  # a token came, and it is no good: never fall back to another
        return await self._admit(scope, _token_of(await self._first_messages.of(scope, receive)))


async def _serve(subscription: Subscription, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        if subscription.over:
            await _close(send, SessionEnded())
            return
        wire = open_wire(scope, send)
        subscription.open(wire)
        codes: list[int] = []
        await wire.serve(_noting(codes, receive), lambda message: _on_message(subscription, message))
        if MessageTooBig.close_code in codes:  # said by the server, which asked nobody
            subscription.end(MessageTooBig())
            return
    finally:
        subscription.close()
    if subscription.farewell is not None:
        await say_last(wire, _close(send, subscription.farewell), subscription.send_timeout_seconds)


def _noting(codes: list[int], receive: Receive) -> Receive:
    """Receive, and add the code of a disconnect to ``codes``."""

    async def noting() -> Message:
        message = await receive()
        if is_disconnect(message):
            codes.append(message.get("code", 1005))
        return message

    return noting


def _token_of(message: Message) -> str:
    """Read the first message, ``{"token": "<jwt>"}``."""
    if is_disconnect(message):
        raise Gone
    try:
        content = orjson.loads(message.get("text") or message.get("bytes") or b"")
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict) or not isinstance(token := content.get("token"), str):
        raise BadRequest('the first message must be {"token": "<jwt>"}')
    return token


def _on_message(subscription: Subscription, message: Message) -> None:
    """End a subscription whose client talks; but a token changes nothing: who sends it need not know of the cookie."""
    try:
        _token_of(message)
    except BadRequest:
        subscription.end(BadMessage())


async def _deny(send: Send, refused: Refused) -> None:
    """Refuse before accept, with a status that a page cannot see."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    body = orjson.dumps({"error": refused.code, "detail": refused.detail})
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


async def _refuse(send: Send, refused: Refused) -> None:
    """Say why in a last frame that a page can read, then close."""
    seconds = refused.retry_after_seconds if isinstance(refused, ComeBack) else 0
    fields = control.disconnect_fields(refused, None, control.jittered_ms(seconds * 1000))
    text = orjson.dumps({"control": control.DISCONNECT, **fields}).decode()
    await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close", "code": refused.close_code, "reason": refused.code})


async def _close(send: Send, farewell: Farewell) -> None:
    await send({"type": "websocket.close", "code": farewell.close_code, "reason": farewell.reason})
