"""Whether the topics are compacted: asked beside the reading, and told to every client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fake_kafka import FakeKafka
from leaping import leaping, until
from tailrace.consumer.continuity import ASK_SECONDS, RETRY_SECONDS, Continuity
from tailrace.errors import KafkaTrouble
from tailrace.kafka import BrokerError, BrokerUnavailable, NotAuthorized, UnknownTopic
from tailrace.tail import Tail

AWAY = BrokerUnavailable("kafka:9092", "nobody listens")


@asynccontextmanager
async def asking(kafka: FakeKafka, *existing: str) -> AsyncIterator[tuple[Continuity, Tail]]:
    """Ask until the end of the block; ``existing`` topics were met before."""
    with leaping():
        tail = Tail(sorted(kafka.ids), 1 << 20)
        continuity = Continuity(kafka, tail)
        for name in existing:
            tail.learn(tail.topics.index(name), "00000001", 1)
        task = asyncio.create_task(continuity.run())
        try:
            yield continuity, tail
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize(
    "policies, expected",
    [
        ({"t": "delete", "u": "delete"}, "complete"),
        ({"t": "delete", "u": "compact"}, "compacted"),
        ({"t": "compact,delete", "u": "delete"}, "compacted"),
        ({"t": NotAuthorized("t"), "u": "delete"}, "complete"),
    ],
)
async def test_one_compacted_topic_makes_it_compacted(policies: dict[str, str | KafkaTrouble], expected: str) -> None:
    """A policy may be both; one that may not be seen changes nothing."""
    kafka = FakeKafka(t=1, u=1)
    kafka.policies = policies
    async with asking(kafka, "t", "u") as (continuity, _):
        await until(lambda: not continuity.waiting)
        assert expected == continuity.word


async def test_a_policy_that_changes_is_seen_after_a_while() -> None:
    """To compacted and back, each topic asked once a minute."""
    kafka = FakeKafka(t=1)
    async with asking(kafka, "t") as (continuity, _):
        seen = []
        for policy in ("delete", "compact", "delete"):
            kafka.policies["t"] = policy
            await asyncio.sleep(ASK_SECONDS * 1.01)
            seen.append((continuity.word, kafka.policies_asked))
        assert [("complete", 2), ("compacted", 3), ("complete", 4)] == seen


async def test_a_topic_is_asked_about_when_it_is_met_or_made_again() -> None:
    """One that does not exist is not asked about, and nobody waits for it."""
    kafka = FakeKafka(t=1)
    async with asking(kafka) as (continuity, tail):
        await asyncio.sleep(1)
        assert ([], 0) == (continuity.waiting, kafka.policies_asked)
        for epoch, policy in (("00000001", "compact"), ("00000002", "delete")):
            kafka.policies["t"] = policy
            tail.learn(0, epoch, 1)
            continuity.look()
            continuity.look()
            await asyncio.sleep(1)
            assert ("compacted" if policy == "compact" else "complete") == continuity.word
        assert 2 == kafka.policies_asked


async def test_trouble_that_may_pass_is_asked_again_soon() -> None:
    """What was known stays known meanwhile, and nothing waits for the answer."""
    kafka = FakeKafka(t=1)
    kafka.policies["t"] = "compact"
    async with asking(kafka, "t") as (continuity, _):
        await until(lambda: not continuity.waiting)
        kafka.cluster_trouble = AWAY
        await asyncio.sleep(ASK_SECONDS + 2.5 * RETRY_SECONDS)
        assert ("compacted", 4) == (continuity.word, kafka.policies_asked)


async def test_a_broker_that_knows_no_policies_is_asked_no_oftener() -> None:
    """Such as the embedded one; nothing waits for it."""
    kafka = FakeKafka(t=1)
    kafka.cluster_trouble = BrokerError(35, "UnsupportedVersion", "broker")
    async with asking(kafka, "t") as (continuity, _):
        await until(lambda: not continuity.waiting)
        await asyncio.sleep(ASK_SECONDS / 2)
        assert ("complete", 1) == (continuity.word, kafka.policies_asked)


async def test_a_missing_right_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """In the log, with what to grant."""
    kafka = FakeKafka(t=1)
    kafka.policies["t"] = NotAuthorized("t")
    with caplog.at_level(logging.WARNING, "tailrace"):
        async with asking(kafka, "t") as (continuity, _):
            await asyncio.sleep(2.5 * ASK_SECONDS)
            assert "complete" == continuity.word
    assert (3, 1) == (kafka.policies_asked, len(caplog.messages))


async def test_a_topic_that_is_being_deleted_is_no_cause_for_words(caplog: pytest.LogCaptureFixture) -> None:
    """It is asked about again soon."""
    kafka = FakeKafka(t=1)
    kafka.policies["t"] = UnknownTopic("t")
    with caplog.at_level(logging.WARNING, "tailrace"):
        async with asking(kafka, "t"):
            await asyncio.sleep(1.5 * RETRY_SECONDS)
    assert (2, []) == (kafka.policies_asked, caplog.messages)
