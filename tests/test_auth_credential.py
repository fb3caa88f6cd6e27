"""Where a token may come from, and the cookie that keeps it."""

from __future__ import annotations

import base64

import pytest

from tailrace.auth import (
    Credential,
    cookie_name,
    refuse_token_in_query,
    remove_cookie,
    set_cookie,
    token_from_headers,
)
from tailrace.errors import BadRequest

AUTHORIZATION = (b"authorization", b"Bearer one")
SUBPROTOCOL = (b"sec-websocket-protocol", b"tailrace.v1, tailrace.bearer.two")
COOKIE = (b"cookie", b"theme=dark; tailrace=three")
JWT = base64.urlsafe_b64encode(b'{"alg":"HS256"}').decode().rstrip("=") + ".e30.c2ln"


def find(*headers: tuple[bytes, bytes]) -> Credential | None:
    """Look for a token where the cookie counts."""
    return token_from_headers(headers, cookie_name="tailrace")


@pytest.mark.parametrize(
    "headers, expected",
    [
        ((COOKIE, SUBPROTOCOL, AUTHORIZATION), Credential("one", "bearer")),
        ((COOKIE, SUBPROTOCOL), Credential("two", "subprotocol")),
        ((COOKIE,), Credential("three", "cookie")),
        ((), None),
        (((b"authorization", b"bearer  one"),), Credential("one", "bearer")),
        (((b"authorization", b"Basic YTpi"), COOKIE), Credential("three", "cookie")),
        (((b"sec-websocket-protocol", b"tailrace.v1"),), None),
        (((b"cookie", b"theme=dark"), (b"cookie", b"tailrace=three")), Credential("three", "cookie")),
        (((b"cookie", b"tailrace=a=="),), Credential("a==", "cookie")),
        (((b"cookie", b"Tailrace=three; tailrace2=four"),), None),
    ],
)
def test_the_first_place_that_has_a_token_wins(
    headers: tuple[tuple[bytes, bytes], ...], expected: Credential | None
) -> None:
    """Authorization comes before the subprotocol, and that before the cookie."""
    assert expected == find(*headers)


def test_a_cookie_that_must_not_count_is_not_seen() -> None:
    """Without a cookie's name, a request with nothing but a cookie carries no token."""
    assert token_from_headers([COOKIE], cookie_name=None) is None


@pytest.mark.parametrize(
    "headers",
    [
        [AUTHORIZATION, AUTHORIZATION],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer one two")],
        [(b"authorization", JWT.encode())],
        [(b"sec-websocket-protocol", b"tailrace.bearer.")],
        [SUBPROTOCOL, SUBPROTOCOL],
        [(b"cookie", b"tailrace=three; tailrace=four")],
        [(b"cookie", b"tailrace=")],
        [(b"cookie", b"theme=dark; tailrace")],
    ],
)
def test_malformed_or_doubled_credentials_are_bad_requests(headers: list[tuple[bytes, bytes]]) -> None:
    """What cannot be read as one token is refused, never passed over in favour of the next place."""
    with pytest.raises(BadRequest):
        find(*headers)


def test_a_credential_does_not_show_its_token() -> None:
    """A token must not get into a log by way of a repr."""
    assert "one" not in repr(find(AUTHORIZATION))


@pytest.mark.parametrize(
    "query",
    [
        "access_token=x",
        "a=1&Token=",
        "jwt",
        "authorization=Bearer+x",
        f"q={JWT}",
        f"q=Bearer+{JWT}",
        f"{JWT}",
        f"q={JWT.replace('.', '%2E')}",
        "&".join(["a=1"] * 101),
    ],
)
def test_a_token_in_the_address_is_refused(query: str) -> None:
    """RFC 9700: a query parameter that is called a token, or is one, is a bad request."""
    with pytest.raises(BadRequest):
        refuse_token_in_query(query.encode())


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"from=tail",
        b"last_event_id=v1.9f3a2c1d.1843.-1790.2011",
        b"a=v1.9f3a.12",
        b"a=bnVsbA.b.c",
        b"a=\xff.b.c",
        b"a=W1td.b.c",
        b"since=2026-01-01T00:00:00Z",
    ],
)
def test_ordinary_queries_pass(query: bytes) -> None:
    """Event ids and times are not taken for tokens."""
    refuse_token_in_query(query)


def test_the_refusal_says_why() -> None:
    """The client's author learns the reason and the way out."""
    with pytest.raises(BadRequest, match=r"RFC 9700.*Authorization"):
        refuse_token_in_query(b"token=x")


@pytest.mark.parametrize("secure, expected", [(True, "__Host-tailrace"), (False, "tailrace")])
def test_the_cookie_has_one_name_for_all_requests(secure: bool, expected: str) -> None:
    """The operator says which; what a request says of its host and scheme may be a proxy's."""
    assert expected == cookie_name(secure=secure)


def test_the_cookie_lives_as_long_as_the_token() -> None:
    """Max-Age is what is left of the token, in whole seconds."""
    expected = "__Host-tailrace=t; Path=/; Max-Age=59; HttpOnly; SameSite=Lax; Secure"
    assert expected == set_cookie("t", name="__Host-tailrace", expires_at=1060.0, now=1000.5)


def test_the_plain_cookie_is_not_secure() -> None:
    """Plain HTTP cannot keep a Secure cookie; and no life is below nothing."""
    expected = "tailrace=t; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    assert expected == set_cookie("t", name="tailrace", expires_at=1.0, now=2.0)


def test_removing_keeps_the_attributes() -> None:
    """A browser forgets a ``__Host-`` cookie only by one that it would take."""
    expected = "__Host-tailrace=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    assert expected == remove_cookie("__Host-tailrace")


def test_a_token_that_no_browser_would_keep_is_said_to_be_too_long() -> None:
    """Browsers drop cookies above 4096 bytes without a word, so we have the word."""
    with pytest.raises(BadRequest, match="too long for a cookie, which holds 4088 bytes"):
        set_cookie("t" * 4089, name="tailrace", expires_at=2.0, now=1.0)
