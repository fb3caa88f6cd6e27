"""One subscriber, from hello to farewell: what is said on its wire, when, and how it ends.

Needs no task: the tail, the wire and the wheel call it. Lives as long as its connection.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tailrace import control
from tailrace.auth import Principal
from tailrace.encoding import FORMATS, Framing
from tailrace.errors import Farewell, InternalTrouble, NoPong, SessionEnded, TokenExpired, TooSlow
from tailrace.event import Event
from tailrace.log import Seldom
from tailrace.metrics import Metrics
from tailrace.position import Position
from tailrace.reader import Reader, Replays
from tailrace.resume import Start
from tailrace.subscription.pulse import Pulse
from tailrace.subscription.stall import Stall
from tailrace.tail import Tail
from tailrace.timers import Timer, Wheel
from tailrace.tracing import Tracing
from tailrace.wire import Wire

logger = logging.getLogger(__name__)

REFRESH_NOTICE_SECONDS = 30
"""How long before its token runs out a client is told: time to fetch another, not so much that it forgets."""

Clock = Callable[[], float]
"""Gives Unix seconds, as tokens count them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every subscription is held to; times in seconds."""

    heartbeat_seconds: float = 15.0
    send_timeout_seconds: float = 10.0
    max_connections: int = 10_000
    max_connections_per_subject: int = 32
    encoding: str = "text"


class Hub(Protocol):
    """What one subscriber knows of all of them."""

    tail: Tail
    wheel: Wheel
    terms: Terms
    clock: Clock
    metrics: Metrics
    tracing: Tracing
    seldom: Seldom
    continuity: Callable[[], str]
    replays: Replays

    def dismiss(self, subscription: Subscription) -> None: ...


class Subscription:
    """One subscriber; owns its reader."""

    __slots__ = (
        "_closed", "_deliveries", "_farewell", "_format", "_hub", "_live_told", "_pulse", "_since_ns", "_stall",
        "_start", "_timers", "_wire", "id", "principal", "reader", "session", "transport",
    )  # fmt: skip

    def __init__(self, hub: Hub, principal: Principal, session: str, start: Start) -> None:
        self._hub = hub
        self._start = replace(start, taken=None)  # the reader has it, and one may be long
        self._live_told = start.taken is None
        self._timers: dict[str, Timer] = {}
        self._farewell: Farewell | None = None
        self._closed = False
        self._wire: Wire | None = None
        self._stall: Stall | None = None  # most wires never fill
        self._since_ns = time.time_ns()
        self._pulse: Pulse | None = None  # over SSE a client has nothing to say
        self.principal = principal
        self.session = session
        self.id = secrets.token_hex(4)  # in logs and traces, where the session's name must not be
        self.transport = ""  # as metrics and traces call it; empty until it is open
        self.reader = Reader(hub.tail, session, start.taken, self, hub.wheel, hub.replays, start.resets)

    @property
    def subject(self) -> str:
        """Who reads, as the token says."""
        return self.principal.subject

    @property
    def over(self) -> bool:
        """Whether the client knows that its session has ended, and nothing has come since: it should stay away."""
        return self._start.ended and self.reader.has_nothing_to_come()

    @property
    def send_timeout_seconds(self) -> float:
        """How long the client may take nothing, or next to nothing (`tailrace.wire.MIN_TAKEN_BYTES`)."""
        return self._hub.terms.send_timeout_seconds

    @property
    def farewell(self) -> Farewell | None:
        """Why the service ended this subscription; None when the client left, or nothing has ended."""
        return self._farewell

    def open(self, wire: Wire) -> None:
        """Begin: say hello at once, then whatever is due."""
        self._wire, self._format = wire, FORMATS[wire.framing]
        self.transport = "websocket" if wire.framing is Framing.FRAMES else "sse"
        self._deliveries = self._hub.metrics.deliveries[self.transport]
        if wire.framing is Framing.FRAMES:
            self._pulse = Pulse(wire, self._hub.wheel, self._hub.terms.heartbeat_seconds)
        self._hub.metrics.count_opened(self.transport)
        self._log_admission()
        self.reader.attach(wire, self._format, asyncio.get_running_loop().call_soon)
        now = self._hub.clock()
        expires_in = max(0.0, self.principal.stream_ends_at(now) - now)  # from here on the wall clock may jump
        self.reader.write(control.opening(self._format) + self._ready(expires_in))
        self._arm("expiry", expires_in, lambda: self.end(TokenExpired()))
        if expires_in > 2 * REFRESH_NOTICE_SECONDS:
            self._arm("refresh", expires_in - REFRESH_NOTICE_SECONDS, self._say_refresh)
        self._arm("quiet", self._hub.terms.heartbeat_seconds, self._look_after)
        self.reader.flush()

    def _log_admission(self) -> None:
        told = {"request_id": self.id, "transport": self.transport, "resumed": self._start.resumed}
        logger.debug("admitted", extra={**told, "session": self.session, "subject": self.principal.subject})

    def end(self, farewell: Farewell) -> None:
        """End the subscription once the client has taken what is there; at the send time-out, without that."""
        if self._farewell is None and not self._closed:
            self._farewell = farewell
            self.reader.closing = True
            self._arm("cut", self.send_timeout_seconds, self._cut)
            self.reader.flush()

    def close(self) -> None:
        """Leave everything: tail, wheel, wire and registry. Harmless when done twice."""
        if self._closed:
            return
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None  # it knows us, as the reader does
        self.reader.close()
        self._wire = None
        del self.reader  # it knows us, and full garbage collections are rare
        self._hub.dismiss(self)

    def say_position(self) -> None:
        """Send the reader's position, where the wire takes it; a reset that is due comes before the id behind it."""
        if self._wire is not None and self._wire.writable:
            self.reader.flush()
            self.reader.write(control.position(self._format, self.reader.position))

    # What the reader reports.

    def reset(self, position: Position, reason: str) -> bytes:
        self._hub.metrics.count_reset(reason)
        self._hub.seldom.log(logging.INFO, reason, "told a client of a gap: %s", reason)
        logger.debug("reset", extra={"request_id": self.id, "reason": reason})
        return control.write(self._format, control.RESET, id=position, reason=reason, requested=self._start.requested)

    def caught_up(self, position: Position, replayed: int) -> bytes:
        if self._live_told:
            return b""
        self._live_told = True
        return control.write(self._format, control.LIVE, id=position, replayed=replayed)

    def accepted(self, events: Sequence[Event], size: int, *, live: bool) -> None:
        """Count a write; how old the events of a history are says nothing about the service."""
        hub = self._hub
        if hub.tracing.enabled:
            self._trace(events)
        if live and events:
            self._deliveries.count(len(events), size, hub.clock() - events[0].timestamp_ms / 1000)
        else:
            self._deliveries.count_history(len(events), size)

    def _trace(self, events: Sequence[Event]) -> None:
        """Make the spans of these deliveries, of those whose producers asked for it.

        A client that resumes was handed what is older when it came: its absence is not the service's delay.
        """
        now = time.time_ns()
        for event in events:
            if event.trace is not None:
                told = {"transport": self.transport, "request_id": self.id}
                handed_ns = max(event.arrival.at_ns, self._since_ns)
                self._hub.tracing.delivered(event, **told, handed_ns=handed_ns, accepted_ns=now)

    def held_up(self) -> None:
        assert self._wire is not None  # noqa: S101  set by `open`
        if self._stall is None:
            self._stall = Stall(self._wire, self._hub.wheel, self.send_timeout_seconds, self._stalled)
        else:
            self._stall.watch()

    def at_rest(self) -> None:
        """Everything has been taken: say goodbye, and let the transport end the response."""
        if self._farewell is None:
            self._farewell = SessionEnded()
            self.reader.write(control.write(self._format, control.END, id=self.reader.position.text(ended=True)))
        else:
            soon_ms = control.jittered_ms(control.RETRY_MS)
            self.reader.write(control.disconnect(self._format, self._farewell, self.reader.position, soon_ms))
        self.reader.close()
        assert self._wire is not None  # noqa: S101  only a flush comes to rest
        self._wire.finish()

    def failed(self, error: Exception) -> None:
        logger.error("a subscription failed", exc_info=error, extra={"request_id": self.id})
        self._farewell = self._farewell or InternalTrouble()
        self._cut()

    # What the wheel calls.

    def _look_after(self) -> None:
        """Send a heartbeat to a client that was sent nothing, and look again in time."""
        assert self._wire is not None  # noqa: S101  armed by `open`
        silence = self._hub.wheel.now - self.reader.wrote_at
        if not self._wire.writable:
            if self._stall is None or not self._stall.watching:  # it is not the reader that has filled it
                self.held_up()
        elif silence >= self._hub.terms.heartbeat_seconds or (self._pulse is not None and self._pulse.is_due):
            if self._pulse is not None and not self._pulse.beats():
                self._hub.seldom.log(logging.INFO, "no_pong", "sent a client away that answered no ping")
                self.end(NoPong())
                return
            if silence >= self._hub.terms.heartbeat_seconds:
                self.reader.flush()  # as in `say_position`
                moved = self.reader.sent_at != self._hub.tail.arrived
                self.reader.write(control.heartbeat(self._format, self.reader.position if moved else None))
            else:
                self._wire.write(control.PING)  # not by the reader: no id comes with it
                self.reader.wrote_at = self._hub.wheel.now
            silence = 0
        self._arm("quiet", max(1, self._hub.terms.heartbeat_seconds - silence), self._look_after)

    def _stalled(self, seconds: int) -> None:
        self._farewell = self._farewell or TooSlow()
        self._hub.metrics.count_slow()
        self._hub.seldom.log(logging.INFO, "too_slow", "cut a client that took nothing for %g seconds", seconds)
        self._cut()

    def _say_refresh(self) -> None:
        assert self._wire is not None  # noqa: S101  armed by `open`
        notice = control.write(self._format, control.REFRESH, expires_in_seconds=REFRESH_NOTICE_SECONDS)
        self._wire.write(notice)  # straight to the wire: without an id, the last one gets older

    def _cut(self) -> None:
        """Give up on the client; it resumes from its last id when it comes back."""
        self.reader.close()
        if self._wire is not None:
            self._wire.abort()

    def _arm(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        self._timers[name] = self._hub.wheel.after(seconds, callback)

    def _ready(self, expires_in: float) -> bytes:
        """Say hello, with the id before any gap: who is cut off before the reset is told it the next time."""
        refused = self._start.resumed and self._start.resets
        position = self._start.requested if refused else self.reader.position
        incomplete = self.reader.settle()
        return control.write(
            self._format,
            control.READY,
            id=position,
            session=self.session,
            resumed=self._start.resumed and not incomplete,
            encoding=self._hub.terms.encoding,
            continuity=self._hub.continuity(),
            heartbeat_seconds=self._hub.terms.heartbeat_seconds,
            expires_in_seconds=round(expires_in),
        )
