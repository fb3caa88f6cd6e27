"""A client that stays subscribed as a browser does: whenever a connection ends, it comes back with its last id.

It may change service and transport from one connection to the next: an id is good everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h2.exceptions
import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from real.transports import PATIENCE_SECONDS, Ask, Item, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from real.service import ServiceProcess

PAUSE_SECONDS = 0.05
"""Between two connections."""
BROKEN = (OSError, httpx.TransportError, h2.exceptions.ProtocolError, ConnectionClosed, InvalidHandshake)
"""How a connection ends without a goodbye. h2 takes DATA after a GOAWAY for an error, and httpx lets that through."""


class Client:
    """Stays subscribed to a session until it is left, or told not to come back.

    Each connection goes to the next of ``services`` over the next of ``transports``. ``items`` is all that it has seen.
    """

    def __init__(
        self,
        services: Sequence[ServiceProcess],
        transports: Sequence[Transport],
        ask: Ask,
    ) -> None:
        self._places = itertools.cycle(services)
        self._transports = itertools.cycle(transports)
        self._ask = ask
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.items: list[Item] = []
        self.answers: list[int] = []
        """Statuses, one per connection."""

    async def __aenter__(self) -> Self:
        self._begin()
        await self.until(lambda: bool(self.items))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def events(self) -> list[Item]:
        """What the producers said."""
        return [item for item in self.items if not item.name.startswith("tailrace.")]

    @property
    def last_id(self) -> str:
        """The id to come back with."""
        return next((item.id for item in reversed(self.items) if item.id), self._ask.last_id)

    def controls(self, name: str) -> list[dict[str, Any]]:
        """Give what the service's own events of one name carried."""
        return [item.fields for item in self.items if item.name == f"tailrace.{name}"]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at after all that arrives."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    self._raise_failure()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"last of {len(self.items)} over {self.answers}: {self.items[-5:]}") from None

    async def until_events(self, count: int) -> None:
        """Wait until it has seen so many events, or more."""
        await self.until(lambda: len(self.events) >= count)

    async def cut(self) -> None:
        """Drop the connection wherever it stands; the client comes back."""
        await self._leave()
        self._begin()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._stay())
        self._task.add_done_callback(lambda _: self._changed.set())

    async def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _stay(self) -> None:
        while not self._told_to_stay_away():
            with contextlib.suppress(*BROKEN):
                await self._connect()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _connect(self) -> None:
        ask = replace(self._ask, last_id=self.last_id)
        async with next(self._transports)(next(self._places), ask) as answer:
            self.answers.append(answer.status)
            async for item in answer.items:
                self.items.append(item)
                self._changed.set()

    def _told_to_stay_away(self) -> bool:
        last = self.items[-1] if self.items else None
        return last is not None and (
            last.name == "tailrace.end" or (last.name == "tailrace.disconnect" and not last.fields["reconnect"])
        )
