"""The operator's group: where reading stands, told to Kafka now and then, so that lag shows in Kafka's tools.

A client of its own beside `Kafka`: what goes wrong here is logged, and touches nothing else. It joins no group
(generation -1, no member: what Kafka calls a simple consumer), so nothing is ever balanced, and nothing that it wrote
is ever read back. Several replicas may share a group: the last to tell wins, and they stand at nearly the same place.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest

from tailrace.errors import KafkaTrouble
from tailrace.kafka.connection import KafkaConnection, Link
from tailrace.kafka.troubles import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tailrace.kafka.metadata import Address

COMMIT_EVERY_SECONDS = 5.0
"""As often as Java's consumers do; also what keeps the group from expiring while its topics are quiet."""
REQUEST_SECONDS = 5.0
"""For one answer, connecting included: nobody waits for it."""
CLOSE_SECONDS = 2.0
"""For the sockets to close at the end."""

_GROUP = 0
"""FindCoordinator's kind of key: a group, not a transaction."""
_NO_GENERATION, _NO_MEMBER = -1, ""
_BROKERS_RETENTION = -1

_ADVICE = {
    14: "its coordinator is still loading it",
    15: "it has no coordinator at the moment",
    16: "it has moved to another coordinator",
    22: "it has members of its own: name one that no consumer uses",  # ILLEGAL_GENERATION
    25: "it has members of its own: name one that no consumer uses",  # UNKNOWN_MEMBER_ID
    29: "grant this user Read on the topics",
    30: "grant this user Read on the group",
}
"""What an operator should know of an error code."""

logger = logging.getLogger("tailrace.kafka")


class NotCommitted(KafkaTrouble):
    """Kafka refused the offsets of ``group``, with its error ``code``."""

    def __init__(self, group: str, code: int) -> None:
        super().__init__(_ADVICE.get(code) or f"the broker answered with error {code} ({name_of(code)})")
        self.group, self.code = group, code


class GroupCommits:
    """Commits what ``positions`` gives, the next offset by (topic, partition). Its `run` lives as long as the service.

    Give only the partitions whose reading has begun: an offset of 0 would show as lag. Raises `ConfigurationError` when
    a TLS file cannot be used.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        group_id: str,
        positions: Callable[[], Mapping[tuple[str, int], int]],
        *,
        every_seconds: float = COMMIT_EVERY_SECONDS,
    ) -> None:
        self._bootstrap = connection.bootstrap
        self._options = connection.options()
        self._group_id = group_id
        self._positions = positions
        self._every_seconds = every_seconds
        self._coordinator: Link | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._trouble = ""

    async def run(self) -> None:
        """Commit until cancelled."""
        try:
            while True:
                await self._try()
                await asyncio.sleep(self._every_seconds)
        finally:
            self._leave()
            if self._closing:
                await asyncio.wait(set(self._closing), timeout=CLOSE_SECONDS)

    async def _try(self) -> None:
        """Commit once; log a change for the worse or the better, and only that."""
        if not (positions := self._positions()):
            return
        try:
            await self._commit(positions)
        except KafkaTrouble as trouble:
            self._leave()
            if str(trouble) != self._trouble:
                logger.warning("offsets are not committed for the group %s: %s", self._group_id, trouble)
            self._trouble = str(trouble)
        else:
            if self._trouble:
                logger.info("offsets are committed again for the group %s", self._group_id)
            self._trouble = ""

    async def _commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        if self._coordinator is None:
            self._coordinator = self._link(await self._find_coordinator())
        topics: dict[str, list[tuple[int, int, str]]] = {}
        for (topic, partition), offset in positions.items():
            topics.setdefault(topic, []).append((partition, offset, ""))
        who = (self._group_id, _NO_GENERATION, _NO_MEMBER)
        request = OffsetCommitRequest(*who, _BROKERS_RETENTION, list(topics.items()))
        answer = await self._coordinator.ask(request, REQUEST_SECONDS)
        for _, partitions in answer.topics:
            for _, code in partitions:
                self._check(code)

    async def _find_coordinator(self) -> Address:
        """Ask the bootstrap addresses in turn; raises the last one's trouble when none can tell."""
        *others, last = self._bootstrap
        for address in others:
            try:
                return await self._coordinator_by(address)
            except KafkaTrouble:
                continue
        return await self._coordinator_by(last)

    async def _coordinator_by(self, address: Address) -> Address:
        link = self._link(address)
        try:
            answer: Any = await link.ask(FindCoordinatorRequest(self._group_id, _GROUP), REQUEST_SECONDS)
        finally:
            link.close()
        self._check(answer.error_code)
        return answer.host, answer.port

    def _check(self, code: int) -> None:
        if code:
            raise NotCommitted(self._group_id, code)

    def _link(self, address: Address) -> Link:
        return Link(address, self._options, lambda _broker, _trouble: None, self._closing)

    def _leave(self) -> None:
        """Forget the coordinator: it is looked for anew."""
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            coordinator.close()
