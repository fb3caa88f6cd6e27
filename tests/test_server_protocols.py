"""Which protocol a connection speaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificates import make_certificate
from h2raw import PREFACE, SETTINGS, frame
from serving import hello, serving
from tailrace.server.http1 import Http1
from tailrace.server.http2 import Http2

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("said,kind", [(GET, Http1), (PREFACE + frame(SETTINGS), Http2)], ids=["GET", "preface"])
async def test_in_clear_text_the_peer_says(said: bytes, kind: type[Http1 | Http2]) -> None:
    """Its first words decide."""
    async with serving(hello) as here:
        reader, writer = await here.open(said)
        await reader.readexactly(9)
        [connection] = here.server._listeners[0]._connections
        assert (type(connection._protocol), connection._protocol.client) == (kind, writer.get_extra_info("sockname"))
        writer.transport.abort()


async def test_over_tls_alpn_decides(tmp_path: Path) -> None:
    """Before a byte was said."""
    async with serving(hello, certificate=make_certificate(tmp_path)) as here, await here.h2():
        [connection] = here.server._listeners[0]._connections
        assert (type(connection._protocol), connection._protocol.ssl) == (Http2, True)
