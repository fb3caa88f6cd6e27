"""Which names a session may have: one rule for records, addresses and tokens. Pure."""

from __future__ import annotations

from tailrace.errors import TailraceError
from tailrace.names import CONTROL

MAX_SESSION_CHARACTERS = 256
MAX_SESSION_BYTES = 4 * MAX_SESSION_CHARACTERS
"""No character has more in UTF-8. What is longer is no session; it is not even looked up, which reads all of it."""


class Unaddressed(TailraceError):
    """A record without a usable session; ``reason`` is a word for metrics and logs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def session_problem(name: str) -> str | None:
    """Return why ``name`` cannot be a session, or None."""
    if not 1 <= len(name) <= MAX_SESSION_CHARACTERS:
        return f"a session has 1 to {MAX_SESSION_CHARACTERS} characters"
    if CONTROL.search(name):
        return "a session has no control characters"
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return "a session has no empty, '.' or '..' segments"
    if name.endswith("*"):  # a token could not name it alone
        return "a session does not end in '*', which in a token stands for every session that begins like this"
    return None


def session_of(raw: bytes) -> str:
    """Return the session that a record names. Raises `Unaddressed`."""
    if len(raw) > MAX_SESSION_BYTES:
        raise Unaddressed("session_illegal")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise Unaddressed("session_not_utf8") from None
    if name.endswith("*"):
        raise Unaddressed("session_ends_in_star")
    if session_problem(name) is not None:
        raise Unaddressed("session_illegal")
    return name
