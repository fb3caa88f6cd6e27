"""The embedded broker and the demo producer together: in the foreground, or in a child process.

`hold` is what runs; `demo` starts a child that holds, and ends it. The child's input is its lifeline: it ends when
the parent does, however that comes about.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tailrace.dev.broker import EmbeddedBroker, confluent
from tailrace.dev.producer import SESSIONS, stream
from tailrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import FrameType

TOPIC, PARTITIONS = "tailrace.demo", 3
START_SECONDS, STOP_SECONDS = 15.0, 5.0


def hold(topic: str, partitions: int, announce: Callable[[str], None], stop: threading.Event | None = None) -> None:
    """Hold the embedded broker and the demo producer until SIGINT, SIGTERM or ``stop``.

    ``announce`` is given the address. Blocks; call it in the main thread. For ``tailrace dev --broker-only``: a service
    elsewhere can be killed and started again meanwhile.
    """
    stop = stop or threading.Event()
    with _stopped_by_signals(stop), EmbeddedBroker() as broker:
        broker.create_topic(topic, partitions)
        announce(broker.bootstrap)
        stream(broker.bootstrap, topic, stop)


def environment(bootstrap: str, topic: str = TOPIC) -> dict[str, str]:
    """What a service needs to read the demo, as environment variables."""
    return {"TAILRACE_KAFKA_BOOTSTRAP_SERVERS": bootstrap, "TAILRACE_KAFKA_TOPICS": topic}


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: where its broker listens, its topic and the sessions to look at."""

    bootstrap: str
    topic: str
    sessions: tuple[str, ...]


@contextlib.asynccontextmanager
async def demo(topic: str = TOPIC, partitions: int = PARTITIONS) -> AsyncIterator[Demo]:
    """Run broker and producer in a child process for as long as the block lasts.

    The child ends when we close its input, so also when this process is killed. Raises `ConfigurationError` when it
    cannot start.
    """
    confluent()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tailrace.dev", topic, str(partitions)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to handle: the broker ends last
    )
    try:
        yield Demo(await _announced(child), topic, SESSIONS)
    finally:
        await _end(child)


async def _announced(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None  # noqa: S101 - for the type checker
    try:
        line = await asyncio.wait_for(child.stdout.readline(), START_SECONDS)
        return str(json.loads(line)["bootstrap"])
    except (TimeoutError, ValueError) as error:
        raise ConfigurationError(["the embedded broker did not start; its process says why"]) from error


async def _end(child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None  # noqa: S101 - for the type checker
    child.stdin.close()
    try:
        await asyncio.wait_for(child.wait(), STOP_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
