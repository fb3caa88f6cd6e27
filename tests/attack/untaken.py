"""Answers that nobody takes: over HTTP/2 the streams have no window, over HTTP/1.1 nobody reads the socket."""

from __future__ import annotations

from attack.strangers import COMEBACKS_PER_SECOND, request
from attack.wires import Http1, Scene, ShutHttp2


async def http2(scene: Scene, connections: int, requests: int, path: str) -> None:
    """Ask for so many answers on each connection, as many at a time as the server allows, and take no body."""
    first, again = request(path)
    scene.start()

    async def visit(wire: ShutHttp2) -> None:
        wire.ask(first)
        wire.ask(again, requests - 1)
        await scene.stay(wire)

    await scene.visits(connections, COMEBACKS_PER_SECOND, ShutHttp2, visit)


async def http1(scene: Scene, connections: int, requests: int, path: str) -> None:
    """Ask for so many answers on each connection at once, and read none."""
    said = f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode() * requests
    scene.start()

    async def visit(wire: Http1) -> None:
        wire.say(said, requests)
        await scene.stay(wire)

    await scene.visits(connections, COMEBACKS_PER_SECOND, Http1, visit, deaf=True)
