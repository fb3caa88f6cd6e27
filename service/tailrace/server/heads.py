"""Which request heads an application never sees, and how they are answered; pure.

Guards against heads that two readers may understand differently, which is how requests are smuggled past a proxy (RFC
9112 section 11.2), and against those that are too large or mean nothing to a server that is no proxy. h11 refuses most
of the first kind by itself, but takes the others as RFC 9112 allows it to; we need no client that sends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tailrace.server.settings import MAX_HEAD_BYTES

BAD, TOO_LARGE, OTHER_PROTOCOL, OTHER_VERSION = 400, 431, 501, 505

FIELD_OVERHEAD_BYTES = 32
"""What a field counts beyond its name and value (RFC 9113 section 6.5.2)."""

_END = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(rb"(\S+) .* HTTP/(\d\.\d)\r?\n")
_FOLDED = re.compile(rb"\n[ \t]")
_LENGTH = re.compile(rb"\ncontent-length:[^\n,]*(,?)", re.IGNORECASE)
_CODING = re.compile(rb"\ntransfer-encoding:", re.IGNORECASE)


def refuse_http1(data: bytes) -> int | None:
    """Return the status that refuses the request that begins ``data``; None also while its head is not whole."""
    end = _END.search(data)
    if end is None:
        return None
    head = data[: end.start() + 1]
    line = _REQUEST_LINE.match(head)
    if line is None:
        return None  # h11 says what is wrong with it
    method, version = line.groups()
    if version not in {b"1.0", b"1.1"}:
        # The connection preface of HTTP/2 looks like a request, and is none.
        return None if head.startswith(b"PRI * HTTP/2.0\r\n") else OTHER_VERSION
    return BAD if method == b"CONNECT" or _ambiguous(head, version) else None


def _ambiguous(head: bytes, version: bytes) -> bool:
    """Whether two readers may find different ends of the head or of the body (RFC 9112 sections 5.2, 6.1, 6.3)."""
    lengths = _LENGTH.findall(head)
    coded = _CODING.search(head) is not None
    return bool(
        _FOLDED.search(head)
        or len(lengths) > 1
        or b"," in lengths
        or (coded and lengths)
        or (coded and version == b"1.0")
    )


def refuse_http2(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the status that refuses a request with these fields, which h2 has found to be well-formed.

    Of CONNECT we know only RFC 8441's, for WebSockets.
    """
    size, pseudo = 0, {}
    for name, value in headers:
        size += len(name) + len(value) + FIELD_OVERHEAD_BYTES
        if name.startswith(b":"):
            pseudo[name] = value
    if size > MAX_HEAD_BYTES:
        return TOO_LARGE
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not (path and path.isascii() and method.isascii()):
        return BAD
    if method == b"CONNECT" and (protocol := pseudo.get(b":protocol")) != b"websocket":
        return BAD if protocol is None else OTHER_PROTOCOL  # RFC 9220 section 3, for extended CONNECT as such
    return None
