"""The idle service in a process of its own, on the event loop that is asked for: what a test sends signals to.

Its arguments are the loop, the drain's seconds and the folder of a certificate. It prints its ports: in clear text,
over TLS, and of an admin site that also takes ``POST /produce``, upon which more comes than a client's buffers hold.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from builders import FakeRecord, append
from idle_service import idle_service
from tailrace import health
from tailrace.app import public_app
from tailrace.server import Patience, Server, Site, leave_within, run
from tailrace.service import Service
from tailrace.subscription import Terms

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
GRACE_SECONDS = 0.3
NEVER = 3600.0
"""No time-out but those of the end shall end anything."""


def admin(service: Service) -> Starlette:
    """Make the admin site."""

    async def produce(_: Request) -> Response:
        append(service.tail, *(FakeRecord(number, b"s", b"x" * 1000) for number in range(1200)))
        for _slice in service.tail.wake():
            await asyncio.sleep(0)
        return Response()

    routes = health.routes(waiting=list, degraded=list, draining=lambda: service.subscriptions.draining)
    return Starlette(routes=[*routes, Route("/produce", produce, methods=["POST"])])


async def main() -> None:
    """Serve until a signal comes."""
    service = idle_service(DRAIN_SECONDS=sys.argv[2])
    service.subscriptions.terms = Terms(send_timeout_seconds=NEVER, max_connections_per_subject=1000)
    files = (Path(sys.argv[3]) / "server.crt", Path(sys.argv[3]) / "server.key")
    sites = [
        Site(public_app(service), "127.0.0.1", 0),
        Site(public_app(service), "127.0.0.1", 0, *files),
        Site(admin(service), "127.0.0.1", 0),
    ]
    patience = Patience(keep_alive_seconds=NEVER, stall_seconds=NEVER, hearing_seconds=NEVER)
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = NEVER  # the machine may be slow; that is nobody's fault
    wheel = loop.create_task(service.subscriptions.wheel.run())
    await Server(sites, drain=service.drain, grace_seconds=GRACE_SECONDS, patience=patience).run(started=tell)
    wheel.cancel()
    leave_within(NEVER)


def tell(addresses: Sequence[tuple[str, int]]) -> None:
    """Print the ports."""
    print(json.dumps([port for _, port in addresses]), flush=True)  # noqa: T201  for the test


if __name__ == "__main__":
    run(main, LOOPS[sys.argv[1]])
