"""What Hypercorn's protocols share among all connections: for us, next to nothing.

Guards against seven hundred bytes of every connection: each protocol makes itself an `asyncio.Event` to wait on where
ours does not wait. Knows no connection.
"""

from __future__ import annotations

from hypercorn.asyncio.worker_context import WorkerContext


class Never:
    """An event that does not happen; also the one that would tell protocols to terminate: `connection` does that."""

    __slots__ = ()

    async def clear(self) -> None:
        """Go on not happening."""

    async def set(self) -> None:
        """Wake nobody: nobody waits."""

    async def wait(self) -> None:
        """Fail loudly, where waiting would be for ever."""
        raise RuntimeError("this event never happens, and nothing of ours waits for it")

    def is_set(self) -> bool:
        return False


class _Context(WorkerContext):
    event_class = Never


CONTEXT = _Context(None)
"""No limit of requests: at it Hypercorn freezes live streams."""
