"""The events that the service itself makes: one table, and how each is written.

The same JSON on both transports: over SSE as named events (with an ``id:`` line where they carry an id), over WebSocket
as ``{"control": <name>, …}``. Pure. ``openapi/asyncapi.yaml`` says the same to client authors, and a test compares
them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from tailrace.encoding import Format, Framing, frame
from tailrace.errors import Farewell, Refused
from tailrace.position import Position

READY, LIVE, RESET = "tailrace.ready", "tailrace.live", "tailrace.reset"
SKIPPED, POSITION, END = "tailrace.skipped", "tailrace.position", "tailrace.end"
REFRESH, DISCONNECT = "tailrace.refresh", "tailrace.disconnect"

TABLE: Mapping[str, tuple[str, ...]] = {
    READY: ("id", "session", "resumed", "encoding", "continuity", "heartbeat_seconds", "expires_in_seconds"),
    LIVE: ("id", "replayed"),
    RESET: ("id", "reason", "requested"),
    SKIPPED: ("id", "reason", "topic", "partition", "offset"),
    POSITION: ("id",),
    END: ("id",),
    REFRESH: ("expires_in_seconds",),
    DISCONNECT: ("id", "code", "reason", "reconnect", "retry_after_ms"),
}
"""What each carries; `SKIPPED` is written by `encoding`, since it is said about a record."""

RETRY_MS = 2000
"""How long a client that lost its connection waits; each is told a time of its own around this."""
PING = frame(b"", 0x9)
"""What a WebSocket's peer must answer (RFC 6455 section 5.5.2)."""


def jittered_ms(around_ms: float) -> int:
    """Return a time between half and one and a half of ``around_ms``, so that not everyone comes back at once."""
    return round(around_ms * random.uniform(0.5, 1.5))  # noqa: S311  not a secret


def write(format_: Format, name: str, **fields: Any) -> bytes:
    """Write one control event; the fields are those of `TABLE`, and ``id`` may be a `Position`."""
    if tuple(fields) != TABLE[name]:
        raise ValueError(f"{name} carries {TABLE[name]}, not {tuple(fields)}")
    if isinstance(id_ := fields.get("id"), Position):
        fields["id"] = id_.text()
    return format_.control(name, fields)


def opening(format_: Format) -> bytes:
    """Write what comes before anything else: over SSE, how long to wait before coming back."""
    return b"" if format_.framing is Framing.FRAMES else retry(format_, jittered_ms(RETRY_MS))


def retry(format_: Format, milliseconds: int) -> bytes:
    """Write ``retry:`` (HTML Living Standard section 9.2.6)."""
    return format_.wrap(b"retry: %d\n\n" % milliseconds)


def heartbeat(format_: Format, moved_to: Position | None) -> bytes:
    """Write a sign of life: with the new position where it moved, so that a quiet session's id stays young."""
    if format_.framing is Framing.FRAMES:
        return PING if moved_to is None else PING + position(format_, moved_to)
    return format_.wrap(b":\n\n") if moved_to is None else position(format_, moved_to)


def position(format_: Format, id_: Position) -> bytes:
    """Write an id that comes alone."""
    if format_.framing is Framing.FRAMES:
        return write(format_, POSITION, id=id_)
    return format_.wrap(b"id: %b\n\n" % id_.text().encode())


def disconnect(format_: Format, why: Farewell | Refused, id_: Position | None, retry_after_ms: int) -> bytes:
    """Write the last thing before the server closes; over SSE its ``retry:`` governs when the browser comes back."""
    last = format_.control(DISCONNECT, disconnect_fields(why, id_, retry_after_ms))
    return last if format_.framing is Framing.FRAMES else retry(format_, retry_after_ms) + last


def disconnect_fields(why: Farewell | Refused, id_: Position | None, retry_after_ms: int) -> dict[str, Any]:
    """Return what `DISCONNECT` carries; no id where the client was not admitted, or it would wipe out its own."""
    if isinstance(why, Farewell):
        reason, reconnect = why.reason, why.reconnect
    else:
        reason, reconnect = why.detail or why.code, why.reconnect
    id_field = {} if id_ is None else {"id": id_.text()}
    return {
        **id_field,
        "code": why.close_code,
        "reason": reason,
        "reconnect": reconnect,
        "retry_after_ms": retry_after_ms,
    }
