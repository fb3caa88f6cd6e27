"""Which pages may use the cookie, and which may open a WebSocket.

A browser sends a cookie whoever's page asked, and lets every page open a WebSocket; only ``Origin`` and
``Sec-Fetch-Site`` say whose page it is, and no page can forge them. Takes header lists as ASGI gives them.
"""

from __future__ import annotations

from collections.abc import Collection

from tailrace.auth.credential import Headers, values
from tailrace.errors import ForeignOrigin

_PLAIN = frozenset({"http", "ws"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def origin_allowed(origin: str, *, scheme: str, host: str, allowed_origins: Collection[str]) -> bool:
    """Whether pages of ``origin`` may ask: those on the list, or without a list those of the same host.

    ``scheme`` and ``host`` are the request's. A page over HTTPS counts as the same host when the request came over
    plain HTTP, because a proxy may have ended TLS; never the other way round. ``null`` is nobody's page.
    """
    if allowed_origins:
        return origin.lower() in allowed_origins
    page_scheme, _, page_host = origin.lower().partition("://")
    if page_scheme != "https" and not (page_scheme == "http" and scheme in _PLAIN):
        return False
    port = _DEFAULT_PORTS[page_scheme]
    return page_host.removesuffix(port) == host.lower().removesuffix(port) != ""


def cookie_allowed(headers: Headers, *, scheme: str, host: str, allowed_origins: Collection[str]) -> bool:
    """Whether a cookie may count: the browser says that an allowed page asked. Silence is no: curl has Bearer."""
    return _page_allowed(headers, scheme, host, allowed_origins) is True


def check_websocket_origin(headers: Headers, *, scheme: str, host: str, allowed_origins: Collection[str]) -> None:
    """Raise `ForeignOrigin` for a page that may not open a WebSocket; who sends no ``Origin`` is no browser."""
    if _page_allowed(headers, scheme, host, allowed_origins) is False:
        raise ForeignOrigin("this page's origin is not allowed to open a WebSocket")


def _page_allowed(headers: Headers, scheme: str, host: str, allowed_origins: Collection[str]) -> bool | None:
    """Whether the page that asked may; None when nothing says that it was a page."""
    headers = list(headers)
    origins = values(headers, b"origin")
    if values(headers, b"sec-fetch-site") == ["same-origin"] and origins != ["null"]:
        return True
    if not origins:
        return None
    return len(origins) == 1 and origin_allowed(origins[0], scheme=scheme, host=host, allowed_origins=allowed_origins)
