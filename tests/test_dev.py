"""The embedded broker, the demo producer and the child process that holds both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from itertools import islice, takewhile
from typing import TYPE_CHECKING

import pytest

from tailrace.dev import MAX_WAIT_MS, SESSIONS, EmbeddedBroker, beats, demo, environment, hold, stream
from tailrace.errors import ConfigurationError
from tailrace.kafka import Kafka, KafkaConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tailrace.event import Record


async def first_records(bootstrap: str, topic: str, partitions: int, count: int) -> list[Record]:
    """Read from the start until there are ``count`` records."""
    client = Kafka(KafkaConnection(bootstrap_servers=bootstrap), [topic], isolation_level="read_committed")
    offsets = {(topic, partition): 0 for partition in range(partitions)}
    records: list[Record] = []
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        node = (await client.identity()).brokers[0]
        while len(records) < count:
            for each in await client.fetch(node, offsets, max_wait_ms=MAX_WAIT_MS, min_bytes=1, max_bytes=1 << 20):
                records += each.records
                offsets[each.topic, each.partition] = each.next_offset
    return records


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """The process behind `demo`, when it has announced its broker."""
    command = [sys.executable, "-m", "tailrace.dev", "rivers", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["topic"] == "rivers"
            yield process
        finally:
            process.kill()


def test_an_answer_begins_with_its_question() -> None:
    """Each answer opens with an event, so that a page can begin a new paragraph, and its tokens make up the text."""
    script = beats(random.Random(1))
    opening = next(script)
    assert (opening.event, list(opening.fields)) == ("answer", ["question"])
    before = list(takewhile(lambda beat: beat.event != "tool", script))
    assert {beat.event for beat in before} == {"progress"}
    tokens = "".join(beat.fields["text"] for beat in takewhile(lambda beat: beat.event is None, script))
    assert len(tokens.split()) > 50


def test_the_answers_never_end() -> None:
    """When all answers have been given they are given again, in another order."""
    questions = [beat.fields["question"] for beat in islice(beats(random.Random(2)), 3000) if beat.event == "answer"]
    assert len(questions) > 2 * len(set(questions)) > 6


def test_tokens_come_at_a_human_pace() -> None:
    """Between 20 and 40 tokens a second on average."""
    pauses = [beat.pause_seconds for beat in islice(beats(random.Random(3)), 3000) if beat.event is None]
    assert 20 < len(pauses) / sum(pauses) < 40


async def test_every_session_is_streamed() -> None:
    """The producer sends each session's records under its name, typed by a header, tokens untyped."""
    stop = threading.Event()
    with EmbeddedBroker() as broker:
        broker.create_topic("rivers", 2)
        producing = asyncio.create_task(asyncio.to_thread(stream, broker.bootstrap, "rivers", stop))
        records = await first_records(broker.bootstrap, "rivers", 2, 60)
        stop.set()
        await producing
    assert {record.key.decode() for record in records if record.key} == set(SESSIONS)
    kinds = {dict(record.headers).get("event") for record in records}
    assert kinds == {b"answer", b"progress", b"tool", None}


async def test_the_demo_outlives_its_readers() -> None:
    """The broker is another process: two clients after each other read the same log from the start."""
    async with demo("rivers", 2) as running:
        once = await first_records(running.bootstrap, running.topic, 2, 5)
        again = await first_records(running.bootstrap, running.topic, 2, 5)
    assert (running.topic, running.sessions) == ("rivers", SESSIONS)
    assert min(record.timestamp for record in once) == min(record.timestamp for record in again)


async def test_a_demo_that_cannot_start_is_told() -> None:
    """A child that ends before it has announced its broker is an error of the settings, not a wait without end."""
    with pytest.raises(ConfigurationError, match="did not start"):
        async with demo("rivers", -1):
            raise AssertionError("never entered")


def test_the_child_ends_with_its_input(child: subprocess.Popen[bytes]) -> None:
    """When the supervisor dies, however it dies, the child's input ends and so does the child."""
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_child_ends_on_a_signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C are an orderly end."""
    child.send_signal(number)
    assert child.wait(30) == 0


def test_hold_ends_on_a_signal_and_puts_the_handlers_back() -> None:
    """Broker-only mode announces the address once and ends on Ctrl-C."""
    announced: list[str] = []

    def announce(bootstrap: str) -> None:
        announced.append(bootstrap)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    hold("rivers", 1, announce)
    assert signal.getsignal(signal.SIGINT) is before
    assert [bootstrap.split(":")[0] for bootstrap in announced] == ["127.0.0.1"]


def test_environment_names_the_settings() -> None:
    """What broker-only mode prints is what the service reads."""
    expected = {"TAILRACE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TAILRACE_KAFKA_TOPICS": "rivers"}
    assert expected == environment("127.0.0.1:1", "rivers")


def test_a_refused_call_names_itself() -> None:
    """What the embedded broker does not take is an error, never silence."""
    with EmbeddedBroker() as broker:
        broker.create_topic("rivers", 1)
        with pytest.raises(RuntimeError, match="topic_create"):
            broker.create_topic("rivers", 1)


async def test_a_deleted_topic_is_gone() -> None:
    """What is deleted is no longer known, and may be made again."""
    with EmbeddedBroker() as broker:
        kafka = Kafka(KafkaConnection(bootstrap_servers=broker.bootstrap), ["rivers"], isolation_level="read_committed")
        counts = []
        for partitions in (2, 0, 3, 0):
            broker.create_topic("rivers", partitions) if partitions else broker.delete_topic("rivers")
            counts.append(len((await kafka.identity()).topics["rivers"].leaders))
        await kafka.close()
    assert counts == [2, 0, 3, 0]


def test_closing_twice_is_once() -> None:
    """Close may be called again."""
    broker = EmbeddedBroker()
    broker.close()
    broker.close()


def test_a_missing_extra_is_said_in_one_sentence() -> None:
    """Without confluent-kafka the message says what to install."""
    code = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from tailrace.dev import EmbeddedBroker\n"
        "from tailrace.errors import ConfigurationError\n"
        "try: EmbeddedBroker()\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "the embedded broker needs the extra `dev`: pip install 'tailrace[dev]'\n"
