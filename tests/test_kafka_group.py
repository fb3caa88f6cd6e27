"""`GroupCommits`: what is told to a group's coordinator, and that trouble with it stays there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.commit import OffsetCommitRequest_v3, OffsetCommitResponse_v3
from aiokafka.protocol.coordination import FindCoordinatorResponse_v1
from confluent_kafka import Consumer, TopicPartition

from tailrace.dev import EmbeddedBroker
from tailrace.errors import ConfigurationError
from tailrace.kafka import GroupCommits, KafkaConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

PLACES = {("lakes", 0): 7, ("rivers", 0): 3, ("rivers", 1): 5}
NOBODY = "127.0.0.1:1"
FIND, COMMIT, VERSIONS = 10, 8, 18


class Coordinator:
    """A broker that coordinates every group, and answers the next questions with the error codes that it is given."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self.find_codes: deque[int] = deque()
        self.commit_codes: deque[int] = deque()
        self.commits: list[Any] = []
        self.connections = 0
        self._asked = asyncio.Event()

    @property
    def bootstrap(self) -> str:
        return "{}:{}".format(*self.address)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for ``condition``, looked at after each answer."""
        async with asyncio.timeout(20):
            while not condition():
                self._asked.clear()
                await self._asked.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client leaves."""
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                answer = request[4:8] + self._answer(request)
                writer.write(struct.pack(">i", len(answer)) + answer)
                self._asked.set()
        writer.close()

    def _answer(self, request: bytes) -> bytes:
        key, _, _, name = struct.unpack_from(">hhih", request)
        if key == VERSIONS:
            answer = ApiVersionResponse_v0(0, [(FIND, 0, 1), (COMMIT, 2, 3)])
        elif key == FIND:
            code = self.find_codes.popleft() if self.find_codes else 0
            answer = FindCoordinatorResponse_v1(0, code, "", 1, *self.address)
        else:
            self.commits.append(OffsetCommitRequest_v3.SCHEMA.decode(io.BytesIO(request[10 + name :])))
            code = self.commit_codes.popleft() if self.commit_codes else 0
            answer = OffsetCommitResponse_v3(0, [("rivers", [(0, 0), (1, code)])])
        encoded: bytes = answer.encode()
        return encoded


@pytest.fixture
async def coordinator() -> AsyncIterator[Coordinator]:
    made = Coordinator()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.address = server.sockets[0].getsockname()
        yield made


@contextlib.asynccontextmanager
async def committing(servers: str, positions: Callable[[], Mapping[tuple[str, int], int]]) -> AsyncIterator[None]:
    """Commit for the group ``shown``, again and again without a pause, until the end of the block."""
    commits = GroupCommits(KafkaConnection(bootstrap_servers=servers), "shown", positions, every_seconds=0)
    task = asyncio.create_task(commits.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_broker_knows_what_was_committed() -> None:
    """A coordinator takes it as a group's offsets, with no member in the group."""
    with EmbeddedBroker() as broker:
        broker.create_topic("rivers", 2)
        broker.create_topic("lakes", 1)
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "shown", "log_level": 2})
        asked = [TopicPartition(*place) for place in PLACES]
        found: dict[tuple[str, int], int] = {}
        async with committing(broker.bootstrap, lambda: PLACES):
            while found != PLACES:
                answer = await asyncio.to_thread(consumer.committed, asked, 10)
                found = {(each.topic, each.partition): each.offset for each in answer}
        consumer.close()


async def test_what_is_said(coordinator: Coordinator) -> None:
    """No generation, no member, the broker's own retention, and each topic with its partitions."""
    async with committing(coordinator.bootstrap, lambda: PLACES):
        await coordinator.until(lambda: bool(coordinator.commits))
    topics = [("lakes", [(0, 7, "")]), ("rivers", [(0, 3, ""), (1, 5, "")])]
    assert ("shown", -1, "", -1, topics) == coordinator.commits[0]


async def test_positions_are_asked_for_each_time(coordinator: Coordinator) -> None:
    """What is told is where reading stands then, over one connection; nothing is told where nothing is known yet."""
    stands: deque[dict[tuple[str, int], int]] = deque([{}, {("rivers", 0): 1}, {}, {("rivers", 0): 2}])
    async with committing(coordinator.bootstrap, lambda: stands.popleft() if stands else {}):
        await coordinator.until(lambda: len(coordinator.commits) == 2)
    assert [[("rivers", [(0, 1, "")])], [("rivers", [(0, 2, "")])]] == [each[-1] for each in coordinator.commits]
    assert coordinator.connections == 2  # one to find it, one to commit


async def test_the_first_address_that_answers_is_enough(coordinator: Coordinator) -> None:
    """A dead bootstrap address is passed over."""
    async with committing(f"{NOBODY},{coordinator.bootstrap}", lambda: PLACES):
        await coordinator.until(lambda: bool(coordinator.commits))


@pytest.mark.parametrize(
    "codes, code, words",
    [
        ("find_codes", 30, "grant this user Read on the group"),
        ("commit_codes", 30, "grant this user Read on the group"),
        ("commit_codes", 29, "grant this user Read on the topics"),
        ("commit_codes", 25, "members of its own"),
        ("commit_codes", 87, "error 87"),
    ],
)
async def test_trouble_is_said_once(
    coordinator: Coordinator, caplog: pytest.LogCaptureFixture, codes: str, code: int, words: str
) -> None:
    """However often it is refused: one line when it begins, in words to act on, and one when it is over."""
    caplog.set_level(logging.INFO)
    getattr(coordinator, codes).extend([code] * 5)
    async with committing(coordinator.bootstrap, lambda: PLACES):
        await coordinator.until(lambda: len(coordinator.commits) > len(getattr(coordinator, codes)) + 6)
    assert [("WARNING", True), ("INFO", False)] == [(each.levelname, words in each.message) for each in caplog.records]
    assert all("group shown" in each.message for each in caplog.records)


async def test_a_group_that_moves_is_found_again(coordinator: Coordinator) -> None:
    """After any trouble the coordinator is looked for anew."""
    coordinator.commit_codes.extend([0, 16])
    async with committing(coordinator.bootstrap, lambda: PLACES):
        await coordinator.until(lambda: len(coordinator.commits) == 3)
    assert coordinator.connections == 4


async def test_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Where no address answers that is said, once, and it goes on trying."""
    asked = asyncio.Event()
    times = iter(range(100_000))

    def positions() -> Mapping[tuple[str, int], int]:
        if next(times) == 5:
            asked.set()
        return PLACES

    async with committing(NOBODY, positions), asyncio.timeout(20):
        await asked.wait()
    [line] = caplog.records
    assert "cannot be reached" in line.message


def test_a_file_that_cannot_be_used() -> None:
    """A TLS file that is missing is a configuration error when it is made, not a surprise later."""
    connection = KafkaConnection(bootstrap_servers=NOBODY, security_protocol="SSL", ssl_ca_file="/missing.pem")
    with pytest.raises(ConfigurationError, match="SSL_CA_FILE"):
        GroupCommits(connection, "shown", dict)
