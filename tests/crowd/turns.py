"""What may come when, on one connection: `tailrace.ready` first, `tailrace.live` once, nothing after the end."""

from __future__ import annotations

from typing import Any

from crowd.faults import Faulty, Wrong
from crowd.ledger import Item

READY, LIVE, RESET = "tailrace.ready", "tailrace.live", "tailrace.reset"
SKIPPED, END, DISCONNECT = "tailrace.skipped", "tailrace.end", "tailrace.disconnect"
TURNS = frozenset({READY, LIVE, RESET, END, DISCONNECT})
LASTS = frozenset({END, DISCONNECT})


class Turns:
    """One connection. ``catches_up`` says that it does not begin at ``now``, so that `LIVE` is owed."""

    def __init__(self, presented: str = "", *, catches_up: bool = False) -> None:
        self.presented = presented
        self._taken = 0
        self._owes_live = catches_up
        self._owes_reset = False
        self._latest = ""

    @property
    def owes_live(self) -> bool:
        """Whether the client has been welcomed and still waits for `LIVE`."""
        return self._owes_live and self._latest not in {"", *LASTS}

    def check(self, item: Item) -> None:
        """Say whether this may come now."""
        if self._latest in LASTS:
            raise Faulty(Wrong.OUT_OF_TURN, f"{item.name} came after {self._latest}")
        if (item.name == READY) != (not self._latest) and item.name != DISCONNECT:
            raise Faulty(Wrong.OUT_OF_TURN, f"{item.name} came after {self._latest or 'nothing'}")
        if self._owes_reset and item.name not in {RESET, DISCONNECT}:
            raise Faulty(Wrong.MISSING_RESET, f"the id was not taken up, yet {item.name} came first")
        if item.name in TURNS:
            self._latest = item.name

    def ready(self, fields: dict[str, Any], session: str, taken: int) -> None:
        """Take the welcome; ``taken`` counts what the client was given before this connection."""
        self._taken = taken
        if fields["session"] != session:
            raise Faulty(Wrong.INVENTED, f"it was welcomed to the session {fields['session']}")
        if fields["resumed"] and not self.presented:
            raise Faulty(Wrong.OUT_OF_TURN, "it is said to have resumed, though it came without an id")
        self._owes_reset = bool(self.presented) and not fields["resumed"]

    def reset(self) -> None:
        """Take a reset."""
        self._owes_reset = False

    def live(self, replayed: int, taken: int) -> None:
        """Take the word that nothing is missing any more, and how much that was."""
        if not self._owes_live:
            raise Faulty(Wrong.OUT_OF_TURN, "tailrace.live came again, or where nothing was missed")
        self._owes_live = False
        if replayed != taken - self._taken:
            raise Faulty(Wrong.OUT_OF_TURN, f"tailrace.live counts {replayed} events, but {taken - self._taken} came")
