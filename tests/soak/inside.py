"""The real ``tailrace serve``, with somebody in it who can be asked for its inner state over a Unix socket.

    SOAK_SOCKET=PATH python -m soak.inside

One question a connection, a line each way. The one who answers is a thread, which has the loop do what is asked; it
finds the loop by one of its tasks, so that nothing of the service is other than it is.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from soak import census
from soak.planting import LEAKS
from soak.state import State
from tailrace.cli import main

SOCKET = "SOAK_SOCKET"
ANSWER_SECONDS = 60.0


def answer(question: str) -> Any:
    """Do what is asked: `look`, `take`, `count`, or plant one of `LEAKS`."""
    if question in LEAKS:
        return LEAKS[question]()
    asked: Callable[[], State] = {"look": census.look, "take": census.take, "count": census.count}[question]
    return asked().to_json()


def the_loop() -> asyncio.AbstractEventLoop:
    """Find the loop that runs. By itself, so that nothing holds all objects while they are counted."""
    loops = (each.get_loop() for each in gc.get_objects() if isinstance(each, asyncio.Task))
    return next(each for each in loops if each.is_running())


def on_the_loop(question: str) -> Any:
    """Have the service's loop answer."""
    loop = the_loop()
    answered: Future[Any] = Future()

    def do() -> None:
        try:
            answered.set_result(answer(question))
        except Exception as error:  # noqa: BLE001  told to whoever asked
            answered.set_result({"error": repr(error)})

    loop.call_soon_threadsafe(do)
    return answered.result(ANSWER_SECONDS)


def serve(listening: socket.socket) -> None:
    """Answer until the process ends."""
    while True:
        connection, _ = listening.accept()
        with connection, connection.makefile("rw") as lines:
            lines.write(json.dumps(on_the_loop(lines.readline().strip())) + "\n")


def listen() -> None:
    """Listen where `SOCKET` says, even if a process that was killed has left something lying there; answer beside."""
    place = Path(os.environ[SOCKET])
    place.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place))
    listening.listen()
    threading.Thread(target=serve, args=(listening,), daemon=True).start()


if __name__ == "__main__":
    tracemalloc.start()
    listen()
    main(["serve"])
