"""Connections that only sit there, so that there are no places left for honest clients."""

from __future__ import annotations

import asyncio
import ssl

from attack.honest import upgrade
from attack.strangers import request
from attack.wires import Http1, Scene, ShutHttp2, Wire

OPENED_PER_SECOND = 1000.0
"""How fast the first of them come."""


class Silent(Wire):
    """Says nothing."""


class Untaken(ShutHttp2):
    """Asks for something that is not there, and does not take the answer's body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.ask(request("/nope")[0])


class Owing(Http1):
    """Opens a WebSocket, and owes the token that should come as its first message."""

    first = upgrade("/v1/sessions/x/ws")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.tally.requests += 1


async def sit(scene: Scene, kind: type[Wire], count: int, more_per_second: float) -> None:
    """Open so many, then so many more a second; all stay until the service closes them, or the time is over."""
    wires: list[Wire] = []
    scene.start()
    try:
        while not scene.over:
            await scene.turn(OPENED_PER_SECOND if len(wires) < scene.sized(count) else scene.sized(more_per_second))
            wire = await scene.open(kind)
            if wire is not None:
                wires.append(wire)
    finally:
        for each in wires:
            each.leave()


async def keep(scene: Scene, kind: type[Wire], count: int, comebacks_per_second: float) -> None:
    """Have so many open, each opened again when it was cut."""
    scene.start()

    async def one() -> None:
        while not scene.over:
            await scene.turn(
                OPENED_PER_SECOND if scene.tally.connections < scene.sized(count) else scene.sized(comebacks_per_second)
            )
            wire = await scene.open(kind)
            if wire is not None:
                await scene.stay(wire)
                wire.leave()

    await scene.crowd(scene.sized(count), one)


async def handshakes(scene: Scene, at_once: int, per_second: float) -> None:
    """Shake hands by TLS, leave, and come again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    scene.start()

    async def visit(_wire: Silent) -> None:
        scene.tally.notes["shaken"] += 1

    await scene.visits(at_once, per_second, Silent, visit, tls=context)
