"""Which of the two protocols a connection speaks, and Hypercorn's many arguments for it.

By ALPN over TLS; in clear text HTTP/1.1 until the peer says the preface of HTTP/2. Knows nothing of either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tailrace.server.context import CONTEXT
from tailrace.server.http1 import Http1
from tailrace.server.http2 import Http2

if TYPE_CHECKING:
    import asyncio

    from hypercorn.events import Event

    from tailrace.server.keeper import Keeper
    from tailrace.server.wires import Carrier

Send = Callable[["Event"], Awaitable[None]]


def first(carrier: Carrier, keeper: Keeper, transport: asyncio.Transport, send: Send) -> Http1 | Http2:
    """Make the protocol that a connection begins with."""
    tls = transport.get_extra_info("ssl_object")
    kind = Http2 if tls is not None and tls.selected_alpn_protocol() == "h2" else Http1
    client, server = (_address(transport.get_extra_info(name)) for name in ("peername", "sockname"))
    return kind(carrier, keeper.app, keeper.config, CONTEXT, None, {}, tls is not None, client, server, send)


def in_place_of(was: Http1 | Http2, carrier: Carrier, keeper: Keeper, send: Send) -> Http2:
    """Make the HTTP/2 of a peer that has said its preface; the transport may know its addresses no more."""
    return Http2(carrier, keeper.app, keeper.config, CONTEXT, None, {}, was.ssl, was.client, was.server, send)


def _address(name: Any) -> tuple[str, int] | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None
