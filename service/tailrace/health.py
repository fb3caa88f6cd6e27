"""/livez, /readyz and /metrics, on the admin listener: is the process alive, may clients be sent here, how does it go?

Over callables: knows neither Kafka nor subscriptions. A broker outage leaves the service *ready*, only ``degraded``:
all replicas would go at once, and nobody could reconnect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tailrace.metrics import Metrics


def routes(
    *, waiting: Callable[[], list[str]], degraded: Callable[[], list[str]], draining: Callable[[], bool]
) -> list[Route]:
    """Make the routes; each callable gives sentences for an operator, or whether the service is shutting down."""

    async def livez(request: Request) -> Response:  # noqa: ARG001  Starlette's signature
        return _say({"status": "alive"})

    async def readyz(request: Request) -> Response:  # noqa: ARG001
        if draining():
            return _say({"status": "draining"}, 503)
        troubles = degraded()
        if waits := waiting():
            why = [trouble for trouble in troubles if trouble not in waits]
            return _say({"status": "waiting", "waiting_for": waits, "troubles": why}, 503)
        if troubles:
            return _say({"status": "degraded", "troubles": troubles})
        return _say({"status": "ready"})

    return [Route("/livez", livez), Route("/readyz", readyz)]


def _say(content: dict[str, Any], status: int = 200) -> Response:
    """Answer with what is true now, and for no cache to keep."""
    return JSONResponse(content, status, {"cache-control": "no-store"})


def metrics_route(metrics: Metrics) -> Route:
    """Make the route of what Prometheus scrapes. Rendered on the event loop, whose numbers it tells."""

    async def scrape(request: Request) -> Response:  # noqa: ARG001  Starlette's signature
        content, content_type = metrics.render()
        return Response(content, headers={"content-type": content_type, "cache-control": "no-store"})

    return Route("/metrics", scrape)
