"""What the operator's probes are told."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from asgi import ask
from tailrace import health
from tailrace.metrics import Metrics

WAITS, TROUBLES = ["topic t, partition 0 has not told its end yet"], ["the broker k:9092 cannot be reached: refused"]


def probes(*, waiting: list[str] | None = None, degraded: list[str] | None = None, draining: bool = False) -> Starlette:
    return Starlette(
        routes=health.routes(waiting=lambda: waiting or [], degraded=lambda: degraded or [], draining=lambda: draining)
    )


@pytest.mark.parametrize("draining", [False, True])
async def test_the_process_is_alive_as_long_as_it_answers(draining: bool) -> None:
    """A drain or an outage is no reason to kill it."""
    answer = await ask(probes(waiting=WAITS, degraded=TROUBLES, draining=draining), "/livez")
    assert (200, {"status": "alive"}) == (answer.status_code, answer.json())


async def test_ready_is_ready() -> None:
    """Clients may be sent here."""
    answer = await ask(probes(), "/readyz")
    assert (200, {"status": "ready"}) == (answer.status_code, answer.json())


async def test_not_warm_yet_says_what_it_waits_for() -> None:
    """In sentences that an operator can act on, and with what may be the cause; nothing is said twice."""
    answer = await ask(probes(waiting=WAITS, degraded=[*WAITS, *TROUBLES]), "/readyz")
    expected = {"status": "waiting", "waiting_for": WAITS, "troubles": TROUBLES}
    assert (503, expected) == (answer.status_code, answer.json())


async def test_an_outage_degrades_and_leaves_it_ready() -> None:
    """All replicas would go at once, and nobody could reconnect."""
    answer = await ask(probes(degraded=TROUBLES), "/readyz")
    assert (200, {"status": "degraded", "troubles": TROUBLES}) == (answer.status_code, answer.json())


async def test_a_drain_is_not_ready_whatever_else() -> None:
    """No new client may be sent here."""
    answer = await ask(probes(waiting=WAITS, degraded=TROUBLES, draining=True), "/readyz")
    assert (503, {"status": "draining"}) == (answer.status_code, answer.json())


async def test_a_scrape_gets_the_text_and_its_type() -> None:
    """Fresh each time: no cache may answer in its place."""
    metrics = Metrics({"tailrace_tail_bytes": lambda: 7})
    answer = await ask(Starlette(routes=[health.metrics_route(metrics)]), "/metrics")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (answer.status_code, answer.headers["content-type"])
    assert "no-store" == answer.headers["cache-control"]
    assert "tailrace_tail_bytes 7.0" in answer.text.splitlines()
