"""Which names a listener may be asked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from asgi import Exchange, raw_scope
from tailrace.hosts import ANY, HostGuard, listed, loopback_only

OURS = ("tailrace.internal", "Metrics.example.")


async def fine(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def asked(rule: Any, *hosts: str, **about: Any) -> Sequence[dict[str, Any]]:
    """Ask an app behind the guard; gives what was sent."""
    given = raw_scope("/", {}, **about)
    given["headers"] = [(b"host", host.encode("latin-1")) for host in hosts]
    exchange = Exchange()
    await HostGuard(fine, rule, "say which")(given, exchange.receive, exchange.send)
    return exchange.sent


LOOPBACK = ["localhost", "LOCALHOST:8080", "localhost.", "app.localhost:1", "127.0.0.1:80", "127.8.9.1", "[::1]:8080"]
ADDRESSES = ["10.0.0.7:9080", "[2001:db8::1]:9080", "0.0.0.0:9080", "192.168.1.5"]
FOREIGN = [
    *("evil.example", "evil.example:9080", "localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost"),
    *("[::1", "a b", "1.2.3", "0x7f.1", "\xe9vil.example", "evil.example@localhost", "localhost/evil"),
    "tailrace.internal.evil",
]


@pytest.mark.parametrize("host", ["", *LOOPBACK])
async def test_loopback_is_always_known(host: str) -> None:
    """By any of its names, with any port; and who names no host is no browser."""
    for rule in (loopback_only, listed(())):
        assert [each["status"] for each in await asked(rule, host)] == [200]


@pytest.mark.parametrize("host", ADDRESSES)
async def test_an_address_is_no_name(host: str) -> None:
    """No page can make it its own; but what is for this machine only is asked by its loopback."""
    assert (await asked(listed(()), host))[0]["status"] == 200
    assert (await asked(loopback_only, host))[0]["status"] == 421


@pytest.mark.parametrize("host", FOREIGN)
async def test_other_names_are_misdirected(host: str) -> None:
    """As is what can be read in two ways; `ANY` lets all pass."""
    for rule in (loopback_only, listed(OURS)):
        assert (await asked(rule, host))[0]["status"] == 421
    assert (await asked(listed([*OURS, ANY]), host))[0]["status"] == 200


@pytest.mark.parametrize("host", ["tailrace.internal", "TAILRACE.internal:9080", "metrics.example"])
async def test_a_listed_name_passes(host: str) -> None:
    """Whatever its case, its port and the dot at its end."""
    assert (await asked(listed(OURS), host))[0]["status"] == 200


async def test_no_host_passes_and_one_of_two_does_not() -> None:
    """HTTP/1.0 probes send none, a browser sends one; who sends two is believed in neither."""
    assert (await asked(loopback_only))[0]["status"] == 200
    assert (await asked(loopback_only, "localhost", "evil.example"))[0]["status"] == 421


async def test_a_websocket_is_refused_before_its_handshake() -> None:
    """With the same status and body."""
    head, body = await asked(loopback_only, "evil.example", type="websocket", scheme="ws")
    assert (head["type"], head["status"]) == ("websocket.http.response.start", 421)
    assert body["body"] == b'{"error":"misdirected","detail":"say which"}'


async def test_the_lifespan_has_no_host() -> None:
    """It is the server's own."""
    exchange = Exchange()
    await HostGuard(fine, loopback_only, "")({"type": "lifespan"}, exchange.receive, exchange.send)
    assert exchange.sent != []
