"""Signals, and an end in any case."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tailrace.server.ending import SIGNALS, Signals

HANGING = """
import threading
import time
from tailrace.server import leave_within

threading.Thread(target=threading.Event().wait, name="resolver").start()
leave_within({seconds})
print("left", flush=True)
"""
"""Has nothing more to do, and a thread that never ends."""

SIGNALLED = """
import asyncio
import signal
from tailrace.server.ending import Signals

async def main():
    first = asyncio.Event()
    with Signals(first.set):
        print("ready", flush=True)
        await first.wait()
    print("first", flush=True)
    while True:
        pass

asyncio.run(main())
"""
"""Has ended politely, and goes on for ever all the same."""


@contextmanager
def program(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run it, until it has said its first line."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_what_still_runs_is_left() -> None:
    """With status 0, for everything that mattered has ended; what did not is named."""
    with program(HANGING.format(seconds=0.01)) as process:
        _, text = process.communicate()
        assert (process.returncode, "something still runs (" in text, "resolver" in text) == (0, True, True)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_after_the_polite_end(number: signal.Signals) -> None:
    """It is the second: the kernel ends the process, whatever it is at."""
    with program(SIGNALLED) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait() == -number


async def test_signals_mean_afterwards_what_they_meant_before() -> None:
    """Where none came, the process goes on."""
    before = [signal.getsignal(number) for number in SIGNALS]
    with Signals(lambda: None):
        assert before != [signal.getsignal(number) for number in SIGNALS]
    assert before == [signal.getsignal(number) for number in SIGNALS]


async def test_first_signal_is_told() -> None:
    """On the loop, once."""
    told = asyncio.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with Signals(told.set):
        os.kill(os.getpid(), signal.SIGTERM)
        await told.wait()
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_other_threads_take_no_signals() -> None:
    """Python gives them none."""

    async def serve() -> None:
        with Signals(lambda: None) as signals:
            assert signals._before == {}

    await asyncio.to_thread(lambda: asyncio.run(serve()))
