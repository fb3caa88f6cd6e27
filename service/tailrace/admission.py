"""Who asks, for what, and from where: a request becomes a subscription, or a named refusal.

One order for both transports: who asks, may they, can the service, what do they ask for, where do they begin. Of an id
and a query nothing is parsed for anybody who may not read. Reads ASGI scopes; what a refusal becomes on the wire is for
`sse`, `websocket` and `app` to say. Lives as long as the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

from tailrace import auth
from tailrace.auth import Principal, Verifier
from tailrace.errors import BadRequest, ComeBack, Draining, KafkaTrouble, Refused, Unauthenticated
from tailrace.resume import (
    Offsets,
    Start,
    Wish,
    is_ahead,
    is_strange,
    names_unknown,
    of_known,
    start_of,
    wish_of,
    within,
)
from tailrace.session import session_problem
from tailrace.subscription import Subscription, Subscriptions

logger = logging.getLogger(__name__)

MAX_QUESTIONS = 100
"""Clients that may wait at once for the offsets of a time: each is a question to every leader, in turn."""
MAX_SHARE = 1 / 4
"""What one subject may take of the places that other subjects leave; at least one, where one is free."""
BELIEVED_AT = 2
"""Fresh answers of Kafka without a partition, after which an id that names the partition is taken to be wrong. One is
not enough: a faster replica may have given the id, and a broker's metadata may be a little stale."""


class Questions(Protocol):
    """What only Kafka can tell: `tailrace.consumer.Asking`."""

    async def ends(self) -> Offsets: ...
    async def since(self, when_ms: int) -> Offsets: ...
    def is_told(self, topic: int) -> bool: ...


class Admission:
    """Admits subscribers.

    ``refreshed`` asks Kafka who it is, once for all who wait; False when it does not answer. ``asking`` asks it for
    offsets.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
        verifier: Verifier,
        *,
        allowed_origins: Collection[str],
        cookie_name: str = auth.SECURE_COOKIE,
        refreshed: Callable[[], Awaitable[bool]],
        asking: Questions,
    ) -> None:
        self._subscriptions = subscriptions
        self._verifier = verifier
        self.cookie_name = cookie_name
        self._allowed_origins = allowed_origins
        self._refreshed = refreshed
        self._asking = asking
        self._questions: Counter[str] = Counter()
        """By subject, those that wait for an answer."""
        self._patience: set[asyncio.Timeout] = set()

    async def admit(self, scope: Scope, token: str | None = None) -> Subscription:
        """Admit whoever asks; ``token`` is one that came in a first message, where the request held none.

        Raises:
            Refused: with the subclass that says why.
        """
        principal = self._verifier.verify(token) if token is not None else self.principal(scope)
        session = _session_of(scope)
        self._subscriptions.check(principal, session)
        auth.refuse_token_in_query(scope["query_string"])
        wish = wish_of(Headers(scope=scope).get("last-event-id"), QueryParams(scope["query_string"]))
        with self._subscriptions.arriving(principal):
            start = await self._start(wish, principal.subject)
        return self._subscriptions.admit(principal, session, start)

    def note(self, refused: Refused) -> None:
        """Count and log a refusal; call it once the client is answered with it. Its detail never quotes a token."""
        self._subscriptions.metrics.count_refused(refused.code)
        logger.debug("refused", extra={"reason": refused.code, "detail": refused.detail})

    def principal(self, scope: Scope) -> Principal:
        """Say who sent the request.

        Raises:
            Unauthenticated: no token came, or one that is not good.
            BadRequest: a token came twice or malformed, or in the address where the request has no other.
        """
        host = Headers(scope=scope).get("host", "")
        page = {"scheme": scope["scheme"], "host": host, "allowed_origins": self._allowed_origins}
        counts = auth.cookie_allowed(scope["headers"], **page)
        name = self.cookie_name if counts else None
        credential = auth.token_from_headers(scope["headers"], cookie_name=name)
        if credential is None:
            auth.refuse_token_in_query(scope["query_string"])
            raise Unauthenticated("no token came")
        return self._verifier.verify(credential.token)

    def check_origin(self, scope: Scope) -> None:
        """Raise `ForeignOrigin` where a page opens a WebSocket that it may not."""
        host = Headers(scope=scope).get("host", "")
        auth.check_websocket_origin(
            scope["headers"], scheme=scope["scheme"], host=host, allowed_origins=self._allowed_origins
        )

    def drain(self) -> None:
        """The service ends: let nobody wait for Kafka any more, which may be silent for longer than the drain."""
        for patience in self._patience:
            patience.reschedule(0)

    async def _start(self, wish: Wish, subject: str) -> Start:
        try:
            async with asyncio.timeout(None) as patience:
                self._patience.add(patience)
                return await self._start_by_kafka(wish, subject)
        except TimeoutError:
            raise Draining("the service is shutting down") from None
        finally:
            self._patience.discard(patience)

    async def _start_by_kafka(self, wish: Wish, subject: str) -> Start:
        """Decide where the reader begins, having asked Kafka what only Kafka can tell.

        What it says of a topic that is made again meanwhile is said of another topic: then all is asked again.
        """
        tail = self._subscriptions.tail
        if is_strange(wish, tail) and not await self._refreshed():
            raise ComeBack("the id names a topic that Kafka has to be asked about, and Kafka does not answer")
        while True:
            epochs = tail.epochs
            since = await self._since(wish, subject)
            start = await self._of_known(start_of(wish, tail, since))
            start = await self._within(start) if is_ahead(start, tail) else start
            if tail.epochs == epochs:
                return start

    async def _of_known(self, start: Start) -> Start:
        """Cut off what a start says of partitions that Kafka does not have, once it was asked: one may only be new."""
        tail = self._subscriptions.tail
        for _ in range(BELIEVED_AT):
            if not (unknown := names_unknown(start, tail)):
                return start
            if not await self._refreshed() or not all(map(self._asking.is_told, unknown)):
                raise ComeBack("the id names partitions that Kafka has to be asked about, and Kafka does not answer")
        return of_known(start, tail)

    async def _within(self, start: Start) -> Start:
        """Cut a start back where it lies beyond the log, if the log is the one that it is of."""
        tail = self._subscriptions.tail
        ends = await self._asking.ends()
        if within(start, tail, ends) is start or not await self._refreshed():
            return start  # who is left to wait is looked at again: `consumer.beyond`
        return within(start, tail, ends)

    async def _since(self, wish: Wish, subject: str) -> Offsets | None:
        if wish.id is not None or wish.unreadable or wish.since_ms is None:
            return None
        own = self._questions[subject]
        left = MAX_QUESTIONS - self._questions.total() + own
        if own >= min(left, max(1, left * MAX_SHARE)):
            raise ComeBack("too many ask for a time at once")
        self._questions[subject] += 1
        try:
            return await self._asking.since(wish.since_ms)
        except KafkaTrouble:
            raise ComeBack("Kafka does not tell where it was at that time") from None
        finally:
            self._questions[subject] -= 1
            self._questions += Counter()  # which keeps those that are not 0


def _session_of(scope: Scope) -> str:
    """Return the address's session, percent-decoded once by the server."""
    session: str = scope["path_params"]["session"]
    if "\ufffd" in session:
        raise BadRequest("the session in the address is not UTF-8")
    if (problem := session_problem(session)) is not None:
        raise BadRequest(problem)
    return session
