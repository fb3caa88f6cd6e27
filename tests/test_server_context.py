"""What Hypercorn's protocols are handed in place of events."""

from __future__ import annotations

import pytest

from tailrace.server.context import CONTEXT, Never


async def test_nobody_is_told_to_terminate() -> None:
    """However often it is set, the event that would say so has not happened."""
    await CONTEXT.terminated.set()
    await CONTEXT.terminated.clear()
    assert not CONTEXT.terminated.is_set()


async def test_waiting_for_what_never_happens_fails_loudly() -> None:
    """A new Hypercorn that waited where this one does not would hang otherwise."""
    with pytest.raises(RuntimeError, match="never happens"):
        await Never().wait()


async def test_there_is_no_limit_of_requests() -> None:
    """Counting them would end in a connection that freezes."""
    await CONTEXT.mark_request()
    assert CONTEXT.max_requests is None
