"""Everyone who is subscribed: the limits, the ids that are kept young, the drain. Lives as long as the service."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tailrace.auth import Principal
from tailrace.errors import ComeBack, Draining, Forbidden, GoingAway, TooManyConnections
from tailrace.log import Seldom
from tailrace.metrics import Metrics
from tailrace.reader import Replays
from tailrace.resume import Start
from tailrace.subscription.one import Clock, Subscription, Terms
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.tracing import Tracing

logger = logging.getLogger(__name__)

POSITIONS_PER_TURN = 100
"""How many quiet readers are sent their position in one turn of the loop: about a millisecond of it."""


class Subscriptions:
    """Everyone who is subscribed. ``waiting`` says what the service waits for before it can serve; empty when ready."""

    def __init__(
        self,
        tail: Tail,
        wheel: Wheel,
        terms: Terms,
        waiting: Callable[[], list[str]],
        *,
        replays: Replays,
        continuity: Callable[[], str] = lambda: "complete",
        clock: Clock = time.time,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.tail = tail
        self.wheel = wheel
        self.terms = terms
        self.clock = clock
        self.continuity = continuity
        self.replays = replays
        self.metrics = metrics or Metrics()
        self.tracing = tracing or Tracing()
        self.seldom = Seldom(logger)
        self.draining = False
        self._waiting = waiting
        self._all: dict[Subscription, None] = {}
        self._arriving = 0
        self._by_subject: Counter[str] = Counter()
        """Connections, and those that are `arriving`."""
        self._oldest_sent = 0
        wheel.after(1, self._keep_ids_young)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def by_transport(self) -> dict[str, int]:
        """How many are open, by transport."""
        return dict(Counter(each.transport for each in self._all if each.transport))

    @property
    def catching_up(self) -> int:
        """How many readers are not live."""
        return sum(not each.reader.live for each in self._all)

    def check(self, principal: Principal, session: str) -> None:
        """Say first whether they may at all: only then is it worth coming back.

        Raises:
            Forbidden: the token does not name this session.
            ComeBack: draining, or not warm yet.
        """
        if not principal.may_read(session):
            raise Forbidden("the token does not cover this session")
        if self.draining:
            raise Draining("the service is shutting down")
        if self._waiting():  # for what, is the operator's: it names brokers and topics
            raise ComeBack("the service is not ready yet")

    def admit(self, principal: Principal, session: str, start: Start) -> Subscription:
        """Take a subscriber in; the caller opens the subscription, and closes it whatever happens.

        Raises:
            Forbidden: the token does not name this session.
            ComeBack: draining, not warm yet, too many connections, or too many that wait for a replay.
        """
        self.check(principal, session)
        self._check_room(principal.subject)
        subscription = Subscription(self, principal, session, start)
        if subscription.reader.needs_replay and self.replays.is_full:
            subscription.reader.close()
            raise ComeBack("too many wait for what lies further back than memory")
        self._all[subscription] = None
        self._by_subject[principal.subject] += 1
        return subscription

    @contextmanager
    def arriving(self, principal: Principal) -> Iterator[None]:
        """Count somebody as a connection until it is known where they begin: before Kafka is asked for them.

        Raises `TooManyConnections`.
        """
        self._check_room(principal.subject)
        self._arriving += 1
        self._by_subject[principal.subject] += 1
        try:
            yield
        finally:
            self._arriving -= 1
            self._make_room(principal.subject)

    def _check_room(self, subject: str) -> None:
        if len(self._all) + self._arriving >= self.terms.max_connections:
            raise TooManyConnections("the service has as many connections as it may")
        if self._by_subject[subject] >= self.terms.max_connections_per_subject:
            raise TooManyConnections(f"this subject has {self.terms.max_connections_per_subject} connections already")

    def _make_room(self, subject: str) -> None:
        self._by_subject[subject] -= 1
        if not self._by_subject[subject]:
            del self._by_subject[subject]

    def dismiss(self, subscription: Subscription) -> None:
        """Forget someone who has gone."""
        if self._all.pop(subscription, 0) is None:
            if subscription.transport:
                self._note_end(subscription)
            self._make_room(subscription.principal.subject)

    def _note_end(self, subscription: Subscription) -> None:
        farewell = subscription.farewell
        self.metrics.count_ended(farewell)
        reason = farewell.reason if farewell else "the client left"
        logger.debug("ended", extra={"request_id": subscription.id, "reason": reason})

    async def drain(self, seconds: float) -> None:
        """End every stream within ``seconds``, in random order, so that the other replicas are not stormed."""
        self.draining = True
        everyone = list(self._all)
        logger.info("draining: %d streams end within %g seconds", len(everyone), seconds)
        random.shuffle(everyone)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number, subscription in enumerate(everyone):
            await asyncio.sleep(start + seconds * number / len(everyone) - loop.time())
            subscription.end(GoingAway())
        logger.info("drained")

    def _keep_ids_young(self) -> None:
        """Send quiet readers their position once their last id lies in the older half of the tail.

        So most reconnects are answered from memory. Everyone is looked at only when the oldest id may have come so far.
        """
        self.wheel.after(1, self._keep_ids_young)
        half = self.tail.half
        if self._oldest_sent < half:
            self._oldest_sent = half
            self._say_positions([each for each in self._all if each.reader.sent_at < half])

    def _say_positions(self, old: list[Subscription]) -> None:
        """Say it to some, and to the rest in the next turns of the loop."""
        for subscription in old[:POSITIONS_PER_TURN]:
            subscription.say_position()
        if rest := old[POSITIONS_PER_TURN:]:
            asyncio.get_running_loop().call_soon(self._say_positions, rest)
