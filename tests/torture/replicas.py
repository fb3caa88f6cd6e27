"""Replicas of the service as processes of their own, and what is done to them. Everything here blocks.

An end that was asked for is held to its time and its status; whatever a replica writes to its log is read afterwards by
`torture.logs`.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping

from soak.process import SoakProcess
from torture.clock import CLOCK, Clock
from torture.schedule import Fault

DRAIN_SECONDS = 0.5
SEND_TIMEOUT_SECONDS = 3
MAX_EVENT_BYTES = 600_000
"""Less than Kafka takes: some are told as skipped."""
SETTINGS: Mapping[str, object] = {
    "drain_seconds": DRAIN_SECONDS,
    "heartbeat_seconds": 1,
    "log_format": "json",
    "max_event_bytes": MAX_EVENT_BYTES,
    "send_timeout_seconds": SEND_TIMEOUT_SECONDS,
    "tail_max_bytes": 2**20,
    "warmup_seconds": 2,
}
"""The smallest tail: some seconds of traffic, so that who stays away for longer is replayed to."""
MAX_AHEAD_SECONDS = 15.0
"""How far a clock is set ahead or back: less than any token is good for, or an honest client would be refused."""
END_SECONDS = DRAIN_SECONDS + 2 * SEND_TIMEOUT_SECONDS + 20.0
"""How long an end may take: the drain, whoever is slow to be told, the exit; and a machine that has much more to do."""


class Replica(SoakProcess):
    """One replica. ``complaints`` are ends that were not as they should have been."""

    command = (sys.executable, "-m", "torture.inside")
    arguments = ("serve",)

    def __init__(self, name: str, bootstrap: str, topics: str) -> None:
        super().__init__(bootstrap, topics, tls=False, **SETTINGS)
        self.name = name
        self.complaints: list[str] = []
        self._faults: Mapping[str, Callable[[Fault], None]] = {
            "kill": self._kill,
            "kill, and again while it starts": self._kill_again,
            "end": self._end,
            "kill while it ends": self._kill_the_dying,
            "freeze": self._freeze,
            "set the clock": self._set_the_clock,
        }
        self._clock = Clock(self._folder / "clock")
        self._environment[CLOCK] = str(self._folder / "clock")

    def suffer(self, fault: Fault) -> None:
        """Do what the fault says; returns when the replica listens again."""
        self._faults[fault.what](fault)

    def end(self) -> None:
        """End it politely, and see that it ends in time and well."""
        begun = time.monotonic()
        code = self.stop()
        took = time.monotonic() - begun
        if code or took > END_SECONDS:
            self.complaints.append(f"{self.name} ended with {code} after {took:.1f} s")

    def _kill(self, fault: Fault) -> None:
        self.kill()
        time.sleep(fault.seconds)
        self.start(ready=False)

    def _kill_again(self, fault: Fault) -> None:
        self.kill()
        self.start(ready=False)
        time.sleep(fault.seconds)
        self.kill()
        self.start(ready=False)

    def _end(self, fault: Fault) -> None:
        self.end()
        time.sleep(fault.seconds)
        self.start(ready=False)

    def _kill_the_dying(self, fault: Fault) -> None:
        self.signal(signal.SIGTERM)
        time.sleep(fault.share * 2 * DRAIN_SECONDS)
        self.kill()
        time.sleep(fault.seconds)
        self.start(ready=False)

    def _freeze(self, fault: Fault) -> None:
        self.signal(signal.SIGSTOP)
        time.sleep(fault.seconds)
        self.signal(signal.SIGCONT)

    def _set_the_clock(self, fault: Fault) -> None:
        self._clock.ahead = MAX_AHEAD_SECONDS * (2 * fault.share - 1)
