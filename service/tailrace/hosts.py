"""Which names a listener may be asked by: a guard against DNS rebinding, in plain ASGI.

A page of another site cannot read our answers, unless its own name is made to resolve to our address: then the browser
takes us for the page's own server, and its ``Host`` has that name. So a name that is not known to be ours is answered
with 421 (RFC 9110 section 15.5.20). It guards what has no token: the operator's listener, and `tailrace dev`. What a
browser cannot send, or a foreign name cannot be, passes:

- no ``Host`` at all, as probes by HTTP/1.0 and some checks over HTTP/2 have it; a browser always sends one;
- an address in place of a name, as Kubernetes' probes and Prometheus send it: no name was resolved, so none was bound.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tailrace.log import Seldom

logger = logging.getLogger(__name__)

ANY = "*"
"""In a list of names: all of them."""
CODE = "misdirected"
"""The word in the body of the refusal."""

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^][\s:/?#@\\]*))(?::\d*)?")

Rule = Callable[[str], bool]
"""Whether a host may be asked for: a name in lower case, or an address without brackets."""


def loopback_only(name: str) -> bool:
    """Whether it is this machine as it calls itself (RFC 6761 section 6.3), or an address of its loopback."""
    address = _address(name)
    return _is_localhost(name) if address is None else address.is_loopback


def listed(names: Collection[str]) -> Rule:
    """Make the rule that lets ``names`` pass, or with `ANY` all; localhost and addresses always do."""
    if ANY in names:
        return lambda _name: True
    known = frozenset(name.lower().removesuffix(".") for name in names)
    return lambda name: name in known or _is_localhost(name) or _address(name) is not None


class HostGuard:
    """Answers 421 where no host of the request passes ``rule``; ``told`` says to an operator what would.

    For WebSockets too, before the handshake is answered. Lives as long as its application.
    """

    def __init__(self, app: ASGIApp, rule: Rule, told: str) -> None:
        self._app = app
        self._rule = rule
        self._told = told
        self._seldom = Seldom(logger)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Hand the request on, or refuse it; the lifespan has no host."""
        hosts = Headers(scope=scope).getlist("host") if scope["type"] in {"http", "websocket"} else ()
        foreign = [name for name in map(_name, hosts) if name != "" and not self._rule(name)]
        if not foreign:
            return self._app(scope, receive, send)
        self._seldom.log(logging.WARNING, CODE, "refused a request to %.253s: %s", foreign[0], self._told)
        return self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"cache-control": "no-store"}
        await JSONResponse({"error": CODE, "detail": self._told}, 421, headers)(scope, receive, send)


def _name(host: str) -> str:
    """Remove the port, and the dot that ends an absolute name; what cannot be read stays, and is no name of a list."""
    match = _HOST.fullmatch(host.strip().lower())
    return host if match is None else (match[1] or match[2]).removesuffix(".")


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
