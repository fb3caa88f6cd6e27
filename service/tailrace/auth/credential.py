"""Where a request carries its token, in order: ``Authorization``, WebSocket subprotocol, cookie; never its address.

Takes header lists as ASGI gives them (names in lower case) and gives the token's text; whether it is any good is for
`token` to say. Also makes the ``Set-Cookie`` values for a native EventSource, which can send no header of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tailrace.errors import BadRequest
from tailrace.position import MAX_ID_BYTES

BEARER_SUBPROTOCOL = "tailrace.bearer."
"""Beginning of the subprotocol that carries a token; never echoed."""

SECURE_COOKIE = "__Host-tailrace"
"""The prefix makes the browser hold it to ``Secure``, ``Path=/`` and this very host (RFC 6265bis section 4.1.3).
Chromium and Firefox keep it over plain HTTP to loopback, too."""
PLAIN_COOKIE = "tailrace"
"""For plain HTTP while a page is developed: Safari keeps no ``Secure`` cookie of loopback, and no browser one of
another host."""

MAX_COOKIE_BYTES = 4096
"""Name and value: a browser drops a longer cookie without a word (RFC 6265bis section 5.6)."""
MAX_QUERY_PARAMETERS = 100
MAX_QUERY_BYTES = MAX_ID_BYTES + 1024
"""The longest query that is looked at. It has room for the longest id, for other parameters and for some encoding."""

_TOKEN_PARAMETER = re.compile(rb"&(?:access_token|authorization|jwt|token)[=&]")
"""The name of a parameter that carries a token, in a query in lower case with a ``&`` at either end."""
_THREE_PARTS = re.compile(rb"ey(?:(?<![^&=+]ey)|(?<=%20ey))([\w-]*+)(?:(?:\.|%2[Ee])[\w-]*+){2}(?![^&])")
"""The last word of a name or value, where it can be a JWT (RFC 7519 section 3): three base64url parts. The first part
holds JSON that begins with ``{`` and a quote or a space; the group is what follows ``ey`` in it. The quantifiers are
possessive, so that the search takes linear time."""
_ALG = (b"JhbGci", b"ImFsZy", b"iYWxnI")
"""How base64 writes ``"alg"``, which the first part holds: in one of three ways, by where in the part it stands."""

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Credential:
    """A token, not verified, and how it came; a cookie comes by itself, the others because somebody sent them."""

    token: str = field(repr=False)
    source: Literal["bearer", "subprotocol", "cookie"]


def values(headers: Headers, name: bytes) -> list[str]:
    """Return every value of a header, in order."""
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


def token_from_headers(headers: Headers, *, cookie_name: str | None) -> Credential | None:
    """Find the request's token; None when there is none. ``cookie_name`` is None where a cookie must not count.

    Raises `BadRequest` when one place holds two, or something malformed. Another scheme than Bearer is not for us: a
    proxy's Basic password, which browsers send everywhere, takes nobody's cookie away.
    """
    headers = list(headers)
    if (token := _bearer(values(headers, b"authorization"))) is not None:
        return Credential(token, "bearer")
    if (token := _subprotocol(values(headers, b"sec-websocket-protocol"))) is not None:
        return Credential(token, "subprotocol")
    if cookie_name is not None and (token := _cookie(values(headers, b"cookie"), cookie_name)) is not None:
        return Credential(token, "cookie")
    return None


def _bearer(authorizations: list[str]) -> str | None:
    if not authorizations:
        return None
    if len(authorizations) > 1:
        raise BadRequest("the header Authorization must come only once")
    words = authorizations[0].split()
    if len(words) > 1 and words[0].lower() != "bearer":
        return None
    if len(words) != 2:
        raise BadRequest("the header Authorization must be: Bearer, one space, and the token")
    return words[1]


def _subprotocol(offers: list[str]) -> str | None:
    names = [name.strip() for offer in offers for name in offer.split(",")]
    return _only(
        [name.removeprefix(BEARER_SUBPROTOCOL) for name in names if name.startswith(BEARER_SUBPROTOCOL)],
        f"the subprotocol {BEARER_SUBPROTOCOL}<token>",
    )


def _cookie(cookies: list[str], name: str) -> str | None:
    pairs = [pair.strip().partition("=") for cookie in cookies for pair in cookie.split(";")]
    return _only([value for key, _, value in pairs if key == name], f"the cookie {name}")


def _only(tokens: list[str], place: str) -> str | None:
    if len(tokens) > 1 or tokens == [""]:
        raise BadRequest(f"{place} must come only once, and with a token")
    return tokens[0] if tokens else None


def refuse_token_in_query(query: bytes) -> None:
    """Raise `BadRequest` if the query string carries a token: addresses end up in logs and in histories.

    Strangers come this far, so nothing is decoded: some microseconds, whatever ``query`` is. Raises as well where it
    is longer than `MAX_QUERY_BYTES`, or has more than `MAX_QUERY_PARAMETERS`: call it before the query is parsed.
    """
    if len(query) > MAX_QUERY_BYTES:
        raise BadRequest(f"the query is longer than {MAX_QUERY_BYTES} bytes")
    if query.count(b"&") >= MAX_QUERY_PARAMETERS:
        raise BadRequest(f"the query has more than {MAX_QUERY_PARAMETERS} parameters")
    if _TOKEN_PARAMETER.search(b"&%b&" % query.lower()) or _holds_jwt(query):
        raise BadRequest("a token must not be in the address (RFC 9700 section 4.3.2): use Authorization, or a cookie")


def _holds_jwt(query: bytes) -> bool:
    return any(alg in query for alg in _ALG) and any(
        alg in header for header in _THREE_PARTS.findall(query) for alg in _ALG
    )


def cookie_name(*, secure: bool) -> str:
    """Return the cookie's name, one for all requests: nothing in a request says whether the browser's side has TLS.

    A proxy that has ended TLS may pass on a ``Host`` of its own, or the scheme it speaks to us.
    """
    return SECURE_COOKIE if secure else PLAIN_COOKIE


def set_cookie(token: str, *, name: str, expires_at: float, now: float) -> str:
    """Return the ``Set-Cookie`` value that keeps a verified token until ``expires_at`` (both in Unix seconds).

    Raises `BadRequest` when a browser would not keep it.
    """
    if len(name) + len(token) > MAX_COOKIE_BYTES:
        raise BadRequest(f"the token is too long for a cookie, which holds {MAX_COOKIE_BYTES - len(name)} bytes")
    return _attributes(name, token, max(0, int(expires_at - now)))


def remove_cookie(name: str) -> str:
    """Return the ``Set-Cookie`` value that makes the browser forget the cookie."""
    return _attributes(name, "", 0)


def _attributes(name: str, value: str, max_age_seconds: int) -> str:
    secure = "; Secure" if name == SECURE_COOKIE else ""
    return f"{name}={value}; Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite=Lax{secure}"
