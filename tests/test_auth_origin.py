"""Whose page may use the cookie, and whose may open a WebSocket."""

from __future__ import annotations

import pytest

from tailrace.auth import check_websocket_origin, cookie_allowed, origin_allowed
from tailrace.errors import ForeignOrigin

LISTED = ("https://app.example",)
HERE = b"https://live.example"
HOST = "live.example"


def headers(origin: bytes | None = None, site: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """Give the headers with which a browser says whose page asked."""
    pairs = [(b"host", HOST.encode()), (b"origin", origin), (b"sec-fetch-site", site)]
    return [(name, value) for name, value in pairs if value is not None]


@pytest.mark.parametrize(
    "origin, scheme, host, expected",
    [
        ("https://live.example", "https", "live.example", True),
        ("https://live.example", "wss", "LIVE.example:443", True),
        ("https://live.example:8443", "https", "live.example:8443", True),
        ("https://live.example", "http", "live.example", True),
        ("http://localhost:8080", "ws", "localhost:8080", True),
        ("http://[::1]:8080", "http", "[::1]:8080", True),
        ("http://live.example", "https", "live.example", False),
        ("http://live.example", "wss", "live.example", False),
        ("https://evil.example", "https", "live.example", False),
        ("https://live.example:8443", "https", "live.example", False),
        ("https://live.example.evil.example", "https", "live.example", False),
        ("file://", "https", "", False),
        ("https://", "https", "", False),
        ("null", "https", "null", False),
        ("", "http", "", False),
    ],
)
def test_without_a_list_the_page_is_of_the_same_host(origin: str, scheme: str, host: str, expected: bool) -> None:
    """Host and port must match, and a page over plain HTTP never reads what HTTPS guards."""
    assert expected == origin_allowed(origin, scheme=scheme, host=host, allowed_origins=())


@pytest.mark.parametrize(
    "origin, expected",
    [
        ("https://app.example", True),
        ("HTTPS://APP.example", True),
        ("https://live.example", False),
        ("http://app.example", False),
        ("https://app.example:8443", False),
        ("null", False),
    ],
)
def test_a_list_is_the_whole_truth(origin: str, expected: bool) -> None:
    """With a list, an origin that is not on it is foreign, even that of the same host."""
    assert expected == origin_allowed(origin, scheme="https", host=HOST, allowed_origins=LISTED)


@pytest.mark.parametrize(
    "origin, site, listed, expected",
    [
        (None, None, (), False),
        (None, b"same-origin", (), True),
        (None, b"same-origin", LISTED, True),
        (None, b"same-site", (), False),
        (None, b"cross-site", LISTED, False),
        (None, b"none", (), False),
        (HERE, None, (), True),
        (b"https://app.example", b"cross-site", LISTED, True),
        (b"https://app.example", b"cross-site", (), False),
        (b"null", b"same-origin", (), False),
        (b"null", b"cross-site", LISTED, False),
    ],
)
def test_a_cookie_counts_only_for_an_allowed_page(
    origin: bytes | None, site: bytes | None, listed: tuple[str, ...], expected: bool
) -> None:
    """Either header may vouch for the page; without both, or from nowhere, the cookie does not count."""
    assert expected == cookie_allowed(headers(origin, site), scheme="https", host=HOST, allowed_origins=listed)


def test_two_origins_are_none() -> None:
    """A browser sends one; who sends two is not believed in either."""
    twice = [*headers(HERE), *headers(HERE)]
    assert not cookie_allowed(twice, scheme="https", host=HOST, allowed_origins=())


@pytest.mark.parametrize("origin", [None, HERE])
def test_a_websocket_opens_for_our_page_and_for_programs(origin: bytes | None) -> None:
    """Programs send no Origin, and have to bring a token anyway."""
    check_websocket_origin(headers(origin), scheme="wss", host=HOST, allowed_origins=())


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b""])
def test_a_websocket_stays_shut_for_a_foreign_page(origin: bytes) -> None:
    """A page of another site is refused before it learns anything."""
    with pytest.raises(ForeignOrigin):
        check_websocket_origin(headers(origin), scheme="wss", host=HOST, allowed_origins=())
