"""The types that producers give their events, and texts that repeat record after record, decoded once.

Pure. Everything here comes from outside, so its length is looked at before anything else, and what is kept is bounded
in bytes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

MAX_TYPE_CHARACTERS = 256
MAX_TYPE_BYTES = 4 * MAX_TYPE_CHARACTERS
"""No character has more in UTF-8."""
RESERVED_TYPES = frozenset({"error", "open"})
"""EventSource's own events: a record's type must not be taken for them."""
RESERVED_PREFIX = "tailrace."
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters, and what some take for the end of a line."""

_NAME_BYTES = 33 + 100
"""What a text that is kept takes beside its bytes: the head of a ``bytes``, and its place in the table."""


class IllegalType(Exception):
    """The type cannot stand in an ``event:`` line."""


def type_of(raw: bytes) -> str:
    """Decode a record's type. Raises `IllegalType`."""
    if len(raw) > MAX_TYPE_BYTES:
        raise IllegalType
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise IllegalType from None
    if len(text) > MAX_TYPE_CHARACTERS or CONTROL.search(text):
        raise IllegalType
    return f"record:{text}" if text in RESERVED_TYPES or text.startswith(RESERVED_PREFIX) else text


class Names:
    """Texts that repeat record after record, each decoded and checked once: one object for all of its events.

    What is refused is not kept. Where they would take more than ``max_bytes``, all are forgotten, and those in use come
    back. ``check`` makes the text, or raises. Lives as long as its `Decoder`.
    """

    __slots__ = ("_check", "_max_bytes", "bytes", "get", "known", "uncharged")

    def __init__(self, check: Callable[[bytes], str], max_bytes: int) -> None:
        self._check = check
        self._max_bytes = max_bytes
        self.known: dict[bytes, str] = {}
        self.get = self.known.get
        """Return the text, or None where it is not known yet."""
        self.bytes = 0
        """What is known takes so many."""
        self.uncharged = 0
        """Bytes of texts that no event was charged with yet: one that many share is charged to the first."""

    def learn(self, raw: bytes) -> str:
        """Decode and check; raises what ``check`` does."""
        text = self._check(raw)
        cost = _NAME_BYTES + len(raw) + sys.getsizeof(text)
        if self.bytes + cost > self._max_bytes:
            self.known.clear()
            self.bytes = 0
        self.known[raw] = text
        self.bytes += cost
        self.uncharged += sys.getsizeof(text)
        return text

    def charge(self) -> int:
        """Return what is `uncharged`, and set it to 0: the caller charges it to an event."""
        uncharged, self.uncharged = self.uncharged, 0
        return uncharged
