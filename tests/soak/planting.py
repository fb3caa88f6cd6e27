"""Leaks on purpose, so that the soak can be seen to find and to name them. Runs on the service's loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any

from soak.census import all_of
from tailrace.reader import Reader
from tailrace.service import Service
from tailrace.subscription import Subscription

HELD: list[Any] = []
"""What is never let go of again."""
MANY = 20
BLOCK_BYTES = 10_000
NEVER_SECONDS = 10**6


def memory() -> None:
    """Keep bytes."""
    HELD.extend(bytearray(BLOCK_BYTES) for _ in range(MANY))


def tasks() -> None:
    """Run tasks that wait for nothing."""
    HELD.extend(asyncio.get_running_loop().create_task(_waiting_for_nothing()) for _ in range(MANY))


async def _waiting_for_nothing() -> None:
    await asyncio.Event().wait()


def timers() -> None:
    """Arm timers, as a subscription would that forgets to cancel its own."""
    [service] = all_of(Service)
    for _ in range(MANY):
        service.subscriptions.wheel.after(NEVER_SECONDS, _nothing)


def _nothing() -> None:
    """Be called never."""


def files() -> None:
    """Open files."""
    HELD.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(MANY))


def references() -> None:
    """Keep the subscriptions of those who are there."""
    HELD.extend(all_of(Subscription))


def readers() -> None:
    """Let readers stay whose connections go."""
    [service] = all_of(Service)
    for reader in all_of(Reader):
        service.tail.join("a session that nobody reads", reader)


LEAKS: Mapping[str, Callable[[], None]] = {
    each.__name__: each for each in (memory, tasks, timers, files, references, readers)
}
