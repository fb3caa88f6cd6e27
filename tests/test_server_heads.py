"""Which heads are refused, as bytes and as fields; `test_hardening` sends them to a server."""

from __future__ import annotations

import pytest

from tailrace.server.heads import refuse_http1, refuse_http2
from tailrace.server.settings import MAX_HEAD_BYTES

HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc\n d",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 5\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=[
        "HTTP/1.1",
        "HTTP/1.0",
        "bare LF",
        "a body like a folded field",
        "chunks",
        "the preface of HTTP/2",
        "nonsense",
    ],
)
def test_what_is_let_through(head: bytes) -> None:
    """Everything that can be read in one way only, and what h11 refuses by itself."""
    assert refuse_http1(head) is None


@pytest.mark.parametrize("size", range(1, 60, 7))
def test_nothing_is_said_before_the_end(size: int) -> None:
    """A head is looked at when it is whole."""
    assert refuse_http1(b"GET / HTTP/1.1\r\nHost: a\r\nX: folded\r\n field\r\nY: never ends\r\n"[:size]) is None


@pytest.mark.parametrize(
    "head,status",
    [
        (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nX: a\n\tb\n\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\nCONTENT-LENGTH: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1,1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\n\r\n", 505),
        (b"PRI / HTTP/2.0\r\n\r\n", 505),
    ],
    ids=[
        "folded",
        "folded by a tab",
        "lengths",
        "list",
        "length and coding",
        "coding over 1.0",
        "CONNECT",
        "1.2",
        "2.0",
    ],
)
def test_what_is_refused_over_http1(head: bytes, status: int) -> None:
    """What two readers may take for different requests, and what no server of ours does."""
    assert refuse_http1(head) == status


@pytest.mark.parametrize(
    "fields,status",
    [
        (HEAD, None),
        ([*HEAD, (b"x", b"y" * (MAX_HEAD_BYTES // 2))], None),
        ([*HEAD, (b"x", b"y" * MAX_HEAD_BYTES)], 431),
        ([*HEAD, *[(b"x", b"")] * (MAX_HEAD_BYTES // 33)], 431),
        ([*HEAD[:3], (b":path", b"")], 400),
        ([*HEAD[:3], (b":path", b"/\xc3\xa9")], 400),
        ([(b":method", b"\xc3\xa9"), *HEAD[1:]], 400),
        ([(b":method", b"CONNECT"), (b":authority", b"a")], 400),
        ([(b":method", b"CONNECT"), (b":protocol", b"other"), *HEAD[1:]], 501),
        ([(b":method", b"CONNECT"), (b":protocol", b"websocket"), *HEAD[1:]], None),
    ],
)
def test_what_is_refused_over_http2(fields: list[tuple[bytes, bytes]], status: int | None) -> None:
    """What is too large by RFC 9113's measure, and what has no address."""
    assert refuse_http2(fields) == status
