"""The listener, as its connections see it: what they are to know, and what it wants to hear of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hypercorn.config import Config
    from starlette.types import ASGIApp

    from tailrace.places import Places
    from tailrace.server.connection import Connection
    from tailrace.server.settings import Patience
    from tailrace.server.turnstile import Turnstile
    from tailrace.server.untaken import Untaken


class Keeper(Protocol):
    """Outlives its connections."""

    app: ASGIApp
    config: Config
    patience: Patience
    read_buffer: memoryview
    """Where all connections read, `settings.READ_AT_ONCE_BYTES` at most."""
    strangers: Places[Connection]
    """The connections that may have to leave for a newcomer: none of their streams is admitted, and nothing that they
    have said first, and no request, waits for its turn."""
    newcomers: Turnstile
    """For the input of connections without an admitted stream, and for every request that is not admitted yet."""
    members: Turnstile
    """For the input of connections with an admitted stream."""
    untaken: Untaken

    def made(self, connection: Connection) -> None:
        """Take ``connection`` into the book."""

    def gone(self, connection: Connection) -> None:
        """Strike it out; it says this once, when nothing of it is left."""

    def note_limit(self, limit: str) -> None:
        """Count that a peer came to a limit, by its name in the metrics."""
