"""The listener, as its connections see it: what they are to know, and what it wants to hear of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hypercorn.config import Config
    from starlette.types import ASGIApp

    from tailrace.server.connection import Connection
    from tailrace.server.settings import Patience
    from tailrace.server.turnstile import Turnstile


class Keeper(Protocol):
    """Outlives its connections."""

    app: ASGIApp
    config: Config
    patience: Patience
    turnstile: Turnstile

    def made(self, connection: Connection) -> None:
        """Take ``connection`` into the book."""

    def gone(self, connection: Connection) -> None:
        """Strike it out; it says this once, when nothing of it is left."""

    def rests(self, connection: Connection, *, resting: bool) -> None:
        """Note whether it is without a request."""

    def note_limit(self, limit: str) -> None:
        """Count that a peer came to a limit, by its name in the metrics."""
