"""Starts the service that can be asked for its inner state, and asks it."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from real.service import ServiceProcess
from soak.inside import ANSWER_SECONDS, SOCKET
from soak.state import State

LOOKS, LOOK_SECONDS = 15, 0.15
"""What the service does by itself is not seen in all of them: it asks Kafka every two seconds who it is, and is at rest
for a quarter of a second in between."""
TESTS = Path(__file__).parent.parent


class SoakProcess(ServiceProcess):
    """As `ServiceProcess`, and more: what it holds, at a word. Everything here blocks."""

    command = (sys.executable, "-m", "soak.inside")
    arguments: tuple[str, ...] = ()

    def __init__(self, bootstrap: str, topics: str, *, tls: bool = False, **settings: object) -> None:
        super().__init__(bootstrap, topics, tls=tls, **settings)
        self._socket = self._folder / "soak.sock"
        self._environment[SOCKET] = str(self._socket)
        self._environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])

    def look(self) -> State:
        """Ask how many are there."""
        return State.from_json(self._ask("look"))

    def take(self) -> State:
        """Ask for everything, a few times, and give the least; the service's tail is empty afterwards."""
        return self._least_of(State.from_json(self._ask("take")))

    def count(self) -> State:
        """Ask for everything but memory by line, a few times, and give the least; the service's tail stays as it is."""
        return self._least_of(State.from_json(self._ask("count")))

    def _least_of(self, state: State) -> State:
        for _ in range(LOOKS):
            time.sleep(LOOK_SECONDS)
            state = state.least(State.from_json(self._ask("count")))
        return state

    def plant(self, leak: str) -> None:
        """Have it leak."""
        self._ask(leak)

    def _ask(self, question: str) -> Any:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(str(self._socket))
            with asking.makefile("rw") as lines:
                lines.write(f"{question}\n")
                lines.flush()
                answer = json.loads(lines.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"the service could not say {question}: {answer['error']}")
        return answer
