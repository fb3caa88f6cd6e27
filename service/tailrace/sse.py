"""A subscription as ``text/event-stream``: the endpoint of ``GET /v1/sessions/{session}/events``.

Headers, media type and encoding rules are sse-starlette's, asked for once. Its response runs four tasks per connection
and notices neither a shutdown nor, over HTTP/2, a stalled client under Hypercorn; ours keeps the one task that ASGI
gave it, in ``receive()``, and leaves the bytes to the wire. Knows no Kafka and verifies no token: that is done before.
"""

from __future__ import annotations

from sse_starlette import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from tailrace import control
from tailrace.encoding import FORMATS, Framing
from tailrace.errors import ComeBack
from tailrace.subscription import Subscription
from tailrace.wire import open_wire, say_last

_BODY = FORMATS[Framing.BODY]
_NO_BODY: tuple[bytes, ...] = ()
"""Stands where sse-starlette expects a body: the wire writes it."""
_HEAD = EventSourceResponse(iter(_NO_BODY), ping=0)
"""One for all: a response of its own, with its lock, would be two kilobytes of every connection."""


class EventStream:
    """The response of one subscription, an ASGI app. Lives as long as the connection, or the HTTP/2 stream."""

    __slots__ = ("_subscription",)

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, hand the rest to the wire, and end the response when the subscription has ended."""
        try:
            await send(_start())
            if scope["method"] == "HEAD":
                await send(_end())
                return
            wire = open_wire(scope, send)
            self._subscription.open(wire)
            await wire.serve(receive, _ignore)
        finally:
            self._subscription.close()
        await say_last(wire, send(_end()), self._subscription.send_timeout_seconds)


class ComeBackStream:
    """What should be tried again: a stream that says so and ends, because EventSource gives up on anything but 200."""

    def __init__(self, why: ComeBack) -> None:
        retry_after_ms = control.jittered_ms(why.retry_after_seconds * 1000)
        self._body = control.disconnect(_BODY, why, None, retry_after_ms)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  nothing to read
        """Send the head, the farewell and the end."""
        await send(_start())
        await send(_end(b"" if scope["method"] == "HEAD" else self._body))


def _start() -> Message:
    """Write the head; a new list, to which middleware may add."""
    return {"type": "http.response.start", "status": _HEAD.status_code, "headers": [*_HEAD.raw_headers]}


def _end(body: bytes = b"") -> Message:
    return {"type": "http.response.body", "body": body, "more_body": False}


def _ignore(message: Message) -> None:
    """Take no notice of a request body: nothing is expected of it."""
