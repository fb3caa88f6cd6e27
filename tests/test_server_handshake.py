"""Handshakes by themselves: which are taken, and what is said of the others."""

from __future__ import annotations

import json

import pytest

from tailrace.server import handshake

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GOOD = [
    (b"host", b"here"),
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", KEY),
]

Headers = list[tuple[bytes, bytes]]


def without(name: bytes, *instead: bytes) -> Headers:
    """Give a good handshake with other values, or none, for one header."""
    return [pair for pair in GOOD if pair[0] != name] + [(name, value) for value in instead]


@pytest.mark.parametrize(
    "headers",
    [
        GOOD,
        without(b"connection", b"keep-alive, UPGRADE"),
        without(b"connection", b"upgrade", b"keep-alive"),
        without(b"upgrade", b"WebSocket"),
        without(b"upgrade", b"h2c, websocket"),
        without(b"upgrade", b"h2c", b" websocket "),
    ],
    ids=["plain", "among others", "on several lines", "any case", "one of two", "second line"],
)
def test_a_websocket_is_meant(headers: Headers) -> None:
    """Upgrade and Connection are lists of words in any case (RFC 9110 sections 7.6.1 and 7.8)."""
    assert handshake.is_meant("GET", "1.1", headers)
    assert handshake.refusal(headers, "1.1") is None


@pytest.mark.parametrize(
    "method, http_version, headers",
    [
        ("POST", "1.1", GOOD),
        ("GET", "1.0", GOOD),
        ("GET", "1.1", without(b"upgrade")),
        ("GET", "1.1", without(b"upgrade", b"h2c")),
        ("GET", "1.1", without(b"connection")),
        ("GET", "1.1", without(b"connection", b"close")),
    ],
    ids=["POST", "HTTP/1.0", "no Upgrade", "other Upgrade", "no Connection", "other Connection"],
)
def test_a_websocket_is_not_meant(method: str, http_version: str, headers: Headers) -> None:
    """An Upgrade that asks for no WebSocket may be ignored, that of HTTP/1.0 must be (RFC 9110 section 7.8)."""
    assert not handshake.is_meant(method, http_version, headers)


@pytest.mark.parametrize(
    "headers, about",
    [
        (without(b"sec-websocket-key"), "Sec-WebSocket-Key"),
        (without(b"sec-websocket-key", b""), "Sec-WebSocket-Key"),
        (without(b"sec-websocket-key", b"c2hvcnQ="), "Sec-WebSocket-Key"),
        (without(b"sec-websocket-key", b"x" * 23), "Sec-WebSocket-Key"),
        (without(b"sec-websocket-key", b"?" * 24), "Sec-WebSocket-Key"),
        (without(b"sec-websocket-key", b"\xe9" * 24), "Sec-WebSocket-Key"),
        (without(b"sec-websocket-key", KEY, KEY), "Sec-WebSocket-Key"),
        ([*GOOD, (b"content-length", b"5")], "body"),
        ([*GOOD, (b"transfer-encoding", b"chunked")], "body"),
    ],
    ids=["no key", "empty", "short", "cut off", "not base64", "not ASCII", "two", "length", "chunks"],
)
def test_a_malformed_handshake_is_400(headers: Headers, about: str) -> None:
    """The sentence names what is wrong (RFC 6455 section 4.2.1)."""
    refusal = handshake.refusal(headers, "1.1")
    assert refusal is not None
    assert (400, True) == (refusal.status, about in json.loads(refusal.body)["detail"])
    assert (b"cache-control", b"no-store") in refusal.headers


@pytest.mark.parametrize("versions", [[], [b"12"], [b"8, 13"], [b"13", b"13"], [b""]])
@pytest.mark.parametrize(
    "http_version, status, more", [("1.1", 426, {b"upgrade": b"websocket", b"connection": b"upgrade"}), ("2", 400, {})]
)
def test_another_version_is_told_ours(
    versions: list[bytes], http_version: str, status: int, more: dict[bytes, bytes]
) -> None:
    """RFC 6455 section 4.4; over HTTP/2, which has no Upgrade, 426 may not be sent (RFC 9110 section 15.5.22)."""
    refusal = handshake.refusal(without(b"sec-websocket-version", *versions), http_version)
    assert refusal is not None
    assert (status, {b"sec-websocket-version": b"13", **more}) == (refusal.status, dict(refusal.more))


def test_a_body_of_no_length_is_none() -> None:
    """Some proxies add it."""
    assert handshake.refusal([*GOOD, (b"content-length", b"0")], "1.1") is None


def test_over_http2_there_is_no_key() -> None:
    """Nor an accept for it (RFC 8441 section 5)."""
    headers = [(b"sec-websocket-version", b"13")]
    assert (None, (200, [])) == (handshake.refusal(headers, "2"), handshake.answer(headers, "2", None))


def test_the_answer_shows_that_the_key_was_read() -> None:
    """With the numbers of RFC 6455 section 1.3; the subprotocol is named where one was chosen."""
    status, headers = handshake.answer([*GOOD, (b"sec-websocket-protocol", b"a, b")], "1.1", "b")
    told = dict(headers)
    assert (101, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == (status, told[b"sec-websocket-accept"])
    assert (b"b", b"websocket") == (told[b"sec-websocket-protocol"], told[b"upgrade"])


def test_extensions_are_declined_by_silence() -> None:
    """Whatever is offered (RFC 6455 section 9.1)."""
    _, headers = handshake.answer([*GOOD, (b"sec-websocket-extensions", b"permessage-deflate; \xe9")], "1.1", None)
    assert b"sec-websocket-extensions" not in dict(headers)


def test_offers_may_be_spread_over_several_lines() -> None:
    """They keep their order, empty members are none, and what is not ASCII kills nobody (RFC 6455 section 11.3.4)."""
    lines = [(b"sec-websocket-protocol", value) for value in (b"a, b", b" , ", b"c,\xe9")]
    assert ["a", "b", "c", "\xe9"] == handshake.subprotocols(lines)


def test_a_subprotocol_that_was_not_offered_is_an_error() -> None:
    """A browser would fail the socket without a word."""
    with pytest.raises(ValueError, match="did not offer"):
        handshake.answer(GOOD, "1.1", "other")
