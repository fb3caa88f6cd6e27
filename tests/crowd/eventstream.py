"""Bytes -> items, as EventSource reads them (HTML Living Standard section 9.2.6).

An id counts once its block is whole: what was cut off in the middle was never seen.
"""

from __future__ import annotations

from crowd.ledger import POSITION, Item

END_OF_BLOCK = b"\n\n"


class EventStream:
    """One response's body. ``retry_ms`` is how long the stream has asked to wait before coming back."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self._partial = b""

    def feed(self, data: bytes) -> list[Item]:
        """Take what arrived; gives what it completes."""
        *blocks, self._partial = (self._partial + data).split(END_OF_BLOCK)
        return [item for block in blocks if (item := self._read(block.decode())) is not None]

    def _read(self, block: str) -> Item | None:
        id_, event, data = "", "", []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name == "id":
                id_ = value
            elif name == "event":
                event = value
            elif name == "retry" and value.isdecimal():
                self.retry_ms = int(value)
        if data:
            return Item(event or "message", "\n".join(data), id_)
        return Item(POSITION, "", id_) if id_ else None
