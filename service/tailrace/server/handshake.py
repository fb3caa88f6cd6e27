"""Whether a request may become a WebSocket, and how it is answered.

The rules are RFC 6455 section 4.2 over HTTP/1.1 and RFC 8441 section 5 over HTTP/2. Hypercorn reads only the last of
several header lines, takes any key, answers every trouble with an empty 400, and loses a connection, siblings and all,
over an offer that is not ASCII. Pure; `http1` asks whether a WebSocket is meant, `websocket` the rest.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable

from wsproto.utilities import generate_accept_token

from tailrace.server.answer import Answer, Headers

VERSION = b"13"
KEY_BYTES = 16


def is_meant(method: str, http_version: str, headers: Headers) -> bool:
    """Whether an HTTP/1.1 request asks for a WebSocket; HTTP/1.0 cannot (RFC 9110 section 7.8)."""
    return (
        (method, http_version) == ("GET", "1.1")
        and "websocket" in (token.lower() for token in _tokens(headers, b"upgrade"))
        and "upgrade" in (token.lower() for token in _tokens(headers, b"connection"))
    )


def refusal(headers: Headers, http_version: str) -> Answer | None:
    """Say what is wrong with a handshake; None when nothing is."""
    if _values(headers, b"sec-websocket-version") != [VERSION]:
        return _other_version(http_version)
    if http_version == "2":
        return None
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers):
        return Answer(400, "a WebSocket handshake has no body")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return Answer(400, "Sec-WebSocket-Key must come once, and be 16 bytes in base64 (RFC 6455 section 4.1)")
    return None


def subprotocols(headers: Headers) -> list[str]:
    """Return what the client offers, in order, from however many header lines."""
    return list(_tokens(headers, b"sec-websocket-protocol"))


def answer(headers: Headers, http_version: str, subprotocol: str | None) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Return the status and the headers that accept a handshake; extensions are declined by not naming any.

    Raises `ValueError` for a subprotocol that was not offered: a browser would fail the socket without a word.
    """
    chosen = []
    if subprotocol is not None:
        if subprotocol not in subprotocols(headers):
            raise ValueError("the client did not offer this subprotocol")
        chosen = [(b"sec-websocket-protocol", subprotocol.encode("latin-1"))]
    if http_version == "2":
        return 200, chosen
    [key] = _values(headers, b"sec-websocket-key")
    return 101, [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", generate_accept_token(key)),
        *chosen,
    ]


def _other_version(http_version: str) -> Answer:
    """Name the version that is spoken (RFC 6455 section 4.4); HTTP/2 has no Upgrade, and so no 426."""
    detail = "Sec-WebSocket-Version must come once, and be 13"
    spoken = (b"sec-websocket-version", VERSION)
    if http_version == "2":
        return Answer(400, detail, [spoken])
    return Answer(426, detail, [spoken, (b"upgrade", b"websocket"), (b"connection", b"upgrade")])


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value.strip() for name, value in headers if name == wanted]


def _tokens(headers: Headers, wanted: bytes) -> Iterable[str]:
    """Return the members of a list that may be spread over several header lines (RFC 9110 section 5.3)."""
    pieces = b",".join(_values(headers, wanted)).decode("latin-1").split(",")
    return (piece for each in pieces if (piece := each.strip()))


def _is_key(key: bytes) -> bool:
    try:
        return len(b64decode(key, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False
