"""The crowd: many subscribers in one process, as cheap as Python can make them. Run by `bench`, on a core of its own.

Counts events by a mark in their data and takes every few an age from the time written there, so the age includes
everything from the producer's call on: an event held up anywhere is late by that much, whoever was to blame.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

MARK, TIME = b"~X", b"~T"
TIME_DIGITS = 17
EVERY = 7
"""Ages are taken of one write in so many: the crowd must not be what is measured."""


@dataclass
class Tally:
    """What has arrived."""

    events: int = 0
    ages: list[float] = field(default_factory=list)


class Subscriber(asyncio.Protocol):
    """One connection, which only counts."""

    def __init__(self, request: bytes, tally: Tally) -> None:
        self._request = request
        self._tally = tally

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._request)  # uvloop's are no subclasses of it

    def data_received(self, data: bytes) -> None:
        if not (count := data.count(MARK)):
            return
        self._tally.events += count
        if self._tally.events % EVERY == 0 and (at := data.rfind(TIME)) >= 0:
            sent = float(data[at + len(TIME) : at + len(TIME) + TIME_DIGITS])
            self._tally.ages.append(time.time() - sent)


def request(transport: str, session: str, token: str) -> bytes:
    """Write the request that subscribes to ``session``."""
    head = f"Host: bench\r\nAuthorization: Bearer {token}\r\n"
    if transport == "sse":
        return f"GET /v1/sessions/{session}/events HTTP/1.1\r\n{head}\r\n".encode()
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return f"GET /v1/sessions/{session}/ws HTTP/1.1\r\n{head}{upgrade}{key}\r\n".encode()


async def main(port: int, transport: str, sessions: int, clients: int, token: str, report: Path) -> None:
    """Subscribe, say so on stdout, and write what has arrived to ``report`` twice a second until killed."""
    loop, tally = asyncio.get_running_loop(), Tally()
    for number in range(sessions * clients):
        asked = request(transport, f"s{number % sessions}", token)
        await loop.create_connection(lambda asked=asked: Subscriber(asked, tally), "127.0.0.1", port)  # type: ignore[misc]  # a default argument, to bind now
    sys.stdout.write("subscribed\n")
    sys.stdout.flush()
    while True:
        await asyncio.sleep(0.5)
        part = report.with_suffix(".part")
        part.write_text(json.dumps({"events": tally.events, "ages": tally.ages[-50_000:]}))
        part.replace(report)


if __name__ == "__main__":
    port, transport, sessions, clients, token, report = sys.argv[1:]
    uvloop.run(main(int(port), transport, int(sessions), int(clients), token, Path(report)))
