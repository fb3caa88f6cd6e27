"""A coroutine whose steps are timed, so that the `turnstile` knows how much of the event loop's time was used.

Guards against counting what a task waits for: only what it does is charged. Knows nothing of the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Timed(Coroutine[Any, Any, None]):
    """Runs ``work`` in its place; lives as long as the task.

    ``charge`` is called with the seconds that each step took; set it to None where that is of no interest any more.
    """

    __slots__ = ("_work", "charge")

    def __init__(self, work: Coroutine[Any, Any, None], charge: Callable[[float], None] | None) -> None:
        self._work = work
        self.charge = charge

    def send(self, value: Any) -> Any:
        return self._step(self._work.send, value)

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        if self.charge is None:
            return step(*arguments)
        began = time.perf_counter()
        try:
            return step(*arguments)
        finally:
            if self.charge is not None:
                self.charge(time.perf_counter() - began)

    def throw(self, *error: Any) -> Any:
        return self._step(self._work.throw, *error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._work.__await__()
