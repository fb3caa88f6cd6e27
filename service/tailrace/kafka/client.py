"""`Kafka`: one client of the cluster, made of a connection per broker and purpose.

Answers three questions, each asked of one broker once: what lies at these offsets, where are the ends, who is there.
Does not retry, back off or remember an offset: `consumer` and `replay` do, each in its own way. Says in one log line
when a broker goes and when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.offset import OffsetRequest

from tailrace.errors import ConfigurationError, KafkaTrouble
from tailrace.kafka.connection import KafkaConnection, Link
from tailrace.kafka.fetch import Fetch, Stretch
from tailrace.kafka.fetch_wire import Question
from tailrace.kafka.metadata import Address, Identity, Metadata, brokers_of, identity_of
from tailrace.kafka.troubles import (
    AuthenticationFailed,
    BrokerError,
    BrokerUnavailable,
    ConfigurationHidden,
    NotAuthorized,
    name_of,
    trouble_of,
)
from tailrace.kafka.unpacking import Unpacking

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LATEST, EARLIEST = -1, -2
"""For `Kafka.offsets`: the end that the isolation level allows to see, and the start of the log."""
HIGH_WATERMARK = -100
"""The same: the end whatever the isolation level. The number is ours; Kafka says it by the level."""

REQUEST_SECONDS = 10.0
"""For one answer of one broker, connecting included; a fetch may take as long again as it was allowed to wait."""
CLOSE_SECONDS = 2.0
"""For all sockets to close; a TLS peer that does not answer is left to the event loop."""
PARTITION_MAX_BYTES = 1024 * 1024
"""Of one partition in one fetch (a single larger batch comes whole): no partition crowds out the others."""

NO_IDS: Mapping[str, str] = MappingProxyType({})
"""Of topics whose ids nobody knows: they are asked for by name."""

_TOPIC = 2
"""Kafka's number for this kind of resource."""
_ISOLATION = {"read_uncommitted": 0, "read_committed": 1}

logger = logging.getLogger("tailrace.kafka")


class Kafka:
    """One client and its connections; lives as long as the service. No positions, no assignment, no group.

    Calls for different brokers, and questions beside a fetch, run side by side; calls for the same broker and purpose
    take turns. ``unpacking`` may be shared with other clients. Raises `ConfigurationError` when a TLS file cannot be
    used.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topics: Sequence[str],
        *,
        isolation_level: str,
        unpacking: Unpacking | None = None,
    ) -> None:
        if isolation_level not in _ISOLATION:
            raise ConfigurationError([f"TAILRACE_KAFKA_ISOLATION_LEVEL: expected one of {', '.join(_ISOLATION)}"])
        # aiokafka tells every failed attempt at length; what an operator needs of it is in our own lines.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._topics = tuple(topics)
        self._isolation = _ISOLATION[isolation_level]
        self._unpacking = unpacking or Unpacking()
        self._bootstrap = connection.bootstrap
        self._options = connection.options()
        self._brokers: dict[int, Address] = {}
        self._were: dict[int, Address] = {}  # by which an operator knows a broker that the cluster has forgotten
        self._links: dict[tuple[str, Address], Link] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._last: Address | None = None
        self._away: set[str] = set()
        self._turns = 0
        self._closed = False

    async def identity(self) -> Identity:
        """Ask the broker that answered last, then the others that are known, then the bootstrap addresses.

        One request each. Topics that do not exist are told, never made. Raises the most telling `KafkaTrouble` when
        nobody answers: `AuthenticationFailed` before the rest.
        """
        troubles: list[KafkaTrouble] = []
        for address in self._whom_to_ask():
            try:
                answer = await self._link("ask", address).ask(Metadata(self._topics), REQUEST_SECONDS)
            except KafkaTrouble as trouble:
                troubles.append(trouble)
            else:
                if answer.brokers:
                    self._learn(address, brokers_of(answer))
                    return identity_of(answer)
                troubles.append(BrokerUnavailable("{}:{}".format(*address), "it knows no brokers yet"))
        raise next((each for each in troubles if isinstance(each, AuthenticationFailed)), troubles[-1])

    async def fetch(
        self,
        node: int,
        offsets: Mapping[tuple[str, int], int],
        ids: Mapping[str, str] = NO_IDS,
        *,
        max_wait_ms: int,
        min_bytes: int,
        max_bytes: int,
    ) -> list[Stretch]:
        """Ask one leader once for what lies at ``offsets``, given by (topic, partition).

        ``ids`` are the topics' own: where all are given, one that was made again is an `UnknownTopic`, if the broker is
        of Kafka 3.1 or later. The broker answers as soon as it has ``min_bytes`` or after ``max_wait_ms``;
        ``max_bytes`` bounds the answer, but for one batch that is larger. Gives one `Stretch` per partition, its own
        trouble inside. Raises `BrokerUnavailable` and its kin when the broker as a whole does not answer.
        """
        question = Question(
            _by_topic(self._in_turn(offsets)),
            ids,
            max_wait_ms=max_wait_ms,
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            partition_max_bytes=min(max_bytes, PARTITION_MAX_BYTES),
            isolation=self._isolation,
        )
        answer = await self._link("fetch", self._address(node)).ask(
            Fetch(question), REQUEST_SECONDS + max_wait_ms / 1000
        )
        if answer.error_code:
            raise BrokerError(answer.error_code, name_of(answer.error_code), f"fetch from node {node}")
        names = {id_: name for name, id_ in ids.items()}
        found = ((part, names.get(part.topic, part.topic)) for part in answer.slices)
        asked = ((part, offsets.get((name, part.partition)), name) for part, name in found)
        return await self._unpacking.stretches([(part, at, name) for part, at, name in asked if at is not None])

    async def offsets(
        self, node: int, partitions: Sequence[tuple[str, int]], when: int
    ) -> dict[tuple[str, int], int | KafkaTrouble | None]:
        """Ask one leader for an offset of each partition (ListOffsets).

        ``when`` is `LATEST` (under read_committed the last stable offset), `HIGH_WATERMARK`, `EARLIEST`, or a Unix
        time in milliseconds: the first record that is not older. None: no such record, or the broker cannot say.
        """
        isolation = self._isolation
        if when == HIGH_WATERMARK:
            when, isolation = LATEST, _ISOLATION["read_uncommitted"]
        topics = _by_topic(((topic, partition), when) for topic, partition in partitions)
        request = OffsetRequest(-1, isolation, list(topics.items()))
        answer = await self._link("ask", self._address(node)).ask(request, REQUEST_SECONDS)
        return {
            (topic, partition): trouble_of(code, topic, partition) or (offset if offset >= 0 else None)
            for topic, rows in answer.topics
            for partition, code, _, offset in rows
        }

    async def cleanup_policy(self, topic: str) -> str | KafkaTrouble:
        """Ask a broker what the topic's ``cleanup.policy`` is: ``delete``, ``compact`` or both (DescribeConfigs).

        Needs a right of its own, DescribeConfigs on the topic; without it the trouble is `ConfigurationHidden`.
        """
        request = DescribeConfigsRequest([(_TOPIC, topic, ["cleanup.policy"])])
        answer = await self._link("ask", next(iter(self._whom_to_ask()))).ask(request, REQUEST_SECONDS)
        code, _, _, _, entries = answer.resources[0]
        trouble = trouble_of(code, topic)
        return ConfigurationHidden(topic) if isinstance(trouble, NotAuthorized) else trouble or entries[0][1]

    async def close(self) -> None:
        """Close all connections, within `CLOSE_SECONDS`. Never raises; what is still being asked fails."""
        self._closed = True
        for link in self._links.values():
            link.close()
        self._links.clear()
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=CLOSE_SECONDS)

    def _whom_to_ask(self) -> Iterable[Address]:
        last = [self._last] if self._last is not None else []
        return list(dict.fromkeys([*last, *self._brokers.values(), *self._bootstrap]))

    def _learn(self, address: Address, brokers: dict[int, Address]) -> None:
        self._last, self._brokers = address, brokers
        self._were |= brokers
        known = {address, *brokers.values()}
        for key in [key for key in self._links if key[1] not in known]:
            self._links.pop(key).close()
        self._away &= {"{}:{}".format(*each) for each in known}

    def _address(self, node: int) -> Address:
        if (address := self._brokers.get(node)) is None:
            name = "{}:{}".format(*self._were[node]) if node in self._were else f"with node id {node}"
            raise BrokerUnavailable(name, "the cluster does not know it")
        return address

    def _link(self, purpose: Literal["fetch", "ask"], address: Address) -> Link:
        if self._closed:
            raise BrokerUnavailable("{}:{}".format(*address), "the client is closed")
        if (link := self._links.get((purpose, address))) is None:
            link = self._links[purpose, address] = Link(address, self._options, self._report, self._closing)
        return link

    def _report(self, broker: str, trouble: KafkaTrouble | None) -> None:
        """Log a change, and only that: an outage is two lines, however long it lasts."""
        if isinstance(trouble, BrokerUnavailable | AuthenticationFailed):
            if broker not in self._away and not self._closed:
                self._away.add(broker)
                logger.warning("%s", trouble)
        elif trouble is None and broker in self._away:
            self._away.discard(broker)
            logger.info("the broker %s answers again", broker)

    def _in_turn(self, offsets: Mapping[tuple[str, int], int]) -> Iterator[tuple[tuple[str, int], int]]:
        """Begin with another partition each time: the broker fills its answer in the order of the request, so the
        last ones would starve behind a busy first one."""
        self._turns += 1
        entries = list(offsets.items())
        begin = self._turns % len(entries) if entries else 0
        yield from entries[begin:]
        yield from entries[:begin]


def _by_topic(entries: Iterable[tuple[tuple[str, int], int]]) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for (topic, partition), value in entries:
        found.setdefault(topic, []).append((partition, value))
    return found
