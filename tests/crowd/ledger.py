"""What one client was given, in order, with its connections: written by the client, read by the judge.

Holds the last id as the contract has it: the newest of whatever kind. Keeps only the latest of everything else, for the
sentence that is written when something is wrong.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

SHOWN_ITEMS = 4
SHOWN_CONNECTIONS = 6
POSITION = "tailrace.position"


class Item(NamedTuple):
    """An event, or one of the service's own; `POSITION` is an id that came alone. ``id`` is empty where none came."""

    name: str
    data: str
    id: str = ""

    @property
    def is_control(self) -> bool:
        """Whether it is the service that speaks."""
        return self.name.startswith("tailrace.")

    @property
    def fields(self) -> dict[str, Any]:
        """What one of the service's own carries."""
        fields: dict[str, Any] = json.loads(self.data)
        return fields


class Asked(NamedTuple):
    """A connection was begun, with the id presented, empty where there was none; without one it counts where the
    client asks to ``begin``, as `crowd.asking.Ask` has it."""

    at: float
    last_id: str
    begin: str = ""

    @property
    def catches_up(self) -> bool:
        """Whether it asks for more than what comes from now on."""
        return bool(self.last_id) or self.begin not in {"", "now"}


class Answered(NamedTuple):
    """The service answered with a status; 101 and 200 open a stream."""

    at: float
    status: int


class Heard(NamedTuple):
    """Something came."""

    at: float
    item: Item


class Over(NamedTuple):
    """The connection ended, in the words of whoever ended it; ``malformed`` where the client could not read on."""

    at: float
    how: str
    malformed: bool


Entry = Asked | Answered | Heard | Over


class Ledger:
    """One client's ledger. ``listener`` is told of every entry; ``clock`` is that of the history."""

    def __init__(self, client: str, session: str, clock: Callable[[], float]) -> None:
        self.client = client
        self.session = session
        self.last_id = ""
        self.connections = 0
        self.listener: Callable[[Entry], None] = lambda _: None
        self._clock = clock
        self._begun = clock()
        self._items: deque[Heard] = deque(maxlen=SHOWN_ITEMS)
        self._connections: deque[str] = deque(maxlen=SHOWN_CONNECTIONS)

    def asked(self, begin: str = "") -> None:
        """A connection begins, with the last id; without one, where it asks to ``begin``."""
        self.connections += 1
        at = self._clock()
        presented = f"with {self.last_id}" if self.last_id else "without an id"
        self._connections.append(f"#{self.connections} at {at - self._begun:.2f} s {presented}")
        self.listener(Asked(at, self.last_id, begin))

    def answered(self, status: int) -> None:
        """The service has answered."""
        self._connections[-1] += f", {status}"
        self.listener(Answered(self._clock(), status))

    def heard(self, item: Item) -> None:
        """Something came; its id, if it has one, is the one to come back with."""
        if item.id:
            self.last_id = item.id
        heard = Heard(self._clock(), item)
        self._items.append(heard)
        self.listener(heard)

    def over(self, how: str, *, malformed: bool = False) -> None:
        """The connection has ended."""
        at = self._clock()
        self._connections[-1] += f", {how} at {at - self._begun:.2f} s"
        self.listener(Over(at, how, malformed))

    @property
    def story(self) -> str:
        """The latest items and connections, in words."""
        items = ", ".join(f"{heard.item.name} under {heard.item.id or 'no id'}" for heard in self._items)
        return f"the latest that came: {items or 'nothing'}; connections: {'; '.join(self._connections) or 'none'}"
